"""The end of a careful person's login on a page of the grammar: a pure function of the spec, without a selector."""

from __future__ import annotations

from dataclasses import dataclass, replace

from page_grammar import ERROR_TEXTS, STUCK_TEXTS, Spec

from gwctl.login.outcome import LoginOutcome

SOON_S = 15.0
"""What a login may take beside what its page waits for: the browser's pages, and seconds of ours to be sure."""
SECOND_TRY_S = 15.0
CODE_BY_TIME_S = 12.0
CLICK_AGAIN_MS = 5000
"""How long a switch is watched before it is clicked again: a second click may take the first one back."""
SEEN_MS = 1000
"""A panel that stands for less than this may not be seen by anybody."""

_ANY_FAILURE = frozenset(LoginOutcome) - {
    LoginOutcome.SUCCESS,
    LoginOutcome.BROWSER_FAILED,
    LoginOutcome.SWALLOWED,
    LoginOutcome.CANCELLED,
    LoginOutcome.PAGE_NEVER_CAME,
    LoginOutcome.PAGE_UNKNOWN,
}
_NO_ANSWER = frozenset({LoginOutcome.UPSTREAM_ILL, LoginOutcome.TIMED_OUT})
_OF_TEXTS = {
    "refused": LoginOutcome.REFUSED,
    "locked": LoginOutcome.LOCKED,
    "wrong_mode": LoginOutcome.WRONG_MODE,
    "ill": LoginOutcome.UPSTREAM_ILL,
    "unclear": LoginOutcome.UNCLEAR,
    "unknown_text": LoginOutcome.UNKNOWN_TEXT,
}


@dataclass(frozen=True)
class Expected:
    """The right endings, how many passwords may have been sent for them, and IBKR's words in the report."""

    outcomes: frozenset[LoginOutcome]
    submits: int = 1
    words: str = ""
    waits_s: float = 0.0


def expected(spec: Spec, *, form_s: float, answer_s: float, push_s: float) -> Expected:
    """Return how a login on ``spec`` must end, given how long it waits for the form, an answer, a person."""
    before = _before_the_password(spec, form_s)
    if before is not None:
        return before
    first_try = _tempered(spec, answer_s)
    if first_try is not None and not spec.profile.worked:
        return first_try
    found = _after_the_password(spec, answer_s, push_s)
    waits_s = found.waits_s + _own_s(spec)
    if first_try is None:
        return Expected(found.outcomes, found.submits, found.words, waits_s)
    outcomes, words = found.outcomes, found.words
    if outcomes & _NO_ANSWER:  # undoes no refusal that the first try seemed to be (law 2)
        outcomes, words = outcomes | _of(LoginOutcome.FORM_AGAIN), ""
    return Expected(outcomes, found.submits + 1, words, waits_s + SECOND_TRY_S)


def _of(*outcomes: LoginOutcome) -> frozenset[LoginOutcome]:
    return frozenset(outcomes)


def _own_s(spec: Spec) -> float:
    """Return how much time the page itself takes."""
    load, wire, factor = spec.load, spec.wire, spec.factor
    rounds = 6
    page_ms = load.form_after_ms + (load.empties_after_ms or 0) + load.disabled_ms + 1500
    page_ms += 3000 if load.first_press_empties else 0
    page_ms += CLICK_AGAIN_MS if spec.switch.first_click_lost else 0
    demos_s = 2 * wire.demo_ms / 1000
    by_time_s = CODE_BY_TIME_S if spec.profile.method == "totp" else 0.0
    again_s = SECOND_TRY_S if wire.temper != "none" else 0.0
    return (2 * page_ms + rounds * wire.answer_ms + factor.push_ms) / 1000 + demos_s + by_time_s + again_s


def _before_the_password(spec: Spec, form_s: float) -> Expected | None:
    if spec.load.status != 200:
        ill = _of(LoginOutcome.UPSTREAM_ILL)
        vague = _of() if spec.load.status >= 500 else _of(LoginOutcome.PAGE_NEVER_CAME)
        return Expected(ill | vague, 0, waits_s=4 * form_s)
    if spec.load.never:
        return Expected(_of(LoginOutcome.PAGE_NEVER_CAME), 0, waits_s=4 * form_s)
    if spec.markup.two_passwords:
        return Expected(
            _of(LoginOutcome.PAGE_UNKNOWN) | (_late(spec) - _of(LoginOutcome.TIMED_OUT)),
            0,
            waits_s=form_s + _own_s(spec),
        )
    return None


def _tempered(spec: Spec, answer_s: float) -> Expected | None:
    """Return the end of a first form that the demo page, opened before it, did not help; None: it is accepted."""
    wire = spec.wire
    if wire.temper in {"none", "swallowed"} or wire.demos == 1:
        return None  # an ignored form costs no submit, and is sent after the demo page was opened once more
    failures = _of(LoginOutcome.FORM_AGAIN, LoginOutcome.UNCLEAR) | _late(spec)
    return Expected(failures, 1, waits_s=answer_s + SECOND_TRY_S + _own_s(spec))


