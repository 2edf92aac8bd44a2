from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from facts import current
from healing import OURS_S, HealthyWorld, copy_of
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from supervisor_fakes import Core

from gwctl.core.budget import Budget, Budgeted
from gwctl.core.messages import (
    Action,
    ByHandWanted,
    CancelLogin,
    CancelRecovery,
    CauseRead,
    Check,
    Checked,
    ClockJumped,
    Event,
    Finish,
    FolderLost,
    GatewayAnswers,
    GatewayCannotStart,
    GatewayEnded,
    GatewayFellOver,
    GatewayGone,
    LoggedInByHand,
    Login,
    LoginDone,
    LoginResult,
    LoginWanted,
    Pause,
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
    SessionPushed,
    StartGateway,
    StartWanted,
    StopGateway,
    StopWanted,
    SubmitBegun,
    TimeOut,
    Timer,
    WindowChanged,
)
from gwctl.core.planned import LoginHours, LoginPlanned, PauseOver, PauseWanted
from gwctl.core.policy import Policy
from gwctl.core.tables import PROCESS_TABLE, SESSION_TABLE, Arrow, Turn
from gwctl.session_status import Verdict

pytestmark = [pytest.mark.law(5), pytest.mark.law(6), pytest.mark.law(10)]

ILL = {Verdict.UPSTREAM_ILL, Verdict.RATE_LIMITED}
SIGHTS = [one for one in Verdict if one is not Verdict.WRONG_KIND]
"""What does not end everything at once: that has a rule of its own."""
CURES = (Reauthenticate, Resume, Login)
results = st.sampled_from([result for result in LoginResult if result is not LoginResult.SUCCESS])


