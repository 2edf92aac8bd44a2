from __future__ import annotations

import pytest
from cores import end_login, gateway_comes_back, logging_in, ready, running, settling
from facts import current
from msgspec.structs import replace
from supervisor_fakes import REFUSED, SUCCESS, SWALLOWED, Core, started

from gwctl.core.messages import (
    CancelLogin,
    Check,
    Checked,
    Event,
    Finish,
    GatewayAnswers,
    GatewayCannotStart,
    GatewayEnded,
    GatewayFellOver,
    GatewayGone,
    Login,
    LoginDone,
    LoginResult,
    LoginWanted,
    Phase,
    Process,
    Reauthenticate,
    ReauthenticateDone,
    Recovery,
    RestartWanted,
    Resume,
    ResumeDone,
    SecondFactorAsked,
    Session,
    StartGateway,
    StartWanted,
    StopGateway,
    StopWanted,
    TimeOut,
    Timer,
    Warn,
)
from gwctl.core.policy import Policy
from gwctl.session_status import Verdict

ILL = (Verdict.UPSTREAM_ILL, Verdict.RATE_LIMITED)
NEEDS_PERSON = LoginDone(result=LoginResult.NEEDS_PERSON, text="locked", code="locked_out", exit_code=77, hint="reset")


def test_cold_start_logs_in_and_gets_ready() -> None:
    """A gateway without a session costs one check, one login and one wait, and nothing else."""
    core = started()
    assert core.done == [StartGateway(adopt=False)]
    assert current(core.phase) is Phase.STARTING
    assert core.feed(GatewayAnswers(0)) == [Check(tickle=False)]
    assert core.see(Verdict.NO_SESSION) == [Login(first=True)]
    assert current(core.phase) is Phase.LOGGING_IN
    assert core.feed(replace(SUCCESS, epoch=0)) == []
    assert core.see(Verdict.NO_SESSION) == []
    assert core.see(Verdict.BROKERAGE_GONE) == []
    assert current(core.phase) is Phase.LOGGING_IN
    assert core.see(Verdict.READY) == []
    assert core.phase is Phase.READY
    assert core.snapshot.reason == "authenticated"


@pytest.mark.parametrize("opens", [True, False])
def test_session_may_be_opened_before_the_gateways_handshake(*, opens: bool) -> None:
    """One request follows the login; whatever IBKR says, the same login goes on, and nothing is asked for twice."""
    core = logging_in(Policy(open_early=True))
    assert core.feed(replace(SUCCESS, epoch=core.snapshot.epoch)) == [Reauthenticate(early=True)]
    assert core.see(Verdict.BROKERAGE_GONE) == []
    assert core.feed(ReauthenticateDone(core.snapshot.epoch, ok=opens)) == ([Check()] if opens else [])
    assert current(core.phase) is Phase.LOGGING_IN
    if not opens:
        core.fire(Timer.CHECK)
    core.see(Verdict.READY)
    assert core.phase is Phase.READY
    assert core.logins == 1


@pytest.mark.parametrize("result", [LoginResult.SUCCESS, LoginResult.NEEDS_PERSON, LoginResult.TRANSIENT])
def test_a_login_page_that_is_new_is_told_of(result: LoginResult) -> None:
    """However the login on it ended, a warning says what was recognized; a known page causes none."""
    told = Warn("page_unknown_but_understood", "by what it has")
    for understood in ("by what it has", ""):
        core = logging_in()
        core.feed(LoginDone(core.snapshot.epoch, result, understood=understood))
        assert (told in core.done) == bool(understood)


def test_adopted_gateway_with_a_session_is_ready_without_a_login() -> None:
    """Law 4: a gateway that outlived its supervisor is adopted, and its session continues."""
    core = started(adopted=True)
    assert core.done == [StartGateway(adopt=True)]
    core.feed(GatewayAnswers(0))
    core.see(Verdict.READY)
    assert core.phase is Phase.READY
    assert core.logins == 0


def test_second_start_changes_nothing() -> None:
    """Law 1: a second start has no effect."""
    core = started()
    assert core.feed(StartWanted()) == []


