"""A person logs in by hand: the loop makes way, takes over, or continues as before."""

from __future__ import annotations

import pytest
from supervisor_fakes import SUCCESS, Core, started

from gwctl.core.messages import (
    ByHandWanted,
    Checked,
    GatewayAnswers,
    LoggedInByHand,
    Login,
    LoginWanted,
    Phase,
    ResumeDone,
    Session,
    Timer,
)
from gwctl.core.tables import person_needed
from gwctl.session_status import Verdict


def running() -> Core:
    core = started()
    core.feed(GatewayAnswers(core.snapshot.epoch))
    return core


def waiting() -> Core:
    """Return a core that waits for a person."""
    core = running()
    core.feed(ByHandWanted())
    assert (core.phase, person_needed(core.snapshot)) == (Phase.LOCKED_OUT, "manual_login")
    return core


def test_nothing_is_sent_while_a_person_logs_in() -> None:
    """With any observation meanwhile, the loop sends no login (law 1)."""
    core = waiting()
    for verdict in (Verdict.NO_SESSION, Verdict.UPSTREAM_ILL, Verdict.BROKERAGE_GONE, Verdict.COMPETING):
        core.see(verdict)
        assert core.logins == 0
        assert Timer.CHECK in core.snapshot.timers


def test_session_of_the_persons_own_browser_is_noticed() -> None:
    """Without a report from the call, the next check makes it ready."""
    core = waiting()
    core.see(Verdict.READY)
    assert core.phase is Phase.READY


def test_cookies_of_the_window_bring_the_session_back_later() -> None:
    """The cookies that the window handed over are offered to the next gateway, without a password."""
    core = waiting()
    core.feed(LoggedInByHand(resumable=True))
    assert core.phase is Phase.LOGGING_IN
    core.see(Verdict.READY)
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.resumable
    core.feed(ResumeDone(core.snapshot.epoch, ok=True))
    core.see(Verdict.READY)
    assert (core.phase, core.logins) == (Phase.READY, 0)


@pytest.mark.parametrize(("verdict", "phase", "logins"), [
    (Verdict.READY, Phase.READY, 0),
    (Verdict.UPSTREAM_ILL, Phase.DEGRADED, 0),
    (Verdict.NO_SESSION, Phase.LOGGING_IN, 1),
])  # fmt: skip
def test_where_nobody_came_it_goes_on_as_before(verdict: Verdict, phase: Phase, logins: int) -> None:
    """The next check decides, and only a lost session costs a login."""
    core = waiting()
    if core.snapshot.checking:
        core.see(Verdict.NO_SESSION)
    core.feed(ByHandWanted(over=True))
    core.feed(Checked(core.snapshot.epoch, verdict))
    assert (core.phase, core.logins) == (phase, logins)


def test_who_waits_for_another_reason_goes_on_waiting() -> None:
    """Giving up a login by hand does not lift a lock-out after a refusal."""
    core = waiting()
    core.feed(LoginWanted())
    assert core.logins == 1
    core.feed(SUCCESS)
    before = core.snapshot
    core.feed(ByHandWanted(over=True))
    assert core.snapshot == before


def test_login_that_is_under_way_is_not_disturbed() -> None:
    """One login at a time: a person who wants to log in meanwhile is told, and nothing changes."""
    core = running()
    core.see(Verdict.NO_SESSION)
    assert any(isinstance(action, Login) for action in core.done)
    core.feed(ByHandWanted())
    assert core.snapshot.session is Session.LOGGING_IN
