from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwctl.core.policy import back_off_s
from gwctl.login_ledger.rules import (
    FORGIVEN,
    HARD_REFUSAL_LIMIT,
    KEPT_SUBMITS,
    LOCK_SPAN_S,
    REFUSED,
    SUCCESS,
    UNCOUNTED,
    Block,
    LoginRecord,
    Question,
    Submit,
    asked,
    begun,
    counts,
    ended,
    forgiven,
    may_submit,
    refusals_within_day,
)
from gwctl.times import DAY_S

pytestmark = pytest.mark.law(2)

MINUTE_S, HOUR_S = 60.0, 3600.0
A = "a"
MIDNIGHT_S = 1_800_000_000.0


class Person:
    """A person with one profile: passwords, a wall clock, and IBKR's answers."""

    def __init__(self, limit: int = 3) -> None:
        self.record = LoginRecord()
        self.now_s = MIDNIGHT_S
        self.limit = limit
        self.made: list[tuple[float, str]] = []

    def asks(self, password: str = A, context: str = "paper") -> bool:
        return may_submit(self.record, Question(password, context, self.limit), self.now_s).allowed

    def submits(self, outcome: str | None, password: str = A, context: str = "paper") -> bool:
        """Submit if law 2 allows it; outcome None is a crash before the answer."""
        if not self.asks(password, context):
            return False
        self.record = begun(self.record, password, self.now_s)
        self.made.append((self.now_s, password))
        if outcome is not None:
            self.record = ended(self.record, outcome)
        return True

    def waits(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize("outcome", [REFUSED, None])
def test_password_that_never_worked_is_submitted_once(outcome: str | None) -> None:
    """Law 2: a refused or unanswered password is not sent again, not tomorrow and not next year."""
    person = Person(limit=9)
    assert person.submits(outcome)
    for days in (0.01, 1.0, 2.0, 400.0):
        person.waits(days * DAY_S)
        assert not person.submits(REFUSED)
    permission = may_submit(person.record, Question("a", "paper", 9), person.now_s)
    assert permission.code == "credentials_rejected"
    assert permission.wait_s is None


def test_changed_password_is_tried_and_the_old_one_is_not() -> None:
    """Law 2: a change allows only the new password, even after a second one was refused."""
    person = Person(limit=9)
    person.submits(REFUSED, "a")
    person.waits(HOUR_S)
    assert person.submits(REFUSED, "b")
    person.waits(2 * DAY_S)
    assert not person.asks("a")
    assert not person.asks("b")
    assert person.submits(SUCCESS, "c")


def test_password_that_worked_is_tried_again_after_growing_pauses() -> None:
    """Law 2: fifteen minutes after the first refusal, an hour after the second, then a person."""
    person = Person(limit=3)
    person.submits(SUCCESS)
    person.waits(DAY_S)
    assert person.submits(REFUSED)
    person.waits(15 * MINUTE_S - 1)
    assert not person.asks()
    person.waits(1)
    assert person.submits(REFUSED)
    person.waits(HOUR_S - 1)
    assert not person.asks()
    person.waits(1)
    assert person.submits(REFUSED)
    person.waits(HOUR_S)
    assert may_submit(person.record, Question("a", "paper", 3), person.now_s).code == "locked_out"


def test_limit_once_reached_holds_until_a_person_resets() -> None:
    """Law 2: the lock-out does not end by itself after a day."""
    person = Person(limit=2)
    person.submits(SUCCESS)
    person.waits(HOUR_S)
    person.submits(REFUSED)
    person.waits(HOUR_S)
    person.submits(REFUSED)
    person.waits(30 * DAY_S)
    assert not person.asks()
    assert not person.asks("another")
    person.record = forgiven(person.record)
    assert person.asks()


def test_success_ends_a_row_of_refusals() -> None:
    """Old refusals before a success do not lock anybody out when the limit is lowered."""
    person = Person(limit=9)
    person.submits(SUCCESS)
    for _ in range(4):
        person.waits(HOUR_S)
        assert person.submits(REFUSED)
    person.waits(HOUR_S)
    person.submits(SUCCESS)
    person.waits(2 * DAY_S)
    person.limit = 3
    assert person.asks()


def test_pause_ends_with_a_success() -> None:
    """A pause only follows refusals since the last success."""
    person = Person()
    person.submits(SUCCESS)
    person.waits(HOUR_S)
    person.submits(REFUSED)
    person.waits(HOUR_S)
    person.submits(SUCCESS)
    assert person.asks()


def test_block_is_for_the_same_password_under_the_same_settings() -> None:
    """A login that only a person can fix is not sent again until the person changes something."""
    person = Person()
    person.submits(UNCOUNTED)
    person.record = LoginRecord(person.record.submits, block=Block("a", "paper", "wrong_mode", "a live user"))
    permission = may_submit(person.record, Question("a", "paper", 3), person.now_s)
    assert (permission.allowed, permission.code, permission.reason) == (False, "wrong_mode", "a live user")
    assert person.asks("a", "live")
    assert person.asks("b", "paper")


def test_locked_account_is_left_alone_until_a_reset() -> None:
    """Law 2: once IBKR says that the account is locked, no password is sent."""
    person = Person()
    person.record = ended(begun(person.record, "a", person.now_s), REFUSED, "the account is locked")
    person.waits(5 * DAY_S)
    assert not person.asks("b")
    person.record = forgiven(person.record)
    assert person.asks("b")


def test_logins_without_any_answer_stay_below_the_limit_too() -> None:
    """A page without an answer may hide a refusal: after nine such submits in 24 hours, no more are sent that day.

    An hour more is waited: IBKR counts by its own clock, and from its answers.
    """
    person = Person()
    while person.submits(UNCOUNTED):
        person.waits(MINUTE_S)
    assert len(person.made) == HARD_REFUSAL_LIMIT
    permission = may_submit(person.record, Question("a", "paper", 3), person.now_s)
    assert permission.code == "login_paused"
    assert permission.wait_s == pytest.approx(DAY_S + HOUR_S - 9 * MINUTE_S)
    person.waits(DAY_S - 9 * MINUTE_S)
    assert not person.asks()
    person.waits(HOUR_S - 1.0)
    assert not person.asks()
    person.waits(1.0)
    assert person.asks()


def test_clock_set_back_forgets_nothing() -> None:
    """A refusal with a time in the future counts."""
    person = Person(limit=2)
    person.submits(SUCCESS)
    person.waits(HOUR_S)
    person.submits(REFUSED)
    person.waits(-300 * DAY_S)
    assert len(refusals_within_day(person.record, person.now_s)) == 1
    permission = may_submit(person.record, Question("a", "paper", 2), person.now_s)
    assert not permission.allowed
    assert permission.wait_s == 15 * MINUTE_S


def test_clock_that_jumps_ahead_and_back_forgets_nothing() -> None:
    """A wrong date for a moment does not clear the record."""
    person = Person(limit=2)
    person.submits(SUCCESS)
    person.submits(REFUSED)
    person.waits(30 * DAY_S)
    person.submits(SUCCESS)
    person.waits(-30 * DAY_S + MINUTE_S)
    assert len(refusals_within_day(person.record, person.now_s)) == 1


def test_outcome_is_written_once() -> None:
    """An outcome without a new submit does not change earlier outcomes."""
    record = ended(begun(LoginRecord(), "a", MIDNIGHT_S), SUCCESS)
    assert ended(record, REFUSED) == record
    assert ended(LoginRecord(), REFUSED) == LoginRecord()


def test_reset_during_a_login_keeps_its_submit() -> None:
    """A reset during a login does not assign its answer to another submit."""
    record = ended(begun(LoginRecord(), "a", MIDNIGHT_S), SUCCESS)
    record = forgiven(begun(record, "b", MIDNIGHT_S + 1))
    record = ended(record, REFUSED)
    assert [submit.outcome for submit in record.submits] == [SUCCESS, REFUSED]
    assert record.worked_print == "a"
    assert record.refused_print == "b"


def test_reset_while_a_second_factor_is_waited_for_keeps_its_submit() -> None:
    """The answer belongs to the login under way; one that was stopped long ago goes with the reset."""
    record = asked(begun(LoginRecord(), "a", MIDNIGHT_S), answered=False)
    record = asked(begun(record, "b", MIDNIGHT_S + 1), answered=False)
    record = ended(forgiven(record), REFUSED)
    assert [(submit.print, submit.outcome) for submit in record.submits] == [("b", REFUSED)]


def test_record_is_bounded_and_keeps_refusals() -> None:
    """A year of logins does not grow the file, and no refusal is dropped."""
    person = Person(limit=9)
    person.submits(SUCCESS)
    person.submits(REFUSED, "wrong")
    for _ in range(500):
        person.waits(HOUR_S)
        person.submits(SUCCESS)
    assert len(person.record.submits) <= KEPT_SUBMITS + 2
    assert not person.asks("wrong")


@pytest.mark.parametrize(
    ("attempt", "pause_s"), [(-1, 0.0), (0, 0.0), (1, 5.0), (2, 10.0), (3, 20.0), (6, 60.0), (10_000, 60.0)]
)
def test_back_off_doubles_up_to_its_most(attempt: int, pause_s: float) -> None:
    """Pauses grow from the first to the longest and never overflow."""
    assert back_off_s(attempt, 5.0, 60.0) == pause_s


outcomes = st.sampled_from([REFUSED, REFUSED, None, UNCOUNTED, SUCCESS])
passwords = st.sampled_from(["a", "a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), passwords, outcomes),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 900.0, HOUR_S, 6 * HOUR_S, DAY_S]), st.none()),
        st.tuples(st.just("jump"), st.sampled_from([-40 * DAY_S, -HOUR_S, 40 * DAY_S]), st.none()),
        st.tuples(st.just("reset"), st.none(), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(steps=steps, limit=st.integers(1, 30), resets=st.booleans(), jumps=st.booleans())
def test_law_2_holds_for_every_history(
    steps: list[tuple[str, object, str | None]], limit: int, *, resets: bool, jumps: bool
) -> None:
    """Law 2: within the limit in any 24 hours, below IBKR's ten even with resets, a refused password never twice."""
    person = Person(limit)
    unsuccessful: list[tuple[int, float]] = []
    worked: set[str] = set()
    spent: set[str] = set()
    generation = 0
    for what, value, outcome in steps:
        if what == "wait" or (what == "jump" and jumps):
            person.waits(float(str(value)))
        elif what == "reset" and resets:
            person.record = forgiven(person.record)
            spent.clear()
            generation += 1
        elif what == "submit":
            password = str(value)
            if not person.submits(outcome, password):
                continue
            assert password not in spent, "a password that never worked and was refused or lost is sent once"
            if outcome in {REFUSED, None}:
                unsuccessful.append((generation, person.now_s))
                if person.record.worked_print != password:
                    spent.add(password)
            if outcome == SUCCESS:
                worked.add(password)
                spent -= {password}
            assert not (spent & {person.record.worked_print})
    for index, (begins, at_s) in enumerate(unsuccessful):
        # Submits within a day after this one, by the order of events and by the wall clock.
        day = [one for one in unsuccessful[index:] if at_s <= one[1] < at_s + DAY_S]
        assert len(day) <= HARD_REFUSAL_LIMIT
        assert sum(one[0] == begins for one in day) <= min(limit, HARD_REFUSAL_LIMIT)


submits = st.builds(
    Submit,
    at_s=st.floats(0, 4e9),
    print=passwords,
    outcome=st.sampled_from([REFUSED, None, SUCCESS, UNCOUNTED, FORGIVEN]),
)
records = st.builds(
    LoginRecord, submits=st.lists(submits, max_size=30).map(tuple), worked_print=st.one_of(st.none(), passwords)
)


@given(record=records, now_s=st.floats(0, 4e9))
def test_a_pause_always_has_an_end(record: LoginRecord, now_s: float) -> None:
    """For any record and clock, the answer is yes, a wait of at most 25 hours, or a reason with a code."""
    permission = may_submit(record, Question("a", "paper", 3), now_s)
    if permission.allowed:
        return
    assert permission.reason
    assert permission.code
    assert permission.wait_s is None or 0 < permission.wait_s <= LOCK_SPAN_S
    assert all(counts(submit) for submit in refusals_within_day(record, now_s))