def test_ended_gateway_is_back_at_once_by_resume() -> None:
    """A gateway that was stable restarts without a pause, and its session comes back without a login."""
    core = ready()
    assert core.feed(GatewayEnded(core.snapshot.epoch)) == [CancelLogin(), StopGateway(logout=False)]
    assert current(core.phase) is Phase.RECOVERING
    assert core.feed(GatewayGone()) == [StartGateway()]
    assert core.feed(GatewayAnswers(core.snapshot.epoch)) == [Resume()]
    assert core.feed(ResumeDone(core.snapshot.epoch, ok=True)) == [Check(tickle=True)]
    core.see(Verdict.READY)
    assert core.phase is Phase.READY
    assert core.snapshot.restarts == 1
    assert core.logins == 0


def test_refused_resume_is_followed_by_one_login() -> None:
    """If IBKR no longer accepts the cookies, one check makes sure and one login follows."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    gateway_comes_back(core)
    assert core.feed(ResumeDone(core.snapshot.epoch, ok=False)) == [Check()]
    assert core.see(Verdict.NO_SESSION) == [Login(first=True)]
    assert not core.snapshot.resumable


def test_resume_that_failed_because_ibkr_is_away_spends_no_login() -> None:
    """Law 5: a gateway that ends while IBKR cannot be reached waits for IBKR, and then resumes before it logs in."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    gateway_comes_back(core)
    core.feed(ResumeDone(core.snapshot.epoch, ok=False))
    for _ in range(50):
        core.see(Verdict.UPSTREAM_ILL)
    assert core.logins == 0
    assert core.see(Verdict.NO_SESSION) == [Resume()]


