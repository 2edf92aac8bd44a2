"""Find the choice between paper and live on an unknown page; pure."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from typing import Literal, TypeVar

from gwctl.login import vocabulary as words
from gwctl.login.controls import CHOICE, Control
from gwctl.login.vocabulary import says

_FIELDS = frozenset({"text", "search", "password"})
Mode = Literal["paper", "live"]
_T = TypeVar("_T")


class Unsure(Exception):
    """Two readings are possible, or none; the text describes what is on the page."""


def mode_of(name: str) -> Mode | Literal["both"] | None:
    """Return the kind of account that a name stands for; None for neither."""
    if says(name, words.NO_MODE):
        return None
    paper, live = says(name, words.PAPER), says(name, words.LIVE)
    return ("both" if live else "paper") if paper else ("live" if live else None)


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
