"""docs/supervisor.md is written from the core: what it says of arrows, limits and windows is what the program does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_core_says() -> None:
    """A table, a limit or a window that changes changes the page, or this fails."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "supervisor-reference"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
