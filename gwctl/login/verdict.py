"""Judge the page and the network traffic after a submit; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from gwctl.login.outcome import LoginOutcome, classify_error, classify_words
from gwctl.login.page_state import PageState, Patience, Submitted, Traffic
from gwctl.login.selectors import CODE_FIELDS
from gwctl.login.vocabulary import ask_for_approval, ask_for_passkey, ask_to_wait, new_words
from gwctl.setting_values import Element


@dataclass(frozen=True, slots=True)
class Asked:
    """The page asks for more: the visible element of the second factor or offer, and the page at that moment."""

    element: Element
    now: Now = field(compare=False, repr=False)


class Ended(Struct, frozen=True):
    """The attempt is over; ``is_mute`` if the page ignored an answer that came: no error, no question."""

    outcome: LoginOutcome
    text: str = ""
    is_mute: bool = False


PASSKEY_ONLY = (
    "a passkey and offers nothing else: gwctl cannot use one, and it may not work by hand either, "
    "because a passkey belongs to IBKR's own address and the gateway's page has the address localhost; "
    "add another second factor at IBKR's website"
)

NOBODY_APPROVED = Ended(LoginOutcome.SECOND_FACTOR_NEEDED, "the notification on the device was not approved")

_QUESTIONS = (
    Element.CODE_APP,
    Element.DEVICE_CHOICE,
    Element.CHANNEL_CHOICE,
    Element.OFFER_SKIP,
    Element.CHALLENGE,
    Element.CHALLENGE_TEXT,
    Element.CODE_TEMPORARY,
    Element.CODE_EMAIL,
    Element.CODE_CARD,
    Element.EMAIL_CHECK,
    Element.PASSKEY,
    Element.PUSH,
    Element.QR_CODE,
    Element.OFFER,
    Element.CODE,
)
_PLAIN = frozenset(
    {
        LoginOutcome.REFUSED,
        LoginOutcome.LOCKED,
        LoginOutcome.WRONG_MODE,
        LoginOutcome.SECOND_FACTOR_REFUSED,
        LoginOutcome.COOKIES_DISABLED,
    }
)
"""The outcomes of texts with only one meaning, wherever they stand."""


class Now(Struct, frozen=True):
    """Page and traffic at one moment, how long the page has answered since it was busy, and how long it is unchanged.

    The times in which it was busy do not count. A page that is busy computing what it sends does not answer, and has
    not ignored the form. ``quiet_s`` is how long it has sent no request. ``heard`` is the text in the places for errors
    since the answer came.
    """

    look: PageState
    traffic: Traffic
    answering_s: float
    unchanged_s: float
    quiet_s: float = math.inf
    heard: str = ""


def judge(now: Now, submitted: Submitted, patience: Patience) -> Ended | Asked | None:
    """Return the meaning of the page's state after a submit; None while it is undecided.

    A form that comes back after a POST is a refusal; without a POST, the page ignored the form and the password never
    left the browser. Something that appears after the click but is not its answer, such as an announcement, decides
    nothing.
    """
    if now.look.success:
        return Ended(LoginOutcome.SUCCESS)
    return (
        _judge_refusal(now, submitted, patience)
        or _judge_question(now, submitted, patience)
        or _judge_error(now, submitted, patience)
        or _judge_gone_error(now, submitted, patience)
        or _judge_illness(now, submitted, patience)
        or _judge_form(now, submitted, patience)
        or _judge_words(now, submitted, patience)
    )


def is_idle(now: Now, submitted: Submitted, patience: Patience) -> bool:
    """Say whether the page does nothing with the answer to the password, or with anything else."""
    return (
        submitted.answered is None
        and _posted(now, submitted)
        and now.traffic.waiting == 0
        and now.quiet_s > 0
        and now.unchanged_s >= patience.idle_s
        and asked_for(now.look) is None
    )


def says_at_last(look: PageState, submitted: Submitted) -> Ended | None:
    """Return the meaning of the page's words when the wait is over; None without words, or if they ask to wait."""
    said = _said_since(look, submitted)
    # An announcement next to other words is no answer; alone, it may be one.
    said = _said_since(look, submitted, beside=look.banner) or said
    if not said or ask_to_wait(said):
        return None
    if ask_for_passkey(said) and not look.shows(*CODE_FIELDS):
        return Ended(LoginOutcome.SECOND_FACTOR_NEEDED, f"IBKR asks for {PASSKEY_ONLY}: {said}")
    outcome = classify_words(said)
    if outcome is LoginOutcome.UPSTREAM_ILL and look.shows(Element.USERNAME, Element.PASSWORD):
        outcome = LoginOutcome.UNKNOWN_TEXT  # an announcement next to the form says nothing about the password
    if outcome is LoginOutcome.UNCLEAR and submitted.answered is not None:
        outcome = LoginOutcome.SECOND_FACTOR_REFUSED
    return Ended(outcome, said)


