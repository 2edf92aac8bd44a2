"""What of the journal is news to a person: which entries, in which words, how often. Pure: no clock, no I/O."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Any, TypeGuard

from gwctl.core.machine import BY_HAND
from gwctl.core.messages import Phase
from gwctl.times import duration

HOUR_S = 3600.0
OUTAGE_S = 600.0
"""An outage of which nobody was told is told of afterwards if it lasted this long."""
LONG_OUTAGE_S = 1800.0
"""An outage of which nobody was told is told of when it has gone on for so long, whatever it waits for."""
PER_HOUR = 10
KEPT_FOR_CRITICAL = 3
"""How many of ``PER_HOUR`` only critical news may use: what repeats must not be in the way of what matters."""
MAX_CHARS = 300
_ACCOUNT = re.compile(r"\b[A-Z]{1,3}\d{5,9}\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


class Severity(StrEnum):
    """How much it matters."""

    INFO = auto()
    WARNING = auto()
    CRITICAL = auto()


class Event(StrEnum):
    """What is told of."""

    SECOND_FACTOR = auto()
    LOCKED_OUT = auto()
    NEEDS_PERSON = auto()
    NEVER_OPENED = auto()
    LONG_OUTAGE = auto()
    RESTARTED_OFTEN = auto()
    LOGGED_IN_OFTEN = auto()
    PAGE_UNKNOWN_BUT_UNDERSTOOD = auto()
    RECOVERED = auto()
    HELD_BACK = auto()
    TEST = auto()


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of one event.

    ``command`` is what to type next; the same news is told again after ``again_s`` seconds at the earliest, or earlier
    if ``ends_when_ready`` and the session was ready in between.
    """

    severity: Severity
    title: str
    when: str
    command: str
    again_s: float = 6 * HOUR_S
    ends_when_ready: bool = True


KINDS: dict[Event, Kind] = {
    Event.SECOND_FACTOR: Kind(
        Severity.WARNING,
        "second factor needed",
        "IBKR has sent a notification that somebody has to approve, or asks somebody at a terminal for a code",
        "status",
        again_s=150.0,  # the next notification is another one: IBKR's is good for 180 s
    ),
    Event.LOCKED_OUT: Kind(
        Severity.CRITICAL,
        "locked out",
        "the session is gone and no login is sent any more until a person has mended the cause",
        "login --explain",
    ),
    Event.NEEDS_PERSON: Kind(
        Severity.CRITICAL,
        "a person is needed",
        "the supervisor has given up and ended",
        "status",
    ),
    Event.NEVER_OPENED: Kind(
        Severity.CRITICAL,
        "logins come to nothing",
        "six logins in a row have succeeded and IBKR has not opened the session; it is tried again, ever more rarely",
        "login --explain",
    ),
    Event.LONG_OUTAGE: Kind(
        Severity.WARNING,
        "no session for long",
        f"there has been no session for {LONG_OUTAGE_S / 60:.0f} minutes, and nobody was told of it yet",
        "status",
    ),
    Event.RESTARTED_OFTEN: Kind(
        Severity.WARNING,
        "restarted often",
        "the gateway is restarted again and again, more than 12 times an hour or 60 a day; it goes on being restarted",
        "history",
        ends_when_ready=False,
    ),
    Event.LOGGED_IN_OFTEN: Kind(
        Severity.WARNING,
        "logged in often",
        "the budget of logins is spent; the next one waits",
        "history",
        ends_when_ready=False,
    ),
    Event.PAGE_UNKNOWN_BUT_UNDERSTOOD: Kind(
        Severity.WARNING,
        "the login page is new",
        "IBKR's login page is none that gwctl knows, and was understood all the same; please report what it has",
        "login --probe",
        again_s=24 * HOUR_S,
        ends_when_ready=False,
    ),
    Event.RECOVERED: Kind(
        Severity.INFO,
        "ready again",
        f"the session is ready after one of the above, or after {OUTAGE_S / 60:.0f} minutes or more without it",
        "history",
        again_s=0.0,
    ),
    Event.HELD_BACK: Kind(
        Severity.WARNING,
        "further news is held back",
        "the hour's budget of news is spent",
        "history",
        again_s=HOUR_S,
        ends_when_ready=False,
    ),
    Event.TEST: Kind(Severity.INFO, "a test", "`gwctl notify test`", "status", again_s=0.0),
}

