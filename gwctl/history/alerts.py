"""Notifications: which journal entries to report to people, in which words, how often. Pure: no clock, no I/O."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum, auto
from typing import Any, TypeGuard

from msgspec import Struct

from gwctl.core.messages import Phase
from gwctl.history.replay import seconds_at
from gwctl.history.session_fold import SessionFold, State
from gwctl.session_status import typed
from gwctl.times import HOUR_S, duration

OUTAGE_S = 600.0
"""After an outage this long without a notification, the recovery is notified."""
LONG_OUTAGE_S = 1800.0
"""An outage without a notification is notified once it has lasted this long, whatever its cause."""
PER_HOUR = 10
KEPT_FOR_CRITICAL = 3
"""How many of ``PER_HOUR`` are reserved for critical notifications, so that repeated ones do not crowd them out."""
MAX_CHARS = 300
_ACCOUNT = re.compile(r"\b[A-Z]{1,3}\d{5,9}\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


class Severity(StrEnum):
    """How important a notification is."""

    INFO = auto()
    WARNING = auto()
    CRITICAL = auto()


class Event(StrEnum):
    """What gwctl notifies people about."""

    SECOND_FACTOR = auto()
    LOCKED_OUT = auto()
    NEEDS_PERSON = auto()
    NEVER_OPENED = auto()
    LONG_OUTAGE = auto()
    LOGIN_SOON = auto()
    RESTARTED_OFTEN = auto()
    LOGGED_IN_OFTEN = auto()
    PAGE_UNKNOWN_BUT_UNDERSTOOD = auto()
    RECOVERED = auto()
    HELD_BACK = auto()
    TEST = auto()


class Kind(Struct, frozen=True):
    """Properties of one event.

    ``command`` is the next command to type. The same notification is repeated after ``again_s`` seconds at the
    earliest, or earlier if ``ends_when_ready`` and the session was ready in between.
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
        "IBKR sent a notification to approve, or asks for a code at a terminal",
        "status",
        again_s=150.0,  # later it is about another notification of IBKR's: each is valid for 180 s
    ),
    Event.LOCKED_OUT: Kind(
        Severity.CRITICAL,
        "locked out",
        "the session is gone, and gwctl sends no login until a person has fixed the cause",
        "login --explain",
    ),
    Event.NEEDS_PERSON: Kind(
        Severity.CRITICAL,
        "a person is needed",
        "the supervisor gave up and exited",
        "status",
    ),
    Event.NEVER_OPENED: Kind(
        Severity.CRITICAL,
        "logins succeed but no session opens",
        "six logins in a row succeeded but IBKR did not open the session; gwctl keeps trying, less and less often",
        "login --explain",
    ),
    Event.LONG_OUTAGE: Kind(
        Severity.WARNING,
        "no session for a long time",
        f"there has been no session for {LONG_OUTAGE_S / 60:.0f} minutes, without a notification so far",
        "status",
    ),
    Event.LOGIN_SOON: Kind(
        Severity.INFO,
        "a login is planned",
        "ten minutes before a login that `relogin_at` plans: a second factor may be asked for",
        "status",
        again_s=HOUR_S,
        ends_when_ready=False,
    ),
    Event.RESTARTED_OFTEN: Kind(
        Severity.WARNING,
        "frequent restarts",
        "gwctl restarted the gateway more than 12 times in an hour or 60 in a day, and keeps restarting it",
        "history",
        ends_when_ready=False,
    ),
    Event.LOGGED_IN_OFTEN: Kind(
        Severity.WARNING,
        "frequent logins",
        "the login budget is spent; the next login waits",
        "history",
        ends_when_ready=False,
    ),
    Event.PAGE_UNKNOWN_BUT_UNDERSTOOD: Kind(
        Severity.WARNING,
        "new login page",
        "gwctl does not know IBKR's login page but recognized its fields; please report the page",
        "login --probe",
        again_s=24 * HOUR_S,
        ends_when_ready=False,
    ),
    Event.RECOVERED: Kind(
        Severity.INFO,
        "ready again",
        f"the session is ready after one of the events above, or after {OUTAGE_S / 60:.0f} minutes or more without it",
        "history",
        again_s=0.0,
    ),
    Event.HELD_BACK: Kind(
        Severity.WARNING,
        "further notifications held back",
        "the hourly limit of notifications is reached",
        "history",
        again_s=HOUR_S,
        ends_when_ready=False,
    ),
    Event.TEST: Kind(Severity.INFO, "test", "`gwctl notify test`", "status", again_s=0.0),
}

