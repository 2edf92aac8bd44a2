"""The pictures of the status page and of the live screen in the docs show what they look like today."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pictures
import pytest
from pictures import differences

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "pictures"
LARGEST_BYTES = 200_000


def _drawn(file: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", file.read_text()))


@pytest.mark.wide
@pytest.mark.browser
@pytest.mark.timeout(180)
@pytest.mark.needs("tesseract")
def test_pictures_are_true(tmp_path: Path) -> None:
    """Each picture says, word for word, what the same one says when it is taken anew, and light is not dark."""
    subprocess.run([sys.executable, ROOT / "scripts" / "render-page", tmp_path], check=True, timeout=150)
    for name in ("status-light", "status-dark"):
        kept, anew = pictures.read(KEPT / f"{name}.png"), pictures.read(tmp_path / f"{name}.png")
        assert differences(kept, anew) == set(), name
        assert "Latest events" in kept
        assert (KEPT / f"{name}.png").stat().st_size < LARGEST_BYTES
    assert (KEPT / "status-light.png").read_bytes() != (KEPT / "status-dark.png").read_bytes()
    kept, anew = (_drawn(folder / "status-watch.svg") for folder in (KEPT, tmp_path))
    assert "refusals in 24 h" in kept.replace("\xa0", " ")
    assert differences(kept, anew) == set()
