"""The history report: uptime per day, outages with cause and recovery, logins, restarts.

Pure: no I/O, no clock. Time counts from the profile's first ready session. Uptime is the share of the wanted time (the
session was not stopped) in which the session was known to be ready; a share of less than a day says little and is not
given. Time without a supervisor counts against it and is shown as unknown.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gwctl.history.lines import Line, last_lines
from gwctl.history.replay import BEFORE, LINES_LOST, Deed, Login, Replay, Restart, Stretch, merged
from gwctl.history.session_fold import State
from gwctl.times import DAY_S

ROUNDING_S = 1.0
"""A day's stretches add up to a day but for rounding."""


class Outage(Struct, frozen=True):
    """The time from when the session was no longer known to be ready until it was ready again, or was stopped.

    ``recoveries`` lists what restored the session, in order; ``unknown_s`` is the unwatched part; ``ended_s`` is None
    while the outage lasts. ``maintenance`` is true if one of IBKR's maintenance windows was open during it, and what it
    began with can be IBKR's doing.
    """

    began_s: float
    ended_s: float | None
    length_s: float
    unknown_s: float
    cause: str
    recoveries: tuple[str, ...]
    maintenance: bool
    sandbox: bool

    @property
    def recovery(self) -> str:
        """What restored the session, in words."""
        return ", ".join(self.recoveries)


class Times(Struct, frozen=True):
    """How long each state lasted, seconds."""

    by_state: Mapping[State, float]

    def __getitem__(self, state: State) -> float:
        return self.by_state.get(state, 0.0)

    @property
    def span_s(self) -> float:
        """The total time."""
        return sum(self.by_state.values())

    @property
    def wanted_s(self) -> float:
        """The total time without the stopped part."""
        return sum(seconds for state, seconds in self.by_state.items() if state is not State.STOPPED)

    @property
    def supervised_s(self) -> float:
        """How long a supervisor is known to have run."""
        return self[State.READY] + self[State.STARTING] + self[State.DOWN]

    @property
    def share(self) -> float | None:
        """The share of the wanted time in which the session was ready, None if it was never wanted."""
        return self[State.READY] / self.wanted_s if self.wanted_s > 0 else None


class Day(Struct, frozen=True):
    """One calendar day; ``began_s`` and ``ended_s`` are its midnights, the stretches come from the journal.

    ``enough`` is whether all of it counts (not on the first day, and not today), and there is a day of data at all.
    """

    date: str
    began_s: float
    ended_s: float
    stretches: tuple[Stretch, ...]
    times: Times
    outages: int
    logins: int
    restarts: int
    enough: bool

    @property
    def uptime(self) -> float | None:
        """The share of the wanted time in which the session was ready, None without enough data."""
        return self.times.share if self.enough else None


class History(Struct, frozen=True):
    """What happened between ``began_s`` and ``ended_s``; ``began_s`` is None if no session was ready yet.

    ``enough`` is whether there is a day of it, and the session was wanted for a day since the first one.
    """

    began_s: float | None
    ended_s: float | None
    state: State | None
    words: str
    stretches: tuple[Stretch, ...]
    times: Times
    days: tuple[Day, ...]
    outages: tuple[Outage, ...]
    logins: tuple[Login, ...]
    restarts: tuple[Restart, ...]
    lost_lines: int
    enough: bool

    @property
    def uptime(self) -> float | None:
        """The share of the wanted time in which the session was ready, None without enough data."""
        return self.times.share if self.enough else None


class LastSign(Struct, frozen=True):
    """The last sign of life of a supervisor without an end entry; ``ready`` is the session's state then, if known."""

    at_s: float
    ready: bool | None = None