def with_early_words(look: PageState, traffic: Traffic, submitted: Submitted) -> Submitted:
    """Add what the page says next to a form that stays filled and has no answer yet to ``submitted``; return it."""
    is_password = submitted.answered is None and not submitted.follows
    stays = look.password_filled and (look.page, look.form) == (submitted.look.page, submitted.look.form)
    if not is_password or not stays or traffic.answers > submitted.traffic.answers or look.words in submitted.said:
        return submitted
    return replace(submitted, said=f"{submitted.said}\n{look.words}")


def shown_since(look: PageState, submitted: Submitted) -> str:
    """Return what the page says now but did not say at the click, whether it is the answer or not."""
    return new_words(look.words, submitted.look.words)


def _said_since(look: PageState, submitted: Submitted, *, beside: str = "") -> str:
    return new_words(look.words, f"{submitted.said}\n{submitted.look.words}\n{beside}")


def asked_for(look: PageState) -> Element | None:
    """Return the question on the page, if any."""
    asked = next((element for element in _QUESTIONS if look.shows(element)), None)
    if asked is None and look.is_strange and ask_for_approval(look.words):
        return Element.PUSH
    # A field that may or may not be for a code does not count next to the form.
    return None if asked is Element.CODE and look.shows(Element.USERNAME, Element.PASSWORD) else asked


def _posted(now: Now, submitted: Submitted) -> bool:
    """Say whether the form was sent; a page after a skipped offer is still the answer to the password."""
    gone_past = submitted.follows and submitted.answered is None
    return gone_past or now.traffic.posts > submitted.traffic.posts


def _password_sent(now: Now, submitted: Submitted) -> bool:
    """Say whether the password has ever left the browser: then the page cannot have ignored the form (law 2)."""
    return _posted(now, submitted) or submitted.follows


def _settled(now: Now, patience: Patience) -> bool:
    return now.traffic.waiting == 0 and now.unchanged_s >= patience.settled_s


