"""Recognize an unknown login page, and its choice of paper or live, by features that every usable page has; pure.

It has safeguards: it works only on the origin where the login began, and never with two password fields on the page (a
page to register or to change the password). If two readings are possible, it returns none, and describes what it saw.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct, field

from gwctl.login import vocabulary as words
from gwctl.login.controls import CHOICE, Collected, Control
from gwctl.login.selectors import AUTHENTICATOR_APP, IB_KEY, SMS
from gwctl.login.vocabulary import mode_of, says
from gwctl.setting_values import Element

_FIELDS = frozenset({"text", "search", "password"})
_T = TypeVar("_T")


class Unsure(Exception):
    """Two readings are possible, or none; the text describes what is on the page."""


def find_switch(controls: tuple[Control, ...], field_: Control) -> tuple[bool | None, dict[str, str], str]:
    """Return which is chosen, how to choose each, and how it was found; nothing if the page has no such choice."""
    readings: list[tuple[bool | None, dict[str, str], str]] = []
    groups: dict[str, list[Control]] = defaultdict(list)
    for one in controls:
        match one.kind:
            case "switch" if mode_of(one.name):
                readings.append(_toggle(one))
            case "select" if any(mode_of(label) for _, label, _ in one.options):
                readings.append(_list(one))
            case "choice" | "option":
                groups[one.group].append(one)
            case "button" if one.scope != field_.scope or one.form is False or one.on is not None:
                groups[one.group].append(one)
    for members in groups.values():
        named = [one for one in members if mode_of(one.name)]
        if len(members) > 1 and any(mode_of(one.name) != "live" for one in named):
            readings.append(_pair(members))
    if len(readings) > 1:
        raise Unsure("more than one choice between paper and live: " + ", ".join(how for _, _, how in readings))
    return readings[0] if readings else (None, {}, "")


def check_nameless(controls: tuple[Control, ...], first: Control, last: Control) -> None:
    """Raise Unsure for a choice in or just above the form that might be the one between paper and live.

    A plain checkbox after the fields is usually a "remember me", under any name.
    """
    at, end = controls.index(first), controls.index(last)
    above = list(itertools.takewhile(lambda one: one.kind not in _FIELDS, reversed(controls[:at])))
    within = [one for one in controls if one.scope == last.scope and one.form]
    near = {
        one.n: one for one in (*reversed(above), *controls[at:end], *within) if not one.aside and not _is_no_kind(one)
    }
    for one in near.values():
        before = controls.index(one) < end
        if one.kind == "switch" and (before or one.toggle):
            raise Unsure(f"a switch that may be the one for paper or live, {one.title}")
    pairs: dict[str, list[Control]] = defaultdict(list)
    for one in near.values():
        if one.kind == "choice":
            pairs[one.group].append(one)
    for members in pairs.values():
        if len(members) > 1:
            names = ", ".join(one.title for one in members)
            raise Unsure(f"a choice that may be the one for paper or live: {names}")


def _is_no_kind(one: Control) -> bool:
    """Say whether a control's name stands for something other than a kind of account."""
    if re.fullmatch(r"[a-z]{2}([-_][a-z]{2})?", one.name, re.IGNORECASE):
        return True  # a language
    others = (words.NO_KIND, words.NO_MODE, words.LOG_IN, words.OTHER_WAY)
    ways_in = (words.WAYS_IN, words.USER, words.MASKED, words.EMAIL, words.DEVICES)
    return any(says(one.name, which) for which in others + (ways_in if one.kind == "choice" else ()))


def _toggle(one: Control) -> tuple[bool | None, dict[str, str], str]:
    mode = mode_of(one.name)
    if mode == "both":
        raise Unsure(f"a switch between paper and live that does not say which of them is on, {one.title}")
    if one.on is None:
        raise Unsure(f"a switch for {mode} that does not say whether it is on, {one.title}")
    return one.on == (mode == "paper"), {"paper": one.at, "live": one.at}, f"the switch {one.title}"


def _pair(members: list[Control]) -> tuple[bool | None, dict[str, str], str]:
    paper, live = _two([(one, one.name) for one in members])
    shown = f"the choice {paper.title} or {live.title}"
    if paper.on is None and live.on is None:
        raise Unsure(f"{shown} does not say which is chosen")
    if paper.on and live.on:
        raise Unsure(f"{shown} says that both are chosen")
    chosen = True if paper.on else False if live.on else None
    return chosen, {"paper": paper.at, "live": live.at}, shown


def _list(one: Control) -> tuple[bool | None, dict[str, str], str]:
    options = [option for option in one.options if option[1] and (option[0] or mode_of(option[1]))]
    paper, live = _two([(option, option[1]) for option in options])
    chosen = True if paper[2] else False if live[2] else None
    ways = {"paper": f"{one.at}{CHOICE}{paper[0]}", "live": f"{one.at}{CHOICE}{live[0]}"}
    return chosen, ways, f'the list with "{paper[1]}" and "{live[1]}"'


def _two(named: list[tuple[_T, str]]) -> tuple[_T, _T]:
    """Return the one for paper and the one for live; of two, a known one identifies the other."""
    by: dict[str | None, list[_T]] = defaultdict(list)
    for one, name in named:
        by[mode_of(name)].append(one)
    if len(named) == 2 and len(by[None]) == 1:
        by["live" if by["paper"] else "paper"] += by[None]
    if len(by["paper"]) != 1 or len(by["live"]) != 1 or by["both"]:
        raise Unsure("a choice between paper and live with more than one reading: " + ", ".join(n for _, n in named))
    return by["paper"][0], by["live"][0]


RECOGNIZED = "recognized"
"""The version name of an unknown page."""

UNDERSTOOD = "understood by what it has:"
"""The start of the step that says what was recognized."""

_BOXES = range(4, 11)
_CODE_CHARS = range(4, 13)


class Recognized(Struct, frozen=True):
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
    same = [one for one in controls if one.scope == field_.scope and not says(one.label, words.OTHER_WAY)]
    sending = [one for one in same if one.kind == "submit"]
    if len(sending) == 1:
        return sending[0], "the form's button"
    buttons = sending or [one for one in same if one.kind == "button"]
    for which in (words.LOG_IN, words.NEXT):
        called = [one for one in buttons if says(one.label, which)]
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
