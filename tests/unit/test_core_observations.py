"""Pushes, sleeps, lost folders, borrowed sessions and named causes: the reaction to each."""

from __future__ import annotations

from itertools import pairwise

import pytest
from cores import end_login, gateway_comes_back, ready, running, settling
from facts import current
from msgspec.structs import replace
from supervisor_fakes import SUCCESS, SWALLOWED, Core, started

from gwctl.core.budget import Budgeted
from gwctl.core.messages import (
    BlockLogin,
    CancelLogin,
    CauseRead,
    Check,
    Checked,
    ClockJumped,
    Explain,
    Finish,
    FolderLost,
    GatewayCannotStart,
    GatewayGone,
    LiftBlock,
    Phase,
    Process,
    Reauthenticate,
    ReauthenticateDone,
    Recovery,
    Resume,
    ResumeDone,
    SessionPushed,
    StopGateway,
    TimeOut,
    Timer,
    Warn,
    WindowChanged,
)
from gwctl.core.policy import Policy
from gwctl.session_status import Verdict


def test_push_is_looked_at_at_once() -> None:
    """The WebSocket gives a hint: the session is checked without waiting for the next check."""
    core = ready()
    assert core.feed(SessionPushed()) == [Check(tickle=False)]


def test_push_of_what_is_known_is_no_news() -> None:
    """A push that a ready session is ready costs no request."""
    core = ready()
    assert core.feed(SessionPushed(ready=True)) == []
    assert core.feed(SessionPushed(ready=False)) == [Check(tickle=False)]
    core.see(Verdict.BROKERAGE_GONE)
    core.feed(ReauthenticateDone(core.snapshot.epoch, ok=False))
    assert core.feed(SessionPushed(ready=True)) == [Check(tickle=False)]


def test_push_during_a_look_is_followed_by_another_look() -> None:
    """A check that began before the change may have missed it."""
    core = ready()
    core.fire(Timer.CHECK)
    assert core.feed(SessionPushed()) == []
    core.see(Verdict.READY)
    assert core.snapshot.timers[Timer.CHECK] - core.now == pytest.approx(0.1)
    core.fire(Timer.CHECK)
    core.see(Verdict.READY)
    assert core.snapshot.timers[Timer.CHECK] - core.now == core.policy.check_interval_s


def test_push_is_not_followed_while_ibkr_asks_for_fewer_requests() -> None:
    """A 429 outlasts any push."""
    core = ready()
    core.see(Verdict.RATE_LIMITED)
    assert core.feed(SessionPushed()) == []


def test_push_to_a_gateway_that_is_not_there_is_nothing() -> None:
    """A late push from a stopped gateway changes nothing."""
    core = ready()
    for _ in range(2):
        core.see(Verdict.HUNG)
    before = core.snapshot
    assert core.feed(SessionPushed()) == []
    assert core.snapshot == before


def test_sleep_is_looked_at_at_once_by_a_tickle() -> None:
    """After an hour asleep, the session is checked, not assumed."""
    core = ready()
    assert core.feed(ClockJumped(asleep_s=3600.0)) == [Check(tickle=True)]


def test_sleep_counts_as_waiting() -> None:
    """Pauses pass during sleep, too: the next login is due by the wall clock."""
    core = running()
    core.see(Verdict.NO_SESSION)
    end_login(core, replace(SWALLOWED, retry_after_s=900.0))
    core.feed(ClockJumped(asleep_s=600.0))
    assert core.snapshot.timers[Timer.LOGIN] - core.now == pytest.approx(300.0)
    assert core.snapshot.login_not_before - core.now == pytest.approx(300.0)
    core.feed(ClockJumped(asleep_s=3600.0))
    assert core.snapshot.timers[Timer.LOGIN] == core.now


def test_clock_that_was_set_shortens_no_pause() -> None:
    """Only sleep counts as waiting: setting the clock forward does not bring an earlier login."""
    core = running()
    core.see(Verdict.NO_SESSION)
    end_login(core, replace(SWALLOWED, retry_after_s=900.0))
    before = core.snapshot.timers[Timer.LOGIN]
    core.feed(ClockJumped(asleep_s=0.0))
    assert core.snapshot.timers[Timer.LOGIN] == before


def test_deleted_folder_costs_a_restart_and_no_login() -> None:
    """A gateway whose folder is gone is started in a new one, and its session is resumed."""
    core = ready()
    assert core.feed(FolderLost()) == [CancelLogin(), StopGateway(logout=False)]
    assert "folder was deleted" in core.snapshot.reason
    gateway_comes_back(core)
    assert core.snapshot.recovery is Recovery.RESUME


