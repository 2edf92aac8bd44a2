"""Law 2 by real time, with clocks that are set, machines that reboot and processes that restart."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gwctl.credentials import Secret
from gwctl.login_ledger import ledger as ledger_module
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.ledger import machine_uptime as uptime
from gwctl.login_ledger.rules import (
    HARD_REFUSAL_LIMIT,
    REFUSED,
    SUCCESS,
    UNCOUNTED,
    LoginRecord,
    Now,
    Question,
    Submit,
    Uptime,
    begun,
    ended,
    may_submit,
    reached_limit,
)
from gwctl.times import DAY_S

pytestmark = pytest.mark.law(2)

MINUTE_S, HOUR_S = 60.0, 3600.0


def boot(number: int, up_s: float) -> Uptime:
    return Uptime(f"boot-{number}", up_s)


@dataclass
class Machine:
    """Real time, a wall clock that can be set, and a clock that starts with each boot."""

    really_s: float = 1_000_000.0
    wall_ahead_s: float = 0.0
    boots: int = 0
    booted_s: float = 1_000_000.0
    made: list[tuple[int, float]] = field(default_factory=list)
    """Refused or unanswered submits: after how many resets, and when, really."""
    resets: int = 0

    @property
    def now(self) -> Now:
        return Now(self.really_s + self.wall_ahead_s, boot(self.boots, self.really_s - self.booted_s))

    def reboots(self) -> None:
        self.boots += 1
        self.booted_s = self.really_s

    def most_within_a_day(self, *, one_reset: bool) -> int:
        """Return the most refused submits in any 24 hours of real time, between two resets if requested."""
        return max(
            (
                sum(at_s <= later_s < at_s + DAY_S and (not one_reset or reset == then) for then, later_s in self.made)
                for reset, at_s in self.made
            ),
            default=0,
        )


def test_clock_set_ahead_does_not_end_a_pause() -> None:
    """Within one boot, real time counts and not the wall clock."""
    record = ended(begun(LoginRecord(), "a", Now(0.0, boot(1, 10.0))), SUCCESS)
    record = ended(begun(record, "a", Now(60.0, boot(1, 70.0))), REFUSED)
    question = Question("a", "paper", 3)
    assert not may_submit(record, question, Now(30 * DAY_S, boot(1, 71.0))).allowed
    assert may_submit(record, question, Now(60.0, boot(1, 70.0 + 15 * MINUTE_S))).allowed


def test_refusals_across_restarts_of_the_machine_count_as_of_one_day() -> None:
    """The clocks cannot prove that a day lies between them; a success in between ends the row."""
    record = ended(begun(LoginRecord(), "a", Now(0.0, boot(0, 5.0))), SUCCESS)
    for number in (1, 2, 3):
        record = ended(begun(record, "a", Now(number * 10 * DAY_S, boot(number, 5.0))), REFUSED)
    assert reached_limit(record, 3, Now(40 * DAY_S, boot(4, 5.0)))
    record = ended(begun(record, "a", Now(41 * DAY_S, boot(4, 9.0))), SUCCESS)
    assert not reached_limit(record, 3, Now(42 * DAY_S, boot(4, 9.0 + DAY_S)))


def test_ledger_of_before_knows_the_wall_clock_alone() -> None:
    """A submit without the machine's own clock is judged by the wall clock."""
    submit = Submit(100.0, "a", REFUSED)
    assert submit.age_s(Now(160.0, boot(1, 5.0))) == 60.0


def test_machine_tells_its_own_clock() -> None:
    """Linux has such a clock; it advances, and its boot ID stays the same."""
    first, second = uptime(), uptime()
    assert first is not None
    assert second is not None
    assert first.boot == second.boot
    assert 0 < first.up_s <= second.up_s


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"), st.sampled_from(["a", "a", "b"]), st.sampled_from([REFUSED, REFUSED, None, SUCCESS])
        ),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 900.0, HOUR_S, 7 * HOUR_S, DAY_S]), st.none()),
        st.tuples(st.just("set clock"), st.sampled_from([-400 * DAY_S, -HOUR_S, 2 * DAY_S, 400 * DAY_S]), st.none()),
        st.tuples(st.just("reboot"), st.none(), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 30))