def test_resume_that_never_settles_logs_in() -> None:
    """Accepted cookies that open no session lead to one login."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    gateway_comes_back(core)
    core.feed(ResumeDone(core.snapshot.epoch, ok=True))
    core.see(Verdict.BROKERAGE_GONE)
    assert core.fire(Timer.SETTLE) == [Check(tickle=False)]
    assert core.see(Verdict.NO_SESSION) == [Login(first=True)]


def test_lost_session_is_resumed_then_logged_in_once() -> None:
    """A session that is gone at IBKR costs one resume and, if that fails, exactly one login."""
    core = ready()
    assert core.see(Verdict.NO_SESSION) == [Resume()]
    assert core.phase is Phase.RECOVERING
    assert core.see(Verdict.NO_SESSION) == []
    core.feed(ResumeDone(core.snapshot.epoch, ok=False))
    core.see(Verdict.NO_SESSION)
    for _ in range(5):
        core.see(Verdict.NO_SESSION)
    assert core.logins == 1


def test_ready_seen_during_a_resume_stands() -> None:
    """A session that comes back by itself during a recovery step is ready, and the end of the step changes nothing."""
    core = ready()
    core.see(Verdict.NO_SESSION)
    core.see(Verdict.READY)
    assert core.phase is Phase.READY
    assert core.snapshot.recovery is Recovery.RESUME
    assert core.see(Verdict.NO_SESSION) == []
    assert core.feed(ResumeDone(core.snapshot.epoch, ok=False)) == []
    assert core.phase is Phase.READY
    assert core.snapshot.recovery is None


def test_hung_gateway_is_restarted_at_the_second_sight() -> None:
    """One silence may be chance and is checked again soon; two mean a hung gateway."""
    core = ready()
    assert core.see(Verdict.HUNG) == []
    assert core.snapshot.timers[Timer.CHECK] == core.now + core.policy.hung_confirm_s
    assert core.see(Verdict.HUNG, "the gateway hangs") == [CancelLogin(), StopGateway(logout=False, hard=True)]
    assert core.snapshot.reason == "the gateway hangs"


def test_hung_sights_must_follow_each_other() -> None:
    """An answer in between resets the count."""
    core = ready()
    for _ in range(5):
        core.see(Verdict.HUNG)
        core.see(Verdict.READY)
    assert core.count(StopGateway) == 0


@pytest.mark.parametrize("verdict", ILL)
@pytest.mark.parametrize(
    "make", [running, logging_in, settling, ready], ids=["running", "logging-in", "settling", "ready"]
)
def test_unreachable_ibkr_never_costs_a_restart_or_a_login(make: type[Core], verdict: Verdict) -> None:
    """Law 5: however long IBKR is away, and whatever timers fire, nothing is restarted and no login is sent."""
    core = make()
    core.done.clear()
    if core.snapshot.checking:
        core.see(verdict)
    for _ in range(500):
        if core.fire_next() in {Timer.CHECK, Timer.TICKLE} and core.snapshot.checking:
            core.see(verdict)
    assert not [one for one in core.done if isinstance(one, StopGateway | StartGateway | Login | Reauthenticate)]
    if core.snapshot.recovery is not Recovery.LOGIN:
        assert core.phase is Phase.DEGRADED


def test_unreachable_ibkr_takes_a_pending_login_away_but_not_its_pause() -> None:
    """Law 5: a scheduled login is not sent while IBKR is away, and not earlier when it is back."""
    core = logging_in()
    end_login(core, replace(SWALLOWED, retry_after_s=900.0))
    due = core.snapshot.timers[Timer.LOGIN]
    core.see(Verdict.UPSTREAM_ILL)
    assert Timer.LOGIN not in core.snapshot.timers
    assert core.see(Verdict.NO_SESSION) == []
    assert core.snapshot.timers[Timer.LOGIN] == due
    assert core.fire(Timer.LOGIN) == [Login(first=False)]


def test_unreachable_ibkr_does_not_count_against_a_session_that_settles() -> None:
    """Law 5: a login that succeeded just before IBKR went away gets its whole time when IBKR is back."""
    core = settling()
    core.see(Verdict.UPSTREAM_ILL)
    assert core.phase is Phase.DEGRADED
    core.now += 3600.0
    assert core.see(Verdict.NO_SESSION) == [Resume()], "the login's cookies are offered again"
    assert core.snapshot.timers[Timer.SETTLE] == core.now + core.policy.settle_timeout_s
    core.see(Verdict.READY)
    assert core.logins == 1


def test_settle_deadline_waits_for_the_look_under_way() -> None:
    """Law 5: a slow check may find that IBKR is away; the deadline does not decide before it."""
    core = settling()
    core.fire(Timer.CHECK)
    core.fire(Timer.SETTLE)
    assert core.count(StopGateway) == 0
    core.see(Verdict.UPSTREAM_ILL)
    assert core.phase is Phase.DEGRADED
    assert core.count(StopGateway) == 0


def test_settle_deadline_passed_during_a_look_counts_when_ibkr_answers() -> None:
    """A login that never authenticates is noticed even if its deadline passed during a check."""
    core = settling()
    core.fire(Timer.CHECK)
    core.fire(Timer.SETTLE)
    core.see(Verdict.NO_SESSION)
    assert core.count(StopGateway) == 1


def test_third_transient_login_restarts_only_while_ibkr_answers() -> None:
    """Law 5: logins that fail while IBKR is away do not restart the gateway."""
    core = logging_in()
    for attempt in range(3):
        if attempt:
            core.fire(Timer.LOGIN)
        if attempt == 2:
            core.see(Verdict.UPSTREAM_ILL)
        end_login(core, SWALLOWED)
    assert core.count(StopGateway) == 0
    assert Timer.LOGIN not in core.snapshot.timers


def test_lost_brokerage_session_is_reauthenticated_three_times_then_logged_in() -> None:
    """The cheap step comes first, with a budget and time to work; only then follows a login."""
    core = ready()
    for attempt in range(3):
        assert core.see(Verdict.BROKERAGE_GONE) == [Reauthenticate(compete=False)], attempt
        ok = attempt != 1
        assert core.feed(ReauthenticateDone(core.snapshot.epoch, ok=ok)) == ([Check()] if ok else [])
        if ok:
            assert core.see(Verdict.BROKERAGE_GONE) == []
            assert core.snapshot.timers[Timer.CHECK] - core.now < core.policy.check_interval_s
        core.now += core.policy.reauthenticate_wait_s
    assert core.see(Verdict.BROKERAGE_GONE) == [Login(first=False)]


def test_reauthentications_are_counted_anew_after_ready() -> None:
    """A budget is for one loss, not for the life of the supervisor."""
    core = ready()
    for _ in range(10):
        core.see(Verdict.BROKERAGE_GONE)
        core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
        core.see(Verdict.READY)
    assert core.count(Reauthenticate) == 10
    assert core.logins == 0


def test_competing_session_is_yielded_to() -> None:
    """By default, another session of the username is left alone, however long it lasts."""
    core = ready()
    for _ in range(100):
        assert core.see(Verdict.COMPETING, "another session competes") == []
    assert current(core.phase) is Phase.DEGRADED
    assert core.snapshot.reason == "another session competes"
    core.see(Verdict.READY)
    assert core.phase is Phase.READY


def test_competing_session_seen_while_settling_is_yielded_to() -> None:
    """A login that finds another session there does not wait for its end, and does not restart for it."""
    core = settling()
    core.see(Verdict.COMPETING)
    assert Timer.SETTLE not in core.snapshot.timers
    assert core.phase is Phase.DEGRADED


def test_take_over_happens_once_a_loss() -> None:
    """With take_over, the session is taken once for each loss, not again and again."""
    core = ready(Policy(take_over=True))
    for _ in range(3):
        core.done.clear()
        for _ in range(20):
            core.see(Verdict.COMPETING)
            if core.snapshot.recovery is Recovery.REAUTHENTICATE:
                core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
        assert core.count(Reauthenticate) == 1
        assert Reauthenticate(compete=True) in core.done
        core.see(Verdict.READY)
        core.now += core.policy.take_over_pause_s


def test_take_over_is_no_fight() -> None:
    """Two tools that both take over do not fight forever: a session taken back at once is yielded."""
    core = ready(Policy(take_over=True))
    for _ in range(20):
        core.see(Verdict.COMPETING)
        core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True))
        core.see(Verdict.READY)
    assert core.count(Reauthenticate) == 1


def test_refused_before_it_was_ever_ready_ends_the_supervisor() -> None:
    """A refused first password needs a person: 77, everything stopped, one login in all."""
    core = logging_in()
    end_login(core, REFUSED)
    assert core.snapshot.process is Process.STOPPING
    assert core.feed(GatewayGone()) == [
        Finish(77, "credentials_rejected", "IBKR refused the username or the password", "correct them")
    ]
    assert core.logins == 1


@pytest.mark.parametrize("done", [REFUSED, NEEDS_PERSON])
def test_refused_after_ready_locks_out_until_a_person_asks(done: LoginDone) -> None:
    """Law 2: once only a person can help, only that person's command leads to another login."""
    core = ready()
    core.see(Verdict.NO_SESSION)
    core.feed(ResumeDone(core.snapshot.epoch, ok=False))
    core.see(Verdict.NO_SESSION)
    end_login(core, done)
    assert core.phase is Phase.LOCKED_OUT
    assert Warn(done.code, done.text) in core.done
    core.done.clear()
    for verdict in (Verdict.NO_SESSION, Verdict.BROKERAGE_GONE, Verdict.COMPETING, *ILL, Verdict.NO_SESSION) * 20:
        core.see(verdict)
        assert core.phase is Phase.LOCKED_OUT
        assert core.snapshot.reason == done.text
    core.feed(GatewayEnded(core.snapshot.epoch))
    gateway_comes_back(core)
    assert core.snapshot.reason == done.text
    assert core.phase is Phase.LOCKED_OUT
    core.fire(Timer.CHECK)
    core.see(Verdict.NO_SESSION)
    assert not [one for one in core.done if isinstance(one, Login | Resume | Reauthenticate)]
    assert core.feed(LoginWanted()) == [Login(first=True)]


