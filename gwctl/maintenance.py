"""IBKR's maintenance windows: times of day in a time zone, daily or between two weekdays.

The defaults come from the two versions that IBKR published (gateway-facts.md, "IBKR's session rules"). A window here is
the union of both, because neither can be shown to be wrong. Around midnight of a region, when IBKR resets its sessions,
there is a window in every region.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gwctl.times import DAY_S

_WEEKEND = "Fri 23:00-Sat 03:00 America/New_York"
REGIONS: dict[str, tuple[str, ...]] = {
    "north-america": ("23:45-01:45 America/New_York", _WEEKEND),
    "europe": ("23:55-00:30 Europe/Zurich", "05:45-07:45 Europe/Zurich", _WEEKEND),
    "asia": (
        "23:55-00:30 Asia/Hong_Kong",
        "16:45-17:45 America/New_York",
        "20:15-21:15 Asia/Hong_Kong",
        "04:45-06:05 Asia/Hong_Kong",
        _WEEKEND,
    ),
}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "(?:(?P<{0}_day>Mon|Tue|Wed|Thu|Fri|Sat|Sun) +)?"
_SHAPE = re.compile(
    _DAY.format("from")
    + r"(?P<from>\d\d:\d\d) *- *"
    + _DAY.format("to")
    + r"(?P<to>\d\d:\d\d) +(?P<zone>[A-Za-z_+\-/0-9]{1,64})",
    re.IGNORECASE | re.ASCII,
)
_SEARCHED_DAYS = 9


class BadWindow(ValueError):
    """The text is not a window; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window. ``first_day`` is 0 for Monday, None for every day; ``days`` counts the midnights inside."""

    first_day: int | None
    begins: time
    ends: time
    days: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> Window:
        """Parse ``23:45-01:45 Zone`` or ``Fri 23:00-Sat 03:00 Zone``; raise BadWindow."""
        matched = _SHAPE.fullmatch(text.strip())
        if matched is None:
            raise BadWindow(
                f"{text!r} must look like '23:45-01:45 America/New_York' or 'Fri 23:00-Sat 03:00 Europe/Zurich'"
            )
        begins, ends = _clock(matched["from"]), _clock(matched["to"])
        try:
            zone = ZoneInfo(matched["zone"])
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadWindow(f"unknown time zone {matched['zone']!r}") from None
        if (matched["from_day"] is None) != (matched["to_day"] is None):
            raise BadWindow(f"{text!r} has a day on one side only")
        if matched["from_day"] is None:
            if begins == ends:
                raise BadWindow(f"{text!r} begins and ends at the same time")
            return cls(None, begins, ends, int(ends <= begins), zone)
        first, last = DAYS.index(matched["from_day"].lower()), DAYS.index(matched["to_day"].lower())
        days = (last - first) % 7
        if days == 0 and ends <= begins:
            raise BadWindow(f"{text!r} ends before it begins")
        return cls(first, begins, ends, days, zone)

    def around(self, wall_s: float) -> Iterable[tuple[float, float]]:
        """Yield start and end, in seconds since 1970, of each occurrence within nine days of ``wall_s``."""
        today = datetime.fromtimestamp(wall_s, self.zone).date()
        for offset in range(-_SEARCHED_DAYS, _SEARCHED_DAYS + 1):
            day = today + timedelta(days=offset)
            if self.first_day is None or day.weekday() == self.first_day:
                last = day + timedelta(days=self.days)
                begin_s = datetime.combine(day, self.begins, self.zone).timestamp()
                end_s = datetime.combine(last, self.ends, self.zone).timestamp()
                if end_s > begin_s:
                    yield begin_s, end_s


def _clock(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise BadWindow(f"{text!r} is not a time of day") from None


@dataclass(frozen=True, slots=True)
class Windows:
    """Several windows as one calendar."""

    windows: tuple[Window, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Windows:
        """Parse windows and regions (``north-america``, ``europe``, ``asia``) into a calendar; raise BadWindow."""
        spelled = [one for text in texts for one in REGIONS.get(text.strip().lower(), (text,))]
        return cls(tuple(Window.parse(text) for text in dict.fromkeys(spelled)))

    def until(self, wall_s: float) -> float | None:
        """Return when the window open at ``wall_s`` ends, overlapping windows included; None if none is open."""
        spans = self._spans(wall_s)
        end_s = wall_s
        while (later := max((end for begin, end in spans if begin <= end_s < end), default=None)) is not None:
            end_s = later
        return end_s if end_s > wall_s else None

    def next_change(self, wall_s: float) -> float | None:
        """Return when the next window opens or the open one ends; None if there are no windows."""
        until_s = self.until(wall_s)
        if until_s is not None:
            return until_s
        return min((begin for begin, _ in self._spans(wall_s) if begin > wall_s), default=None)

    def _spans(self, wall_s: float) -> list[tuple[float, float]]:
        return _spans(self.windows, int(wall_s // DAY_S))


@lru_cache(maxsize=4)
def _spans(windows: tuple[Window, ...], day: int) -> list[tuple[float, float]]:
    return [span for window in windows for span in window.around(day * DAY_S)]
