"""The session's state as the journal's entries tell it: the only place that decides when an outage begins and ends.

Pure: no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto
from typing import Any

from msgspec import Struct

GOES_WELL = frozenset({"starting", "logging_in", "awaiting_second_factor"})
"""Phases of a start or a recovery without trouble."""
_AT_IBKR = frozenset({"Checked", "LoginDone", "TimeOut", "ReauthenticateDone", "ResumeDone"})
"""Events that may be IBKR's, in journals of versions that did not say it themselves."""


def is_at_ibkr(entry: Mapping[str, Any]) -> bool:
    """Return whether IBKR can be the cause of a phase: only then can its maintenance be."""
    said = entry.get("at_ibkr")
    return said if isinstance(said, bool) else str(entry.get("event")) in _AT_IBKR


class State(StrEnum):
    """State of a stretch of time, as far as known."""

    READY = auto()
    STARTING = auto()
    DOWN = auto()
    UNKNOWN = auto()
    STOPPED = auto()

    @property
    def is_outage(self) -> bool:
        """Whether an outage lasts: an unbroken time of down and unknown in which no session became ready."""
        return self in {State.DOWN, State.UNKNOWN}


class SessionFold(Struct):
    """Folds the entries into the session's state: the only place that decides when an outage begins and ends.

    ``lost_s`` is when the session was lost, on the clock of the caller; None unless the state is DOWN, and before the
    profile's first session: what never was is not lost. ``at_ibkr`` is whether IBKR can be the cause. The state is
    UNKNOWN before the first entry; ``Replay`` finds the other times that nobody watched.
    """

    state: State = State.UNKNOWN
    lost_s: float | None = None
    ever_ready: bool = False
    at_ibkr: bool = False
    _watched: bool = False
    """Whether a person waits for the first session of this start, and sees at once why it fails."""

    def take(self, entry: Mapping[str, Any], now_s: float) -> None:
        """Process one entry."""
        if entry.get("kind") == "start":
            self.begin(entry, now_s, was_killed=entry.get("last_ready") is True)
        else:
            self._become(self._after(entry), now_s, at_ibkr=entry.get("kind") == "phase" and is_at_ibkr(entry))

    def begin(self, start: Mapping[str, Any], now_s: float, *, was_killed: bool) -> None:
        """Process the start of a supervisor: unless the previous one was stopped, the session is down."""
        fresh = self.state in {State.STOPPED, State.UNKNOWN} and not was_killed
        self._watched = fresh and start.get("attended") is True
        self.ever_ready = self.ever_ready or any(start.get(key) is True for key in ("ever_ready", "last_ready"))
        self._become(State.STARTING if fresh else State.DOWN, now_s)

    def _become(self, state: State, now_s: float, *, at_ibkr: bool = False) -> None:
        if state is State.READY:
            self.ever_ready, self._watched = True, False
        if state is not State.DOWN or not self.ever_ready:
            self.lost_s = None
        elif self.lost_s is None:
            self.lost_s = now_s
        self.at_ibkr = state is State.DOWN and (self.at_ibkr if self.state is State.DOWN else at_ibkr)
        self.state = state

    def _after(self, entry: Mapping[str, Any]) -> State:
        match entry:
            case {"kind": "end", "exit_code": 0}:
                return State.STOPPED
            case {"kind": "end"}:
                return State.STOPPED if self._watched else State.DOWN
            case {"kind": "phase", "phase": "ready"}:
                return State.READY
            case {"kind": "phase", "phase": "stopping", "event": "StopWanted"} | {"kind": "phase", "planned": str()}:
                return State.STOPPED
            case {"kind": "phase"} if entry.get("phase") != "stopped":
                return State.STARTING if self._goes_on(entry) else State.DOWN
        return self.state

    def _goes_on(self, entry: Mapping[str, Any]) -> bool:
        """Return whether a start goes on with a phase, also one after a pause or before the login hours."""
        goes_well = str(entry.get("phase")) in GOES_WELL
        if self.state is State.STOPPED:
            return goes_well
        begins = self.state in {State.STARTING, State.UNKNOWN}
        return begins and (goes_well or (self._watched and not is_at_ibkr(entry)))