def test_session_that_comes_back_by_itself_ends_a_lock_out() -> None:
    """A person may log in another way; a ready session ends the lock-out."""
    core = ready()
    core.see(Verdict.NO_SESSION)
    core.feed(LoginWanted())
    core.feed(ResumeDone(core.snapshot.epoch, ok=False))
    end_login(core, NEEDS_PERSON)
    core.see(Verdict.READY)
    assert core.phase is Phase.READY


def test_refused_after_it_had_worked_pauses_as_the_ledger_says() -> None:
    """Law 2: a password that has worked is tried again only after the ledger's pause."""
    core = logging_in()
    end_login(core, LoginDone(result=LoginResult.REFUSED_AFTER_IT_WORKED, text="refused", retry_after_s=900.0))
    assert core.phase is Phase.BACKOFF
    assert core.snapshot.timers[Timer.LOGIN] == core.now + 900.0
    for _ in range(20):
        core.see(Verdict.NO_SESSION)
        core.see(Verdict.BROKERAGE_GONE)
    assert core.logins == 1
    assert core.fire(Timer.LOGIN) == [Login(first=False)]


def test_login_that_ibkr_could_not_serve_waits_longer() -> None:
    """A problem at IBKR is waited out for a minute at least."""
    core = logging_in()
    end_login(core, LoginDone(result=LoginResult.IBKR_ILL, text="maintenance"))
    assert core.snapshot.timers[Timer.LOGIN] == core.now + core.policy.ill_pause_s


