"""Budgets: how often each recovery step may run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.times import DAY_S, HOUR_S


class Budgeted(StrEnum):
    """A recovery step that costs something: requests to IBKR, or the session of other users of the gateway."""

    REAUTHENTICATE = auto()
    RESUME = auto()
    LOGIN = auto()
    RESTART = auto()


class Budget(Struct, frozen=True):
    """How often a step may run within any hour and any day."""

    per_hour: int
    per_day: int


def default_budgets() -> dict[Budgeted, Budget]:
    """Return how often each recovery step may run: more than a bad day needs, less than what harms at IBKR.

    A restart sends nothing to IBKR, so its number is not a limit: above it, a warning says how often restarts happen.
    """
    return {
        Budgeted.REAUTHENTICATE: Budget(30, 200),
        Budgeted.RESUME: Budget(20, 100),
        Budgeted.LOGIN: Budget(20, 60),
        Budgeted.RESTART: Budget(12, 60),
    }


class Spent(Struct, frozen=True):
    """When each step ran, in seconds of one clock; ``calm_at`` is the last time that all had been well for long."""

    times: Mapping[Budgeted, tuple[float, ...]] = field(default_factory=dict)
    calm_at: float = -DAY_S

    def plus(self, budgeted: Budgeted, now: float) -> Spent:
        """Return this with one more run; runs older than a day are dropped."""
        kept = tuple(at for at in self.times.get(budgeted, ()) if now - at < DAY_S)
        return replace(self, times={**self.times, budgeted: (*kept, now)})

    def minus(self, budgeted: Budgeted, number: int) -> Spent:
        """Return this without the last ``number`` runs of a step, which did not happen after all."""
        times = self.times.get(budgeted, ())
        return replace(self, times={**self.times, budgeted: times[: max(0, len(times) - number)]})

    def without(self, budgeted: Budgeted) -> Spent:
        """Return this as if the step had never run."""
        return replace(self, times={known: at for known, at in self.times.items() if known is not budgeted})

    def within(self, budgeted: Budgeted, span_s: float, now: float) -> tuple[float, ...]:
        """Return the runs of the last ``span_s`` seconds, since ``calm_at`` at most, oldest first."""
        return tuple(at for at in self.times.get(budgeted, ()) if now - at < span_s and at > self.calm_at)

    def room_in_s(self, budgeted: Budgeted, budget: Budget, now: float) -> float:
        """Return in how many seconds the budget allows one more run; 0 if it does now."""
        hour = self.within(budgeted, HOUR_S, now)
        day = [at for at in self.times.get(budgeted, ()) if now - at < DAY_S]
        waits = [0.0]
        if len(hour) >= budget.per_hour:
            waits.append(hour[-budget.per_hour] + HOUR_S - now)
        if len(day) >= budget.per_day:
            waits.append(day[-budget.per_day] + DAY_S - now)
        return max(waits)

    def shifted(self, by_s: float) -> Spent:
        """Return this in the seconds of another clock, or of the same clock after it stood still."""
        moved = {budgeted: tuple(at + by_s for at in times) for budgeted, times in self.times.items()}
        return Spent(moved, self.calm_at + by_s)


_MASK = (1 << 64) - 1


def uniform(seed: int, draw: int) -> float:
    """Return the ``draw``-th number of ``seed``'s sequence in [0, 1), by SplitMix64: ``step`` must not be random."""
    mixed = (seed + (draw + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return float(mixed ^ (mixed >> 31)) / 2.0**64
