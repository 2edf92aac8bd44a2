"""What each profile of a home costs: the memory and the CPU time of its processes, told apart by their part."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PARTS = ("supervisor", "gateway", "fake IBKR", "login")


@dataclass
class Cost:
    """Several processes of one part together; ``cpu_s`` is their own, ``ended_cpu_s`` that of their ended children."""

    pids: list[int] = field(default_factory=list)
    rss_bytes: int = 0
    pss_bytes: int = 0
    cpu_s: float = 0.0
    ended_cpu_s: float = 0.0


def pss_of(pid: int) -> int:
    """Return the memory of a process, what it shares divided among those who share it; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def costs_of(home: Path) -> dict[str, dict[str, Cost]]:
    """Return for each profile of a home what each of its parts costs now."""
    profiles = home / "state" / "profiles"
    alive = {one.pid: one for one in psutil.process_iter()}
    found: dict[str, dict[str, Cost]] = defaultdict(lambda: defaultdict(Cost))
    known: dict[int, tuple[str, str]] = {}
    for pid, process in alive.items():
        with contextlib.suppress(psutil.Error):
            whose = _whose(pid, alive, known, profiles)
            if whose is None or process.status() == psutil.STATUS_ZOMBIE:
                continue
            cost, times = found[whose[0]][whose[1]], process.cpu_times()
            cost.rss_bytes += process.memory_info().rss
            cost.pss_bytes += pss_of(pid)
            cost.cpu_s += times.user + times.system
            cost.ended_cpu_s += times.children_user + times.children_system
            cost.pids.append(pid)
    return {profile: dict(parts) for profile, parts in found.items()}


def _whose(
    pid: int, alive: dict[int, psutil.Process], known: dict[int, tuple[str, str]], profiles: Path
) -> tuple[str, str] | None:
    """Return profile and part of a process: a lasting one is known by what it runs, a login's by its ancestors."""
    process = alive.get(pid)
    if process is None or pid <= 1:
        return None
    if pid not in known:
        words, cwd = process.cmdline(), Path(process.cwd())
        part = ""
        if "--foreground" in words:
            part = "supervisor"
        elif "gwctl.sandbox" in words:
            part = "fake IBKR"
        elif cwd.name == "gateway":
            part = "gateway"
        if part and cwd.is_relative_to(profiles):
            known[pid] = (cwd.relative_to(profiles).parts[0], part)
        else:
            above = _whose(process.ppid(), alive, known, profiles)
            if above is None:
                return None
            known[pid] = (above[0], "login" if above[1] == "supervisor" else above[1])
    return known[pid]
