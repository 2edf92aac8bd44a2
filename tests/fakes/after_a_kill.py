"""End what a killed test process leaves. Runs by itself, beside each test process, and says nothing.

A test ends what it started, also when it fails or is interrupted; a process that is killed cannot. This one reads a
pipe that ends with the test process. If the last word was ``ended``, the tests came to their end, and what is left then
is for them to answer for: nothing is touched. Else it ends each process that has the run's mark in its environment, or
works below the run's folder or names it, as gwctl's own do, whose environment is made anew.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil

MARK = "GWCTL_TEST_RUN"
ENDED = "ended"
ENDS_WITHIN_S = 20.0


class Watched:
    """The test process's end of the pipe."""

    def __init__(self) -> None:
        mark = secrets.token_hex(16)
        without = {name: value for name, value in os.environ.items() if name != MARK}
        # A session of its own: what ends the tests, Ctrl-C or a group's signal, must not end this first.
        self._watch = subprocess.Popen(
            [sys.executable, __file__, mark], stdin=subprocess.PIPE, env=without, start_new_session=True, text=True
        )
        os.environ[MARK] = mark

    def works_below(self, folder: Path) -> None:
        """Say where the tests' folders are."""
        self._say(str(folder))

    def ended(self) -> None:
        """Say that the tests came to their end."""
        self._say(ENDED)
        if self._watch.stdin is not None:
            self._watch.stdin.close()
        self._watch.wait()

    def _say(self, line: str) -> None:
        if self._watch.stdin is not None:
            self._watch.stdin.write(f"{line}\n")
            self._watch.stdin.flush()


def left(mark: str, folders: list[str]) -> list[psutil.Process]:
    """Return the processes of the run with ``mark`` that are still there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            places = [f"{place}/" for place in (process.cwd(), *process.cmdline())]
            is_below = any(f"{folder}/" in place for folder in folders for place in places)
            if is_below or process.environ().get(MARK) == mark:
                found.append(process)
    return found


def main() -> None:
    """Wait for the end of the test process, and end what it left."""
    folders = [line.strip() for line in sys.stdin]
    if ENDED in folders:
        return
    deadline_s = time.monotonic() + ENDS_WITHIN_S
    while (processes := left(sys.argv[1], folders)) and time.monotonic() < deadline_s:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, 0.5)


if __name__ == "__main__":
    main()