def test_missing_browser_ends_a_first_start_and_only_pauses_a_later_one() -> None:
    """A missing part of this machine ends the first start with its own exit code; later the loop continues."""
    missing = LoginDone(
        result=LoginResult.ENVIRONMENT,
        text="no browser",
        code="browser_missing",
        exit_code=69,
        hint="gwctl browser install",
    )
    core = logging_in()
    end_login(core, missing)
    assert core.feed(GatewayGone()) == [Finish(69, "browser_missing", "no browser", "gwctl browser install")]
    core = ready()
    core.feed(LoginWanted())
    end_login(core, missing)
    assert core.phase is Phase.BACKOFF


@pytest.mark.parametrize(
    ("submits", "longer_s"), [(0, [40.0, 60.0, 60.0]), (1, [40.0, 80.0, 160.0])], ids=["unsent", "sent"]
)
def test_swallowed_logins_restart_the_gateway_once(submits: int, longer_s: list[float]) -> None:
    """Three logins that the page ignores cause one restart, then pauses: of a minute at most if nothing was sent."""
    core = logging_in()
    pauses = []
    for _ in range(6):
        end_login(core, replace(SWALLOWED, submits=submits))
        if core.snapshot.process is Process.RECYCLING:
            gateway_comes_back(core)
            core.see(Verdict.NO_SESSION)
        else:
            pauses.append(core.snapshot.timers[Timer.LOGIN] - core.now)
            core.fire(Timer.LOGIN)
    assert core.count(StopGateway) == 1
    assert pauses == [5.0, 10.0, *longer_s]


def test_login_that_never_settles_restarts_once_then_asks_for_a_person() -> None:
    """A login that succeeds but never authenticates gets one clean restart, and then a person's instructions."""
    core = settling()
    core.see(Verdict.NO_SESSION)
    core.fire(Timer.SETTLE)
    assert core.snapshot.process is Process.RECYCLING
    gateway_comes_back(core)
    assert core.see(Verdict.NO_SESSION) == [Login(first=True)]
    end_login(core, SUCCESS)
    core.see(Verdict.NO_SESSION)
    core.fire(Timer.SETTLE)
    [finish] = core.feed(GatewayGone())
    assert isinstance(finish, Finish)
    assert finish.exit_code == 77
    assert "gwctl login" in (finish.hint or "")


@pytest.mark.parametrize(
    ("passed_s", "pause_s"),
    [(0.0, 0.1), (0.1, 0.5), (0.6, 2.4), (2.5, 0.5), (3.0, 0.3), (3.9, 0.3), (4.0, 1.0), (20.0, 1.0)],
)
def test_settling_is_looked_at_when_it_is_likely(passed_s: float, pause_s: float) -> None:
    """A resumed session is checked at once, a new login after the gateway's own delay; other checks are few."""
    core = settling()
    core.now = core.snapshot.recovery_since + passed_s
    core.feed(TimeOut(timer=Timer.CHECK))
    core.see(Verdict.NO_SESSION)
    assert core.snapshot.timers[Timer.CHECK] - core.now == pytest.approx(pause_s)


def test_ready_during_a_login_waits_for_the_login_to_end() -> None:
    """A session may open before the page says so; the login's end brings what a resume needs."""
    core = logging_in()
    core.see(Verdict.READY)
    assert core.phase is Phase.LOGGING_IN
    end_login(core, SUCCESS)
    core.see(Verdict.READY)
    assert core.snapshot.resumable


def test_second_factor_is_shown_while_it_is_waited_for() -> None:
    """The phase shows that a person has to act."""
    core = logging_in()
    core.feed(SecondFactorAsked(core.snapshot.epoch))
    assert current(core.phase) is Phase.AWAITING_SECOND_FACTOR
    for verdict in Verdict:
        if verdict not in {Verdict.HUNG, Verdict.ACCESS_DENIED}:
            core.see(verdict)
    assert current(core.phase) is Phase.AWAITING_SECOND_FACTOR
    end_login(core, SUCCESS)
    core.see(Verdict.READY)
    core.feed(SecondFactorAsked(core.snapshot.epoch))
    assert core.phase is Phase.READY


