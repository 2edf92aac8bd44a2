"""Law 2, pure: whether a password may be sent, from what came of those before; no clock and no I/O."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

DAY_S = 86_400.0
HARD_REFUSAL_LIMIT = 9
"""IBKR locks an account at 10 refused logins in 24 hours (gateway-facts.md); nothing may configure us to reach it."""
LOCK_SPAN_S = DAY_S + 3600.0
"""How long a login without success counts below that limit: IBKR's 24 hours are by its own clock and from its answer,
which comes later than our submit. A simulated account was locked by a tenth one that came a second too early."""


@dataclass(frozen=True, slots=True)
class Uptime:
    """A moment by a clock that nobody sets: the machine's start, by a name of its own, and the seconds since then."""

    boot: str
    up_s: float


@dataclass(frozen=True, slots=True)
class Submit:
    """One submitted password as the ledger has it; ``at_s`` is wall-clock seconds since 1970.

    ``outcome`` is None between the submit and its answer: a crash in between leaves it so, and it then counts as
    refused, because nobody can know better. ``uptime`` is None where the machine does not tell it.
    """

    at_s: float
    print: str
    outcome: str | None
    uptime: Uptime | None = None

    def age_s(self, now: Now) -> float:
        """Return how long ago it was: by the clock that nobody sets while the machine runs on, else by the wall's."""
        since = _between_s(self.uptime, now.uptime)
        return now.at_s - self.at_s if since is None else since


@dataclass(frozen=True, slots=True)
class Now:
    """The present, by both clocks."""

    at_s: float
    uptime: Uptime | None = None


def _between_s(first: Uptime | None, last: Uptime | None) -> float | None:
    """Return the seconds between two moments of one run of the machine; None if they are not of one."""
    if first is None or last is None or first.boot != last.boot:
        return None
    return last.up_s - first.up_s


def _apart_s(first: Submit, last: Submit) -> float:
    """Return how far two submits lie apart at least: across a restart of the machine its clocks prove nothing."""
    if first.uptime is None or last.uptime is None:
        return last.at_s - first.at_s
    return _between_s(first.uptime, last.uptime) or 0.0


@dataclass(frozen=True, slots=True)
class Block:
    """A login that only a person can mend: the same password under the same settings is not sent again.

    ``context`` is what the person may change (mode, second factor); ``code`` is the error's.
    """

    print: str
    context: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """What law 2 decides by: the submits of the last day and what has ever worked or been refused."""

    submits: tuple[Submit, ...] = ()
    worked_print: str | None = None
    refused_print: str | None = None
    locked_reason: str | None = None
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether a password may be submitted now; else when (``wait_s``) or why a person is needed (``reason``)."""

    allowed: bool
    wait_s: float | None = None
    code: str | None = None
    reason: str | None = None


REFUSED = "refused"
SUCCESS = "success"
UNCOUNTED = "uncounted"
"""What IBKR made of it nobody knows for sure: the page said nothing, or that IBKR had trouble."""
ANSWERED = "answered"
"""The page has answered, and not with a refusal: another kind of account, or a second factor that nobody gave."""
ASKED = "asked"
"""The password was taken and IBKR asks for a second factor that nobody has answered yet: no refusal, and no success."""
FORGIVEN = "forgiven"
"""A refusal that a person has reset: it blocks nothing any more, and still counts below IBKR's own limit."""
OUTCOMES = frozenset({REFUSED, SUCCESS, UNCOUNTED, ANSWERED, ASKED, FORGIVEN})
PAUSES_AFTER_REFUSAL_S = (900.0, 3600.0)


def counts(submit: Submit) -> bool:
    """Return whether a submit counts as refused: a refusal, or one whose answer nobody saw."""
    return submit.outcome in {REFUSED, None}


def _now(now: float | Now) -> Now:
    return now if isinstance(now, Now) else Now(now)


def refusals_within_day(record: LoginRecord, now: float | Now) -> list[Submit]:
    """Return the refused submits of the last 24 hours; ``now`` alone is wall-clock seconds.

    A submit that seems to lie in the future (the clock was set back) counts too: forgetting it would be the error
    that locks the account.
    """
    now = _now(now)
    return [submit for submit in record.submits if counts(submit) and submit.age_s(now) < DAY_S]


def reached_limit(record: LoginRecord, limit: int, now: float | Now) -> bool:
    """Return whether ``limit`` refusals lie within the last 24 hours, or did so since the last success.

    What was reached stays reached until a person resets, as law 2 says. Refusals in a row of which nobody can prove
    that a day lies between them, because the machine was started anew, count as of one day.
    """
    if len(refusals_within_day(record, now)) >= limit:
        return True
    row: list[Submit] = []
    for submit in record.submits:
        if submit.outcome == SUCCESS:
            row.clear()
        elif counts(submit):
            row.append(submit)
    if any(submit.uptime is None for submit in row):
        row.sort(key=lambda submit: submit.at_s)
    return any(_apart_s(first, last) < DAY_S for first, last in zip(row, row[limit - 1 :], strict=False))


@dataclass(frozen=True, slots=True)
class Question:
    """What law 2 is asked about: a password's fingerprint, the settings it is sent under, the limit in 24 hours."""

    print: str
    context: str
    limit: int