def test_folder_lost_while_the_gateway_starts_is_started_anew() -> None:
    """A gateway that was being started in the deleted folder would run in it for months."""
    core = started()
    assert core.feed(FolderLost()) == [CancelLogin(), StopGateway(logout=False)]


def test_folder_lost_while_the_gateway_stops_is_nothing() -> None:
    """There is nothing to restart: the next start creates its folder."""
    core = ready()
    for _ in range(2):
        core.see(Verdict.HUNG)
    assert core.feed(FolderLost()) == []


# Borrowed (gateway-facts.md, What a tickle may say).


def test_borrowed_session_is_waited_for() -> None:
    """With `yield` nothing is taken: the other client is named, and once a minute the session is requested anyway."""
    core = ready()
    core.snapshot = replace(core.snapshot, recovery_since=core.now - 61.0)
    actions = core.see(Verdict.BORROWED, "another client has borrowed the session: TWS")
    assert actions == [Reauthenticate(compete=False)]
    core.feed(ReauthenticateDone(core.snapshot.epoch, ok=False))
    logins = core.logins
    asked_at = []
    for _ in range(60):
        if any(isinstance(action, Reauthenticate) for action in core.see(Verdict.BORROWED, "TWS has it")):
            asked_at.append(core.now)
            core.feed(ReauthenticateDone(core.snapshot.epoch, ok=False))
        assert core.count(StopGateway) == 0
    assert core.logins == logins
    assert len(asked_at) >= 4
    assert all(later - earlier >= 60.0 for earlier, later in pairwise(asked_at))
    assert current(core.phase) in {Phase.DEGRADED, Phase.RECOVERING}
    core.see(Verdict.READY)
    assert core.phase is Phase.READY


def test_borrowed_session_is_taken_back_by_one_restart() -> None:
    """With `take_over`, a restart and a login clear it, once a loss; a second time would be a fight."""
    core = ready(Policy(take_over=True))
    assert StopGateway(logout=False) in core.see(Verdict.BORROWED, "TWS has it")
    assert "to take it back" in core.snapshot.reason
    gateway_comes_back(core)
    assert core.snapshot.recovery is Recovery.RESUME
    core.feed(ResumeDone(core.snapshot.epoch, ok=True))
    core.see(Verdict.READY)
    before = core.count(StopGateway)
    core.see(Verdict.BORROWED, "TWS has it")
    assert core.count(StopGateway) == before
    assert core.phase is Phase.DEGRADED


def test_session_is_not_taken_over_before_it_is_known_whose_it_is() -> None:
    """With `take_over`, too: once a loss, and never from a client whose name may not be requested yet."""
    core = ready(Policy(take_over=True))
    core.fire(Timer.CHECK)
    assert core.feed(Checked(core.snapshot.epoch, Verdict.BROKERAGE_GONE, certain=False)) == [
        Reauthenticate(compete=False)
    ]
    core.feed(ReauthenticateDone(core.snapshot.epoch, ok=False))
    core.now += 10.0
    core.fire(Timer.CHECK)
    assert core.feed(Checked(core.snapshot.epoch, Verdict.BROKERAGE_GONE)) == [Reauthenticate(compete=True)]
    core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
    core.see(Verdict.READY)
    for _ in range(10):
        for action in core.see(Verdict.BROKERAGE_GONE):
            assert action == Reauthenticate(compete=False)
            core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
        core.see(Verdict.READY)


def test_login_waits_until_it_is_known_who_has_the_session() -> None:
    """A login does not help against a borrower: while `sso/validate` may not be asked, none is sent."""
    core = ready()
    core.snapshot = replace(core.snapshot, reauthentications=core.policy.reauthenticate_tries)
    core.fire(Timer.CHECK)
    assert core.feed(Checked(core.snapshot.epoch, Verdict.BROKERAGE_GONE, certain=False)) == []
    assert core.snapshot.recovery is None
    core.fire(Timer.CHECK)
    core.feed(Checked(core.snapshot.epoch, Verdict.BROKERAGE_GONE, certain=True))
    assert core.snapshot.recovery is Recovery.LOGIN


def test_sight_of_a_borrower_while_a_session_comes_up_is_no_sight() -> None:
    """Until a login has settled, an unauthenticated session is one that is not open yet."""
    core = settling()
    core.see(Verdict.BORROWED)
    assert core.snapshot.recovery is Recovery.SETTLE


# A login that never authenticates.


def _never_settle(core: Core, verdict: Verdict = Verdict.NO_SESSION) -> list[object]:
    while Timer.SETTLE in core.snapshot.timers:
        if core.snapshot.recovery is Recovery.REAUTHENTICATE:
            core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
        elif core.snapshot.recovery is Recovery.RESUME:
            core.feed(ResumeDone(core.snapshot.epoch, ok=True))
        elif core.snapshot.checking:
            core.see(verdict)
        else:
            core.fire_next()
    return list(core.done)


