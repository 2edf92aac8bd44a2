"""Law 2: whether a password may be sent, given the earlier submits. Pure: no clock and no I/O."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from gwctl.session_status import LoginStatus
from gwctl.times import DAY_S, utc

HARD_REFUSAL_LIMIT = 9
"""IBKR locks an account at 10 refused logins in 24 hours (gateway-facts.md); no setting may reach that number."""
LOCK_SPAN_S = DAY_S + 3600.0
"""How long a login without success counts toward that limit. IBKR counts its 24 hours by its own clock and from its
answer, which comes later than our submit: in a simulation, a tenth login one second too early locked the account."""


class Uptime(Struct, frozen=True):
    """A moment on a clock that cannot be set: the ID of the machine's boot, and the seconds since then."""

    boot: str
    up_s: float


class Submit(Struct, frozen=True):
    """One submitted password in the ledger; ``at_s`` is wall-clock seconds since 1970.

    ``outcome`` is None until IBKR answers. A crash in between leaves it None, and it then counts as refused, because
    the answer is unknown. ``uptime`` is None if the machine does not provide it.
    """

    at_s: float
    print: str
    outcome: str | None
    uptime: Uptime | None = None

    def age_s(self, now: Now) -> float:
        """Return how long ago it was: by uptime within one boot of the machine, else by the wall clock."""
        since = _between_s(self.uptime, now.uptime)
        return now.at_s - self.at_s if since is None else since


class Now(Struct, frozen=True):
    """The current time, by both clocks."""

    at_s: float
    uptime: Uptime | None = None


def _between_s(first: Uptime | None, last: Uptime | None) -> float | None:
    """Return the seconds between two moments of one boot; None if they are of different boots."""
    if first is None or last is None or first.boot != last.boot:
        return None
    return last.up_s - first.up_s


def _apart_s(first: Submit, last: Submit) -> float:
    """Return the least time between two submits: across a reboot the machine's clocks prove nothing."""
    if first.uptime is None or last.uptime is None:
        return last.at_s - first.at_s
    return _between_s(first.uptime, last.uptime) or 0.0


class Block(Struct, frozen=True):
    """A login that only a person can fix: the same password with the same settings is not sent again.

    ``context`` holds the settings that the person may change (mode, second factor); ``code`` is the error code.
    """

    print: str
    context: str
    code: str
    reason: str


class LoginRecord(Struct, frozen=True):
    """The input of law 2: the submits of the last day, and which passwords have worked or been refused."""

    submits: tuple[Submit, ...] = ()
    worked_print: str | None = None
    refused_print: str | None = None
    locked_reason: str | None = None
    block: Block | None = None


class Permission(Struct, frozen=True):
    """Whether a password may be submitted now; if not, when (``wait_s``), or why a person is needed (``reason``)."""

    allowed: bool
    wait_s: float | None = None
    code: str | None = None
    reason: str | None = None


REFUSED = "refused"
SUCCESS = "success"
UNCOUNTED = "uncounted"
"""IBKR's answer is not known for sure: the page said nothing, or reported a problem at IBKR."""
ANSWERED = "answered"
"""The page answered without a refusal: the wrong kind of account, or a second factor that was not given."""
ASKED = "asked"
"""IBKR took the password and waits for a second factor: neither a refusal nor a success yet."""
FORGIVEN = "forgiven"
"""A refusal that a person has reset: it no longer blocks, but still counts toward IBKR's own limit."""
OUTCOMES = frozenset({REFUSED, SUCCESS, UNCOUNTED, ANSWERED, ASKED, FORGIVEN})
PAUSES_AFTER_REFUSAL_S = (900.0, 3600.0)


def counts(submit: Submit) -> bool:
    """Return whether a submit counts as refused: a refusal, or an unknown answer."""
    return submit.outcome in {REFUSED, None}


def _now(now: float | Now) -> Now:
    return now if isinstance(now, Now) else Now(now)


def refusals_within_day(record: LoginRecord, now: float | Now) -> list[Submit]:
    """Return the refused submits of the last 24 hours; a plain number for ``now`` is wall-clock seconds.

    A submit with a time in the future (the clock was set back) counts too: dropping it could lock the account.
    """
    now = _now(now)
    return [submit for submit in record.submits if counts(submit) and submit.age_s(now) < DAY_S]


def reached_limit(record: LoginRecord, limit: int, now: float | Now) -> bool:
    """Return whether ``limit`` refusals lie within the last 24 hours, or did at any time since the last success.

    A limit once reached stays reached until a person resets it, as law 2 says. Refusals in a row count as of one day
    unless the clocks prove that a day lies between them; across a reboot they cannot.
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


class Question(Struct, frozen=True):
    """The question to law 2: a password's fingerprint, its settings, and the limit in 24 hours."""

    print: str
    context: str
    limit: int


