"""The part of a snapshot that is kept on disk: counts and pauses that outlive a supervisor. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from gwctl.core.budget import Budgeted, Spent
from gwctl.core.tables import Snapshot
from gwctl.times import DAY_S

LONGEST_PAUSE_S = 6 * 3600.0
"""Longer than any maintenance window; keeps a damaged file or a clock set back from blocking logins forever."""


def remember(snapshot: Snapshot, wall_minus_monotonic_s: float, now: float) -> dict[str, Any]:
    """Return what to keep on disk, in wall-clock seconds: a monotonic clock does not survive a reboot.

    The remaining pause is kept as well: a machine may boot with a clock that is years behind.
    """
    spent = snapshot.spent.shifted(wall_minus_monotonic_s)
    not_before, taken_at = snapshot.login_not_before, snapshot.took_over_at
    return {
        "spent": {str(budgeted): [round(at, 3) for at in times] for budgeted, times in spent.times.items()},
        "calm_at": round(spent.calm_at, 3),
        "failed_logins": snapshot.failed_logins,
        "blocked": snapshot.blocked,
        "often": snapshot.often,
        "take_overs": snapshot.take_overs,
        "logged_in_at": None
        if snapshot.logged_in_at is None
        else round(snapshot.logged_in_at + wall_minus_monotonic_s, 3),
        "took_over_at": None if taken_at is None else round(taken_at + wall_minus_monotonic_s, 3),
        "login_pause_s": round(max(0.0, not_before - now), 3),
        "login_not_before": round(not_before + wall_minus_monotonic_s, 3) if not_before else 0.0,
    }


def recall(snapshot: Snapshot, kept: Mapping[str, Any], wall_minus_monotonic_s: float, now: float) -> Snapshot:
    """Return the snapshot with the kept values; unreadable ones are ignored.

    A time in the future (the clock was set back) counts as now.
    """
    raw = kept.get("spent")
    raw = raw if isinstance(raw, Mapping) else {}
    times: dict[Budgeted, tuple[float, ...]] = {}
    for budgeted in Budgeted:
        listed = raw.get(str(budgeted))
        known = [_number(at) for at in listed] if isinstance(listed, list) else []
        monotonic = sorted(min(now, at - wall_minus_monotonic_s) for at in known if at is not None)
        times[budgeted] = tuple(at for at in monotonic if now - at < DAY_S)
    calm_at = _number(kept.get("calm_at"))
    taken_at = _number(kept.get("took_over_at"))
    logged_in_at = _number(kept.get("logged_in_at"))
    not_before = _number(kept.get("login_not_before")) or 0.0
    pause_s = _number(kept.get("login_pause_s"))
    longest_s = LONGEST_PAUSE_S if pause_s is None else min(LONGEST_PAUSE_S, max(0.0, pause_s))
    return replace(
        snapshot,
        spent=Spent(times, min(now, calm_at - wall_minus_monotonic_s) if calm_at is not None else now - DAY_S),
        failed_logins=_count(kept.get("failed_logins")),
        blocked=kept.get("blocked") is True,
        often=kept.get("often") is True,
        take_overs=_count(kept.get("take_overs")),
        logged_in_at=None if logged_in_at is None else min(now, logged_in_at - wall_minus_monotonic_s),
        took_over_at=None if taken_at is None else min(now, taken_at - wall_minus_monotonic_s),
        login_not_before=min(now + longest_s, not_before - wall_minus_monotonic_s) if not_before else 0.0,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000 else 0


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
