"""End what a part of the run left: a side that failed may leave processes, which must not slow the next part."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from after_a_kill import MARK, a_watched_folder, left
from processes import words_of

ENDS_WITHIN_S = 20.0


@contextmanager
def a_folder_of_its_own() -> Iterator[Path]:
    """Yield a temporary folder; at the end every process of this run that works there, or names it, is ended."""
    with a_watched_folder("gwctl-bench-") as name:
        try:
            yield Path(name)
        finally:
            _end_all(name)


def _end_all(folder: str) -> None:
    deadline_s = time.monotonic() + ENDS_WITHIN_S
    while (processes := _left(folder)) and time.monotonic() < deadline_s:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, 0.5)


def _left(folder: str) -> list[psutil.Process]:
    """Return what is left, without the process that ends the rest if this one is killed."""
    return [one for one in left(os.environ[MARK], folder) if "after_a_kill" not in words_of(one)]