def may_submit(record: LoginRecord, question: Question, now: float | Now) -> Permission:
    """Decide by law 2 whether a password may be submitted now; a plain number for ``now`` is wall-clock seconds."""
    now = _now(now)
    print_, limit = question.print, question.limit
    limit = min(limit, HARD_REFUSAL_LIMIT)
    if record.locked_reason is not None:
        return Permission(False, None, "locked_out", record.locked_reason)
    block = record.block
    if block is not None and (block.print, block.context) == (print_, question.context):
        return Permission(False, None, block.code, block.reason)
    if reached_limit(record, limit, now):
        return Permission(False, None, "locked_out", f"the limit of {limit} refused logins in 24 h is reached")
    refused = refusals_within_day(record, now)
    if print_ != record.worked_print:
        before = [submit for submit in record.submits if counts(submit) and submit.print == print_]
        if print_ == record.refused_print or before:
            lost = print_ != record.refused_print and all(submit.outcome is None for submit in before)
            happened = "was sent before without a known answer" if lost else "was refused by IBKR before"
            text = f"this username with this password {happened} and has never worked, so gwctl will not send it again"
            return Permission(False, None, "credentials_rejected", text)
    return _pause(record, refused, print_, now)


def _pause(record: LoginRecord, refused: list[Submit], print_: str, now: Now) -> Permission:
    """Return how long to wait after this password's refusals in a row, and after too many logins without success.

    The order of the ledger's entries counts, not their times: the wall clock may have been set back.
    """
    later = itertools.takewhile(lambda submit: submit.outcome != SUCCESS, reversed(record.submits))
    row = [submit for submit in later if submit in refused and submit.print == print_]
    if row:
        pause_s = PAUSES_AFTER_REFUSAL_S[min(len(row), len(PAUSES_AFTER_REFUSAL_S)) - 1]
        wait_s = pause_s - min(submit.age_s(now) for submit in row)
        if wait_s > 0:
            return Permission(False, min(pause_s, wait_s), "login_paused", "waiting after a refused login")
    # A page without an answer may hide a refusal: all logins without success together stay below IBKR's limit.
    ages_s = [submit.age_s(now) for submit in record.submits if submit.outcome != SUCCESS]
    failed = [age_s for age_s in ages_s if age_s < LOCK_SPAN_S]
    if len(failed) >= HARD_REFUSAL_LIMIT:
        wait_s = min(LOCK_SPAN_S, max(1.0, LOCK_SPAN_S - max(failed)))
        return Permission(False, wait_s, "login_paused", f"{len(failed)} logins without success in 25 h")
    return Permission(True)


def describe(record: LoginRecord, limit: int, now: Now, *, shared_with: Sequence[str] = ()) -> LoginStatus:
    """Return the ``login`` object of ``status`` for ``record``."""
    last = record.submits[-1] if record.submits else None
    return {
        "last_at": utc(last.at_s) if last else None,
        "last_outcome": (last.outcome or "unknown") if last else None,
        "rejected": len(refusals_within_day(record, now)),
        "rejected_limit": limit,
        "locked": reached_limit(record, limit, now)
        or any(stop is not None for stop in (record.locked_reason, record.refused_print, record.block)),
        "shared_with": list(shared_with),
    }


# How a record changes.

KEPT_SUBMITS = 100


def begun(record: LoginRecord, print_: str, now: float | Now) -> LoginRecord:
    """Return the record with one more submit, not answered yet."""
    now = _now(now)
    return _pruned(replace(record, submits=(*record.submits, Submit(now.at_s, print_, None, now.uptime))))


def ended(
    record: LoginRecord, outcome: str, locked_reason: str | None = None, submit: Submit | None = None
) -> LoginRecord:
    """Return the record with the outcome of ``submit``, by default the last one; a final outcome is kept."""
    if submit is not None and not any(map(partial(_is_same, submit), record.submits)):
        # Its file was lost meanwhile.
        record = replace(record, submits=(*record.submits, submit))
    last = _found(record, submit)
    if last is None or last.outcome not in {None, ASKED, FORGIVEN}:
        return record
    record = _with_outcome(record, last, outcome)
    if outcome == SUCCESS:
        record = replace(record, worked_print=last.print, refused_print=None, block=None)
    elif outcome == REFUSED and record.worked_print != last.print:
        record = replace(record, refused_print=last.print)
    return record if locked_reason is None else replace(record, locked_reason=locked_reason)


