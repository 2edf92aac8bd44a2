"""Spawn, identify, watch and stop processes; the only user of psutil and subprocess.

A process is identified by its pid, creation time and working directory (law 3), because the system reuses pids. Each
Linux-only feature (``/proc``, pidfd) is wrapped in one function in ``identity``, with a portable version next to it.
"""

from gwctl.free_ports import next_free, port_is_free
from gwctl.process.identity import (
    Identity,
    Listener,
    any_named,
    descendants,
    find_listener,
    has_open,
    identify,
    inhabitants,
    is_alive,
    is_ours,
    listening_ports,
    listens,
    members_of_group,
    reap,
    rss_bytes,
    wait_ended,
)
from gwctl.process.pipes import read_to_end
from gwctl.process.spawn import (
    Child,
    Completed,
    Spawned,
    environment_of,
    give_back_memory,
    rotate_by_truncation,
    run,
    run_async,
    spawn,
)
from gwctl.process.stopping import LeftAlone, StopReport, stop, stop_alone

__all__ = [
    "Child",
    "Completed",
    "Identity",
    "LeftAlone",
    "Listener",
    "Spawned",
    "StopReport",
    "any_named",
    "descendants",
    "environment_of",
    "find_listener",
    "give_back_memory",
    "has_open",
    "identify",
    "inhabitants",
    "is_alive",
    "is_ours",
    "listening_ports",
    "listens",
    "members_of_group",
    "next_free",
    "port_is_free",
    "read_to_end",
    "reap",
    "rotate_by_truncation",
    "rss_bytes",
    "run",
    "run_async",
    "spawn",
    "stop",
    "stop_alone",
    "wait_ended",
]
