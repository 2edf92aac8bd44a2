"""The man pages are up to date with the parser, and troff accepts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "man").glob("*.1"))


def test_pages_are_as_the_parser_says() -> None:
    """`scripts/man-pages --check` finds no difference."""
    subprocess.run([sys.executable, ROOT / "scripts" / "man-pages", "--check"], check=True, timeout=60)


@pytest.mark.needs("groff")
def test_troff_has_no_complaint() -> None:
    """Every page is formatted without a warning, and says its name and its synopsis."""
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", *PAGES],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert len(PAGES) > 30
    assert [page.name for page in PAGES if ".SH SYNOPSIS" not in page.read_text()] == []


def test_the_main_page_has_codes_variables_and_verbs() -> None:
    """`man gwctl` answers what a script's author asks."""
    text = (ROOT / "docs" / "man" / "gwctl.1").read_text()
    for said in ("EXIT STATUS", "\\fB77\\fP", "GWCTL_PORT", "gwctl-up(1)", "gwctl-status(1)"):
        assert said in text, said
