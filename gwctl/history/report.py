"""The history report: uptime per day, outages with cause and recovery, logins, restarts; entries in words.

Pure: no I/O, no clock. Uptime is the share of the wanted time (the session was not stopped) in which the session was
known to be ready. Time without a supervisor counts against it and is shown as unknown.
"""

from __future__ import annotations

import datetime as dt
import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gwctl.history.replay import BEFORE, LINES_LOST, Deed, Login, Replay, Restart, State, Stretch, merged, seconds_at
from gwctl.times import DAY_S


@dataclass(frozen=True, slots=True)
class Outage:
    """The time from when the session was no longer known to be ready until it was ready again, or was stopped.

    ``recoveries`` lists what restored the session, in order; ``unknown_s`` is the unwatched part; ``ended_s`` is None
    while the outage lasts. ``maintenance`` is true if one of IBKR's maintenance windows was open during it.
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


@dataclass(frozen=True, slots=True)
class Times:
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
    def uptime(self) -> float | None:
        """The share of the wanted time in which the session was ready, None if it was never wanted."""
        return self[State.READY] / self.wanted_s if self.wanted_s > 0 else None


@dataclass(frozen=True, slots=True)
class Day:
    """One calendar day; ``began_s`` and ``ended_s`` are its midnights, the stretches come from the journal."""

    date: str
    began_s: float
    ended_s: float
    stretches: tuple[Stretch, ...]
    times: Times
    outages: int
    logins: int
    restarts: int


@dataclass(frozen=True, slots=True)
class History:
    """What happened between ``began_s`` and ``ended_s``; both are None if the journal is empty."""

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


@dataclass(frozen=True, slots=True)
class LastSign:
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
    whole = list(itertools.dropwhile(lambda one: one.words == BEFORE, merged(replay.stretches)))
    outages = tuple(one for one in _outages(whole, replay) if one.ended_s is None or one.ended_s > since_s)
    stretches = tuple(_within(one, since_s, now_s) for one in whole if one.ended_s > since_s)
    logins = tuple(one for one in replay.logins if one.at_s >= since_s)
    restarts = tuple(one for one in replay.restarts if one.at_s >= since_s)
    known = replay.cursor_s is not None
    return History(
        began_s=stretches[0].began_s if stretches else replay.cursor_s,
        ended_s=replay.cursor_s,
        state=replay.state if known else None,
        words=replay.words if known else "",
        stretches=stretches,
        times=_times(stretches),
        days=tuple(_days(stretches, outages, logins, restarts, zone)),
        outages=outages,
        logins=logins,
        restarts=restarts,
        lost_lines=replay.lost_lines,
    )


def _outages(stretches: list[Stretch], replay: Replay) -> Iterator[Outage]:
    """Yield each run of stretches in which the session was down or its state unknown."""
    run: list[Stretch] = []
    for one in stretches:
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
    cause = next((one.words for one in run if one.words not in {BEFORE, LINES_LOST}), LINES_LOST)
    return Outage(
        began_s=began_s,
        ended_s=None if after is None else ended_s,
        length_s=ended_s - began_s,
        unknown_s=sum(one.length_s for one in run if one.state is State.UNKNOWN),
        cause=cause,
        recoveries=_recoveries(_between(replay.deeds, began_s, ended_s), after),
        maintenance=any(began_s <= closed_s and opened_s <= ended_s for opened_s, closed_s in replay.windows),
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


def _days(
    stretches: tuple[Stretch, ...],
    outages: tuple[Outage, ...],
    logins: tuple[Login, ...],
    restarts: tuple[Restart, ...],
    zone: dt.tzinfo | None,
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
        yield Day(date.isoformat(), began_s, ended_s, tuple(parts), _times(parts), *counts)


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


LINES = 8
MOST_STRETCHES = 2000
"""A bad day has a few hundred; a drawing cannot show more than this."""


@dataclass(frozen=True, slots=True)
class Line:
    """One event in words; wall-clock seconds."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Lately:
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
            "uptime": times.uptime,
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


_NOT_WELL = {"degraded", "recovering", "backoff", "locked_out"}


def is_well(entry: Mapping[str, Any]) -> bool:
    """Return whether a journal entry that people read is of something that goes as it should."""
    if entry.get("kind") == "phase":
        return entry.get("phase") not in _NOT_WELL
    return entry.get("kind") != "warning" and entry.get("outcome", "success") == "success"


def describe(entry: Mapping[str, Any], *, with_times: bool = True) -> str | None:
    """Return a journal entry as a line for people, None if it is not meant for them.

    ``with_times``: with how long it took, where the line itself shows no time.
    """
    line: str | None = None
    match entry:
        case {"kind": "phase", "reason": reason}:
            line = str(reason)
        case {"kind": "gateway", "pid": pid, "port": port, "answered_s": answered_s}:
            line = f"gateway answers on port {port} (pid {pid}{f', {answered_s} s' if with_times else ''})"
        case {"kind": "adopted", "pid": pid}:
            line = f"took over the running gateway (pid {pid})"
        case {"kind": "step", "step": str(step)} if step.startswith("ended: "):
            line = None  # the login's own entry follows, with its duration
        case {"kind": "step", "step": step}:
            line = f"login: {str(step).replace('_', ' ')}"
        case {"kind": "login", "outcome": outcome, "took_s": took_s}:
            line = f"login: {str(outcome).replace('_', ' ')}{f' after {took_s} s' if with_times else ''}"
        case {"kind": "warning" | "question", "text": text}:
            line = str(text)
    return line


def last_lines(entries: Iterable[Mapping[str, Any]], count: int = LINES) -> list[Line]:
    """Return the last entries that matter to people, oldest first, without repetitions."""
    lines: list[Line] = []
    for entry in reversed(list(entries)):
        text, at_s = describe(entry), seconds_at(entry, "at")
        if text is None or at_s is None or (lines and lines[-1].text == text):
            continue
        lines.append(Line(at_s, text))
        if len(lines) == count:
            break
    return lines[::-1]