def test_resumed_session_that_is_lost_at_once_is_not_waited_for() -> None:
    """IBKR took the cookies but does not know the session: a login follows in seconds, not after the deadline."""
    core = ready()
    core.see(Verdict.NO_SESSION)
    core.feed(ResumeDone(core.snapshot.epoch, ok=True))
    began_s = core.now
    while core.logins == 0:
        core.see(Verdict.NO_SESSION)
    assert core.now - began_s < 2.0


HANDSHAKE = Reauthenticate(handshake=True)


def test_hand_shake_that_met_an_ill_ibkr_is_asked_for_again() -> None:
    """A 503 after a login costs no other login: the gateway gave up, and repeats its handshake on request."""
    core = settling()
    core.see(Verdict.UPSTREAM_ILL)
    core.now += 20.0
    assert core.see(Verdict.BROKERAGE_GONE) == [HANDSHAKE]
    assert core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True)) == []
    assert core.snapshot.recovery is Recovery.SETTLE
    core.see(Verdict.BROKERAGE_GONE)
    core.see(Verdict.READY)
    assert (core.phase, core.logins, core.count(StopGateway)) == (Phase.READY, 1, 0)


@pytest.mark.parametrize("honoured", [True, False])
def test_cookies_of_a_login_are_offered_again_after_an_ill_ibkr(honoured: bool) -> None:  # noqa: FBT001 - parametrised
    """If IBKR does not know the session when it is back, the login's cookies come before another login."""
    core = settling()
    core.see(Verdict.UPSTREAM_ILL)
    core.now += 20.0
    assert core.see(Verdict.NO_SESSION) == [Resume()]
    core.feed(ResumeDone(core.snapshot.epoch, ok=honoured))
    assert core.snapshot.recovery is Recovery.SETTLE
    if honoured:
        core.see(Verdict.READY)
        assert core.phase is Phase.READY
    else:
        assert _never_settle(core)[-1] == StopGateway(logout=False), "one clean restart, as ever"
    assert core.logins == 1


def test_hand_shake_is_left_alone_while_the_gateway_tries_by_itself() -> None:
    """The gateway validates a login in five tries, 3 s apart: until then, gwctl requests no handshake."""
    core = settling()
    began_s = core.now
    done = _never_settle(core, Verdict.BROKERAGE_GONE)
    asked = [action for action in done if isinstance(action, Reauthenticate)]
    assert asked == [HANDSHAKE, Reauthenticate()], "where that does not help the session is opened without it"
    core = settling()
    while core.see(Verdict.BROKERAGE_GONE) != [HANDSHAKE]:
        assert core.now - began_s < 17.0
    assert core.now - began_s >= 16.0
    assert core.snapshot.timers[Timer.SETTLE] - began_s == core.policy.settle_timeout_s, "it costs no time"


def test_hand_shake_has_its_budget() -> None:
    """An IBKR that fails again and again gets no more handshakes than the budget allows."""
    core = settling()
    for _ in range(60):
        core.see(Verdict.UPSTREAM_ILL)
        core.now += 20.0
        if core.see(Verdict.BROKERAGE_GONE):
            core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
    assert core.count(Reauthenticate) == core.policy.budgets[Budgeted.REAUTHENTICATE].per_hour
    assert core.logins == 1


def test_errors_in_the_gateways_log_are_no_refusal() -> None:
    """If IBKR returned errors to the gateway, a person can do nothing: the login is repeated after a pause."""
    core = settling()
    _never_settle(core, Verdict.BROKERAGE_GONE)
    assert core.feed(CauseRead(ibkr_ill=True)) == []
    gateway_comes_back(core)
    core.see(Verdict.NO_SESSION)
    end_login(core, SUCCESS)
    done = _never_settle(core, Verdict.BROKERAGE_GONE)
    assert not [action for action in done if isinstance(action, BlockLogin | Finish)]
    assert core.phase is Phase.BACKOFF


def test_cause_is_read_before_the_log_is_another_gateways() -> None:
    """The gateway's log is read before its gateway is stopped, and the message to a person has its cause."""
    core = settling()
    done = _never_settle(core)
    assert [type(action) for action in done if isinstance(action, Explain | StopGateway)] == [Explain, StopGateway]
    assert core.feed(CauseRead(text="IBKR refused to validate it")) == [
        Warn("never_authenticated", "IBKR refused to validate it")
    ]
    gateway_comes_back(core)
    core.see(Verdict.NO_SESSION)
    end_login(core, SUCCESS)
    _never_settle(core)
    finish = core.snapshot.finishing
    assert isinstance(finish, Finish)
    assert finish.exit_code == 77
    assert finish.text == "the login succeeds but IBKR never opens the session: IBKR refused to validate it"


