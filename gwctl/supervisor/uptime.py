"""The clock that nobody sets: how long this machine has run, its sleep included, and a name for this run of it."""

from __future__ import annotations

import time
from pathlib import Path

from gwctl.supervisor.policy import Uptime

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
"""Linux gives each start of the machine a name of its own; elsewhere there is none, and the wall clock has to do."""


def uptime() -> Uptime | None:
    """Return the present by that clock; None where the system does not tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        boot = BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return Uptime(boot, time.clock_gettime(clock)) if clock is not None and boot else None
