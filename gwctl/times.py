"""Times and durations as text: one form for machines, one for people; the standard library only."""

from __future__ import annotations

import re
import time

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


def duration(seconds: float, *, compact: bool = False) -> str:
    """Return a length of time in its two largest units: ``2 min 5 s``, or ``2m05s`` where a column is narrow."""
    whole = max(0, round(seconds))
    if whole < MINUTE_S:
        exact = seconds < 9.95 and not compact
        return f"{seconds:.1f} s" if exact else f"{whole}s" if compact else f"{whole} s"
    if whole < HOUR_S:
        large, small, units = whole // MINUTE_S, whole % MINUTE_S, ("min", "s")
    elif whole < DAY_S:
        large, small, units = whole // HOUR_S, whole % HOUR_S // MINUTE_S, ("h", "min")
    else:
        large, small, units = whole // DAY_S, whole % DAY_S // HOUR_S, ("d", "h")
    return f"{large}{units[0][0]}{small:02}{units[1][0]}" if compact else f"{large} {units[0]} {small} {units[1]}"


_AGE = re.compile(r"(\d{1,9})\s*(s|m|h|d)")
_AGE_UNITS_S = {"s": 1, "m": MINUTE_S, "h": HOUR_S, "d": DAY_S}


def age_s(text: str) -> int | None:
    """Return the seconds of a length of time that a person typed: ``90s``, ``10m``, ``2h``, ``1d``; None for others."""
    found = _AGE.fullmatch(text.strip())
    return None if found is None else int(found[1]) * _AGE_UNITS_S[found[2]]


def utc(at_s: float) -> str:
    """Return wall-clock seconds as state files and JSON have them: ISO 8601 in UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def utc_ms(at_s: float) -> str:
    """Return wall-clock seconds as the journal has them: ISO 8601 in UTC with milliseconds."""
    whole_ms = int(at_s * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_ms // 1000)) + f".{whole_ms % 1000:03d}Z"


def from_utc(text: str) -> float:
    """Return the wall-clock seconds of what ``utc`` wrote; raise ValueError for anything else."""
    import calendar

    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def readable(at_s: float, *, in_utc: bool) -> str:
    """Return a date and time of day for people, in UTC or in the machine's own zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s) if in_utc else time.localtime(at_s))
