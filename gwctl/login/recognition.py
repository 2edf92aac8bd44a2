"""Recognize an unknown login page by features that every usable page has; pure.

It has safeguards: it works only on the origin where the login began, and never with two password fields on the page (a
page to register or to change the password). If two readings are possible, it returns none, and describes what it saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gwctl.login import vocabulary as words
from gwctl.login.account_kind import Unsure, check_nameless, find_switch
from gwctl.login.controls import CHOICE, Collected, Control
from gwctl.login.selectors import AUTHENTICATOR_APP, IB_KEY, SMS
from gwctl.login.vocabulary import says
from gwctl.setting_values import Element

RECOGNIZED = "recognized"
"""The version name of an unknown page."""

UNDERSTOOD = "understood by what it has:"
"""The start of the step that says what was recognized."""

_BOXES = range(4, 11)
_CODE_CHARS = range(4, 13)


@dataclass(frozen=True, slots=True)
class Recognized:
    """What was recognized on a page: where each element is, and by what it was found.

    ``ways`` are how to choose each kind of account if the page has a choice, ``paper`` is which one is chosen.
    ``refused`` says why the form was not recognized although there is a field for a password.
    """

    elements: Mapping[Element, Control] = field(default_factory=dict)
    how: Mapping[Element, str] = field(default_factory=dict)
    boxes: tuple[str, ...] = ()
    ways: Mapping[str, str] = field(default_factory=dict)
    paper: bool | None = None
    devices: tuple[tuple[str, str], ...] = ()
    kind_of_code: str = ""
    refused: str = ""


NOTHING = Recognized()


def recognize(page: Collected) -> Recognized:
    """Return what can be recognized on ``page``; nothing if there is no login and no question on it."""
    try:
        return _recognize(page)
    except Unsure as unsure:
        return Recognized(refused=str(unsure))


def _recognize(page: Collected) -> Recognized:
    if page.foreign:
        raise Unsure("a page that is not on the gateway's origin")
    passwords = [one for one in page.controls if one.kind == "password" and not _is_code(one)]
    if len(passwords) > 1:
        raise Unsure("two fields for a password, as for a registration or a new password")
    if passwords:
        return _recognize_form(page, passwords[0])
    return _recognize_code(page) or _recognize_devices(page) or _recognize_first_half(page) or Recognized()


def describe(recognized: Recognized) -> str:
    """Return on one line what was recognized, and by what."""
    return "; ".join(f"{element} by {how}" for element, how in recognized.how.items())


# The form.


def _recognize_form(page: Collected, password: Control) -> Recognized:
    controls = page.controls
    if password.is_called("new-password"):
        raise Unsure(f"a field for a new password, {password.title}")
    _check_origin(password)
    if password.fixed:
        raise Unsure(f"the field {password.title} takes no text now")
    found, how = {Element.PASSWORD: password}, {Element.PASSWORD: "the field for a password"}
    same = [one for one in controls if one.scope == password.scope]
    username = _username_before(same, password)
    if username is not None:
        found[Element.USERNAME], how[Element.USERNAME] = username
        _check_origin(found[Element.USERNAME])
    paper, ways, switch = find_switch(controls, password)
    if not switch and not page.has_switch:
        check_nameless(controls, found.get(Element.USERNAME, password), password)
    if switch:
        how[Element.PAPER_SWITCH] = switch
    used = {password.n, *(one.n for one in found.values())}
    used_ways = {way.split(CHOICE)[0] for way in ways.values()}
    for one in same:
        if one.n not in used and one.at not in used_ways and _is_missing(one):
            raise Unsure(f"a required field that gwctl does not know, {one.title}")
    found[Element.SUBMIT], how[Element.SUBMIT] = _submit(controls, password)
    _check_origin(found[Element.SUBMIT])
    return Recognized(found, how, ways=ways, paper=paper)


def _is_missing(one: Control) -> bool:
    """Say whether a form is incomplete without a value for this control."""
    if one.filled or one.on or one.fixed:
        return False
    asks = one.kind == "text" and (_is_code(one) or says(f"{one.name} {one.words}", words.CAPTCHA))
    return one.required or asks


def _username_before(same: list[Control], password: Control) -> tuple[Control, str] | None:
    """Return the field for the username; None if the page no longer shows it, as after the first of two steps."""
    before = [one for one in same[: same.index(password)] if one.kind == "text" and not one.fixed]
    texts = [one for one in before if not is_decoy(one) and not _is_code(one)]
    if not texts:
        return None
    by_autocomplete = [one for one in texts if one.is_called("username")]
    if by_autocomplete:
        return _only(by_autocomplete, "fields for a username"), "autocomplete"
    by_name = [one for one in texts if _says_user(one)]
    if by_name:
        return _only(by_name, "fields for a username"), f"its name {by_name[0].title}"
    if len(texts) > 1 and not password.form:
        texts = texts[-1:]
    return _only(texts, "fields before the one for the password"), "the field before the one for the password"


def _recognize_first_half(page: Collected) -> Recognized | None:
    """Return the first of two steps, which asks only for the username."""
    texts = [one for one in page.controls if one.kind == "text" and not one.fixed and not is_decoy(one)]
    named = [one for one in texts if one.is_called("username")] or [one for one in texts if _says_user(one)]
    if not named:
        return None
    username = _only(named, "fields for a username")
    _check_origin(username)
    button, by = _submit(page.controls, username)
    _check_origin(button)
    paper, ways, switch = find_switch(page.controls, username)
    if not switch and not page.has_switch:
        check_nameless(page.controls, username, username)
    how = {Element.USERNAME: "autocomplete" if username.is_called("username") else f"its name {username.title}"}
    how |= {Element.PAPER_SWITCH: switch} if switch else {}
    return Recognized(
        {Element.USERNAME: username, Element.USERNAME_SUBMIT: button},
        {**how, Element.USERNAME_SUBMIT: by},
        ways=ways,
        paper=paper,
    )


def _submit(controls: tuple[Control, ...], field_: Control) -> tuple[Control, str]:
    """Return the button that sends the form of ``field_``."""
    same = [one for one in controls if one.scope == field_.scope and not says(_label(one), words.OTHER_WAY)]
    sending = [one for one in same if one.kind == "submit"]
    if len(sending) == 1:
        return sending[0], "the form's button"
    buttons = sending or [one for one in same if one.kind == "button"]
    for which in (words.LOG_IN, words.NEXT):
        called = [one for one in buttons if says(_label(one), which)]
        if called:
            return _only(called, "buttons that may send the form"), f"its name {called[0].title}"
    if not buttons:
        raise Unsure("no button that sends the form")
    return _only(buttons, "buttons that may send the form"), "the only button"


def _check_origin(control: Control) -> None:
    if not control.ours:
        raise Unsure("a form that is sent to another origin")


# After the password.


def _recognize_code(page: Collected) -> Recognized | None:
    fields = [one for one in page.controls if one.kind in {"text", "password"} and not one.fixed and not is_decoy(one)]
    boxes = _boxes(fields)
    if boxes:
        first, by = boxes[0], f"{len(boxes)} boxes for one character each"
    else:
        codes = [one for one in fields if one.is_called("one-time-code")]
        by = "autocomplete"
        if not codes:
            codes = [one for one in fields if _is_code(one)]
            by = f"its name {codes[0].title}" if codes else ""
        if not codes:
            codes, by = [one for one in fields if one.numeric and one.length in _CODE_CHARS], "a field for digits"
        if not codes:
            return None
        first = _only(codes, "fields for a code")
    _check_origin(first)
    found, how = {Element.CODE: first}, {Element.CODE: by}
    try:
        found[Element.SUBMIT], how[Element.SUBMIT] = _submit(page.controls, first)
    except Unsure:
        found.pop(Element.SUBMIT, None)  # then Enter sends it
    return Recognized(found, how, boxes=tuple(one.at for one in boxes), kind_of_code=_kind_of_code(page, first))


def _kind_of_code(page: Collected, field_: Control) -> str:
    """Return the kind of code that is asked for, by the field's words, otherwise by the page's; empty if unknown."""
    kinds = {
        "sms": words.SMS_WORDS,
        "email": words.EMAIL,
        "card": words.CARD,
        "challenge": words.CHALLENGE,
        "app": words.APP,
    }
    for text in (field_.name, page.text):
        named = [kind for kind, which in kinds.items() if says(text, which)]
        if len(named) == 1:
            return named[0]
    return ""


def _boxes(fields: list[Control]) -> list[Control]:
    """Return the boxes of a code with one box per character."""
    single = [one for one in fields if one.length == 1]
    if len(single) in _BOXES and len({one.scope for one in single}) == 1:
        return single
    return []


def _recognize_devices(page: Collected) -> Recognized | None:
    """Return a list of ways to get a code: options, cards, or buttons."""
    for one in page.controls:
        labels = [(value, label) for value, label, _ in one.options if value]
        if one.kind == "select" and any(says(label, words.DEVICES) for _, label in labels):
            devices = tuple((f"{one.at}{CHOICE}{value}", label) for value, label in labels)
            return _device_list(page, one, devices, "a list with the names of devices")
    kinds: tuple[tuple[str, ...], ...] = (("choice", "option", "switch"), ("button", "submit"), ("card",))
    for group in kinds:
        named = [
            one
            for one in page.controls
            if one.kind in group and says(one.name, words.DEVICES) and not says(one.name, words.OTHER_WAY + " resend")
        ]
        usable = any(device.is_option("", one.name) for one in named for device in (AUTHENTICATOR_APP, IB_KEY, SMS))
        # A single one may just be a way out of something else, unless the page asks to choose it.
        several = len({one.name for one in named}) > 1 and (usable or group != ("card",))
        if several or (usable and says(page.text, words.CHOOSE)):
            devices = tuple((one.at, one.name) for one in named)
            return _device_list(page, named[0], devices, "things to choose with the names of devices")
    return None


def _device_list(page: Collected, first: Control, devices: tuple[tuple[str, str], ...], by: str) -> Recognized:
    _check_origin(first)
    found, how = {Element.DEVICE_CHOICE: first}, {Element.DEVICE_CHOICE: by}
    ways = {way for way, _ in devices}
    rest = tuple(one for one in page.controls if one.at not in ways)
    try:
        found[Element.SUBMIT], how[Element.SUBMIT] = _submit(rest, first)
    except Unsure:
        found.pop(Element.SUBMIT, None)  # then the choice itself is submitted
    return Recognized(found, how, devices=devices)


# Words.


def _label(one: Control) -> str:
    return one.name or one.words


def is_decoy(one: Control) -> bool:
    """Say whether a field is for something other than a login, such as a search or a newsletter."""
    return says(f"{one.name} {one.words}", words.DECOY) or (one.length == 1 and not one.numeric and not one.form)


def _says_user(one: Control) -> bool:
    return says(one.name, words.USER) or says(one.words, words.USER)


def _is_code(one: Control) -> bool:
    if one.is_called("one-time-code"):
        return True
    if one.is_called("username", "current-password", "new-password"):
        return False
    for text in (one.name, one.words):
        # A field with both names is for a password: "password or code".
        if says(text, words.MASKED):
            return False
        if says(text, words.CODE):
            return not says(text, words.USER)
    return False


def _only(controls: Iterable[Control], what: str) -> Control:
    found = list(controls)
    if len(found) > 1:
        raise Unsure(f"{len(found)} {what}: {', '.join(one.title for one in found)}")
    return found[0]
