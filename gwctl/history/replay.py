"""Replay a journal into the session's states over time, and the recovery actions taken. Pure: no I/O, no clock.

The journal records changes, so the state at any time is that of the last change before it. In three cases the state is
UNKNOWN: no supervisor was running, the machine was asleep, or lines were lost in between (each supervisor numbers its
lines).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from enum import StrEnum, auto
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.history.session_fold import GOES_WELL, SessionFold, State

WAKE_S = 60.0
"""A session found lost this soon after the machine's wake did not survive the sleep."""
TOLERANCE_S = 1.0
"""How far an entry's two clocks, the time of day and the length of a phase, may differ."""
LONGEST_S = 1e12
"""Longer than any duration in a journal."""
PERSON_CODES = frozenset({69, 77, 78})
"""Exit codes after which a supervisor needs a person (docs/cli.md)."""

KILLED = "the supervisor ended unexpectedly"
MACHINE_DOWN = "the machine went down"
ASLEEP = "the machine was asleep"
CLOCK_JUMPED = "the machine was asleep, or its clock was set"
LINES_LOST = "lines of the journal were lost"
BEFORE = "before the first entry"


class Stretch(Struct, frozen=True):
    """A time span without a change; wall-clock seconds since 1970."""

    state: State
    began_s: float
    ended_s: float
    words: str
    sandbox: bool = False
    at_ibkr: bool = False

    @property
    def length_s(self) -> float:
        """Its length."""
        return self.ended_s - self.began_s


class Login(Struct, frozen=True):
    """One login; ``outcome`` and ``text`` come from the journal."""

    at_s: float
    outcome: str
    text: str
    took_s: float | None
    sandbox: bool


class Restart(Struct, frozen=True):
    """A gateway that replaced another."""

    at_s: float
    reason: str
    sandbox: bool


class Deed(StrEnum):
    """An action that may have restored a session."""

    BEGIN = auto()
    RESTART = auto()
    ADOPTED = auto()
    RESUME = auto()
    REAUTHENTICATE = auto()
    LOGIN = auto()
    PERSON = auto()


