"""In IBKR's maintenance what failed is not tried again, and what everybody lost does not come back all at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cores import end_login, logging_in, ready, running
from facts import current
from supervisor_fakes import SUCCESS, SWALLOWED, Core

from gwctl.core.messages import (
    Cure,
    GatewayAnswers,
    GatewayEnded,
    GatewayGone,
    LoginDone,
    LoginResult,
    LoginWanted,
    Phase,
    Resume,
    ResumeDone,
    Timer,
    Verdict,
    WindowChanged,
)
from gwctl.core.policy import Policy

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
    """One submit a window without success: neither a timeout nor IBKR's own failure triggers another one in it."""
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
    """A pause that ends inside a window that has opened meanwhile goes on to the window's end."""
    core = logging_in()
    end_login(core, TIMED_OUT)
    assert core.snapshot.timers[Timer.LOGIN] - core.now < 60.0
    until = _open_window(core)
    core.fire(Timer.LOGIN)
    assert core.logins == 1
    assert core.snapshot.timers[Timer.LOGIN] >= until


def test_restart_of_the_gateway_does_not_shorten_the_wait() -> None:
    """A gateway that dies in the window is started again; the login still waits."""
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
    """What a person asks for is done."""
    core = logging_in()
    _open_window(core)
    end_login(core, TIMED_OUT)
    core.feed(LoginWanted())
    assert core.logins == 2


def test_first_login_of_all_is_not_held_back() -> None:
    """`gwctl up` in a window tries once: it may be the wrong window, and somebody waits."""
    core = running()
    _open_window(core)
    core.see(Verdict.NO_SESSION)
    assert core.logins == 1


def test_session_lost_in_a_window_comes_back_spread_out() -> None:
    """Everybody's session goes at the reset: chance decides within two minutes who comes back when."""
    waits = []
    for seed in range(200):
        core = ready(Policy(seed=seed))
        _open_window(core)
        before = core.logins + core.count(Resume)
        core.see(Verdict.NO_SESSION)
        assert core.logins + core.count(Resume) == before
        assert core.phase is Phase.BACKOFF
        assert "not everybody comes back at once" in core.snapshot.reason
        waits.append(core.snapshot.timers[Timer.LOGIN] - core.now)
        core.fire(Timer.LOGIN)
        assert core.snapshot.cure in {Cure.RESUME, Cure.LOGIN}
    assert all(0.0 <= wait < 120.0 for wait in waits)
    assert max(waits) > 110.0
    assert min(waits) < 10.0


def test_relapse_of_ibkr_draws_the_turn_anew() -> None:
    """Who still waited for his turn when IBKR fell ill does not come with all the others when it is well again."""
    core = ready()
    _open_window(core)
    core.see(Verdict.NO_SESSION)
    core.see(Verdict.UPSTREAM_ILL)
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.cure is None
    assert Timer.LOGIN in core.snapshot.timers


def test_spread_is_waited_once_a_loss() -> None:
    """After the wait each cure follows the other at once."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=True, resume_tried=False)
    _open_window(core)
    core.see(Verdict.NO_SESSION)
    core.fire(Timer.LOGIN)
    assert current(core.snapshot.cure) is Cure.RESUME
    core.feed(ResumeDone(core.snapshot.epoch, ok=False))
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.cure is Cure.LOGIN
    end_login(core, SUCCESS)
    core.see(Verdict.READY)
    assert not core.snapshot.spread


def test_gateway_killed_in_a_window_is_resumed_at_once() -> None:
    """A gateway that ends by itself took nobody else's session with it."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=True, resume_tried=False)
    _open_window(core)
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    core.feed(GatewayAnswers(core.snapshot.epoch))
    assert core.snapshot.cure is Cure.RESUME


def test_crash_in_a_window_is_ones_own_loss() -> None:
    """Cookies that are no longer honoured after a crash are no sign that everybody's session is gone."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False)
    _open_window(core)
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    core.feed(GatewayAnswers(core.snapshot.epoch))
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.cure is Cure.LOGIN


def test_loss_after_a_long_outage_is_everybodys() -> None:
    """IBKR away for minutes and the session gone: the same crowd at the same door."""
    core = ready()
    core.see(Verdict.UPSTREAM_ILL)
    core.now += core.policy.spread_after_ill_s
    before = core.logins
    core.see(Verdict.NO_SESSION)
    assert core.logins == before
    assert Timer.LOGIN in core.snapshot.timers


def test_loss_after_a_short_outage_is_ones_own() -> None:
    """A hiccup costs nobody two minutes."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False)
    core.see(Verdict.UPSTREAM_ILL)
    core.now += 20.0
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.cure is Cure.LOGIN
