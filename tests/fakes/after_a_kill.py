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
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MARK = "GWCTL_TEST_RUN"
ENDED = "ended"
ENDS_WITHIN_S = 20.0


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Have what this process starts ended, in ``folder`` or elsewhere, if it is killed inside a ``with``."""
    mark = secrets.token_hex(16)
    without = {name: value for name, value in os.environ.items() if name != MARK}
    argv = [sys.executable, __file__, mark, str(folder)]
    # A session of its own: what ends the tests, Ctrl-C or a group's signal, must not end this first.
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=without, start_new_session=True, text=True) as watch:
        os.environ[MARK] = mark
        try:
            yield
        finally:
            watch.communicate(ENDED)


@contextmanager
def a_watched_folder(prefix: str) -> Iterator[str]:
    """Yield a temporary folder, and have what works there ended if this process is killed: for scripts."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name, watched(Path(name)):
        yield name


def left(mark: str, folder: str) -> list[psutil.Process]:
    """Return the processes of the run with ``mark`` that are still there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            places = [f"{place}/" for place in (process.cwd(), *process.cmdline())]
            is_below = any(f"{folder}/" in place for place in places)
            if is_below or process.environ().get(MARK) == mark:
                found.append(process)
    return found


def main() -> None:
    """Wait for the end of the test process, and end what it left."""
    if sys.stdin.read() == ENDED:
        return
    deadline_s = time.monotonic() + ENDS_WITHIN_S
    while (processes := left(*sys.argv[1:])) and time.monotonic() < deadline_s:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, 0.5)


if __name__ == "__main__":
    main()
