"""Chromium uses its sandbox where it can; for root, or if a container forbids it, it runs without one and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import container_guard
import pytest

pytestmark = pytest.mark.browser

VISIT = """
import asyncio, os, pathlib, sys
from gwctl.login.browser import find_browser, started

async def visit():
    told = []
    browser = find_browser(None, os.environ)
    folder = pathlib.Path(sys.argv[1])
    async with started(browser, None, folder, deadline_s=30, on_no_sandbox=lambda: told.append(1)) as context:
        page = await context.new_page()
        await page.set_content("<title>there</title>")
        print(await page.title(), len(told))

asyncio.run(visit())
"""


@pytest.mark.parametrize(("engine", "told"), [("none", 0), ("docker", 1), ("podman", 1)])
def test_a_browser_that_may_not_make_its_sandbox_runs_without(engine: str, told: int, tmp_path: Path) -> None:
    """It shows a page under each engine's rules, and reports the missing sandbox exactly where it is missing."""
    done = subprocess.run(
        [sys.executable, container_guard.__file__, engine, sys.executable, "-c", VISIT, str(tmp_path / "profile")],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"there {told}\n"), done.stderr


def test_the_browser_of_root_runs_without(tmp_path: Path) -> None:
    """Root's browser shows a page, and reports that it has no sandbox."""
    become = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
    done = subprocess.run(
        [*become, sys.executable, "-c", VISIT, str(tmp_path / "profile")],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "there 1\n"), done.stderr