def _judge_refusal(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    """Judge texts with only one meaning, wherever they stand; an older text counts only once it is the answer."""
    look, before = now.look, submitted.look
    errors = [new_words(look.error, before.error)]
    words: list[str] = []
    if _posted(now, submitted):
        # Words next to an unanswered question are no refusal: they may be a warning.
        if asked_for(look) in {None, submitted.answered}:
            words.append(_said_since(look, submitted))
        if _settled(now, patience):
            errors.append(look.error)
            words.append(new_words(look.words, submitted.said) if submitted.follows else "")
    judged = [(classify_error(text), text) for text in errors if text]
    judged += [(classify_words(text), text) for text in words if text]
    return next((Ended(outcome, text) for outcome, text in judged if outcome in _PLAIN), None)


def _judge_error(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    """Judge an ambiguous error once it is the answer; old errors and announcements are not."""
    look, before = now.look, submitted.look
    if not look.shows(Element.ERROR) or now.traffic.waiting:
        return None
    calm = now.unchanged_s >= patience.empty_error_s
    if not _posted(now, submitted):
        return _judge_error_unsent(now, submitted, patience)
    if not look.error:
        return Ended(LoginOutcome.UNCLEAR) if calm and not before.shows(Element.ERROR) else None
    fresh = new_words(look.error, before.error)
    outcome = classify_error(fresh or look.error)
    if outcome is LoginOutcome.UNCLEAR:
        refused = LoginOutcome.UNCLEAR if submitted.answered is None else LoginOutcome.SECOND_FACTOR_REFUSED
        return Ended(refused, look.error) if fresh or _settled(now, patience) else None
    return Ended(outcome, fresh) if fresh and calm and not look.shows(Element.PUSH) else None


def _judge_gone_error(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    """Judge an error that has disappeared: it was the answer if nothing came after it."""
    if now.look.error or not now.heard or ask_to_wait(now.heard) or not _settled(now, patience):
        return None
    if not now.look.shows(Element.USERNAME, Element.PASSWORD) and now.unchanged_s < patience.empty_error_s:
        return None
    outcome = classify_error(now.heard)
    if outcome is LoginOutcome.UNCLEAR and submitted.answered is not None:
        outcome = LoginOutcome.SECOND_FACTOR_REFUSED
    return Ended(outcome, now.heard)


def heard(look: PageState, traffic: Traffic, submitted: Submitted) -> str:
    """Return the text in the places for errors since the answer to a submit came; nothing before."""
    return new_words(look.error, f"{submitted.said}\n{submitted.look.error}") if _came(traffic, submitted) else ""


def answered_by(look: PageState, traffic: Traffic, submitted: Submitted) -> str:
    """Return what the page says to a person since the answer to a submit came; nothing before."""
    return _said_since(look, submitted) if _came(traffic, submitted) else ""


def _came(traffic: Traffic, submitted: Submitted) -> bool:
    return not traffic.waiting and traffic.posts > submitted.traffic.posts


def _judge_error_unsent(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    """Judge what the page says while nothing was sent: it has ignored the form, or says why."""
    fresh = new_words(now.look.error, submitted.look.error)
    if not fresh or now.answering_s < patience.swallowed_s or _password_sent(now, submitted):
        return None
    outcome = classify_error(fresh)
    said_why = outcome in {LoginOutcome.UPSTREAM_ILL, LoginOutcome.COOKIES_DISABLED}
    return Ended(outcome if said_why else LoginOutcome.SWALLOWED, fresh)


def _judge_illness(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    """Judge trouble at IBKR; a banner counts only after a while and if nothing else speaks: it may be old news."""
    look, before = now.look, submitted.look
    status = now.traffic.document_status or 0
    if status >= 500 and look.page != before.page:
        return Ended(LoginOutcome.UPSTREAM_ILL, f"IBKR answered {status}")
    speaks = look.banner and look.banner != before.banner and asked_for(look) is None
    speaks = speaks and not _said_since(look, submitted, beside=look.banner)
    idle = _posted(now, submitted) and now.traffic.waiting == 0 and now.unchanged_s >= patience.banner_s
    return Ended(LoginOutcome.UPSTREAM_ILL, look.banner) if speaks and idle else None


def _judge_question(now: Now, submitted: Submitted, patience: Patience) -> Ended | Asked | None:
    asked = asked_for(now.look)
    if asked is None or asked is not submitted.answered:
        return None if asked is None else Asked(asked, now)
    answered_anew = _posted(now, submitted) or now.look.page != submitted.look.page
    if asked in CODE_FIELDS and answered_anew and _settled(now, patience) and not now.look.code_filled:
        return Ended(LoginOutcome.SECOND_FACTOR_REFUSED, "IBKR asked for the code again")
    return None


def _judge_form(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    look, before = now.look, submitted.look
    shows_form = look.shows(Element.USERNAME, Element.PASSWORD)
    if not shows_form or new_words(look.error, before.error):  # an error's text is judged separately
        return None
    posted = _password_sent(now, submitted)
    again = look.page != before.page or look.form != before.form or not look.password_filled
    if again and _settled(now, patience):
        if not posted:
            return Ended(LoginOutcome.SWALLOWED, shown_since(look, submitted))
        if (status := now.traffic.post_status or 0) >= 500:
            return Ended(LoginOutcome.UPSTREAM_ILL, f"IBKR answered {status}")
        return says_at_last(look, submitted) or Ended(LoginOutcome.FORM_AGAIN, is_mute=True)
    if not posted and now.answering_s >= patience.swallowed_s:
        return Ended(LoginOutcome.SWALLOWED, shown_since(look, submitted))
    return None


def _judge_words(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    """Judge a settled page by its words: a person must read unknown ones."""
    look = now.look
    if not _posted(now, submitted) or now.traffic.waiting or look.busy or asked_for(look) is Element.PUSH:
        return None
    if min(now.unchanged_s, now.quiet_s) < patience.words_s:
        return None
    if (status := now.traffic.post_status or 0) >= 500:
        return Ended(LoginOutcome.UPSTREAM_ILL, f"IBKR answered {status}")
    return says_at_last(look, submitted)