class AnyShell(RuleBasedStateMachine):
    """A loop that obeys every action, answers each question once at most, and meets the worst of worlds."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.core = Core()
        self.gateway: str | None = None
        self.gateway_epoch = 0
        self.asked: dict[str, int] = {}
        self.finished = False
        self.stop_wanted = False
        self.only_ill = False
        self.has_session = False
        self.undisturbed = 0

    # What a loop does with the core's actions.

    def give(self, event: Event) -> None:
        AnyShell.steps += 1
        self.undisturbed += 1
        self.before = self.core.snapshot
        by_person = isinstance(event, LoginWanted | RestartWanted | StopWanted)
        for action in self.core.feed(event):
            assert not self.finished, "nothing is done after the end"
            self.obey(action, event, by_person=by_person)

    def obey(self, action: Action, event: Event, *, by_person: bool) -> None:
        core = self.core
        if isinstance(action, StartGateway):
            assert self.gateway is None, "law 1: never two gateways"
            assert core.snapshot.pause is None or action.adopt, "no gateway is started in a pause"
            self.gateway, self.gateway_epoch = "starting", core.snapshot.epoch
        elif isinstance(action, StopGateway):
            if self.gateway == "running" and not by_person and not isinstance(event, GatewayEnded):
                restart = core.snapshot.process is Process.RECYCLING
                assert not (restart and self.only_ill), "law 5: no restart while IBKR is away"
            self.gateway = "stopping"
            self.asked.clear()
        elif isinstance(action, Check):
            given_up = event == TimeOut(timer=Timer.LOOK)
            assert given_up or "check" not in self.asked, "one check in flight, never two"
            self.asked["check"] = core.snapshot.epoch
        elif isinstance(action, CURES):
            assert self.gateway == "running"
            assert core.snapshot.pause is None, "nothing takes the session back in a pause"
            assert not self.asked.keys() & {"login", "cure"}, "law 1: one cure at a time"
            is_login = isinstance(action, Login)
            if is_login and not by_person:
                assert not self.only_ill or core.snapshot.login_wanted or self.person_waits, "law 5"
                self.is_due(by_person=self.before.login_wanted or self.person_waits)
            elif isinstance(action, Resume):
                assert self.room_in_s(Budgeted.RESUME) == 0.0, "no more resumes than the budget has"
            self.asked["login" if is_login else "cure"] = core.snapshot.epoch
        elif isinstance(action, CancelLogin | CancelRecovery):
            self.asked.pop("login" if isinstance(action, CancelLogin) else "cure", None)
        elif isinstance(action, Finish):
            self.finished = True

    person_waits = False

    def is_due(self, *, by_person: bool) -> None:
        """Assert that an automatic login respects the budget, the pause and IBKR's maintenance windows."""
        if by_person:
            return
        before, now = self.before, self.core.now
        assert self.room_in_s(Budgeted.LOGIN) == 0.0, "no more logins than the budget has"
        assert before.login_not_before <= now, "no login before its time"
        assert before.logins_from is None or before.logins_from <= now, "no login outside the login hours"
        if before.window_until is not None:
            # The window may be over without the core knowing it yet.
            assert not before.failed_logins or now >= before.window_until, "what failed is not repeated in maintenance"

    def room_in_s(self, budgeted: Budgeted) -> float:
        return self.before.spent.room_in_s(budgeted, self.core.policy.budgets[budgeted], self.core.now)

    def answer(self, name: str, make: Callable[[int], Event]) -> None:
        self.give(make(self.asked.pop(name)))

    @initialize(
        adopted=st.booleans(),
        take_over=st.booleans(),
        early=st.booleans(),
        narrow=st.booleans(),
        chance=st.integers(0, 5),
    )
    def begin(self, *, adopted: bool, take_over: bool, early: bool, narrow: bool, chance: int) -> None:
        self.core.policy = Policy(take_over=take_over, open_early=early, seed=chance)
        if narrow:
            self.core.policy = replace(self.core.policy, budgets=dict.fromkeys(Budgeted, Budget(1, 3)))
        self.give(StartWanted(adopted=adopted))

    alive = precondition(lambda self: not self.finished)

    # The gateway.

    @precondition(lambda self: self.gateway == "starting")
    @rule()
    def gateway_answers(self) -> None:
        self.gateway = "running"
        self.person_waits = self.core.snapshot.login_wanted
        self.give(GatewayAnswers(self.gateway_epoch))

    @precondition(lambda self: self.gateway == "starting")
    @rule(cannot=st.booleans())
    def gateway_falls_over(self, *, cannot: bool) -> None:
        self.gateway = None
        make = GatewayCannotStart if cannot else GatewayFellOver
        self.give(make(self.gateway_epoch, "it fell over"))

    @precondition(lambda self: self.gateway == "running" or (self.gateway == "starting" and self.undisturbed > 3))
    @rule(watched=st.booleans())
    def gateway_ends(self, *, watched: bool) -> None:
        self.undisturbed = 0
        self.gateway, self.has_session = None, False
        self.give((GatewayEnded if watched else GatewayFellOver)(self.gateway_epoch))

    @precondition(lambda self: self.gateway == "stopping" and not self.finished)
    @rule()
    def gateway_is_gone(self) -> None:
        self.gateway = None
        self.give(GatewayGone())

    # The session.

    @precondition(lambda self: "check" in self.asked)
    @rule(verdict=st.sampled_from(SIGHTS))
    def check_comes_back(self, verdict: Verdict) -> None:
        self.only_ill = verdict in ILL or (verdict is Verdict.HUNG and self.only_ill and self.core.snapshot.hung == 0)
        self.answer("check", lambda epoch: Checked(epoch, verdict))

    @precondition(lambda self: "check" in self.asked and not self.finished and self.undisturbed > 40)
    @rule()
    def account_is_of_the_other_kind(self) -> None:
        stale = self.asked["check"] != self.core.snapshot.epoch
        during_login = stale or self.core.snapshot.recovery is Recovery.LOGIN
        self.answer("check", lambda epoch: Checked(epoch, Verdict.WRONG_KIND))
        assert during_login or self.core.snapshot.finishing is not None, "nobody trades live by accident"

    def sees(self, verdict: Verdict) -> None:
        """Let the next check see this; if none is under way, push for one."""
        if "check" not in self.asked:
            self.give(SessionPushed())
        if "check" in self.asked:
            self.check_comes_back(verdict)

    @precondition(lambda self: "check" in self.asked)
    @rule()
    def ibkr_stays_away(self) -> None:
        self.check_comes_back(Verdict.UPSTREAM_ILL)

    @precondition(lambda self: self.gateway == "running" and not self.finished)
    @rule(looks=st.integers(1, 12))
    def ibkr_is_away_for_long(self, looks: int) -> None:
        for _ in range(looks):
            if "check" in self.asked:
                self.check_comes_back(Verdict.UPSTREAM_ILL)
            elif self.gateway == "running" and self.core.snapshot.timers:
                self.time_passes(0.0)

    @precondition(lambda self: "cure" in self.asked)
    @rule(ok=st.booleans())
    def cure_comes_back(self, *, ok: bool) -> None:
        self.person_waits = self.core.snapshot.login_wanted
        make = ResumeDone if self.core.snapshot.recovery is Recovery.RESUME else ReauthenticateDone
        self.answer("cure", lambda epoch: make(epoch, ok=ok))
        self.person_waits = False

    @precondition(lambda self: "login" in self.asked)
    @rule()
    def submit_begins(self) -> None:
        self.give(SubmitBegun(self.asked["login"]))

    @precondition(lambda self: "login" in self.asked)
    @rule(result=results, submits=st.integers(0, 2))
    def login_fails_and_says_what_it_sent(self, result: LoginResult, submits: int) -> None:
        self.answer("login", lambda epoch: LoginDone(epoch, result, "it failed", submits=submits))

    # What follows from any state in a healthy world.

    @alive
    @rule(sight=st.sampled_from([Verdict.NO_SESSION, Verdict.BROKERAGE_GONE, Verdict.READY]), lost=st.booleans())
    def world_would_be_well(self, sight: Verdict, *, lost: bool) -> None:
        """READY is reached without help unless a person is needed; requests under way may fail."""
        world = HealthyWorld(copy_of(self.core), self.gateway, set(self.asked), sight, lost)
        if self.gateway is None and self.core.snapshot.process is Process.STARTING:
            return  # a gateway that has ended, not reported yet
        took_s = world.heal()
        assert took_s is None or took_s <= OURS_S, f"{took_s:.0f} s of our own: {world.core.snapshot}"

    @precondition(lambda self: "login" in self.asked)
    @rule(result=results, retry_after_s=st.sampled_from([None, 0.0, 900.0]))
    def login_fails(self, result: LoginResult, retry_after_s: float | None) -> None:
        self.answer("login", lambda epoch: LoginDone(epoch, result, "it failed", retry_after_s=retry_after_s))

    @precondition(lambda self: "login" in self.asked)
    @rule(resumable=st.booleans())
    def login_succeeds(self, *, resumable: bool) -> None:
        self.answer("login", lambda epoch: LoginDone(epoch, LoginResult.SUCCESS, "in", resumable=resumable))

    @precondition(lambda self: "login" in self.asked)
    @rule()
    def second_factor_is_asked(self) -> None:
        self.give(SecondFactorAsked(self.asked["login"]))

    # Time and people.

    @precondition(lambda self: self.core.snapshot.timers and not self.finished)
    @rule(late_s=st.sampled_from([0.0, 0.0, 2.0, 4000.0]))
    def time_passes(self, late_s: float) -> None:
        timers = self.core.snapshot.timers
        timer = min(timers, key=lambda one: timers[one])
        # A late loop is late once; then overdue events come first.
        overdue = timers[timer] < self.core.now
        self.core.now = max(self.core.now, timers[timer]) + (0.0 if overdue else late_s)
        self.person_waits = self.core.snapshot.login_wanted
        self.give(TimeOut(timer=timer))
        self.person_waits = False

    def window_changes(self, for_s: float | None) -> None:
        self.give(WindowChanged(until=None if for_s is None else self.core.now + for_s))

    @precondition(lambda self: "login" in self.asked)
    @rule(result=results, before=st.booleans())
    def maintenance_meets_a_failed_login(self, result: LoginResult, *, before: bool) -> None:
        if before:
            self.window_changes(7200.0)
        self.login_fails(result, None)
        if not before and not self.finished:
            self.window_changes(7200.0)
        self.no_session_for_long()

    @precondition(lambda self: self.gateway == "running" and not self.finished)
    @rule()
    def no_session_for_long(self) -> None:
        for _ in range(8):
            if "check" in self.asked:
                self.check_comes_back(Verdict.NO_SESSION)
            elif self.gateway == "running" and not self.finished and self.core.snapshot.timers:
                self.time_passes(0.0)

    @precondition(lambda self: "login" in self.asked and self.gateway == "running")
    @rule(times=st.integers(1, 3))
    def session_is_lost_again_and_again(self, times: int) -> None:
        for _ in range(times):
            if "login" in self.asked:
                self.login_succeeds(resumable=False)
                self.sees(Verdict.READY)
                self.sees(Verdict.NO_SESSION)

    @precondition(lambda self: not self.finished and self.undisturbed > 3)
    @rule(
        event=st.sampled_from(
            [
                WindowChanged(until=None),
                WindowChanged(until=1060.0),
                WindowChanged(until=1e6),
                ClockJumped(asleep_s=0.0),
                ClockJumped(asleep_s=3600.0),
                SessionPushed(),
                CauseRead(text=""),
                CauseRead(text="the log names it"),
                LoginWanted(),
                ByHandWanted(),
                ByHandWanted(over=True),
                LoggedInByHand(resumable=True),
                StartWanted(adopted=True),
            ]
        ),
        times=st.integers(1, 3),
    )
    def something_happens(self, event: Event, times: int) -> None:
        self.undisturbed = 0
        for _ in range(times):
            self.give(event)

    @precondition(lambda self: not self.finished and self.undisturbed > 12)
    @rule(event=st.sampled_from([RestartWanted(), FolderLost()]))
    def gateway_must_go(self, event: Event) -> None:
        self.undisturbed = 0
        self.only_ill = self.only_ill and not isinstance(event, FolderLost)
        self.give(event)

    @precondition(lambda self: self.gateway == "running" and not self.finished)
    @rule(
        verdicts=st.lists(st.sampled_from([one for one in SIGHTS if one is not Verdict.HUNG]), min_size=2, max_size=6)
    )
    def sights_follow_each_other(self, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            for _ in range(3):
                if "check" not in self.asked and self.core.snapshot.timers and not self.finished:
                    self.time_passes(0.0)
            if "check" in self.asked:
                self.check_comes_back(verdict)
            if "cure" in self.asked:
                self.cure_comes_back(ok=verdict is Verdict.READY)

    @precondition(lambda self: "login" in self.asked and self.core.snapshot.ever_ready)
    @rule(asked=st.booleans(), helped=st.booleans(), verdicts=st.lists(st.sampled_from(SIGHTS), max_size=4))
    def person_is_needed(self, *, asked: bool, helped: bool, verdicts: list[Verdict]) -> None:
        if asked:
            self.give(SecondFactorAsked(self.asked["login"]))
        self.login_fails(LoginResult.NEEDS_PERSON, None)
        if verdicts:
            self.sights_follow_each_other(verdicts)
        if helped and not self.finished:
            self.give(LoginWanted())

    @precondition(lambda self: not self.finished and self.undisturbed > 6)
    @rule(opens_in_s=st.sampled_from([None, 30.0, 3600.0, 30_000.0]))
    def login_hours_change(self, opens_in_s: float | None) -> None:
        opens_at = None if opens_in_s is None else self.core.now + opens_in_s
        self.give(LoginHours(opens_at=opens_at, text="" if opens_at is None else "outside the login hours"))

    @precondition(lambda self: not self.finished)
    @rule(in_s=st.sampled_from([600.0, 0.0, 0.0]))
    def login_is_planned(self, in_s: float) -> None:
        logins = self.core.logins
        was_ready, closed = self.core.phase is Phase.READY, self.core.snapshot.logins_from is not None
        self.give(LoginPlanned(in_s=in_s, text="a login is planned"))
        assert self.core.logins == logins or (was_ready and not closed and in_s == 0.0)

    @precondition(lambda self: not self.finished and self.undisturbed > 8)
    @rule(until_s=st.sampled_from([None, 1e9]), ends_at_once=st.booleans(), meanwhile=st.integers(0, 3))
    def person_pauses(self, until_s: float | None, meanwhile: int, *, ends_at_once: bool) -> None:
        self.undisturbed = 0
        self.give(PauseWanted(pause=Pause(until_s=until_s, text="paused")))
        for _ in range(meanwhile):
            if self.gateway == "stopping":
                self.gateway_is_gone()
            elif self.gateway == "starting":
                self.gateway_answers()
        if ends_at_once:
            self.give(PauseOver())

    @precondition(lambda self: not self.finished and self.core.snapshot.pause is not None)
    @rule()
    def pause_ends(self) -> None:
        self.give(PauseOver())

    @precondition(lambda self: self.core.snapshot.ever_ready and self.gateway == "running" and not self.finished)
    @rule()
    def session_is_lost(self) -> None:
        self.has_session = False
        self.sees(Verdict.NO_SESSION)
        if self.core.snapshot.recovery is Recovery.RESUME:
            self.cure_comes_back(ok=False)

    @alive
    @rule(times=st.integers(1, 12))
    def world_is_kind(self, times: int) -> None:
        """Let every wait end well, so that the later states are reached."""
        for _ in range(times):
            if self.gateway == "starting":
                self.gateway_answers()
            elif self.gateway == "stopping":
                return
            elif "login" in self.asked:
                self.has_session = True
                self.login_succeeds(resumable=True)
            elif "cure" in self.asked:
                self.has_session = True
                self.cure_comes_back(ok=True)
            elif "check" in self.asked:
                self.check_comes_back(Verdict.READY if self.has_session else Verdict.NO_SESSION)
            elif self.core.snapshot.timers and not self.finished:
                self.time_passes(0.0)

    @precondition(lambda self: not self.finished and self.core.count(Check) > 15)
    @rule(keep=st.booleans())
    def person_stops(self, *, keep: bool) -> None:
        self.stop_wanted = True
        self.give(StopWanted(keep_gateway=keep))

    @precondition(lambda self: self.core.snapshot.epoch > 0 and not self.finished and self.undisturbed > 3)
    @rule(
        event=st.sampled_from(
            [
                GatewayAnswers(0),
                GatewayEnded(0),
                GatewayFellOver(0),
                GatewayCannotStart(0),
                Checked(0, Verdict.NO_SESSION),
                ReauthenticateDone(0),
                ResumeDone(0),
                SecondFactorAsked(0),
                LoginDone(0),
            ]
        ),
        back=st.integers(1, 3),
    )
    def stale_answer_arrives(self, event: Event, back: int) -> None:
        before = self.core.snapshot
        assert self.core.feed(replace(event, epoch=before.epoch - back)) == []
        assert self.core.snapshot == before

    @precondition(lambda self: self.finished)
    @rule()
    def nothing_more_happens(self) -> None:
        assert self.core.feed(StopWanted()) in ([], [self.core.snapshot.finishing or Finish(0)]) or self.stop_wanted

    # What always holds.

    @invariant()
    def there_is_a_way_forward(self) -> None:
        """No dead state: a timer, a request under way, or a gateway that owes an answer."""
        snapshot = self.core.snapshot
        if self.finished or snapshot.process is Process.STOPPED:
            return
        if snapshot.process is Process.PAUSED:
            assert snapshot.pause is not None, "a pause is ended by its end"
            assert self.gateway is None, "a pause leaves no gateway to compete"
            return
        assert snapshot.timers or self.asked or self.gateway in {"starting", "stopping"}
        if snapshot.process is Process.RUNNING:
            assert snapshot.checking or Timer.CHECK in snapshot.timers, "a running gateway is looked at again"
            assert Timer.TICKLE in snapshot.timers, "a running gateway is tickled again"
        if snapshot.process is Process.BACKOFF:
            assert Timer.START in snapshot.timers
        if snapshot.recovery is Recovery.SETTLE:
            assert snapshot.session in {Session.LOGGING_IN, Session.UNREACHABLE}
        if snapshot.checking:
            assert "check" in self.asked

    @invariant()
    def held_login_is_shown(self) -> None:
        """Whoever looks sees why there is no session."""
        snapshot = self.core.snapshot
        if not self.finished and snapshot.process in {Process.PAUSING, Process.PAUSED}:
            assert self.core.phase is Phase.PAUSED

    @invariant()
    def ready_means_running(self) -> None:
        """READY needs a running gateway."""
        if self.core.phase is Phase.READY and not self.finished:
            assert self.gateway == "running"

    @invariant()
    def pauses_lie_in_the_future(self) -> None:
        """No timer makes the loop spin."""
        assert all(due >= self.core.now - 4000.001 for due in self.core.snapshot.timers.values())

    def teardown(self) -> None:
        """Law 10: a stop ends the machine from any state."""
        if self.finished or self.core.snapshot.process is Process.STOPPED:
            return
        self.give(StopWanted())
        if not self.finished:
            assert self.gateway == "stopping"
            self.gateway_is_gone()
        assert self.finished


ALL_EXAMPLES = 1_250
EXAMPLES = int(os.environ.get("GWCTL_TEST_WALKS", "120"))
"""Walks in each of the four parts; .ci/run asks for all of them after the tests."""
STEPS = 50
PARTS = 4


ARROWS = {(state, arrow) for table in (PROCESS_TABLE, SESSION_TABLE) for state, row in table.items() for arrow in row}


def _run(part: int) -> None:
    """Run one part of the steps, 200,000 in all at least; each part takes every transition."""
    AnyShell.steps = 0
    taken: set[tuple[object, Arrow]] = set()
    move_process, move_session = Turn.move_process, Turn.move_session

    def noted_process(turn: Turn, arrow: Arrow) -> None:
        taken.add((turn.snapshot.process, arrow))
        move_process(turn, arrow)

    def noted_session(turn: Turn, arrow: Arrow) -> None:
        taken.add((turn.snapshot.session, arrow))
        move_session(turn, arrow)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Turn, "move_process", noted_process)
        patch.setattr(Turn, "move_session", noted_session)
        _walk(part)
        _go_rare_ways()
    if EXAMPLES >= ALL_EXAMPLES:
        assert AnyShell.steps >= 200_000 / PARTS, AnyShell.steps
        assert ARROWS - taken == set(), "each arrow of the tables is taken, or it should not be there"