_EVENTS = frozenset(map(str, Event))
_WARNINGS = {
    "never_opened": Event.NEVER_OPENED,
    "restarted_often": Event.RESTARTED_OFTEN,
    "logged_in_often": Event.LOGGED_IN_OFTEN,
    "page_unknown_but_understood": Event.PAGE_UNKNOWN_BUT_UNDERSTOOD,
}
_AWAY = frozenset(Phase) - {Phase.READY, Phase.STOPPING, Phase.STOPPED}


@dataclass(frozen=True, slots=True)
class News:
    """One piece of news, with no secret and no account number in it; ``at`` is the journal's time of it."""

    event: Event
    severity: Severity
    title: str
    text: str
    at: str


def compose(event: Event, what: str, profile: str, at: str, command: str | None = None) -> News:
    """Return a piece of news in the words that people get: the profile, what happened, the next command."""
    kind = KINDS[event]
    option = "" if profile == "default" else f"--profile {profile} "
    text = f"{profile}: {tidy(what)}. Next: gwctl {option}{command or kind.command}"
    return News(event, kind.severity, f"gwctl {profile}: {kind.title}", text, at)


def tidy(text: str) -> str:
    """Return a text of the journal as one line of bounded length, without a full stop and without account numbers."""
    line = _ACCOUNT.sub("(account)", " ".join(text.split()))
    return (line if len(line) <= MAX_CHARS else f"{line[: MAX_CHARS - 1]}…").rstrip(". ")