def test_failing_starts_back_off_and_end_after_three() -> None:
    """A gateway that never comes up is tried three times with growing pauses, then 69 with the reason."""
    core = started()
    core.feed(GatewayFellOver(core.snapshot.epoch, "it ended"))
    assert core.phase is Phase.BACKOFF
    assert core.snapshot.timers[Timer.START] == core.now + 1.0
    core.fire(Timer.START)
    core.feed(GatewayFellOver(core.snapshot.epoch, "it ended"))
    assert core.snapshot.timers[Timer.START] == core.now + 2.0
    core.fire(Timer.START)
    core.feed(GatewayFellOver(core.snapshot.epoch, "it ended"))
    assert core.feed(GatewayGone()) == [Finish(69, "gateway_failed", "it ended", "gwctl logs --gateway")]


def test_failing_starts_after_ready_go_on_for_ever() -> None:
    """After a first success, the pauses grow to a minute, and the loop does not give up."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    for _ in range(20):
        core.feed(GatewayFellOver(core.snapshot.epoch, "it ended"))
        assert core.phase is Phase.BACKOFF
        core.fire(Timer.START)
    assert core.count(Finish) == 0


def test_busy_port_ends_a_first_start() -> None:
    """A problem that a retry cannot fix is reported at once, with its own code."""
    core = started()
    busy = GatewayCannotStart(core.snapshot.epoch, "port 5000 is held", "gwctl up --port 5001", "port_busy", 69)
    assert core.feed(busy) == [StopGateway(logout=False)]
    assert core.phase is Phase.STOPPING
    assert core.feed(GatewayGone()) == [Finish(69, "port_busy", "port 5000 is held", "gwctl up --port 5001")]


def test_busy_port_after_ready_is_waited_out() -> None:
    """The process that took the port between two starts may release it again."""
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    core.feed(GatewayGone())
    core.feed(GatewayCannotStart(core.snapshot.epoch, "port 5000 is held", None, "port_busy", 69))
    assert core.phase is Phase.BACKOFF


def test_gateway_that_ends_again_and_again_is_restarted_with_pauses() -> None:
    """Restarts of an unstable gateway have pauses of a minute at most, and never stop; one warning reports them."""
    core = ready()
    pauses = []
    for _ in range(100):
        core.feed(GatewayEnded(core.snapshot.epoch))
        core.feed(GatewayGone())
        due = core.snapshot.timers.get(Timer.START)
        pauses.append(0.0 if due is None else due - core.now)
        if due is not None:
            core.fire(Timer.START)
        core.feed(GatewayAnswers(core.snapshot.epoch))
        core.now += 1.0
    assert pauses[:4] == [0.0, 1.0, 2.0, 4.0]
    assert max(pauses) == pytest.approx(60.0)
    assert [one.code for one in core.done if isinstance(one, Warn)] == ["restarted_often"]


def test_gateway_that_ends_every_four_minutes_is_up_most_of_the_time() -> None:
    """A gateway that the OOM killer ends all day is restarted at once each time, with one warning, not 360."""
    core = ready()
    for _ in range(360):
        core.now += 240.0
        core.feed(GatewayEnded(core.snapshot.epoch))
        assert StartGateway() in core.feed(GatewayGone())
        core.feed(GatewayAnswers(core.snapshot.epoch))
    assert [one.code for one in core.done if isinstance(one, Warn)] == ["restarted_often"]


def test_restarts_that_become_rare_and_frequent_again_are_told_of_again() -> None:
    """A series of restarts is over when they have become half as frequent; the next series causes a warning."""
    core = ready()
    for pause_s in (240.0, 7200.0, 240.0):
        for _ in range(30):
            core.now += pause_s
            core.feed(GatewayEnded(core.snapshot.epoch))
            gateway_comes_back(core)
    assert [one.code for one in core.done if isinstance(one, Warn)] == ["restarted_often"] * 2


def test_stable_gateway_restarts_at_once() -> None:
    """A crash a day is no reason to wait."""
    core = ready()
    for _ in range(5):
        core.now += 86_400.0
        core.feed(GatewayEnded(core.snapshot.epoch))
        assert StartGateway() in core.feed(GatewayGone())
        core.feed(GatewayAnswers(core.snapshot.epoch))
        core.feed(ResumeDone(core.snapshot.epoch, ok=True))
        core.see(Verdict.READY)


def test_restart_as_asked_is_not_counted_against_the_budget() -> None:
    """A person may restart as often as they like."""
    core = ready()
    for _ in range(30):
        assert core.feed(RestartWanted()) == [CancelLogin(), StopGateway(logout=False)]
        assert core.feed(RestartWanted()) == []
        assert StartGateway() in core.feed(GatewayGone())
        core.feed(GatewayAnswers(core.snapshot.epoch))


def test_restart_as_asked_ends_a_pause() -> None:
    """A person who requests the gateway does not wait for the back-off."""
    core = started()
    core.feed(GatewayFellOver(core.snapshot.epoch, "it ended"))
    assert core.feed(RestartWanted()) == [StartGateway()]
    assert Timer.START not in core.snapshot.timers


def test_gateway_that_ends_during_its_start_is_started_anew() -> None:
    """The end is seen, whatever the start reports later."""
    core = started()
    epoch = core.snapshot.epoch
    core.feed(GatewayEnded(epoch))
    assert core.snapshot.process is Process.RECYCLING
    assert core.feed(GatewayAnswers(epoch)) == []


def test_watch_that_failed_counts_as_the_end() -> None:
    """A gateway that cannot be watched any more counts as ended."""
    core = ready()
    core.feed(GatewayFellOver(core.snapshot.epoch, "unexpected"))
    assert core.snapshot.process is Process.RECYCLING
    core.feed(GatewayFellOver(core.snapshot.epoch, "unexpected"))
    assert core.snapshot.process is Process.RECYCLING


def test_refused_address_ends_a_first_start() -> None:
    """An allow list without 127.0.0.1 is a wrong setting: 78 with the line to change."""
    core = running()
    core.see(Verdict.ACCESS_DENIED)
    [finish] = core.feed(GatewayGone())
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.hint) == (78, "gwctl restart")


def test_refused_address_after_ready_is_waited_out() -> None:
    """After a first success, an odd answer is waited out."""
    core = ready()
    core.see(Verdict.ACCESS_DENIED)
    assert core.phase is Phase.DEGRADED


def test_rate_limited_checks_and_tickles_pause() -> None:
    """After a 429, checks pause, each time twice as long, up to one request in four minutes."""
    core = ready()
    pauses = []
    for _ in range(9):
        core.see(Verdict.RATE_LIMITED)
        pauses.append(min(core.snapshot.timers.values()) - core.now)
        core.fire(Timer.CHECK)
    assert pauses == pytest.approx([15.0, 30.0, 60.0, 120.0, 240.0, 240.0, 240.0, 240.0, 240.0])
    core.see(Verdict.READY)
    core.see(Verdict.RATE_LIMITED)
    assert min(core.snapshot.timers.values()) - core.now == 15.0


def test_tickle_that_meets_a_look_follows_it_soon() -> None:
    """One check in flight, never two; the tickle is late, not lost."""
    core = ready()
    core.fire(Timer.CHECK)
    core.now = core.snapshot.timers[Timer.TICKLE]
    assert core.feed(TimeOut(timer=Timer.TICKLE)) == []
    core.see(Verdict.READY)
    assert core.fire(Timer.TICKLE) == [Check(tickle=True)]
    assert core.snapshot.timers[Timer.TICKLE] == core.now + core.policy.tickle_interval_s


def test_login_as_asked() -> None:
    """A person's login starts at once, also on a ready session; requested twice, it runs once."""
    core = ready()
    assert core.feed(LoginWanted()) == [Login(first=False)]
    assert core.feed(LoginWanted()) == []