def _go_rare_ways() -> None:
    """Take the rare transitions: those after a second factor, and observations while locked out."""
    for end in (LoginResult.TRANSIENT, LoginResult.NEEDS_PERSON, LoginResult.SUCCESS, None):
        machine = _that_logs_in_again()
        for _ in range(2):
            machine.give(SecondFactorAsked(machine.asked["login"]))
        if end is None:
            machine.gateway_ends(watched=True)
        elif end is LoginResult.SUCCESS:
            machine.login_succeeds(resumable=False)
        else:
            machine.login_fails(end, None)
    machine = _that_logs_in_again()
    machine.login_succeeds(resumable=False)
    assert current(machine.core.snapshot.session) is Session.LOGGING_IN
    machine.sees(Verdict.COMPETING)
    assert machine.core.snapshot.session is Session.COMPETING
    for verdict in (Verdict.READY, Verdict.COMPETING, Verdict.UPSTREAM_ILL, Verdict.NO_SESSION, None):
        machine = _that_logs_in_again()
        machine.login_fails(LoginResult.NEEDS_PERSON, None)
        assert current(machine.core.snapshot.session) is Session.LOCKED_OUT
        if verdict is not None:
            machine.sees(verdict)
        else:
            machine.give(RestartWanted())
            machine.gateway_is_gone()
            machine.give(LoginWanted())
            machine.world_is_kind(2)
            assert machine.core.snapshot.session is Session.LOGGING_IN
    _log_in_by_hand_everywhere()
    _pause_everywhere()


