"""In IBKR's maintenance windows, failed logins wait, and sessions that all ended together come back spread out."""

from __future__ import annotations

import pytest
from cores import end_login, logging_in, ready, running
from facts import current
from msgspec.structs import replace
from supervisor_fakes import SUCCESS, SWALLOWED, Core

from gwctl.core.messages import (
    GatewayAnswers,
    GatewayEnded,
    GatewayGone,
    LoginDone,
    LoginResult,
    LoginWanted,
    Phase,
    Recovery,
    Resume,
    ResumeDone,
    Timer,
    WindowChanged,
)
from gwctl.core.policy import Policy
from gwctl.session_status import Verdict

WINDOW_S = 7200.0
TIMED_OUT = LoginDone(result=LoginResult.TRANSIENT, text="the page did not answer in time")
IBKR_ILL = LoginDone(result=LoginResult.IBKR_ILL, text="IBKR answers with an error")
REFUSED_LATER = LoginDone(result=LoginResult.REFUSED_AFTER_IT_WORKED, text="refused", retry_after_s=900.0)


def _open_window(core: Core) -> float:
    until = core.now + WINDOW_S
    core.feed(WindowChanged(until=until))
    return until


@pytest.mark.parametrize("failed", [TIMED_OUT, IBKR_ILL, REFUSED_LATER, SWALLOWED], ids=lambda done: done.result)
def test_login_that_failed_in_a_window_waits_for_its_end(failed: LoginDone) -> None:
    """One submit in a window without success: neither a timeout nor IBKR's own failure triggers another one in it."""
    core = logging_in()
    until = _open_window(core)
    end_login(core, failed)
    assert core.logins == 1
    assert until <= core.snapshot.timers[Timer.LOGIN] <= until + core.policy.spread_s
    while core.now < until:
        core.see(Verdict.NO_SESSION)
        core.fire_next()
        assert core.logins == 1 or core.now >= until
    core.feed(WindowChanged(until=None))
    core.now = max(core.now, until + core.policy.spread_s)
    if core.logins == 1:
        core.fire(Timer.LOGIN)
    assert core.logins == 2


def test_login_that_failed_before_the_window_waits_as_well() -> None:
    """A pause that ends inside a new window is extended to the window's end."""
    core = logging_in()
    end_login(core, TIMED_OUT)
    assert core.snapshot.timers[Timer.LOGIN] - core.now < 60.0
    until = _open_window(core)
    core.fire(Timer.LOGIN)
    assert core.logins == 1
    assert core.snapshot.timers[Timer.LOGIN] >= until


def test_restart_of_the_gateway_does_not_shorten_the_wait() -> None:
    """A gateway that dies in the window is restarted; the login still waits."""
    core = logging_in()
    until = _open_window(core)
    end_login(core, TIMED_OUT)
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    if Timer.START in core.snapshot.timers:
        core.fire(Timer.START)
    core.feed(GatewayAnswers(core.snapshot.epoch))
    core.see(Verdict.NO_SESSION)
    assert core.logins == 1
    assert core.snapshot.timers[Timer.LOGIN] >= until


def test_person_may_log_in_inside_a_window() -> None:
    """A person's request is performed."""
    core = logging_in()
    _open_window(core)
    end_login(core, TIMED_OUT)
    core.feed(LoginWanted())
    assert core.logins == 2


def test_first_login_of_all_is_not_held_back() -> None:
    """`gwctl up` in a window tries once: the window may be wrong, and a person waits."""
    core = running()
    _open_window(core)
    core.see(Verdict.NO_SESSION)
    assert core.logins == 1


def test_session_lost_in_a_window_comes_back_spread_out() -> None:
    """All sessions end at the reset: a random wait of two minutes at most decides who comes back when."""
    waits = []
    for seed in range(200):
        core = ready(Policy(seed=seed))
        _open_window(core)
        before = core.logins + core.count(Resume)
        core.see(Verdict.NO_SESSION)
        assert core.logins + core.count(Resume) == before
        assert core.phase is Phase.BACKOFF
        assert "the next login waits a random time" in core.snapshot.reason
        waits.append(core.snapshot.timers[Timer.LOGIN] - core.now)
        core.fire(Timer.LOGIN)
        assert core.snapshot.recovery in {Recovery.RESUME, Recovery.LOGIN}
    assert all(0.0 <= wait < 120.0 for wait in waits)
    assert max(waits) > 110.0
    assert min(waits) < 10.0


def test_relapse_of_ibkr_draws_the_turn_anew() -> None:
    """A machine still waiting when IBKR fails again does not come back with all the others."""
    core = ready()
    _open_window(core)
    core.see(Verdict.NO_SESSION)
    core.see(Verdict.UPSTREAM_ILL)
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is None
    assert Timer.LOGIN in core.snapshot.timers


def test_spread_is_waited_once_a_loss() -> None:
    """After the wait, each recovery step follows the other at once."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=True, resume_tried=False)
    _open_window(core)
    core.see(Verdict.NO_SESSION)
    core.fire(Timer.LOGIN)
    assert current(core.snapshot.recovery) is Recovery.RESUME
    core.feed(ResumeDone(core.snapshot.epoch, ok=False))
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is Recovery.LOGIN
    end_login(core, SUCCESS)
    core.see(Verdict.READY)
    assert not core.snapshot.spread


def test_gateway_killed_in_a_window_is_resumed_at_once() -> None:
    """A gateway that ends by itself ended no other session."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=True, resume_tried=False)
    _open_window(core)
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    core.feed(GatewayAnswers(core.snapshot.epoch))
    assert core.snapshot.recovery is Recovery.RESUME


def test_crash_in_a_window_is_ones_own_loss() -> None:
    """Cookies that IBKR refuses after a crash do not mean that all sessions ended."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False)
    _open_window(core)
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    core.feed(GatewayAnswers(core.snapshot.epoch))
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is Recovery.LOGIN


def test_loss_after_a_long_outage_is_everybodys() -> None:
    """IBKR was away for minutes and the session is gone: all sessions probably ended together."""
    core = ready()
    core.see(Verdict.UPSTREAM_ILL)
    core.now += core.policy.spread_after_ill_s
    before = core.logins
    core.see(Verdict.NO_SESSION)
    assert core.logins == before
    assert Timer.LOGIN in core.snapshot.timers


def test_loss_after_a_short_outage_is_ones_own() -> None:
    """A short outage costs nobody two minutes."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False)
    core.see(Verdict.UPSTREAM_ILL)
    core.now += 20.0
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is Recovery.LOGIN