class Replay(Struct):
    """Takes the entries in the order they were written; the stretches follow one another without gaps.

    Times never go backwards: if a timestamp does, or is later than ``now_s``, the machine's clock was wrong, and the
    time of the previous entry is used.
    """

    now_s: float
    stretches: list[Stretch] = field(default_factory=list)
    deeds: list[tuple[float, Deed]] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    windows: list[tuple[float, float]] = field(default_factory=list)
    became_ready_s: set[float] = field(default_factory=set)
    """When a session became ready, also one about whose length nothing is known."""
    lost_lines: int = 0
    words: str = BEFORE
    sandbox: bool = False
    cursor_s: float | None = None
    """The end of the last stretch; None before the first entry."""
    counted_from_s: float | None = None
    """When the first session was ready; the earliest time known, if the journal no longer has that."""
    _fold: SessionFold = field(default_factory=SessionFold)
    _latest_s: float = 0.0
    _died_s: float = 0.0
    _number: int | None = None
    _begun: bool = False
    _ended: bool = True
    _has_gateway: bool = False
    _boot: object = None
    _run_began_s: float = 0.0
    _phase_s: float = 0.0
    _trouble: str = ""
    _doubt: bool = False

    @property
    def state(self) -> State:
        """The state after the last entry, or at the end of the last stretch once ``finish`` was called."""
        return self._fold.state

    def take(self, entry: Mapping[str, Any]) -> None:
        """Process one entry."""
        before_s, now_s = self._latest_s, self._time_of(entry)
        if now_s == 0.0:
            return  # no entry so far has a time
        self._take(entry, before_s, now_s)
        if self.counted_from_s is None and self._fold.ever_ready:
            self.counted_from_s = now_s

    def _take(self, entry: Mapping[str, Any], before_s: float, now_s: float) -> None:
        self._count(entry, before_s)
        kind = entry["kind"]
        if not self._begun and kind != "warning":
            self._begin(now_s, entry if kind == "start" else {})
        match kind:
            case "phase":
                self._phase(now_s, entry)
            case "gateway" | "adopted":
                self._gateway(now_s, Deed.RESTART if kind == "gateway" else Deed.ADOPTED)
            case "cure":
                self._recover(now_s, entry)
            case "login":
                self._login(now_s, entry)
            case "window":
                self._window(now_s, number_in(entry, "for_s") or 0.0, opens=entry.get("open") is True)
            case "clock":
                self._clock(now_s, *(number_in(entry, key) or 0.0 for key in ("asleep_s", "jumped_s")))
            case "end":
                self._end(now_s, entry)

    def finish(self, lived_until_s: float | None = None, *, ready: bool | None = None) -> None:
        """Add the stretches up to now.

        A supervisor without an end is known to have run until ``lived_until_s``, or its last entry if that is later;
        ``ready`` is the session's state it reported then, if any.
        """
        if self.cursor_s is None:
            return
        if not self._ended and self.state is not State.STOPPED:
            self._lived_until(max(lived_until_s or 0.0, self._latest_s), ready, lived_until_s)
            if self.cursor_s < self.now_s:
                self._fold.state, self.words = State.UNKNOWN, KILLED
        self._draw(self.now_s)
        self._mend_wakes()

    # Time and number of an entry.

    def _time_of(self, entry: Mapping[str, Any]) -> float:
        said_s = seconds_at(entry, "at")
        if said_s is not None and self._latest_s < said_s <= self.now_s:
            self._latest_s = said_s
        return self._latest_s

    def _count(self, entry: Mapping[str, Any], before_s: float) -> None:
        last, number = self._number, entry.get("n")
        self._number = number if isinstance(number, int) else (last or 0) + 1
        if last is None and self._number > 1 and entry["kind"] != "start":
            # The journal's oldest part is gone: the supervisor was already running.
            self._begun, self._ended, self._has_gateway, self._fold.ever_ready = True, False, True, True
            self.cursor_s = self._phase_s = self._run_began_s = self._latest_s
        elif last is None or self._number <= last:
            self._begun, self._died_s = False, before_s
        elif (lost := self._number - last - 1 - int(number_in(entry, "folded") or 0)) > 0:
            self.lost_lines += lost
            self._doubt = True

    # Content of an entry.

    def _begin(self, now_s: float, start: Mapping[str, Any]) -> None:
        """Note the start of a supervisor, and how the previous one ended."""
        boot, self._boot = self._boot, start.get("boot")
        self._begun = True
        was_killed = not self._ended and self.state is not State.STOPPED
        if self.cursor_s is None:
            self.cursor_s = now_s
            was_killed = start.get("last_ready") is True
        elif was_killed:
            said_s = seconds_at(start, "last_seen")
            lived_s = self._died_s if said_s is None or said_s > now_s else max(said_s, self._died_s)
            self._lived_until(lived_s, start.get("last_ready"), said_s)
        else:
            self._draw(now_s)
        self._fold.begin(start, now_s, was_killed=was_killed)
        if was_killed:
            other_boot = boot is not None and self._boot is not None and boot != self._boot
            self.words = self._trouble = MACHINE_DOWN if other_boot else KILLED
            self._draw_as(now_s, State.UNKNOWN, self.words)
        elif self.state is State.STARTING:
            self.words = "starting"
        self._ended = self._doubt = False
        self._phase_s = self._run_began_s = now_s
        self.sandbox = start.get("sandbox") is True
        self.deeds.append((now_s, Deed.BEGIN))

    def _lived_until(self, lived_s: float, ready: object, said_s: float | None) -> None:
        """Draw to the last sign of life; ``ready`` is what was reported at ``said_s``, maybe before the last change."""
        is_news = said_s is not None and said_s >= self._phase_s
        if is_news and isinstance(ready, bool) and ready is not (self.state is State.READY):
            self._doubt = True  # the line with this change is missing
        self._draw(min(lived_s, self.now_s))

    def _phase(self, now_s: float, entry: Mapping[str, Any]) -> None:
        phase, reason, event = (str(entry.get(key)) for key in ("phase", "reason", "event"))
        lasted_s = number_in(entry, "after_s")
        if lasted_s is not None and now_s - lasted_s <= self._phase_s + TOLERANCE_S:
            self._doubt = False  # the lost lines contained no change of phase
        self._draw(now_s)
        self._phase_s = now_s
        was_down = self.state is State.DOWN
        self._fold.take(entry, now_s)
        if self.state is State.READY:
            self.became_ready_s.add(now_s)
        if self.state is not State.DOWN:
            self.words = self.words if phase == "stopped" else reason
        elif phase != "stopped":
            self.words = "a login was requested" if event == "LoginWanted" else reason
            self._trouble = self._trouble if was_down and phase in GOES_WELL else self.words
        if phase == "locked_out":
            self.deeds.append((now_s, Deed.PERSON))

    def _gateway(self, now_s: float, deed: Deed) -> None:
        if deed is Deed.RESTART and self.state is State.DOWN and self._has_gateway:
            self.restarts.append(Restart(now_s, self._trouble, self.sandbox))
            self.deeds.append((now_s, deed))
        elif deed is Deed.ADOPTED:
            self.deeds.append((now_s, deed))
        self._has_gateway = True

    def _recover(self, now_s: float, entry: Mapping[str, Any]) -> None:
        for deed in (Deed.RESUME, Deed.REAUTHENTICATE):
            if entry.get("rung") == deed and entry.get("ok") is not False:
                self.deeds.append((now_s, deed))

    def _login(self, now_s: float, entry: Mapping[str, Any]) -> None:
        outcome, text = str(entry.get("outcome")), str(entry.get("text") or "")
        self.logins.append(Login(now_s, outcome, text, number_in(entry, "took_s"), self.sandbox))
        if outcome == "success":
            self.deeds.append((now_s, Deed.LOGIN))

    def _window(self, now_s: float, for_s: float, *, opens: bool) -> None:
        if opens:
            self.windows.append((now_s, now_s + for_s))
        elif self.windows:
            began_s, ended_s = self.windows[-1]
            self.windows[-1] = (began_s, min(now_s, ended_s))

    def _clock(self, now_s: float, asleep_s: float, jumped_s: float) -> None:
        """Replace the stretches during the machine's sleep, and those right after its wake, with UNKNOWN.

        Some systems cannot tell sleep from a clock that was set forward; then the time in between is unknown as well.
        """
        self._draw(now_s)
        began_s = max(now_s - max(asleep_s, jumped_s), self._run_began_s)
        if self.state is State.STOPPED or began_s >= now_s:
            return
        while self.stretches and self.stretches[-1].began_s >= began_s:
            self.stretches.pop()
        if self.stretches:
            self.stretches[-1] = replace(self.stretches[-1], ended_s=began_s)
        self.cursor_s = began_s
        self._draw_as(now_s, State.UNKNOWN, ASLEEP if asleep_s >= jumped_s / 2 else CLOCK_JUMPED)

    def _end(self, now_s: float, entry: Mapping[str, Any]) -> None:
        self._draw(now_s)
        code = entry.get("exit_code")
        self._ended, self._has_gateway = True, False
        self._fold.take(entry, now_s)
        if self.state is State.STOPPED:
            self.words = "stopped"
            return
        self.words = self._trouble = str(entry.get("text") or f"exited with code {code}")
        if isinstance(code, int) and code in PERSON_CODES:
            self.deeds.append((now_s, Deed.PERSON))

    # Stretches.

    def _draw(self, to_s: float) -> None:
        if self._doubt and self.state is not State.STOPPED:
            self._draw_as(to_s, State.UNKNOWN, LINES_LOST)
        else:
            self._draw_as(to_s, self.state, self.words)
        self._doubt = False

    def _draw_as(self, to_s: float, state: State, words: str) -> None:
        if self.cursor_s is not None and to_s > self.cursor_s:
            at_ibkr = state is State.DOWN and self._fold.at_ibkr
            self.stretches.append(Stretch(state, self.cursor_s, to_s, words, self.sandbox, at_ibkr))
            self.cursor_s = to_s

    def _mend_wakes(self) -> None:
        """Mark short times of readiness between a wake and the first session check as UNKNOWN."""
        for index in range(1, len(self.stretches) - 1):
            slept, moment, found = self.stretches[index - 1 : index + 2]
            brief = moment.state is State.READY and moment.length_s <= WAKE_S
            if brief and slept.words in {ASLEEP, CLOCK_JUMPED} and found.state is State.DOWN:
                self.stretches[index] = replace(moment, state=State.UNKNOWN, words=slept.words)


def seconds_at(entry: Mapping[str, Any], key: str) -> float | None:
    """Return a timestamp as seconds since 1970, None if missing or invalid."""
    try:
        return max(0.0, dt.datetime.fromisoformat(entry[key]).timestamp())
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def number_in(entry: Mapping[str, Any], key: str) -> float | None:
    """Return a duration in seconds, None if missing or invalid."""
    value = entry.get(key)
    return float(value) if isinstance(value, int | float) and 0 <= value < LONGEST_S else None


def merged(stretches: list[Stretch]) -> Iterator[Stretch]:
    """Yield the stretches with equal neighbors joined."""
    for _, same in itertools.groupby(stretches, key=lambda one: (one.state, one.words, one.sandbox)):
        first, *more = same
        yield replace(first, ended_s=more[-1].ended_s) if more else first