def _log_in_by_hand_everywhere() -> None:
    """Hand the login to a person in each state without a session, and look at what they see."""
    for before in (None, Verdict.COMPETING, Verdict.UPSTREAM_ILL):
        for then in (Verdict.COMPETING, Verdict.UPSTREAM_ILL, Verdict.NO_SESSION, Verdict.READY, None):
            machine = _that_logs_in_again()
            machine.login_succeeds(resumable=False)
            if before is not None:
                machine.sees(before)
            machine.give(ByHandWanted())
            assert current(machine.core.snapshot.session) is Session.AWAITING_MANUAL_LOGIN
            if then is not None:
                machine.sees(then)
                machine.give(LoginWanted())
            else:
                machine.give(RestartWanted())
                machine.gateway_is_gone()
                machine.give(ByHandWanted(over=True))


def _pause_everywhere() -> None:
    """Pause, and stop in the pause, from every state of the process that has such a transition."""
    for stops in (False, True):
        machine = AnyShell()
        machine.give(PauseWanted())
        machine.begin(adopted=False, take_over=False, early=False, narrow=False, chance=0)
        assert current(machine.core.snapshot.process) is Process.PAUSED
        machine.give(PauseOver())
        machine.give(PauseWanted())
        assert current(machine.core.snapshot.process) is Process.STARTING
        machine.gateway_falls_over(cannot=False) if stops else machine.gateway_answers()
        assert current(machine.core.snapshot.process) is Process.PAUSING
        machine.give(StopWanted()) if stops else machine.gateway_is_gone()
    machine = _that_logs_in_again()
    machine.give(PauseWanted())
    machine.gateway_is_gone()
    machine.give(PauseOver())
    machine.gateway_falls_over(cannot=False)
    assert current(machine.core.snapshot.process) is Process.BACKOFF
    machine.give(PauseWanted())
    machine.give(StopWanted())
    machine = _that_logs_in_again()
    machine.gateway_ends(watched=True)
    machine.give(PauseWanted())
    assert machine.core.snapshot.process is Process.PAUSING


