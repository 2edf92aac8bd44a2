"""Spawn, identify, watch and stop processes; the only user of psutil and subprocess.

A process is identified by its pid, creation time and working directory (law 3), because the system reuses pids. Each
Linux-only feature (``/proc``, pidfd) is wrapped in one function in ``identity``, with a portable version next to it.
"""

from gwctl.free_ports import next_free, port_is_free
from gwctl.process.identity import (
    Identity,
    descendants,
    has_open,
    identify,
    inhabitants,
    is_alive,
    is_ours,
    members_of_group,
    reap,
    rss_bytes,
    wait_ended,
)
from gwctl.process.listeners import Listener, find_listener, listens
from gwctl.process.spawn import (
    FRUGAL_MALLOC,
    PROXIES,
    CompletedFed,
    CompletedShort,
    Spawned,
    child_environment,
    command_environment,
    give_back_memory,
    rotate_by_truncation,
    run_fed,
    run_short,
    run_watched,
    spawn,
)
from gwctl.process.stopping import LeftAlone, StopReport, stop, stop_alone

__all__ = [
    "FRUGAL_MALLOC",
    "PROXIES",
    "CompletedFed",
    "CompletedShort",
    "Identity",
    "LeftAlone",
    "Listener",
    "Spawned",
    "StopReport",
    "child_environment",
    "command_environment",
    "descendants",
    "find_listener",
    "give_back_memory",
    "has_open",
    "identify",
    "inhabitants",
    "is_alive",
    "is_ours",
    "listens",
    "members_of_group",
    "next_free",
    "port_is_free",
    "reap",
    "rotate_by_truncation",
    "rss_bytes",
    "run_fed",
    "run_short",
    "run_watched",
    "spawn",
    "stop",
    "stop_alone",
    "wait_ended",
]