_EVENTS = frozenset(map(str, Event))
_NO_OUTAGE = {Event.RECOVERED, Event.PAGE_UNKNOWN_BUT_UNDERSTOOD, Event.LOGIN_SOON}
_WARNINGS = {
    "login_soon": Event.LOGIN_SOON,
    "never_opened": Event.NEVER_OPENED,
    "restarted_often": Event.RESTARTED_OFTEN,
    "logged_in_often": Event.LOGGED_IN_OFTEN,
    "page_unknown_but_understood": Event.PAGE_UNKNOWN_BUT_UNDERSTOOD,
}


class Alert(Struct, frozen=True):
    """One notification, without secrets or account numbers; ``at`` is its time in the journal."""

    event: Event
    severity: Severity
    title: str
    text: str
    at: str


def compose(  # noqa: PLR0913 - what a notification is made of
    event: Event, what: str, profile: str, at: str, command: str | None = None, *, usual: str = "default"
) -> Alert:
    """Return a notification as people see it: the profile, what happened, the next command."""
    kind = KINDS[event]
    text = f"{profile}: {tidy(what)}. Next: {typed(profile, command or kind.command, usual)}"
    return Alert(event, kind.severity, f"gwctl {profile}: {kind.title}", text, at)


def tidy(text: str) -> str:
    """Return a journal text as one line of limited length, without a full stop and account numbers."""
    line = _ACCOUNT.sub("(account)", " ".join(text.split()))
    return (line if len(line) <= MAX_CHARS else f"{line[: MAX_CHARS - 1]}…").rstrip(". ")