def test_never_authenticated_is_written_down_until_somebody_logs_in() -> None:
    """The next supervisor must not repeat it; a session that a person opened lifts the block."""
    core = settling()
    core.snapshot = replace(core.snapshot, ever_ready=True, settle_restarted=True)
    assert any(isinstance(action, BlockLogin) and action.code == "needs_person" for action in _never_settle(core))
    assert current(core.phase) is Phase.LOCKED_OUT
    assert core.see(Verdict.NO_SESSION) == []
    assert core.see(Verdict.READY) == [LiftBlock()]
    assert core.phase is Phase.READY
    assert core.see(Verdict.READY) == []


def test_session_that_does_not_come_in_maintenance_is_ibkrs_trouble() -> None:
    """In a window, a login that never authenticates costs no restart, no second submit and no person."""
    core = settling()
    until = core.now + 7200.0
    core.feed(WindowChanged(until=until))
    done = _never_settle(core)
    assert not [action for action in done if isinstance(action, StopGateway | BlockLogin)]
    assert core.logins == 1
    assert core.snapshot.timers[Timer.LOGIN] >= until


def test_brokerage_session_that_does_not_come_is_waited_for() -> None:
    """A login that IBKR has validated hides no question: after one restart, it is tried in growing pauses.

    After six in a row each is a warning; after twelve there is one an hour.
    """
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False)
    core.see(Verdict.NO_SESSION)
    pauses, told = [], []
    for attempt in range(16):
        end_login(core, replace(SUCCESS, resumable=False))
        done = _never_settle(core, Verdict.BROKERAGE_GONE)
        told.append(sum(isinstance(one, Warn) and one.code == "never_opened" for one in done))
        if attempt == 0:
            gateway_comes_back(core)
            core.see(Verdict.NO_SESSION)
            continue
        assert core.phase is Phase.BACKOFF
        pauses.append(core.snapshot.timers[Timer.LOGIN] - core.now)
        core.fire(Timer.LOGIN)
    assert core.count(StopGateway) == 1
    assert pauses == pytest.approx([15.0, 30.0, 60.0, 120.0, 240.0, 480.0, *[900.0] * 6, *[3600.0] * 3])
    assert told == [0] * 6 + list(range(1, 11))


def test_login_that_is_not_validated_needs_a_person_whatever_the_status_says() -> None:
    """If the gateway's log names the refusal, an unauthenticated status is no reason to keep trying."""
    core = ready()
    core.snapshot = replace(core.snapshot, resumable=False)
    core.see(Verdict.NO_SESSION)
    end_login(core, replace(SUCCESS, resumable=False))
    _never_settle(core, Verdict.BROKERAGE_GONE)
    core.feed(CauseRead(text="IBKR refused to validate it"))
    gateway_comes_back(core)
    core.see(Verdict.NO_SESSION)
    end_login(core, replace(SUCCESS, resumable=False))
    assert any(isinstance(action, BlockLogin) for action in _never_settle(core, Verdict.BROKERAGE_GONE))
    assert core.phase is Phase.LOCKED_OUT


def test_log_that_names_no_cause_warns_of_nothing() -> None:
    """Without a cause, there is no warning."""
    assert settling().feed(CauseRead(text="")) == []


# Problems on this machine: short pauses.


def test_port_that_was_stolen_is_tried_again_within_seconds() -> None:
    """A start that fails on this machine loads only this machine, so the pause stays short."""
    core = ready()
    for _ in range(2):
        core.see(Verdict.HUNG)
    core.feed(GatewayGone())
    for _ in range(20):
        if core.snapshot.process is Process.BACKOFF:
            core.fire(Timer.START)
        core.feed(GatewayCannotStart(core.snapshot.epoch, "the port is taken", None, "port_busy", 69))
        assert core.snapshot.timers[Timer.START] - core.now <= 5.0
        assert core.phase is Phase.BACKOFF


def test_stale_look_of_a_stopped_gateway_is_not_followed() -> None:
    """The request for another check does not outlive its gateway."""
    core = ready()
    core.fire(Timer.CHECK)
    core.feed(SessionPushed())
    core.feed(FolderLost())
    assert not core.snapshot.look_again
    assert core.feed(Checked(core.snapshot.epoch - 1, Verdict.READY)) == []


def test_take_over_spends_the_budget_of_its_rung() -> None:
    """Taking over counts as a reauthentication."""
    core = ready(Policy(take_over=True))
    core.see(Verdict.COMPETING)
    assert len(core.snapshot.spent.times[Budgeted.REAUTHENTICATE]) == 1
    assert core.feed(TimeOut(timer=Timer.CHECK)) == [Check(tickle=False)]