def _after_the_password(spec: Spec, answer_s: float, push_s: float) -> Expected:
    if spec.ending.kind != "success" and not spec.ending.after_factor:
        return _ended(spec, answer_s)
    return _factor(spec, answer_s, push_s) or _ended(spec, answer_s)


def _factor(spec: Spec, answer_s: float, push_s: float) -> Expected | None:
    """Return how the second factor ends the login; None: it does not."""
    factor, profile = spec.factor, spec.profile
    if factor.kind == "none":
        return None
    refused = _of(LoginOutcome.SECOND_FACTOR_REFUSED)
    needed = _of(LoginOutcome.SECOND_FACTOR_NEEDED)
    if factor.kind == "passkey" or profile.method == "none":
        return Expected(needed)
    if factor.kind == "push":
        # A push that is denied before its panel is visible looks like an error after the password.
        unseen = _of(LoginOutcome.UNCLEAR) if factor.push_ms < SEEN_MS else _of()
        ends = {"never": Expected(needed, waits_s=2 * push_s), "denied": Expected(refused | unseen)}
        return ends.get(factor.push)
    if profile.method == "command" and not profile.gives:
        return Expected(needed)
    return Expected(refused, waits_s=answer_s) if factor.wrong == "always" else None


def _ended(spec: Spec, answer_s: float) -> Expected:
    ending = spec.ending
    if ending.kind in ERROR_TEXTS:
        # Only a person's eyes distinguish an unmarked text from the page's other texts.
        # On a page of a known version, aria-invalid is new too.
        is_new = spec.markup.version == "unknown"
        is_unmarked = ending.error == "plain" or (ending.error == "aria" and not is_new)
        # No convention gives classes in a frame or a shadow root a meaning; roles have one.
        is_unmarked |= spec.markup.inside != "none" and ending.error in {"xyz", "danger", "feedback"}
        unmarked = _of(LoginOutcome.UNKNOWN_TEXT) if is_unmarked else _of()
        # An unmarked text that goes away and says nothing definite could also mean success.
        if is_unmarked and ending.stands_ms and ending.kind in {"unclear", "unknown_text"}:
            unmarked |= _late(spec)
        return Expected(_of(_OF_TEXTS[ending.kind]) | unmarked, words=ERROR_TEXTS[ending.kind])
    if ending.kind in STUCK_TEXTS:
        return Expected(_of(LoginOutcome.UNKNOWN_TEXT), words=STUCK_TEXTS[ending.kind])
    if ending.kind == "success":
        return Expected(_of(LoginOutcome.SUCCESS), waits_s=ending.done_ms / 1000)
    if ending.kind == "banner":
        # An error that disappears during the page's announcement, or is replaced by it, is visible too briefly.
        goes = bool(ending.stands_ms) or spec.wire.transport == "document"
        if spec.load.announces_after_ms is None or not goes:
            return Expected(_of(LoginOutcome.UPSTREAM_ILL), waits_s=answer_s)
        unread = _without_a_word(spec, answer_s)
        return replace(unread, outcomes=unread.outcomes | _of(LoginOutcome.UPSTREAM_ILL))
    return _without_a_word(spec, answer_s)


def _without_a_word(spec: Spec, answer_s: float) -> Expected:
    """Return the end of silence: a password that has worked may be sent once more after a gateway's start."""
    ending = spec.ending
    tries = 2 if spec.profile.worked and spec.profile.first_after_start else 1
    waits_s = tries * answer_s + SECOND_TRY_S * (tries - 1)
    late = _late(spec)
    silent = late | _of(LoginOutcome.UNCLEAR)
    if spec.wire.transport == "document" or spec.load.empties_after_ms is not None:
        silent |= _of(LoginOutcome.FORM_AGAIN)
    outcomes = {
        "again": _of(LoginOutcome.FORM_AGAIN),
        "silent": silent,
        "banner": late,
        # If the page still shows the notification, the approval is invisible.
        "spin": late | (_of(LoginOutcome.SECOND_FACTOR_NEEDED) if spec.factor.kind == "push" else _of()),
        "status": _of(LoginOutcome.UPSTREAM_ILL) if ending.status >= 500 else _ANY_FAILURE,
    }
    return Expected(outcomes[ending.kind], tries, waits_s=waits_s)


def _late(spec: Spec) -> frozenset[LoginOutcome]:
    """Return the outcome when IBKR does not answer: next to an announcement, that may be the reason."""
    announced = _of() if spec.load.announces_after_ms is None else _of(LoginOutcome.UPSTREAM_ILL)
    return announced | _of(LoginOutcome.TIMED_OUT)
