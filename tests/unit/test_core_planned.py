"""Pauses, login hours and planned logins in the core; that no law breaks is in test_core_machine."""

from __future__ import annotations

import pytest
from cores import end_login, gateway_comes_back, ready, running
from msgspec.structs import replace
from supervisor_fakes import SWALLOWED, Core, started

from gwctl.core.messages import (
    CancelLogin,
    Check,
    Event,
    Finish,
    GatewayAnswers,
    GatewayCannotStart,
    GatewayFellOver,
    GatewayGone,
    Login,
    LoginWanted,
    Pause,
    Phase,
    Process,
    Reauthenticate,
    StartGateway,
    StartWanted,
    StopGateway,
    StopWanted,
    TimeOut,
    Timer,
    Warn,
)
from gwctl.core.planned import LoginHours, LoginPlanned, PauseOver, PauseWanted, planned
from gwctl.session_status import Verdict

OUTSIDE = "outside the login hours, gwctl logs in at Mon 07:00 Europe/Zurich"


def paused() -> Core:
    """Return a core whose ready session was given away."""
    core = ready()
    core.feed(PauseWanted(pause=Pause(text="paused: TWS")))
    core.feed(GatewayGone())
    return core


def closed(core: Core, for_s: float = 3600.0) -> Core:
    """Let the login hours end."""
    core.feed(LoginHours(opens_at=core.now + for_s, text=OUTSIDE))
    return core


def test_a_pause_logs_out_and_stops_the_gateway() -> None:
    """Nothing of ours is left that could compete; the supervisor stays, and says why."""
    core = ready()
    assert core.feed(PauseWanted(pause=Pause(text="paused: TWS"))) == [CancelLogin(), StopGateway(logout=True)]
    assert core.phase is Phase.PAUSED
    assert core.feed(GatewayGone()) == []
    assert (core.snapshot.process, core.snapshot.reason) == (Process.PAUSED, "paused: TWS")
    assert planned(core.snapshot) == "pause"


def test_the_end_of_a_pause_takes_the_session_back_once() -> None:
    """A start and one login; where the other client takes the session again, `yield` leaves it there."""
    core = paused()
    assert core.feed(PauseOver()) == [StartGateway()]
    assert core.phase is Phase.STARTING
    core.feed(GatewayAnswers(core.snapshot.epoch))
    assert core.see(Verdict.NO_SESSION) == [Login(first=True)]
    core.done.clear()
    core.feed(PauseOver())
    for _ in range(20):
        core.see(Verdict.COMPETING)
    assert core.count(Login) + core.count(Reauthenticate) == 0


def test_a_pause_that_ends_while_the_gateway_stops_is_followed_by_a_start() -> None:
    """A quick `resume` after `pause` waits for the stop and is not lost."""
    core = ready()
    core.feed(PauseWanted())
    assert core.feed(PauseOver()) == []
    assert core.feed(GatewayGone()) == [StartGateway()]


def test_a_supervisor_that_starts_in_a_pause_starts_no_gateway() -> None:
    """The pause survives restarts; a gateway that outlived its supervisor is stopped after a logout."""
    core = Core()
    core.feed(PauseWanted())
    assert StartGateway() not in core.feed(StartWanted())
    assert core.phase is Phase.PAUSED
    core = Core()
    core.feed(PauseWanted())
    assert core.feed(StartWanted(adopted=True)) == [StartGateway(adopt=True)]
    assert core.feed(GatewayAnswers(core.snapshot.epoch)) == [CancelLogin(), StopGateway(logout=True)]


@pytest.mark.parametrize("fails", [GatewayFellOver(0), GatewayCannotStart(0), TimeOut(timer=Timer.DEADLINE)])
def test_a_start_that_fails_in_a_pause_starts_no_other_gateway(fails: Event) -> None:
    """The gateway that was to be adopted is stopped, and the supervisor neither tries again nor gives up."""
    core = Core()
    core.feed(PauseWanted())
    core.feed(StartWanted(adopted=True))
    if isinstance(fails, TimeOut):
        core.now = core.snapshot.timers[Timer.DEADLINE]
    core.feed(fails)
    core.feed(GatewayGone())
    assert core.snapshot.process is Process.PAUSED
    assert core.count(StartGateway) == 1
    assert core.count(Finish) == 0


def test_a_pause_that_was_extended_outlives_its_first_end() -> None:
    """The end that was already on its way is that of another pause."""
    core = paused()
    first = core.snapshot.pause
    core.feed(PauseWanted(pause=Pause(until_s=2e9, text="paused until later")))
    assert core.feed(PauseOver(pause=first)) == []
    assert core.phase is Phase.PAUSED
    assert core.feed(PauseOver(pause=core.snapshot.pause)) == [StartGateway()]


def test_a_failed_planned_login_looks_before_another() -> None:
    """The old session may live: no second login, and no second push, without a check in between."""
    core = ready()
    core.now += 7200.0
    core.feed(LoginPlanned())
    assert core.feed(replace(SWALLOWED, epoch=core.snapshot.epoch)) == [Check()]
    assert Timer.LOGIN not in core.snapshot.timers
    core.see(Verdict.READY)
    assert (core.phase, core.logins) == (Phase.READY, 1)