def may_submit(record: LoginRecord, question: Question, now: float | Now) -> Permission:
    """Decide by law 2 whether a password may be submitted now; ``now`` alone is wall-clock seconds."""
    now = _now(now)
    print_, limit = question.print, question.limit
    limit = min(limit, HARD_REFUSAL_LIMIT)
    if record.locked_reason is not None:
        return Permission(False, None, "locked_out", record.locked_reason)
    block = record.block
    if block is not None and (block.print, block.context) == (print_, question.context):
        return Permission(False, None, block.code, block.reason)
    if reached_limit(record, limit, now):
        return Permission(False, None, "locked_out", f"{limit} refused logins in 24 h is the limit, and it is reached")
    refused = refusals_within_day(record, now)
    if print_ != record.worked_print:
        before = [submit for submit in record.submits if counts(submit) and submit.print == print_]
        if print_ == record.refused_print or before:
            lost = print_ != record.refused_print and all(submit.outcome is None for submit in before)
            happened = "was sent before and its answer was not seen" if lost else "was refused by IBKR before"
            text = f"this password {happened}, and it has never worked: it is not sent again"
            return Permission(False, None, "credentials_rejected", text)
    return _pause(record, refused, print_, now)


def _pause(record: LoginRecord, refused: list[Submit], print_: str, now: Now) -> Permission:
    """Return how long to wait after this password's refusals in a row, and after too many logins without success.

    What comes after what is told by the ledger's order: the wall clock may have been set back in between.
    """
    later = itertools.takewhile(lambda submit: submit.outcome != SUCCESS, reversed(record.submits))
    row = [submit for submit in later if submit in refused and submit.print == print_]
    if row:
        pause_s = PAUSES_AFTER_REFUSAL_S[min(len(row), len(PAUSES_AFTER_REFUSAL_S)) - 1]
        wait_s = pause_s - min(submit.age_s(now) for submit in row)
        if wait_s > 0:
            return Permission(False, min(pause_s, wait_s), "login_paused", "waiting after a refused login")
    # A page that answers nothing may hide a refusal: all that did not succeed together stay below IBKR's limit.
    ages_s = [submit.age_s(now) for submit in record.submits if submit.outcome != SUCCESS]
    failed = [age_s for age_s in ages_s if age_s < LOCK_SPAN_S]
    if len(failed) >= HARD_REFUSAL_LIMIT:
        wait_s = min(LOCK_SPAN_S, max(1.0, LOCK_SPAN_S - max(failed)))
        return Permission(False, wait_s, "login_paused", f"{len(failed)} logins without success in 25 h")
    return Permission(True)


# How a record changes.

KEPT_SUBMITS = 100


def begun(record: LoginRecord, print_: str, now: float | Now) -> LoginRecord:
    """Return the record with one more submit, whose answer is not known yet."""
    now = _now(now)
    return _pruned(replace(record, submits=(*record.submits, Submit(now.at_s, print_, None, now.uptime))))


def ended(record: LoginRecord, outcome: str, locked_reason: str | None = None) -> LoginRecord:
    """Return the record with the outcome of its last submit; one that has a last outcome keeps it."""
    if not record.submits or record.submits[-1].outcome not in {None, ASKED, FORGIVEN}:
        return record
    last = record.submits[-1]
    record = replace(record, submits=(*record.submits[:-1], replace(last, outcome=outcome)))
    if outcome == SUCCESS:
        record = replace(record, worked_print=last.print, refused_print=None, block=None)
    elif outcome == REFUSED and record.worked_print != last.print:
        record = replace(record, refused_print=last.print)
    return record if locked_reason is None else replace(record, locked_reason=locked_reason)


def withdrawn(record: LoginRecord, begun_ones: Sequence[Submit]) -> LoginRecord:
    """Return the record without those submits, as far as no answer to them is in it: they were never made."""
    left = list(begun_ones)
    kept = []
    for submit in record.submits:
        same = next((one for one in left if replace(submit, outcome=one.outcome) == one), None)
        if same is None or submit.outcome not in {None, ASKED, UNCOUNTED}:
            kept.append(submit)
        else:
            left.remove(same)
    return replace(record, submits=tuple(kept))


def asked(record: LoginRecord, *, answered: bool) -> LoginRecord:
    """Return the record while its last submit waits for a second factor; ``answered``: what comes of it is unknown."""
    if not record.submits or record.submits[-1].outcome not in {None, ASKED}:
        return record
    last = replace(record.submits[-1], outcome=None if answered else ASKED)
    return replace(record, submits=(*record.submits[:-1], last))


def forgiven(record: LoginRecord) -> LoginRecord:
    """Return the record without refusals and lock-out, as a person asked; what has worked stays known.

    The forgiven, and those whose answer nobody saw, stay below IBKR's own limit of 24 hours: a person who resets again
    and again does not reach it.
    """
    # The last one may be under way: its answer is still to be written, and to nobody else's entry.
    under_way = record.submits[-1:] if record.submits and record.submits[-1].outcome == ASKED else ()
    kept = tuple(
        replace(submit, outcome=FORGIVEN) if counts(submit) else submit
        for submit in record.submits
        if submit.outcome not in {ANSWERED, ASKED} or submit in under_way
    )
    return replace(record, submits=kept, refused_print=None, locked_reason=None, block=None)


def _pruned(record: LoginRecord) -> LoginRecord:
    """Drop the oldest successes and the like, by number and not by age.

    A clock that jumps forward and back again must not make the ledger forget. Refusals are kept: law 2 lets in too few
    of them to fill the file.
    """
    quiet = [submit for submit in record.submits if not counts(submit)]
    dropped = set(quiet[: max(0, len(quiet) - KEPT_SUBMITS)])
    return replace(record, submits=tuple(submit for submit in record.submits if submit not in dropped))