def _that_logs_in_again() -> AnyShell:
    machine = AnyShell()
    machine.begin(adopted=False, take_over=False, early=False, narrow=False, chance=0)
    machine.world_is_kind(8)
    assert machine.core.phase is Phase.READY
    machine.session_is_lost()
    machine.sees(Verdict.NO_SESSION)
    assert "login" in machine.asked
    return machine


def _walk(part: int) -> None:
    machine = seed(part)(AnyShell)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


# Separate classes, so that they run in parallel.


@pytest.mark.timeout(600)
class TestAnyShell0:
    def test_the_laws_hold_for_every_loop_and_world(self) -> None:
        """Laws 1, 5 and 10, budgets and windows, and no dead state, whatever happens."""
        _run(0)


@pytest.mark.timeout(600)
class TestAnyShell1:
    def test_the_laws_hold_for_every_loop_and_world(self) -> None:
        """As above, with another seed."""
        _run(1)


@pytest.mark.timeout(600)
class TestAnyShell2:
    def test_the_laws_hold_for_every_loop_and_world(self) -> None:
        """As above, with another seed."""
        _run(2)


@pytest.mark.timeout(600)
class TestAnyShell3:
    def test_the_laws_hold_for_every_loop_and_world(self) -> None:
        """As above, with another seed."""
        _run(3)
