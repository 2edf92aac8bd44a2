"""IBKR's own calendar: midnights and both published tables of reset windows (gateway-facts.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

FRIDAY = 4


@dataclass(frozen=True, slots=True)
class Window:
    """A window of local time, on ``weekday`` or every day. If it ends before it begins, it ends the next day."""

    zone: str
    begins: time
    ends: time
    weekday: int | None = None

    def next_after(self, wall_s: float) -> tuple[float, float]:
        """Return start and end, in seconds since 1970, of the next window that starts after a moment."""
        day = datetime.fromtimestamp(wall_s, ZoneInfo(self.zone)).date() - timedelta(days=1)
        while True:
            if self.weekday is None or day.weekday() == self.weekday:
                begins_s = _wall_s(day, self.begins, self.zone)
                if begins_s > wall_s:
                    last = day + timedelta(days=1) if self.ends <= self.begins else day
                    return begins_s, _wall_s(last, self.ends, self.zone)
            day += timedelta(days=1)


def _wall_s(day: object, clock: time, zone: str) -> float:
    return datetime.combine(day, clock, ZoneInfo(zone)).astimezone(UTC).timestamp()  # type: ignore[arg-type] # a date


@dataclass(frozen=True, slots=True)
class Region:
    """Where an account is: the zone of its midnight, and the two versions of its nightly windows."""

    name: str
    zone: str
    older: tuple[Window, ...]
    newer: tuple[Window, ...]

    def next_midnight(self, wall_s: float) -> float:
        """Return the next local midnight after a moment."""
        return Window(self.zone, time(0), time(1)).next_after(wall_s)[0]


_EASTERN, _ZURICH, _HONG_KONG = "America/New_York", "Europe/Zurich", "Asia/Hong_Kong"
WEEKEND = Window(_EASTERN, time(23), time(3), FRIDAY)
REGIONS = (
    Region(
        "america",
        _EASTERN,
        (Window(_EASTERN, time(23, 45), time(0, 45)),),
        (Window(_EASTERN, time(0, 15), time(1, 45)),),
    ),
    Region(
        "europe",
        _ZURICH,
        (Window(_ZURICH, time(5, 45), time(6, 45)),),
        (Window(_ZURICH, time(6, 25), time(7, 45)),),
    ),
    Region(
        "asia",
        _HONG_KONG,
        (Window(_EASTERN, time(16, 45), time(17, 45)), Window(_HONG_KONG, time(20, 15), time(21))),
        (Window(_HONG_KONG, time(4, 45), time(6, 5)), Window(_HONG_KONG, time(20, 15), time(21, 15))),
    ),
)
