"""Whoever follows the docs from the top in an empty folder gets there: their commands are run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_fakes import Home

DOCS = Path(__file__).parents[2] / "docs"
RUN = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = {"tutorial.md": ("portfolio/accounts", "DU", "● default: ready", "uptime", "stopped")}


def _commands(page: str) -> list[str]:
    return RUN.findall((DOCS / page).read_text())


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_one_after_the_other(home: Home, page: str) -> None:
    """Each block that is marked to be run ends well in one shell, and prints what the page promises."""
    blocks = _commands(page)
    assert len(blocks) > 2
    script = home.folder / "followed.sh"
    script.write_text("set -euxo pipefail\n" + "\n".join(blocks))
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", script],
        env=home.environment(PATH=programs, HOME=str(home.folder)),
        cwd=home.folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in PAGES[page]:
        assert said in done.stdout + done.stderr, said
    assert home.left() == []


def test_marked_blocks_are_found() -> None:
    """A mark that is not followed by a block of shell would leave its commands untried."""
    for page in DOCS.rglob("*.md"):
        text = page.read_text()
        assert text.count("<!-- run -->") == len(RUN.findall(text)), page
        assert ("<!-- run -->" in text) == (str(page.relative_to(DOCS)) in PAGES), page