class Alerts:
    """Decides for each entry whether to notify; ``wall_s`` is the clock, seconds since 1970.

    ``kept`` is what ``to_json`` returned in an earlier supervisor; ``unkept`` means that there are changes to save.
    """

    def __init__(
        self,
        profile: str,
        wall_s: Callable[[], float],
        kept: Mapping[str, Any] | None = None,
        *,
        usual: str = "default",
    ) -> None:
        self._profile = profile
        self._usual = usual
        self._wall_s = wall_s
        kept = kept or {}
        told = kept.get("told")
        self._told = {
            str(key): at_s
            for key, at_s in (told.items() if isinstance(told, dict) else ())
            if _is_time(at_s) and _event_of(key) in _EVENTS
        }
        """When each notification was sent last."""
        self._sent_s = [at_s for at_s in _sequence(kept.get("sent_s")) if _is_time(at_s)]
        """When the notifications of the last hour were sent."""
        self._open = {str(event) for event in _sequence(kept.get("open")) if str(event) in _EVENTS}
        """The events notified since the session was last ready."""
        away_s = kept.get("away_s")
        self._fold = SessionFold(ever_ready=True)
        """The outage that lasts, if any; saved, so that it counts across supervisors.

        A first session that does not come counts, too: people wait for it.
        """
        if _is_time(away_s):
            self._fold.state, self._fold.lost_s = State.DOWN, away_s
        self._begun_s: float | None = None
        """Since when this supervisor waits for its first session; None once the session was ready."""
        self.unkept = False

    def to_json(self) -> dict[str, Any]:
        """Return the state to save for the next supervisor."""
        return {"told": self._told, "sent_s": self._sent_s, "open": sorted(self._open), "away_s": self._fold.lost_s}

    def see(self, entry: Mapping[str, Any]) -> list[Alert]:
        """Return the notification for a new journal entry, if any."""
        at = str(entry.get("at", ""))
        lost_s = self._follow(entry)
        match entry:
            case {"kind": "start"}:
                self._begun_s = self._wall_s()
            case {"kind": "question", "text": str(text)}:
                return self._tell(Event.SECOND_FACTOR, text, at, "login" if entry.get("wants_code") else None)
            case {"kind": "warning", "code": str(code), "text": str(text)} if code in _WARNINGS:
                return self._tell(_WARNINGS[code], text, at)
            case {"kind": "phase", "phase": str(phase), "reason": str(reason)}:
                if phase == Phase.READY:
                    return self._see_ready(lost_s, at)
                if phase == Phase.LOCKED_OUT and entry.get("person_needed") != "manual_login":
                    return self._tell(Event.LOCKED_OUT, reason, at)
            case {"kind": "end", "exit_code": 0}:
                # A person stopped it and knows; the hourly limit stays used, and was announced.
                held_back = _key(Event.HELD_BACK)
                self._told = {key: at_s for key, at_s in self._told.items() if key == held_back}
                self._open.clear()
                self.unkept = True
            case {"kind": "end", "text": text}:
                self.unkept = True
                return self._tell(Event.NEEDS_PERSON, f"the supervisor gave up: {text or 'unknown reason'}", at)
        return []

    def look(self, reason: str, at: str) -> list[Alert]:
        """Return a notification about an outage that continues, with its ``reason``, if one is due.

        Any notification since the session was ready already tells that it is gone. Only a request for a second factor
        does not: the person may think that the session opened after it.
        """
        now_s = self._wall_s()
        if self._fold.lost_s is not None:
            self._fold.lost_s = min(self._fold.lost_s, now_s)  # a start in the future: the clock was set back
        away_s = max((now_s - at_s for at_s in (self._fold.lost_s, self._begun_s) if at_s is not None), default=0.0)
        if self._open - {Event.SECOND_FACTOR} or away_s < LONG_OUTAGE_S:
            return []
        return self._tell(Event.LONG_OUTAGE, f"no session for {duration(away_s)}: {reason}", at)

    def _follow(self, entry: Mapping[str, Any]) -> float | None:
        """Take an entry into the fold, and return since when the session was lost before it."""
        lost_s = self._fold.lost_s
        self._fold.take(entry, self._wall_s())
        if lost_s is None and self._fold.lost_s is not None and entry.get("kind") == "start":
            # The supervisor before this one was killed: it left a sign of life but no end.
            self._fold.lost_s = seconds_at(entry, "last_seen") or self._fold.lost_s
        if self._fold.lost_s != lost_s:
            self.unkept = True
        if self._fold.state is State.STOPPED:
            self._begun_s = None
        return lost_s

    def _see_ready(self, lost_s: float | None, at: str) -> list[Alert]:
        away_s = None if lost_s is None else max(0.0, self._wall_s() - lost_s)
        was_told, self._begun_s = bool(self._open), None
        if was_told:
            self._open.clear()
            ended = {event for event, kind in KINDS.items() if kind.ends_when_ready}
            self._told = {key: at_s for key, at_s in self._told.items() if _event_of(key) not in ended}
            self.unkept = True
        if was_told or (away_s is not None and away_s >= OUTAGE_S):
            after = f" again after {duration(away_s)}" if away_s is not None else ""
            return self._tell(Event.RECOVERED, f"the session is ready{after}", at)
        return []

    def _tell(self, event: Event, what: str, at: str, command: str | None = None) -> list[Alert]:
        """Return the notification, or a notice that it is held back, or nothing if it was sent already."""
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
            text = f"too many notifications: gwctl holds further ones back for up to an hour (this one: {event})"
            return [compose(Event.HELD_BACK, text, self._profile, at, usual=self._usual)]
        self._told[key] = now_s
        self._sent_s.append(now_s)
        if event not in _NO_OUTAGE:
            self._open.add(event)
        self.unkept = True
        return [compose(event, what, self._profile, at, command, usual=self._usual)]

    def _forget(self, now_s: float) -> None:
        """Drop notifications sent long ago, or in the future by a clock that was set back."""
        self._sent_s = [at_s for at_s in self._sent_s if 0 <= now_s - at_s < HOUR_S]
        self._told = {
            key: at_s for key, at_s in self._told.items() if 0 <= now_s - at_s < KINDS[Event(_event_of(key))].again_s
        }


def _key(event: Event, what: str = "") -> str:
    """Return a key that is equal for equal notifications."""
    # Ignore numbers: process IDs, ports and seconds differ each time.
    words = _NUMBER.sub("#", tidy(what))
    return f"{event}:{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def _event_of(key: object) -> str:
    return str(key).partition(":")[0]


# The kept values may be anything: a person can edit the file.


def _sequence(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
