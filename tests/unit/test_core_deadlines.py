"""Everything under way has a deadline in the core, and the core continues after it."""

from __future__ import annotations

import itertools

import pytest
from cores import logging_in, ready, running
from facts import current
from msgspec.structs import replace
from supervisor_fakes import Core, started

from gwctl.core.budget import Budgeted
from gwctl.core.messages import (
    ByHandWanted,
    CancelLogin,
    CancelRecovery,
    Check,
    Checked,
    Finish,
    GatewayAnswers,
    GatewayEnded,
    GatewayGone,
    LoginDone,
    LoginResult,
    LoginWanted,
    Phase,
    Process,
    Reauthenticate,
    ReauthenticateDone,
    Recovery,
    RestartWanted,
    ResumeDone,
    SecondFactorAsked,
    Session,
    StartGateway,
    StopGateway,
    SubmitBegun,
    TimeOut,
    Timer,
)
from gwctl.core.policy import Policy
from gwctl.core.tables import person_needed
from gwctl.session_status import Verdict

pytestmark = pytest.mark.law(6)


def test_login_that_never_begins_is_given_up_and_tried_again() -> None:
    """A password that never arrives blocks a login for minutes, not forever, and costs no budget."""
    core = logging_in()
    began = core.now
    actions = core.fire(Timer.DEADLINE)
    assert actions == [CancelLogin()]
    assert core.now - began <= 300.0
    assert core.snapshot.recovery is None
    assert Budgeted.LOGIN not in core.snapshot.spent.times
    assert Timer.DEADLINE not in core.snapshot.timers
    core.fire(Timer.LOGIN)
    assert core.snapshot.recovery is Recovery.LOGIN


def test_login_that_is_given_up_after_its_submit_has_cost_it() -> None:
    """A submit without a report stays counted."""
    core = logging_in()
    core.feed(SubmitBegun(core.snapshot.epoch))
    core.fire(Timer.DEADLINE)
    assert len(core.snapshot.spent.times[Budgeted.LOGIN]) == 1


def test_second_factor_has_its_time() -> None:
    """A login that waits for a person is not cancelled while the person may still act."""
    core = logging_in()
    core.now += 100.0
    core.feed(SecondFactorAsked(core.snapshot.epoch))
    assert core.snapshot.timers[Timer.DEADLINE] - core.now >= 210.0
    core.fire(Timer.DEADLINE)
    assert core.snapshot.session is Session.LOGGED_OUT


def test_resume_that_says_nothing_leads_to_a_login() -> None:
    """It is cancelled, and the next check decides what follows."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    core.feed(GatewayAnswers(core.snapshot.epoch))
    assert current(core.snapshot.recovery) is Recovery.RESUME
    assert CancelRecovery() in core.fire(Timer.DEADLINE)
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is Recovery.LOGIN


@pytest.mark.parametrize("lost", [False, True])
def test_resumed_session_that_was_seen_and_is_lost_is_not_waited_for(*, lost: bool) -> None:
    """A resumed session may take a moment; one that opened and is gone is restored at once."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    core.feed(GatewayAnswers(core.snapshot.epoch))
    assert core.feed(ResumeDone(core.snapshot.epoch, ok=True)) == [Check(tickle=True)]
    core.feed(Checked(core.snapshot.epoch, Verdict.NO_SESSION, lost=lost))
    assert current(core.snapshot.recovery) is (None if lost else Recovery.SETTLE)
    if lost:
        core.see(Verdict.NO_SESSION)
        assert core.snapshot.recovery is Recovery.LOGIN


def test_reauthentication_that_says_nothing_is_not_waited_for() -> None:
    """It is cancelled, and the session is checked as before."""
    core = ready()
    core.see(Verdict.BROKERAGE_GONE)
    assert core.snapshot.recovery is Recovery.REAUTHENTICATE
    assert core.fire(Timer.DEADLINE) == [CancelRecovery()]
    core.see(Verdict.READY)
    assert core.phase is Phase.READY


