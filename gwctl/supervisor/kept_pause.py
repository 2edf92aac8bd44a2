"""The pause of a profile on disk: it survives its supervisor, and holds for the next one."""

from __future__ import annotations

import math
import time
from typing import Any, TypeGuard

from gwctl.core.messages import Pause
from gwctl.errors import DiskTrouble, GwctlError
from gwctl.paths import Paths
from gwctl.plain_text import one_line
from gwctl.state_file import look_at_json, read_json, write_json
from gwctl.times import DAY_S, utc

DAMAGED = "its file was damaged"
LONGEST_REASON = 200


def save(paths: Paths, pause: Pause) -> None:
    """Write the pause whole; raise DiskTrouble."""
    write_json(paths.pause_file, {"since_s": pause.since_s, "until_s": pause.until_s, "reason": pause.reason})


def remove(paths: Paths) -> None:
    """Delete the pause, if any; raise DiskTrouble."""
    try:
        paths.pause_file.unlink(missing_ok=True)
    except OSError as error:
        raise DiskTrouble(
            f"cannot delete {paths.pause_file}: {error.strerror}", hint=f"check the owner of {paths.profile_dir}"
        ) from error


def load(paths: Paths) -> Pause | None:
    """Return the pause that is in force; None if there is none, or it is over.

    A damaged file is set aside and counts as a pause without end: somebody may be trading in it.
    """
    raw, aside = read_json(paths.pause_file)
    if aside is not None:
        pause = paused(None, DAMAGED)
        save(paths, pause)
        return pause
    return _in_force(raw)


def look(paths: Paths) -> Pause | None:
    """Do the same without changing anything on disk; None also for a file that cannot be read."""
    try:
        raw, damaged = look_at_json(paths.pause_file)
    except (GwctlError, OSError):
        return None
    return paused(None, DAMAGED) if damaged else _in_force(raw)


def paused(until_s: float | None, reason: str, since_s: float | None = None) -> Pause:
    """Return a pause that begins now, or began at ``since_s``; seconds since 1970."""
    since_s = time.time() if since_s is None else since_s
    reason = one_line(reason)[:LONGEST_REASON]
    until = "" if until_s is None else f" until {clock(until_s)}"
    return Pause(since_s, until_s, reason, f"paused{until}{': ' if reason else ''}{reason}")


def wanted(body: dict[str, Any]) -> Pause:
    """Return the pause that a command asks for; raise ValueError for one that is over already."""
    until_s = body.get("until_s")
    if until_s is not None and (not _is_time(until_s) or until_s <= time.time()):
        raise ValueError("the end of the pause has passed")
    return paused(until_s, str(body.get("reason") or ""))


def clock(at_s: float) -> str:
    """Return a time of this day, or of another one with the day, in this machine's time zone."""
    at, now = time.localtime(at_s), time.localtime()
    is_today = at[:3] == now[:3]
    return time.strftime("%H:%M" if is_today else "%a %H:%M" if abs(at_s - time.time()) < 6 * DAY_S else "%F %H:%M", at)


def describe(pause: Pause | None) -> dict[str, Any] | None:
    """Return the ``paused`` object of ``status``."""
    if pause is None:
        return None
    until = None if pause.until_s is None else utc(pause.until_s)
    return {"since": utc(pause.since_s), "until": until, "reason": pause.reason or None}


def _in_force(raw: dict[str, Any] | None) -> Pause | None:
    if raw is None:
        return None
    until_s, since_s = raw.get("until_s"), raw.get("since_s")
    if _is_time(until_s) and until_s <= time.time():
        return None
    reason = raw.get("reason")
    until_s = until_s if _is_time(until_s) else None
    return paused(until_s, reason if isinstance(reason, str) else "", since_s if _is_time(since_s) else None)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e11