class Desk:
    """Decides, entry by entry, what is told; ``wall_s`` is the clock, seconds since 1970.

    ``kept`` is what ``to_json`` returned at another supervisor's time; ``unkept`` says that it is worth keeping anew.
    """

    def __init__(self, profile: str, wall_s: Callable[[], float], kept: Mapping[str, Any] | None = None) -> None:
        self._profile = profile
        self._wall_s = wall_s
        kept = kept or {}
        told = kept.get("told")
        self._told = {
            str(key): at_s
            for key, at_s in (told.items() if isinstance(told, dict) else ())
            if _is_time(at_s) and _event_of(key) in _EVENTS
        }
        """When each piece of news was told last."""
        self._sent_s = [at_s for at_s in _sequence(kept.get("sent_s")) if _is_time(at_s)]
        """When news of the last hour was told."""
        self._open = {str(event) for event in _sequence(kept.get("open")) if str(event) in _EVENTS}
        """What was told of since the session was ready last."""
        away_s = kept.get("away_s")
        self._away_s: float | None = away_s if _is_time(away_s) else None
        """Since when the session is not ready; None while it is, and where it never was."""
        self._begun_s: float | None = None
        """Since when this supervisor waits for its first session; None once it was ready."""
        self._was_ready = False
        self.unkept = False

    def to_json(self) -> dict[str, Any]:
        """Return what has to outlive this process."""
        return {"told": self._told, "sent_s": self._sent_s, "open": sorted(self._open), "away_s": self._away_s}

    def see(self, entry: Mapping[str, Any]) -> list[News]:
        """Return what is to be told now that the journal has ``entry``: nothing, or one piece of news."""
        at = str(entry.get("at", ""))
        match entry:
            case {"kind": "start"}:
                self._begin(entry)
            case {"kind": "question", "text": str(text)}:
                return self._tell(Event.SECOND_FACTOR, text, at, "login" if entry.get("wants_code") else None)
            case {"kind": "warning", "code": str(code), "text": str(text)} if code in _WARNINGS:
                return self._tell(_WARNINGS[code], text, at)
            case {"kind": "phase", "phase": str(phase), "reason": str(reason)}:
                return self._see_phase(phase, reason, at)
            case {"kind": "end", "exit_code": 0}:
                # Somebody stopped it who knows of it; the hour's budget stays spent.
                self._told.clear()
                self._open.clear()
                self._away_s, self._begun_s, self.unkept = None, None, True
            case {"kind": "end", "text": text}:
                self.unkept = True
                return self._tell(Event.NEEDS_PERSON, f"the supervisor gave up: {text or 'no reason is known'}", at)
        return []

    def look(self, reason: str, at: str) -> list[News]:
        """Return what is to be told now that time has passed: an outage that goes on, for ``reason``, or nothing.

        Who was told of anything since the session was ready knows that it is gone, but for who was asked for a second
        factor: that one may think that it has come of it.
        """
        now_s = self._wall_s()
        if self._away_s is not None:
            self._away_s = min(self._away_s, now_s)  # it began at a time that has not come yet: the clock was set back
        since_s = self._begun_s if self._away_s is None else self._away_s
        if since_s is None or self._open - {Event.SECOND_FACTOR} or now_s - since_s < LONG_OUTAGE_S:
            return []
        away_s = now_s - since_s
        return self._tell(Event.LONG_OUTAGE, f"no session for {duration(away_s)}: {reason}", at)

    def _begin(self, entry: Mapping[str, Any]) -> None:
        """Know of an outage that began under a supervisor that was killed: it said that it lived, and never an end."""
        self._begun_s = self._wall_s()
        if self._away_s is None and entry.get("last_ready") is True:
            with contextlib.suppress(ValueError):
                self._away_s = datetime.fromisoformat(str(entry.get("last_seen"))).timestamp()
                self.unkept = True

    def _see_phase(self, phase: str, reason: str, at: str) -> list[News]:
        if phase == Phase.READY:
            return self._see_ready(at)
        if phase in _AWAY and self._away_s is None and self._was_ready:
            self._away_s, self.unkept = self._wall_s(), True
        self._was_ready = False
        if phase == Phase.LOCKED_OUT and reason != BY_HAND:
            return self._tell(Event.LOCKED_OUT, reason, at)
        return []

    def _see_ready(self, at: str) -> list[News]:
        away_s = None if self._away_s is None else max(0.0, self._wall_s() - self._away_s)
        was_told, self._was_ready, self._away_s, self._begun_s = bool(self._open), True, None, None
        if away_s is not None:
            self.unkept = True
        if was_told:
            self._open.clear()
            ended = {event for event, kind in KINDS.items() if kind.ends_when_ready}
            self._told = {key: at_s for key, at_s in self._told.items() if _event_of(key) not in ended}
            self.unkept = True
        if was_told or (away_s is not None and away_s >= OUTAGE_S):
            after = f" again after {duration(away_s)}" if away_s is not None else ""
            return self._tell(Event.RECOVERED, f"the session is ready{after}", at)
        return []

    def _tell(self, event: Event, what: str, at: str, command: str | None = None) -> list[News]:
        """Return the news, or word that it is held back, or nothing where it has been told."""
        now_s = self._wall_s()
        key = _key(event, what)
        self._forget(now_s)
        if key in self._told:
            return []
        room = PER_HOUR if KINDS[event].severity is Severity.CRITICAL else PER_HOUR - KEPT_FOR_CRITICAL
        if len(self._sent_s) >= room:
            if _key(Event.HELD_BACK) in self._told:
                return []
            self._told[_key(Event.HELD_BACK)], self.unkept = now_s, True
            text = f"so much happens that further news is held back, for an hour at most (this one: {event})"
            return [compose(Event.HELD_BACK, text, self._profile, at)]
        self._told[key] = now_s
        self._sent_s.append(now_s)
        if event not in {Event.RECOVERED, Event.PAGE_UNKNOWN_BUT_UNDERSTOOD}:
            self._open.add(event)
        self.unkept = True
        return [compose(event, what, self._profile, at, command)]

    def _forget(self, now_s: float) -> None:
        """Let go of what was told long ago, or, by a clock that was set back, in the future."""
        self._sent_s = [at_s for at_s in self._sent_s if 0 <= now_s - at_s < HOUR_S]
        self._told = {
            key: at_s for key, at_s in self._told.items() if 0 <= now_s - at_s < KINDS[Event(_event_of(key))].again_s
        }


def _key(event: Event, what: str = "") -> str:
    """Return what tells one piece of news from another."""
    # Numbers in it are those of processes, ports and seconds: the same news has others each time.
    words = _NUMBER.sub("#", tidy(what))
    return f"{event}:{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def _event_of(key: object) -> str:
    return str(key).partition(":")[0]


# What was kept may be anything: the file is one that a person can edit.


def _sequence(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