def test_start_that_says_nothing_is_stopped_and_tried_again() -> None:
    """A start that hangs on a dead mount is stopped and repeated; a first one gives up."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    assert StopGateway(logout=False, hard=True) in core.fire(Timer.DEADLINE)
    core.feed(GatewayGone())
    if core.snapshot.process is Process.BACKOFF:
        core.fire(Timer.START)
    assert core.snapshot.process is Process.STARTING
    core = started()
    for _ in range(core.policy.start_tries_before_ready):
        core.fire(Timer.DEADLINE)
        actions = core.feed(GatewayGone())
        if core.snapshot.process is Process.BACKOFF:
            core.fire(Timer.START)
    assert [one.exit_code for one in actions if isinstance(one, Finish)] == [69]


@pytest.mark.parametrize("process", [Process.RUNNING, Process.BACKOFF])
def test_deadline_of_what_has_ended_means_nothing(process: Process) -> None:
    """A late deadline has nothing to cancel."""
    core = ready()
    if process is Process.BACKOFF:
        core.feed(GatewayEnded(core.snapshot.epoch))
        core.feed(GatewayGone())
        core.feed(GatewayAnswers(core.snapshot.epoch))
        core.feed(GatewayEnded(core.snapshot.epoch))
        core.feed(GatewayGone())
    assert core.snapshot.process is process
    assert core.feed(TimeOut(timer=Timer.DEADLINE)) == []


def test_check_that_says_nothing_is_made_again() -> None:
    """A check that never returns does not leave the loop blind."""
    core = ready()
    core.fire(Timer.CHECK)
    assert core.fire(Timer.LOOK) == [Check(tickle=True)]
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is Recovery.RESUME
    assert Timer.LOOK not in core.snapshot.timers


# A login by hand.


def waiting() -> Core:
    """Return a core that waits for a person."""
    core = running()
    core.feed(ByHandWanted(for_s=300.0))
    assert person_needed(core.snapshot) == "manual_login"
    return core


def test_login_by_hand_is_not_waited_for_for_ever() -> None:
    """No report is needed: a timer ends the wait, and the loop logs in by itself."""
    core = waiting()
    core.see(Verdict.NO_SESSION)
    core.fire(Timer.BY_HAND)
    assert core.now == 1300.0
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is Recovery.LOGIN


def test_wait_for_a_person_outlives_the_gateway() -> None:
    """A restart of the gateway neither ends the wait nor makes it endless."""
    core = waiting()
    due = core.snapshot.timers[Timer.BY_HAND]
    core.feed(RestartWanted())
    core.feed(GatewayGone())
    core.feed(GatewayAnswers(core.snapshot.epoch))
    assert core.snapshot.timers[Timer.BY_HAND] == due
    assert core.phase is Phase.LOCKED_OUT


def test_another_person_is_waited_for_longer_and_not_shorter() -> None:
    """Each call gives its time; the longest one counts."""
    core = waiting()
    core.feed(ByHandWanted(for_s=60.0))
    assert core.snapshot.timers[Timer.BY_HAND] == 1300.0
    core.feed(ByHandWanted(for_s=900.0))
    assert core.snapshot.timers[Timer.BY_HAND] == 1900.0


@pytest.mark.parametrize("wanted", [LoginWanted(), None], ids=["asked for", "seen"])
def test_wait_for_a_person_ends_with_a_login(wanted: LoginWanted | None) -> None:
    """Nothing of the wait is left to lift a later lock-out."""
    core = waiting()
    if wanted is None:
        core.see(Verdict.READY)
    else:
        core.feed(wanted)
    assert Timer.BY_HAND not in core.snapshot.timers


def test_login_by_hand_does_not_replace_why_a_person_is_needed() -> None:
    """On a locked-out profile the true reason stays, however the login by hand ends."""
    core = ready()
    core.snapshot = logging_in_again(core).snapshot
    text = "IBKR says that the account is locked"
    core.feed(LoginDone(core.snapshot.epoch, LoginResult.NEEDS_PERSON, text))
    before = core.snapshot
    for event in (ByHandWanted(), ByHandWanted(over=True)):
        core.feed(event)
        assert (core.phase, core.snapshot.reason) == (Phase.LOCKED_OUT, text)
    assert core.snapshot == before


def logging_in_again(core: Core) -> Core:
    """Make a ready core lose its session for good."""
    core.snapshot = replace(core.snapshot, resumable=False)
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.recovery is Recovery.LOGIN
    return core


# A session that another client takes back.


def test_session_that_was_taken_back_is_taken_again_after_growing_pauses() -> None:
    """With `take_over`, losing the session once is not the end, and two tools that both take over do not fight."""
    core = ready(Policy(take_over=True, jitter=0.0))
    taken = []
    while core.now < 100_000.0:
        for action in core.see(Verdict.COMPETING):
            if isinstance(action, Reauthenticate):
                assert action.compete
                taken.append(core.now)
                core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
                core.see(Verdict.READY)
        core.now += 5.0
    pauses = [later - earlier for earlier, later in itertools.pairwise(taken)]
    assert pauses[0] == pytest.approx(600.0, abs=20.0)
    assert pauses[1] == pytest.approx(1200.0, abs=20.0)
    assert max(pauses) == pytest.approx(14_400.0, abs=20.0)
    assert pauses == sorted(pauses) or max(pauses[-3:]) == pytest.approx(min(pauses[-3:]), abs=20.0)


def test_session_that_stayed_with_us_is_taken_at_once() -> None:
    """After ten quiet minutes, a loss counts as the first one."""
    core = ready(Policy(take_over=True))
    for _ in range(4):
        assert Reauthenticate(compete=True) in core.see(Verdict.COMPETING)
        core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
        core.see(Verdict.READY)
        core.now += core.policy.quiet_s


def test_borrowed_session_says_what_takes_it_back() -> None:
    """With `yield`, the reason says how to take the session back."""
    core = ready()
    core.see(Verdict.BORROWED, "TWS has borrowed the session")
    assert "gwctl restart" in core.snapshot.reason


def test_what_is_answered_leaves_no_deadline_behind() -> None:
    """A leftover deadline would end the next recovery step too early."""
    core = ready()
    assert Timer.DEADLINE not in core.snapshot.timers
    core.see(Verdict.BROKERAGE_GONE)
    assert Timer.DEADLINE in core.snapshot.timers
    core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
    assert Timer.DEADLINE not in core.snapshot.timers
    core.feed(RestartWanted())
    assert core.feed(GatewayGone())[-1] == StartGateway()
    assert Timer.DEADLINE in core.snapshot.timers
    core.feed(GatewayAnswers(core.snapshot.epoch))
    assert core.snapshot.recovery is Recovery.RESUME