def test_the_wait_for_the_hours_stays_planned_while_ibkr_is_away() -> None:
    """IBKR's own nightly reset falls into it: no outage until the hours begin, and one from then on."""
    core = closed(running())
    core.see(Verdict.NO_SESSION)
    core.see(Verdict.UPSTREAM_ILL)
    assert planned(core.snapshot) == "login_hours"
    core.feed(LoginHours())
    assert planned(core.snapshot) is None


def test_a_stop_in_a_pause_does_not_cut_the_logout_short() -> None:
    """Law 10, and no session is left that competes: the stop under way is the only one."""
    core = ready()
    core.feed(PauseWanted())
    assert core.feed(StopWanted()) == []
    assert core.feed(GatewayGone()) == [Finish(0)]
    core = paused()
    assert core.feed(StopWanted()) == [CancelLogin(), StopGateway()]
    assert core.feed(GatewayGone()) == [Finish(0)]


def test_nobody_logs_in_during_a_pause() -> None:
    """Not even a person's `login`: that is what `resume` is for."""
    core = paused()
    assert core.feed(LoginWanted()) == []
    assert core.feed(PauseOver()) == [StartGateway()]
    assert core.snapshot.login_wanted is False


def test_a_lost_session_waits_for_the_login_hours() -> None:
    """No login, and no push, before they begin; the reason says when, and the login comes within seconds of it."""
    core = closed(running())
    assert core.see(Verdict.NO_SESSION) == []
    assert core.phase is Phase.BACKOFF
    assert core.snapshot.reason.endswith(OUTSIDE)
    assert planned(core.snapshot) == "login_hours"
    opens_at = core.snapshot.logins_from or 0.0
    assert opens_at <= core.snapshot.timers[Timer.LOGIN] <= opens_at + core.policy.hours_spread_s
    core.now = opens_at
    core.feed(LoginHours())
    assert core.fire(Timer.LOGIN) == [Login(first=True)]


def test_a_session_that_lives_goes_on_outside_the_hours() -> None:
    """The hours are about logins: what needs none goes on, a reauthentication included."""
    core = closed(ready())
    assert core.see(Verdict.READY) == []
    assert core.phase is Phase.READY
    assert core.see(Verdict.BROKERAGE_GONE) == [Reauthenticate()]


def test_a_retry_of_a_failed_login_waits_for_the_hours() -> None:
    """A login that fails just before their end is repeated in the morning, not after its pause."""
    core = running()
    core.see(Verdict.NO_SESSION)
    closed(core)
    end_login(core, SWALLOWED)
    core.fire(Timer.LOGIN)
    assert core.logins == 1
    assert core.snapshot.timers[Timer.LOGIN] >= (core.snapshot.logins_from or 0.0)


def test_a_person_may_log_in_outside_the_hours() -> None:
    """`gwctl login` is a person's decision."""
    core = closed(running())
    core.see(Verdict.NO_SESSION)
    assert core.feed(LoginWanted()) == [Login(first=True)]


def test_hours_that_a_corrected_clock_moves_move_the_login() -> None:
    """A clock that was an hour behind makes the login an hour earlier, in monotonic time, and not at once."""
    core = closed(running(), 7200.0)
    core.see(Verdict.NO_SESSION)
    closed(core, 3600.0)
    due_in_s = core.snapshot.timers[Timer.LOGIN] - core.now
    assert 3600.0 <= due_in_s <= 3600.0 + core.policy.hours_spread_s
    core.feed(LoginHours())
    assert core.snapshot.timers[Timer.LOGIN] - core.now <= core.policy.hours_spread_s


def test_a_planned_login_is_announced_and_then_made() -> None:
    """The announcement is a warning, so that a person can have the phone at hand."""
    core = ready()
    core.now += 7200.0
    assert core.feed(LoginPlanned(in_s=600.0, text="soon")) == [Warn("login_soon", "soon")]
    assert core.feed(LoginPlanned()) == [Login(first=False)]
    assert planned(core.snapshot) == "login"
    end_login(core, SWALLOWED)
    core.see(Verdict.READY)
    assert core.phase is Phase.READY


@pytest.mark.parametrize("why", ["young", "not ready", "outside the hours", "paused"])
def test_a_planned_login_without_a_point_is_left_out(why: str) -> None:
    """It would cost a second factor for nothing, or break a rule of the person who planned it."""
    core = ready()
    core.now += 60.0 if why == "young" else 7200.0
    if why == "not ready":
        core.see(Verdict.UPSTREAM_ILL)
    elif why == "outside the hours":
        closed(core)
    elif why == "paused":
        core.feed(PauseWanted())
    assert core.feed(LoginPlanned()) == []


def test_a_gateway_that_dies_outside_the_hours_is_started_and_resumed() -> None:
    """What needs no login is done at any hour."""
    core = closed(started())
    assert core.done[0] == StartGateway()
    core = closed(ready())
    core.feed(PauseWanted())
    core.feed(PauseOver())
    gateway_comes_back(core)
    assert core.logins == 0
