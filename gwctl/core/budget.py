"""How often each cure may be tried, and what of that outlives a process; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from typing import Any

from gwctl.core.tables import Snapshot

HOUR_S = 3600.0
DAY_S = 86_400.0


class Rung(StrEnum):
    """A cure that costs something: requests at IBKR's door, or the session of whoever else uses the gateway."""

    REAUTHENTICATE = auto()
    RESUME = auto()
    LOGIN = auto()
    RESTART = auto()


@dataclass(frozen=True, slots=True)
class Budget:
    """How often a rung may be climbed within any hour and any day."""

    per_hour: int
    per_day: int


@dataclass(frozen=True, slots=True)
class Spent:
    """When each rung was climbed, in seconds of any one clock; ``calm_at`` is when all had long been well last."""

    times: Mapping[Rung, tuple[float, ...]] = field(default_factory=dict)
    calm_at: float = -DAY_S

    def plus(self, rung: Rung, now: float) -> Spent:
        """Return this with one more climb; what is older than a day is forgotten."""
        kept = tuple(at for at in self.times.get(rung, ()) if now - at < DAY_S)
        return replace(self, times={**self.times, rung: (*kept, now)})

    def minus(self, rung: Rung, number: int) -> Spent:
        """Return this without the last ``number`` climbs of a rung, which turned out not to have been made."""
        times = self.times.get(rung, ())
        return replace(self, times={**self.times, rung: times[: max(0, len(times) - number)]})

    def without(self, rung: Rung) -> Spent:
        """Return this as if the rung had never been climbed."""
        return replace(self, times={known: at for known, at in self.times.items() if known is not rung})

    def within(self, rung: Rung, span_s: float, now: float) -> tuple[float, ...]:
        """Return the climbs of the last ``span_s`` seconds since all was calm, oldest first."""
        return tuple(at for at in self.times.get(rung, ()) if now - at < span_s and at > self.calm_at)

    def room_in_s(self, rung: Rung, budget: Budget, now: float) -> float:
        """Return in how many seconds the budget has room for one more; 0 if it has now."""
        hour = self.within(rung, HOUR_S, now)
        day = [at for at in self.times.get(rung, ()) if now - at < DAY_S]
        waits = [0.0]
        if len(hour) >= budget.per_hour:
            waits.append(hour[-budget.per_hour] + HOUR_S - now)
        if len(day) >= budget.per_day:
            waits.append(day[-budget.per_day] + DAY_S - now)
        return max(waits)

    def shifted(self, by_s: float) -> Spent:
        """Return this in the seconds of another clock, or of the same one after it stood still."""
        moved = {rung: tuple(at + by_s for at in times) for rung, times in self.times.items()}
        return Spent(moved, self.calm_at + by_s)


_MASK = (1 << 64) - 1


def uniform(seed: int, draw: int) -> float:
    """Return the ``draw``-th number of ``seed``'s sequence in [0, 1), by SplitMix64: ``step`` may not be random."""
    mixed = (seed + (draw + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return float(mixed ^ (mixed >> 31)) / 2.0**64


LONGEST_PAUSE_S = 6 * 3600.0
"""Longer than any maintenance window, so that a damaged file or a clock set back cannot hold a login for ever."""


def remember(snapshot: Snapshot, wall_minus_monotonic_s: float, now: float) -> dict[str, Any]:
    """Return what is to be kept, in wall-clock seconds: a monotonic clock does not outlive the machine.

    The pause that is left is kept as well: a machine may begin with a clock that is years behind.
    """
    spent = snapshot.spent.shifted(wall_minus_monotonic_s)
    not_before, taken_at = snapshot.login_not_before, snapshot.took_over_at
    return {
        "spent": {str(rung): [round(at, 3) for at in times] for rung, times in spent.times.items()},
        "calm_at": round(spent.calm_at, 3),
        "failed_logins": snapshot.failed_logins,
        "blocked": snapshot.blocked,
        "often": snapshot.often,
        "take_overs": snapshot.take_overs,
        "took_over_at": None if taken_at is None else round(taken_at + wall_minus_monotonic_s, 3),
        "login_pause_s": round(max(0.0, not_before - now), 3),
        "login_not_before": round(not_before + wall_minus_monotonic_s, 3) if not_before else 0.0,
    }


def recall(snapshot: Snapshot, kept: Mapping[str, Any], wall_minus_monotonic_s: float, now: float) -> Snapshot:
    """Return the snapshot with what was kept; whatever cannot be read is as if it had not been kept.

    What seems to lie in the future (the clock was set back) counts as just now.
    """
    raw = kept.get("spent")
    raw = raw if isinstance(raw, Mapping) else {}
    times: dict[Rung, tuple[float, ...]] = {}
    for rung in Rung:
        listed = raw.get(str(rung))
        known = [_number(at) for at in listed] if isinstance(listed, list) else []
        monotonic = sorted(min(now, at - wall_minus_monotonic_s) for at in known if at is not None)
        times[rung] = tuple(at for at in monotonic if now - at < DAY_S)
    calm_at = _number(kept.get("calm_at"))
    taken_at = _number(kept.get("took_over_at"))
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
        took_over_at=None if taken_at is None else min(now, taken_at - wall_minus_monotonic_s),
        login_not_before=min(now + longest_s, not_before - wall_minus_monotonic_s) if not_before else 0.0,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000 else 0


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