def tell(
    entries: Iterable[Mapping[str, Any]],
    *,
    now_s: float,
    last_sign: LastSign | None = None,
    since_s: float = 0.0,
    zone: dt.tzinfo | None = None,
) -> History:
    """Return the history from ``since_s`` to ``now_s``, with days in ``zone``; None is the machine's time zone.

    ``last_sign`` comes from the running supervisor, or from one that was killed; without it, the last entry counts.
    """
    replay = Replay(now_s)
    for entry in entries:
        replay.take(entry)
    replay.finish(last_sign.at_s if last_sign else None, ready=last_sign.ready if last_sign else None)
    # The journal's oldest part may be gone: the history begins with the first known state.
    known_ones = itertools.dropwhile(lambda one: one.words == BEFORE, merged(replay.stretches))
    counted_s = math.inf if replay.counted_from_s is None else replay.counted_from_s
    whole = [_within(one, counted_s, now_s) for one in known_ones if one.ended_s > counted_s]
    outages = tuple(one for one in _outages(whole, replay) if one.ended_s is None or one.ended_s > since_s)
    stretches = tuple(_within(one, since_s, now_s) for one in whole if one.ended_s > since_s)
    logins = tuple(one for one in replay.logins if one.at_s >= since_s)
    restarts = tuple(one for one in replay.restarts if one.at_s >= since_s)
    known = replay.cursor_s is not None
    span_s = stretches[-1].ended_s - stretches[0].began_s if stretches else 0.0
    has_day = _times(whole).wanted_s >= DAY_S - ROUNDING_S
    return History(
        began_s=stretches[0].began_s if stretches else None,
        ended_s=replay.cursor_s,
        state=replay.state if known else None,
        words=replay.words if known else "",
        stretches=stretches,
        times=_times(stretches),
        days=tuple(_days(stretches, outages, logins, restarts, zone, has_day=has_day)),
        outages=outages,
        logins=logins,
        restarts=restarts,
        lost_lines=replay.lost_lines,
        enough=has_day and span_s >= DAY_S - ROUNDING_S,
    )


def _outages(stretches: list[Stretch], replay: Replay) -> Iterator[Outage]:
    """Yield each run of stretches in which the session was down or its state unknown, and never ready."""
    run: list[Stretch] = []
    for one in stretches:
        if run and one.began_s in replay.became_ready_s:
            yield _outage(run, State.READY, replay)
            run = []
        if one.state.is_outage:
            run.append(one)
        elif run:
            yield _outage(run, one.state, replay)
            run = []
    if run:
        yield _outage(run, None, replay)


def _outage(run: list[Stretch], after: State | None, replay: Replay) -> Outage:
    began_s, ended_s = run[0].began_s, run[-1].ended_s
    # A line with a reason is better than a note that lines were lost before it.
    first = next((one for one in run if one.words not in {BEFORE, LINES_LOST}), None)
    in_window = any(began_s <= closed_s and opened_s <= ended_s for opened_s, closed_s in replay.windows)
    return Outage(
        began_s=began_s,
        ended_s=None if after is None else ended_s,
        length_s=ended_s - began_s,
        unknown_s=sum(one.length_s for one in run if one.state is State.UNKNOWN),
        cause=LINES_LOST if first is None else first.words,
        recoveries=_recoveries(_between(replay.deeds, began_s, ended_s), after),
        maintenance=in_window and first is not None and first.at_ibkr,
        sandbox=run[-1].sandbox,
    )


def _between(deeds: list[tuple[float, Deed]], began_s: float, ended_s: float) -> Iterator[Deed]:
    at = bisect_right(deeds, began_s, key=lambda deed: deed[0])
    while at < len(deeds) and deeds[at][0] <= ended_s:
        yield deeds[at][1]
        at += 1


def _recoveries(deeds: Iterable[Deed], after: State | None) -> tuple[str, ...]:
    """Return what restored the session: the last action on the gateway, then the last one on the session."""
    if after is None:
        return ()
    if after is State.STOPPED:
        return ("stopped",)
    gateway: Deed | None = None
    session: Deed | None = None
    by_hand = False
    for deed in deeds:
        match deed:
            case Deed.BEGIN:
                gateway = session = None
            case Deed.RESTART | Deed.ADOPTED:
                gateway, session = deed, None
            case Deed.PERSON:
                by_hand = True
            case _:
                session = deed
    done = tuple(str(deed) for deed in (gateway, session) if deed is not None)
    if by_hand:
        return ("by hand", *done)
    return done or ("by itself",)


def _times(stretches: Iterable[Stretch]) -> Times:
    by_state = dict.fromkeys(State, 0.0)
    for one in stretches:
        by_state[one.state] += one.length_s
    return Times(by_state)