@pytest.mark.parametrize("seen_ready", [False, True])
def test_login_as_asked_waits_for_the_cure_under_way(seen_ready: bool) -> None:  # noqa: FBT001 - parametrised
    """Law 1: a login never runs in parallel with a recovery step; it follows the step."""
    core = ready()
    core.see(Verdict.BROKERAGE_GONE)
    assert core.feed(LoginWanted()) == []
    if seen_ready:
        core.see(Verdict.READY)
    assert core.feed(ReauthenticateDone(core.snapshot.epoch, ok=True)) == [Login(first=False)]


def test_login_as_asked_during_a_start_follows_the_start() -> None:
    """A person's request is not lost because the gateway is just starting."""
    core = ready()
    core.feed(RestartWanted())
    core.feed(LoginWanted())
    core.feed(GatewayGone())
    assert core.feed(GatewayAnswers(core.snapshot.epoch)) == [Login(first=True)]


def stopped_in_start() -> Core:
    return started()


def stopped_in_back_off() -> Core:
    core = started()
    core.feed(GatewayFellOver(core.snapshot.epoch, "it ended"))
    return core


def stopped_in_recycling() -> Core:
    core = ready()
    core.feed(GatewayEnded(core.snapshot.epoch))
    return core


def stopped_in_stopping() -> Core:
    core = ready()
    core.feed(StopWanted())
    return core


