"""The README's picture shows what a run really shows."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rig import free_port

ROOT = Path(__file__).parents[2]
_TEXT = re.compile(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')


def lines_of(svg: str) -> set[str]:
    """Return the terminal's lines in a picture, with numbers replaced: they differ from run to run."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in _TEXT.findall(svg):
        rows.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    joined = ("".join(text for _, text in sorted(row)).strip() for row in rows.values())
    found = {re.sub(r"\d+(\.\d+)?", "N", line) for line in joined if line}
    return {re.sub(r"^(Java N|browser).*", r"\1", line) for line in found}


@pytest.mark.wide
@pytest.mark.browser
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["run", "setup", "setup-sandbox"])
def test_picture_is_true(tmp_path: Path, kind: str) -> None:
    """A run today shows the same lines as the picture in docs, except for numbers and the machine's own programs."""
    picture = f"{kind}.svg"
    drawn = tmp_path / picture
    variables = {**os.environ, "GWCTL_PORT": str(free_port())}
    command: list[str | Path] = [
        sys.executable,
        ROOT / "scripts" / "render-run",
        *([] if kind == "run" else [kind]),
        drawn,
    ]
    subprocess.run(command, env=variables, check=True, timeout=150)
    kept = lines_of((ROOT / "docs" / picture).read_text())
    assert any(
        re.match(r"● default: ready · (PAPER · paperN|SANDBOX) · https://localhost:N/vN/api", line) for line in kept
    )
    assert lines_of(drawn.read_text()) == kept
