"""Counters of what happened since a supervisor started. Pure: no clock.

They count the journal's entries as they are written, so that a scrape loads nothing. ``SessionFold`` says when an
outage begins and ends, as in ``history``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum, auto
from typing import Any

from gwctl.core.budget import Budgeted
from gwctl.core.messages import LoginResult, Phase, RestartCause
from gwctl.history.session_fold import SessionFold, State

READY_BOUNDS_S = (1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
TICKLE_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0)
_FAILED_STARTS = frozenset({"GatewayFellOver", "GatewayCannotStart"})


class Launch(StrEnum):
    """How the start of a gateway ended."""

    LAUNCHED = auto()
    ADOPTED = auto()
    FAILED = auto()


class Since(StrEnum):
    """Where the time to ready starts: at the supervisor's start, or at the loss of the session."""

    START = auto()
    LOSS = auto()


class Histogram:
    """The number of observed values up to each bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def see(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound with the number of values up to it, infinity last."""
        total = 0
        for bound, count in zip((*self.bounds, float("inf")), self._counts, strict=True):
            total += count
            yield bound, total


class Counters:
    """Counts the events of one supervisor; every counter exists from the start, at 0.

    ``clock`` returns monotonic seconds, so that the machine's sleep does not count as an outage.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began_s = clock()
        self._fold = SessionFold()
        self._ever_ready = False
        self._window = False
        self._counted_s = 0.0
        self._outage_s = {False: 0.0, True: 0.0}
        self._open_recovery: Budgeted | None = None
        self._open_restart = False
        self.outages = 0
        self.starts = dict.fromkeys(Launch, 0)
        self.restarts = dict.fromkeys(RestartCause, 0)
        self.logins = dict.fromkeys(LoginResult, 0)
        self.recoveries = {(budgeted, worked): 0 for budgeted in Budgeted for worked in (False, True)}
        """By recovery step, and whether the session became ready before the next step ran."""
        self.time_to_ready = {since: Histogram(READY_BOUNDS_S) for since in Since}
        self.tickle_latency = Histogram(TICKLE_BOUNDS_S)
        self.tickle_failures = 0

    @property
    def outage_s(self) -> Mapping[bool, float]:
        """How long the session was lost, in seconds, by whether IBKR's maintenance can be the cause."""
        self._count_outage(self._clock())
        return dict(self._outage_s)

    def ticked(self, took_s: float | None) -> None:
        """Count a tickle; None for one that failed."""
        if took_s is None:
            self.tickle_failures += 1
        else:
            self.tickle_latency.see(took_s)

    def saw(self, entry: Mapping[str, Any]) -> None:
        """Count one journal entry as it is written."""
        self._follow(entry)
        match entry:
            case {"kind": "phase", "phase": phase, "event": event}:
                self._phase(Phase(phase), str(event))
            case {"kind": "gateway"}:
                self.starts[Launch.LAUNCHED] += 1
            case {"kind": "adopted"}:
                self.starts[Launch.ADOPTED] += 1
            case {"kind": "restart", "cause": cause}:
                self.restarts[RestartCause(cause)] += 1
                self._conclude(worked=False)
                self._open_restart = True
            case {"kind": "cure", "rung": budgeted, "ok": ok}:
                self._recover(Budgeted(budgeted), ok=bool(ok))
            case {"kind": "login", "outcome": outcome}:
                self._login(LoginResult(outcome))
            case {"kind": "window", "open": opens}:
                self._count_outage(self._clock())
                self._window = bool(opens)

    # Ready or not.

    def _follow(self, entry: Mapping[str, Any]) -> None:
        now_s, before, lost_s = self._clock(), self._fold.state, self._fold.lost_s
        self._count_outage(now_s)
        self._fold.take(entry, now_s)
        if self._fold.state is before:
            return
        if self._fold.lost_s is not None:
            self.outages += 1
            self._counted_s = now_s
        elif self._fold.state is State.READY:
            if not self._ever_ready:
                self.time_to_ready[Since.START].see(now_s - self._began_s)
            elif lost_s is not None:
                self.time_to_ready[Since.LOSS].see(now_s - lost_s)
            self._ever_ready = True

    def _phase(self, phase: Phase, event: str) -> None:
        if event in _FAILED_STARTS and phase is not Phase.RECOVERING:
            self.starts[Launch.FAILED] += 1
        if phase is Phase.READY:
            self._conclude(worked=True)

    def _count_outage(self, now_s: float) -> None:
        if self._fold.lost_s is not None:
            self._outage_s[self._window and self._fold.at_ibkr] += now_s - self._counted_s
            self._counted_s = now_s

    # Recovery.

    def _recover(self, budgeted: Budgeted, *, ok: bool) -> None:
        self._conclude_recovery(worked=False)
        if ok:
            self._open_recovery = budgeted
        else:
            self.recoveries[budgeted, False] += 1

    def _login(self, result: LoginResult) -> None:
        self.logins[result] += 1
        if result is not LoginResult.PAUSED:
            self._recover(Budgeted.LOGIN, ok=result is LoginResult.SUCCESS)

    def _conclude(self, *, worked: bool) -> None:
        self._conclude_recovery(worked=worked)
        if self._open_restart:
            self.recoveries[Budgeted.RESTART, worked] += 1
        self._open_restart = False

    def _conclude_recovery(self, *, worked: bool) -> None:
        if self._open_recovery is not None:
            self.recoveries[self._open_recovery, worked] += 1
        self._open_recovery = None
