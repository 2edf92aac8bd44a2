"""What IBKR can be the cause of: only there can its maintenance be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gwctl.core.causes import may_be_ibkr
from gwctl.core.messages import (
    Checked,
    Event,
    GatewayAnswers,
    GatewayCannotStart,
    GatewayEnded,
    GatewayFellOver,
    LoginDone,
    LoginResult,
    LoginWanted,
    Process,
    ReauthenticateDone,
    RestartWanted,
    ResumeDone,
    StopWanted,
    TimeOut,
    Timer,
)
from gwctl.session_status import Verdict

AT_IBKR = {
    *(Verdict.NO_SESSION, Verdict.NOT_AUTHENTICATED, Verdict.BROKERAGE_GONE, Verdict.UPSTREAM_ILL),
    *(LoginResult.IBKR_ILL, LoginResult.TRANSIENT),
}


def cases() -> Iterator[tuple[Event, bool]]:
    """Yield an event for each verdict, result and kind, and whether IBKR can be its cause."""
    yield from ((Checked(verdict=verdict), verdict in AT_IBKR) for verdict in Verdict)
    yield from ((LoginDone(result=result), result in AT_IBKR) for result in LoginResult)
    yield from ((event, True) for event in (ReauthenticateDone(ok=False), ResumeDone(ok=False)))
    ours = (GatewayAnswers, GatewayCannotStart, GatewayEnded, GatewayFellOver, LoginWanted, RestartWanted, StopWanted)
    yield from ((kind(), False) for kind in ours)


@pytest.mark.parametrize(("event", "possible"), [*cases()], ids=str)
def test_ibkr_answers_and_loses_sessions_and_does_nothing_else(event: Event, *, possible: bool) -> None:
    """A lost session, no answer and a failed login can be; a hung gateway, a refusal or a person's wish cannot."""
    assert may_be_ibkr(event, Process.RUNNING) is possible


def test_a_wait_that_is_over_is_ibkrs_only_while_the_gateway_runs() -> None:
    """A gateway that does not finish starting is this machine's trouble."""
    assert may_be_ibkr(TimeOut(timer=Timer.SETTLE), Process.RUNNING)
    assert not may_be_ibkr(TimeOut(timer=Timer.DEADLINE), Process.STARTING)
