"""What a tree of processes uses: its share of memory and its CPU time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil
from profile_costs import pss_of


def below(folder: Path) -> list[psutil.Process]:
    """Return the processes that work below a folder, with all their descendants."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
                found |= {one.pid: one for one in process.children(recursive=True)}
    return list(found.values())


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Return their memory in millions of bytes; what they share counts once (PSS)."""
    return sum(pss_of(one.pid) for one in processes) / 1e6


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU seconds that they used so far, their ended children's included."""
    used_s = 0.0
    for one in processes:
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            used_s += times.user + times.system + times.children_user + times.children_system
    return used_s
