"""Times of day in a time zone, daily, on some weekdays or between two: IBKR's maintenance windows, and login hours.

The defaults come from the two versions that IBKR published (gateway-facts.md, "IBKR's session rules"). A window here is
the union of both, because neither can be shown to be wrong. Around midnight of a region, when IBKR resets its sessions,
there is a window in every region.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

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
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_ON_DAYS = rf"(?:(?P<days>{_DAY}(?:[-,]{_DAY}){{0,6}}) +)?"
_IN_ZONE = r" +(?P<zone>[A-Za-z_+\-/0-9]{1,64})"
_SHAPE = re.compile(
    rf"{_ON_DAYS}(?P<from>\d\d:\d\d) *- *(?:(?P<to_day>{_DAY}) +)?(?P<to>\d\d:\d\d){_IN_ZONE}", re.IGNORECASE | re.ASCII
)
_MOMENT = re.compile(rf"{_ON_DAYS}(?P<at>\d\d:\d\d){_IN_ZONE}", re.IGNORECASE | re.ASCII)
_SEARCHED_DAYS = 9


class BadWindow(ValueError):
    """The text is not a window; the message says what is wrong with it."""


class Window(Struct, frozen=True):
    """One window. ``first_day`` is 0 for Monday, None for every day; ``days`` counts the midnights inside."""

    first_day: int | None
    begins: time
    ends: time
    days: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> tuple[Window, ...]:
        """Parse ``23:45-01:45 Zone``, ``Mon-Fri 07:00-22:00 Zone`` or ``Fri 23:00-Sat 03:00 Zone``; raise BadWindow.

        A time span on several days is a window for each of them.
        """
        matched = _SHAPE.fullmatch(text.strip())
        if matched is None:
            raise BadWindow(
                f"{text!r} must look like '23:45-01:45 America/New_York', 'Mon-Fri 07:00-22:00 Europe/Zurich' "
                "or 'Fri 23:00-Sat 03:00 Europe/Zurich'"
            )
        begins, ends, zone = _clock(matched["from"]), _clock(matched["to"]), _zone(matched["zone"])
        days = _days(matched["days"])
        if matched["to_day"] is not None:
            if matched["days"] is None or len(days) != 1 or days[0] is None:
                raise BadWindow(f"{text!r} must name the day that it begins on")
            nights = (DAYS.index(matched["to_day"].lower()) - days[0]) % 7
            if nights == 0 and ends <= begins:
                raise BadWindow(f"{text!r} ends before it begins")
            return (cls(days[0], begins, ends, nights, zone),)
        if begins == ends:
            raise BadWindow(f"{text!r} begins and ends at the same time")
        return tuple(cls(day, begins, ends, int(ends <= begins), zone) for day in days)

    @classmethod
    def parse_moment(cls, text: str) -> tuple[Window, ...]:
        """Parse ``07:30 Zone`` or ``Mon-Fri 07:30 Zone`` into windows that begin then; raise BadWindow."""
        matched = _MOMENT.fullmatch(text.strip())
        if matched is None:
            raise BadWindow(f"{text!r} must look like '07:30 Europe/Zurich' or 'Mon-Fri 07:30 Europe/Zurich'")
        at, zone = _clock(matched["at"]), _zone(matched["zone"])
        return tuple(cls(day, at, at, 1, zone) for day in _days(matched["days"]))

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


def _days(text: str | None) -> tuple[int | None, ...]:
    """Return the days of ``Mon-Fri``, ``Sat`` or ``Mon,Wed,Fri``, 0 for Monday; without a text every day: None."""
    if text is None:
        return (None,)
    days: dict[int, None] = {}
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if "-" in last:
            raise BadWindow(f"{text!r} must be days such as Mon-Fri or Mon,Wed,Fri")
        begin = DAYS.index(first)
        days |= dict.fromkeys((begin + offset) % 7 for offset in range((DAYS.index(last or first) - begin) % 7 + 1))
    return tuple(days)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadWindow(f"unknown time zone {name!r}") from None


def _clock(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise BadWindow(f"{text!r} is not a time of day") from None


class Windows(Struct, frozen=True):
    """Several windows as one calendar."""

    windows: tuple[Window, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Windows:
        """Parse windows and regions (``north-america``, ``europe``, ``asia``) into a calendar; raise BadWindow."""
        spelled = [one for text in texts for one in REGIONS.get(text.strip().lower(), (text,))]
        return cls(tuple(window for text in dict.fromkeys(spelled) for window in Window.parse(text)))

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