def _is_same(one: Submit, other: Submit) -> bool:
    """Return whether both are the same submit, whatever its outcome."""
    return replace(one, outcome=other.outcome) == other


def _found(record: LoginRecord, submit: Submit | None) -> Submit | None:
    """Return ``submit`` as it is in the record, by default the last one: another profile's may have followed it."""
    return next((one for one in reversed(record.submits) if submit is None or _is_same(submit, one)), None)


def _with_outcome(record: LoginRecord, submit: Submit, outcome: str | None) -> LoginRecord:
    place = len(record.submits) - 1 - record.submits[::-1].index(submit)
    changed = replace(submit, outcome=outcome)
    return replace(record, submits=(*record.submits[:place], changed, *record.submits[place + 1 :]))


def withdrawn(record: LoginRecord, begun_ones: Sequence[Submit]) -> LoginRecord:
    """Return the record without those submits, which never happened; submits with an answer stay."""
    left = list(begun_ones)
    kept = []
    for submit in record.submits:
        same = next((one for one in left if _is_same(submit, one)), None)
        if same is None or submit.outcome not in {None, ASKED, UNCOUNTED}:
            kept.append(submit)
        else:
            left.remove(same)
    return replace(record, submits=tuple(kept))


def asked(record: LoginRecord, *, answered: bool, submit: Submit | None = None) -> LoginRecord:
    """Return the record with ``submit`` waiting for a second factor; ``answered``: given, result unknown."""
    last = _found(record, submit)
    if last is None or last.outcome not in {None, ASKED}:
        return record
    return _with_outcome(record, last, None if answered else ASKED)


def forgiven(record: LoginRecord) -> LoginRecord:
    """Return the record without refusals and lock-out, as a person requested; working passwords stay known.

    Forgiven refusals and unknown answers still count toward IBKR's own limit in 24 hours, so that repeated resets
    cannot reach it.
    """
    # The last submit may be under way: its answer must still find its own entry.
    under_way = record.submits[-1:] if record.submits and record.submits[-1].outcome == ASKED else ()
    kept = tuple(
        replace(submit, outcome=FORGIVEN) if counts(submit) else submit
        for submit in record.submits
        if submit.outcome not in {ANSWERED, ASKED} or submit in under_way
    )
    return replace(record, submits=kept, refused_print=None, locked_reason=None, block=None)


def _pruned(record: LoginRecord) -> LoginRecord:
    """Drop the oldest submits that were not refused, by number and not by age.

    A clock that jumps forward and back must not make the ledger forget. Refusals are kept: law 2 allows too few of them
    to fill the file.
    """
    quiet = [submit for submit in record.submits if not counts(submit)]
    dropped = set(quiet[: max(0, len(quiet) - KEPT_SUBMITS)])
    return replace(record, submits=tuple(submit for submit in record.submits if submit not in dropped))


# What several ledgers of one account know together.


def known_as(record: LoginRecord, print_: str, others: Collection[str]) -> LoginRecord:
    """Return the record with ``others`` replaced by ``print_``: one password's fingerprints under several salts."""
    if not others:
        return record

    def renamed(one: str | None) -> str | None:
        return print_ if one in others else one

    block = record.block
    return replace(
        record,
        submits=tuple(replace(one, print=print_) if one.print in others else one for one in record.submits),
        worked_print=renamed(record.worked_print),
        refused_print=renamed(record.refused_print),
        block=replace(block, print=print_) if block is not None and block.print in others else block,
    )


def joined(record: LoginRecord, former: LoginRecord) -> LoginRecord:
    """Return the record with the submits that only ``former`` has, in the order of their times; itself without any.

    What else ``former`` knows counts as well, unless a later success has settled it.
    """
    known = Counter(replace(submit, outcome=None) for submit in record.submits)
    missing = []
    for submit in former.submits:
        at = replace(submit, outcome=None)
        if known[at]:
            known[at] -= 1
        else:
            missing.append(submit)
    if not missing:
        return record
    older, newer = sorted((former, record), key=_settled_s)
    is_settled = all(submit.at_s < _settled_s(newer) for submit in older.submits)
    left = LoginRecord(worked_print=older.worked_print) if is_settled else older
    return LoginRecord(
        tuple(heapq.merge(record.submits, missing, key=lambda submit: submit.at_s)),
        newer.worked_print or left.worked_print,
        newer.refused_print or left.refused_print,
        newer.locked_reason or left.locked_reason,
        newer.block or left.block,
    )


def _settled_s(record: LoginRecord) -> float:
    """Return when a login last succeeded."""
    return max((submit.at_s for submit in record.submits if submit.outcome == SUCCESS), default=float("-inf"))
