"""Which events IBKR's side can cause, and so its maintenance. Pure."""

from __future__ import annotations

from gwctl.core.messages import (
    Checked,
    Event,
    LoginDone,
    LoginResult,
    Process,
    ReauthenticateDone,
    ResumeDone,
    TimeOut,
    Timer,
)
from gwctl.session_status import Verdict

_VERDICTS = frozenset({Verdict.NO_SESSION, Verdict.NOT_AUTHENTICATED, Verdict.BROKERAGE_GONE, Verdict.UPSTREAM_ILL})
_RESULTS = frozenset({LoginResult.IBKR_ILL, LoginResult.TRANSIENT})
_TIMERS = frozenset({Timer.LOGIN, Timer.SETTLE, Timer.DEADLINE, Timer.LOOK})


def may_be_ibkr(event: Event, process: Process) -> bool:
    """Return whether IBKR can be the cause of ``event``; ``process`` is the gateway's state before it.

    It cannot end or hang the gateway, take the port, refuse a password that is right, or do what a person asked for.
    """
    match event:
        case Checked(verdict=verdict):
            return verdict in _VERDICTS
        case LoginDone(result=result):
            return result in _RESULTS
        case TimeOut(timer=timer):
            return timer in _TIMERS and process is Process.RUNNING
        case ReauthenticateDone() | ResumeDone():
            return True
    return False
