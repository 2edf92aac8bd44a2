"""A test run that is killed in the middle: what its tests had started is ended all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from after_a_kill import ENDS_WITHIN_S, MARK, left
from rig import wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.needs("Xvfb"), pytest.mark.timeout(180)]
TEST = "tests/integration/test_login_by_hand.py::test_a_person_logs_in_at_the_window"
"""It has a screen, a supervisor, the real gateway with its front, and a browser."""


def runs(process: psutil.Process) -> bool:
    """Return whether a process is there and has not ended."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_nothing_is_left_of_a_killed_run(number: int, tmp_path: Path) -> None:
    """Screen, browser, supervisor, front and gateway are there, and a moment after the run was killed they are not."""
    folder = tmp_path / "run"
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}", TEST]
    without = {name: value for name, value in os.environ.items() if name != MARK and not name.startswith("PYTEST_")}
    top = Path(__file__).parents[2]
    with subprocess.Popen(argv, cwd=top, env=without, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:

        def there() -> list[psutil.Process]:
            mine = psutil.Process(run.pid).children(recursive=True)
            return [one for one in dict.fromkeys((*mine, *left("", str(folder)))) if one.pid != run.pid]

        def has_all() -> list[psutil.Process]:
            found, words = there(), set()
            for one in found:
                with contextlib.suppress(psutil.Error):
                    words |= {one.name(), *one.cmdline()}
            is_whole = {"Xvfb", "java", "--handed-over"} <= words and any("chrom" in word for word in words)
            return found if is_whole else []

        try:
            started = wait_for(has_all, 90, "the test has a window")
        finally:
            os.kill(run.pid, number)
        run.wait()
    wait_for(lambda: not any(map(runs, started)), 2 * ENDS_WITHIN_S, "nothing is left")
    assert left("", str(folder)) == []