def stopped_in_fatal() -> Core:
    core = started()
    core.feed(GatewayCannotStart(core.snapshot.epoch, "no Java"))
    return core


def stopped_in_second_factor() -> Core:
    core = logging_in()
    core.feed(SecondFactorAsked(core.snapshot.epoch))
    return core


STOP_CASES = [
    running,
    logging_in,
    settling,
    ready,
    stopped_in_start,
    stopped_in_back_off,
    stopped_in_recycling,
    stopped_in_stopping,
    stopped_in_fatal,
    stopped_in_second_factor,
]


@pytest.mark.parametrize("keep", [False, True], ids=["", "keep"])
@pytest.mark.parametrize("make", STOP_CASES, ids=lambda make: make.__name__)
def test_stop_reaches_the_end_from_everywhere(make: type[Core], keep: bool) -> None:  # noqa: FBT001 - parametrised
    """Law 10: whatever is under way, a stop ends in Finish as soon as the gateway is gone."""
    core = make()
    was_running = core.snapshot.process is Process.RUNNING
    core.done.clear()
    actions = core.feed(StopWanted(keep_gateway=keep))
    if keep and was_running:
        assert actions == [CancelLogin(), Finish(0)]
        return
    if make is not stopped_in_stopping:
        assert actions == [CancelLogin(), StopGateway(logout=was_running)]
    assert core.snapshot.timers == {}
    core.feed(GatewayGone())
    assert core.snapshot.process is Process.STOPPED
    assert core.phase is Phase.STOPPED
    assert core.count(Finish) == 1


def test_stop_before_the_start_ends_at_once() -> None:
    """Law 10 for a loop that has not begun."""
    core = Core()
    assert core.feed(StopWanted()) == [Finish(0)]


STALE: list[Event] = [
    GatewayAnswers(0),
    GatewayEnded(0),
    GatewayFellOver(0),
    GatewayCannotStart(0),
    Checked(0),
    ReauthenticateDone(0),
    ResumeDone(0),
    SecondFactorAsked(0),
    replace(SUCCESS, epoch=0),
]


@pytest.mark.parametrize("event", STALE, ids=lambda event: type(event).__name__)
def test_stale_answers_change_nothing(event: Event) -> None:
    """The answer to an outdated request is ignored."""
    core = ready()
    core.feed(RestartWanted())
    gateway_comes_back(core)
    before = core.snapshot
    assert before.epoch > 0
    assert core.feed(event) == []
    assert core.snapshot == before


UNASKED: list[Event] = [ReauthenticateDone(), ResumeDone(), SUCCESS, SecondFactorAsked(), GatewayGone()]


@pytest.mark.parametrize("event", UNASKED, ids=lambda event: type(event).__name__)
def test_answers_that_nobody_asked_for_change_nothing(event: Event) -> None:
    """A recovery step that is not under way cannot end."""
    core = ready()
    before = core.snapshot
    assert core.feed(event) == []
    assert core.snapshot == before


@pytest.mark.parametrize("timer", list(Timer))
def test_timers_mean_nothing_while_nothing_runs(timer: Timer) -> None:
    """A timer of a gateway that is being stopped causes neither a check nor a login."""
    core = ready()
    core.feed(StopWanted())
    assert core.feed(TimeOut(timer=timer)) == []
    assert core.feed(Checked(verdict=Verdict.NO_SESSION)) == []


def test_login_timer_during_a_cure_is_let_go() -> None:
    """Law 1: a pause that ends during a recovery step starts no second one."""
    core = ready()
    core.see(Verdict.BROKERAGE_GONE)
    assert core.feed(TimeOut(timer=Timer.LOGIN)) == []
    assert core.feed(TimeOut(timer=Timer.SETTLE)) == []


def test_session_seen_locked_out_by_ibkr_is_not_asked_for_a_second_factor() -> None:
    """A question after the login's end changes nothing."""
    core = ready()
    assert core.snapshot.session is Session.AUTHENTICATED
    core.feed(SecondFactorAsked(core.snapshot.epoch))
    assert core.snapshot.session is Session.AUTHENTICATED