def _days(  # noqa: PLR0913 - what a day is made of
    stretches: tuple[Stretch, ...],
    outages: tuple[Outage, ...],
    logins: tuple[Login, ...],
    restarts: tuple[Restart, ...],
    zone: dt.tzinfo | None,
    *,
    has_day: bool,
) -> Iterator[Day]:
    if not stretches:
        return
    began, tried, renewed = (
        Counter(_date(at_s, zone) for at_s in times)
        for times in (
            (one.began_s for one in outages),
            (one.at_s for one in logins),
            (one.at_s for one in restarts),
        )
    )
    at = 0
    for date, began_s, ended_s in calendar(stretches[0].began_s, stretches[-1].ended_s, zone):
        parts: list[Stretch] = []
        while at < len(stretches) and stretches[at].began_s < ended_s:
            parts.append(_within(stretches[at], began_s, ended_s))
            if stretches[at].ended_s > ended_s:
                break
            at += 1
        counts = began[date], tried[date], renewed[date]
        enough = has_day and stretches[0].began_s <= began_s and ended_s <= stretches[-1].ended_s
        yield Day(date.isoformat(), began_s, ended_s, tuple(parts), _times(parts), *counts, enough)


def _within(stretch: Stretch, began_s: float, ended_s: float) -> Stretch:
    """Return the part of a stretch between two times."""
    if began_s <= stretch.began_s and stretch.ended_s <= ended_s:
        return stretch
    return replace(stretch, began_s=max(stretch.began_s, began_s), ended_s=min(stretch.ended_s, ended_s))


def _date(at_s: float, zone: dt.tzinfo | None) -> dt.date:
    return dt.datetime.fromtimestamp(at_s, zone).date()


def midnight_s(date: dt.date, zone: dt.tzinfo | None) -> float:
    """Return when a day begins."""
    return dt.datetime.combine(date, dt.time.min, tzinfo=zone).timestamp()


def calendar(first_s: float, last_s: float, zone: dt.tzinfo | None) -> Iterator[tuple[dt.date, float, float]]:
    """Yield each day between two times with its midnights; days have 23 to 25 hours."""
    date = _date(first_s, zone)
    began_s = min(midnight_s(date, zone), first_s)
    while began_s < last_s:
        following = date + dt.timedelta(days=1)
        ended_s = max(midnight_s(following, zone), began_s)
        yield date, began_s, ended_s
        date, began_s = following, ended_s


MOST_STRETCHES = 2000
"""A bad day has a few hundred; a drawing cannot show more than this."""


class Lately(Struct, frozen=True):
    """The journal's last 24 hours, and its last events."""

    began_s: float
    ended_s: float
    history: History
    lines: tuple[Line, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it for the status page: times are seconds since 1970, ``uptime`` is a share or None."""
        times = self.history.times
        return {
            "began_s": round(self.began_s, 3),
            "ended_s": round(self.ended_s, 3),
            "uptime": self.history.uptime,
            "enough_data": self.history.enough,
            "lengths_s": {str(state): round(times[state], 3) for state in State},
            "outages": len(self.history.outages),
            "logins": len(self.history.logins),
            "restarts": len(self.history.restarts),
            "stretches": [
                {
                    "state": str(one.state),
                    "began_s": round(one.began_s, 3),
                    "ended_s": round(one.ended_s, 3),
                    "words": one.words,
                }
                for one in self.history.stretches[-MOST_STRETCHES:]
            ],
            "lines": [{"at_s": round(line.at_s, 3), "text": line.text} for line in self.lines],
        }


def look_back(entries: Iterable[Mapping[str, Any]], now_s: float, last_sign: LastSign | None) -> Lately:
    """Return the last day until ``now_s``, wall-clock seconds, of all entries of a journal.

    Time after ``last_sign`` counts as unknown; for a running supervisor it is ``now_s`` itself. A full journal takes up
    to a quarter of a second.
    """
    told = list(entries)
    history = tell(told, now_s=now_s, last_sign=last_sign, since_s=now_s - DAY_S)
    return Lately(now_s - DAY_S, now_s, history, tuple(last_lines(told)))