def test_no_clock_and_no_restart_opens_the_door(steps: list[tuple[str, object, str | None]], limit: int) -> None:
    """Without a reset, refused submits never exceed the limit in 24 hours of real time, and never nine."""
    machine, record = Machine(), LoginRecord()
    for what, value, outcome in steps:
        if what == "wait":
            machine.really_s += float(str(value))
        elif what == "set clock":
            machine.wall_ahead_s += float(str(value))
        elif what == "reboot":
            machine.reboots()
        elif may_submit(record, Question(str(value), "paper", limit), machine.now).allowed:
            record = begun(record, str(value), machine.now)
            if outcome is not None:
                record = ended(record, outcome)
            if outcome in {REFUSED, None}:
                machine.made.append((0, machine.really_s))
    # A wrong clock across a reboot can hide a day between two successes; the machine cannot detect that.
    if not any(what == "set clock" for what, _, _ in steps) or not any(what == "reboot" for what, _, _ in steps):
        assert machine.most_within_a_day(one_reset=False) <= min(limit, HARD_REFUSAL_LIMIT)


class Life(RuleBasedStateMachine):
    """One profile's ledger on a real disk: calls from cron and by hand, crashes, restarts, clock changes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gwctl-law2-"))
        self.machine = Machine()
        self.worked: set[str] = set()
        self.spent: set[str] = set()
        self.limit = 3
        self.calls: list[Ledger] = []

    @initialize(limit=st.integers(1, 12))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.new_process()

    @rule()
    def new_process(self) -> None:
        """Open the same file in a new process: a restart, a call from cron."""
        self.calls = [*self.calls[-2:], self.ledger()]

    def ledger(self) -> Ledger:
        return Ledger(
            self.folder / "ledger.json",
            wall_clock=lambda: self.machine.now.at_s,
            uptime=lambda: self.machine.now.uptime,
        )

    @rule(
        who=st.integers(0, 2),
        password=st.sampled_from(["a", "a", "b"]),
        outcome=st.sampled_from([REFUSED, REFUSED, UNCOUNTED, SUCCESS, None]),
    )
    def call(self, who: int, password: str, outcome: str | None) -> None:
        """Submit if the ledger allows it; without an outcome, the process dies between the entry and the answer."""
        ledger = self.calls[who % len(self.calls)]
        if not ledger.begin_submit(Secret(password), "paper", self.limit).allowed:
            return
        assert password not in self.spent, "a password that never worked was submitted twice"
        if outcome is not None:
            ledger.end_submit(outcome)
        else:
            ledger.end_turn()  # as the system does when a process dies
            self.calls[self.calls.index(ledger)] = self.ledger()
        if outcome in {REFUSED, None}:
            self.machine.made.append((self.machine.resets, self.machine.really_s))
            if password not in self.worked:
                self.spent.add(password)
        elif outcome == SUCCESS:
            self.worked.add(password)
            self.spent.discard(password)

    @rule(seconds=st.sampled_from([1.0, 900.0, HOUR_S, 7 * HOUR_S]))
    def time_passes(self, seconds: float) -> None:
        self.machine.really_s += seconds

    @rule(by_s=st.sampled_from([-400 * DAY_S, 2 * DAY_S, 400 * DAY_S]))
    def clock_is_set(self, by_s: float) -> None:
        self.machine.wall_ahead_s += by_s

    @rule()
    def person_resets(self) -> None:
        self.calls[-1].reset()
        self.machine.resets += 1
        self.spent.clear()

    @invariant()
    def law_2_holds(self) -> None:
        assert self.machine.most_within_a_day(one_reset=True) <= min(self.limit, HARD_REFUSAL_LIMIT)
        assert self.machine.most_within_a_day(one_reset=False) <= HARD_REFUSAL_LIMIT

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


def test_law_2_holds_on_disk_for_every_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ups, crashes between entry and answer, cron calls, restarts, clock changes: law 2 holds by real time."""

    def quick(secret: Secret, salt_hex: str) -> str:
        return hashlib.sha256(f"{salt_hex}{secret.reveal()}".encode()).hexdigest()

    monkeypatch.setattr(ledger_module, "fingerprint", quick)
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Life, settings=settings(max_examples=60, stateful_step_count=50, deadline=None))
