"""One look at the login page, and what it means after a submit; pure but for the script that the page runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gwctl.login.controls import COLLECT_SCRIPT, Collected
from gwctl.login.outcome import LoginOutcome, classify_error
from gwctl.login.pages import CODE_FIELDS, Element
from gwctl.login.recognition import NOTHING, Recognized, recognize

SUCCESS_TEXT = "Client login succeeds"

_FORM_PARTS = [
    "username",
    "username_submit",
    "password",
    "submit",
    "paper_switch",
    "paper_label",
    "error",
    "maintenance",
    "cookie_button",
    "cookie_cover",
]

# Returns null while the page looks as it did at the last look, so that waiting for a change is one call. It tells which
# elements are visible and whether the fields hold something, never what they hold.
LOOK_SCRIPT = """
({selectors, known, origin}) => {
  const root = document.body;
  if (!root) return null;
  const shown = (e) => {
    if (!e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) return false;
    const box = e.getBoundingClientRect();
    return box.width > 0 && box.height > 0;
  };
  const every = (s) => { try { return [...document.querySelectorAll(s)]; } catch { return []; } };
  const ids = (window.__gwctl ??= {seen: new WeakMap(), last: 0, page: Math.random().toString(36).slice(2)});
  const id = (e) => { if (!ids.seen.has(e)) ids.seen.set(e, ++ids.last); return ids.seen.get(e); };
  const visible = {}, found = {};
  for (const [name, alternatives] of Object.entries(selectors)) {
    for (const s of alternatives) {
      const e = every(s).find(shown);
      if (e) { visible[name] = s; found[name] = e; break; }
    }
  }
  const text = (name) => found[name] ? found[name].innerText.trim() : "";
  const box = (selectors.paper_switch || []).flatMap(every)[0];
  const switchable = box && (found.paper_switch || found.paper_label);
  const look = {
    visible,
    page: ids.page,
    form: found.password ? id(found.password) : found.username ? id(found.username) : 0,
    username_filled: !!(found.username && found.username.value),
    password_filled: !!(found.password && found.password.value),
    code_filled: ["code_app", "code_email", "code_card", "challenge", "email_check"].some(
      (name) => found[name] && found[name].value),
    challenge: text("challenge_text"),
    paper: switchable ? !!box.checked : null,
    error: text("error"),
    banner: text("maintenance"),
    inputs: every("input, select").filter(shown).length,
    success: root.innerText.slice(0, 4000).includes("Client login succeeds"),
  };
  // A known page is never read in any other way, also while one of its questions stands there.
  const known_form = found.username && (found.submit || found.username_submit);
  const known_question = Object.keys(found).some((name) => !form_parts.includes(name));
  const strange = !known_form && (!known_question || every("input[type=password]").some(shown));
  look.collected = strange ? (COLLECT)(ids, id, shown, origin) : null;
  return JSON.stringify(look) === known ? null : look;
}
""".replace("COLLECT", COLLECT_SCRIPT.strip()).replace("form_parts", json.dumps(_FORM_PARTS))


# Returns for each element how it was found, visible before hidden: for a person who wants to know the page.
FIND_SCRIPT = """
(selectors) => {
  const shown = (e) => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})
    && e.getBoundingClientRect().width > 0 && e.getBoundingClientRect().height > 0;
  const every = (s) => { try { return [...document.querySelectorAll(s)]; } catch { return []; } };
  const found = {};
  for (const [name, alternatives] of Object.entries(selectors)) {
    const visible = alternatives.find((s) => every(s).some(shown));
    const hidden = alternatives.find((s) => every(s).length > 0);
    if (visible) found[name] = `visible ${visible}`;
    else if (hidden) found[name] = `hidden ${hidden}`;
  }
  return found;
}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What is visible on the page; ``page`` changes with the document, ``form`` when the fields are rebuilt.

    ``recognized`` is what was understood of a page that no version describes; its elements are in ``visible``, too.
    ``raw`` is the look as the script returned it, for the script to compare the next one with.
    """

    visible: Mapping[str, str]
    page: str = ""
    form: int = 0
    username_filled: bool = False
    password_filled: bool = False
    code_filled: bool = False
    challenge: str = ""
    paper: bool | None = None
    error: str = ""
    banner: str = ""
    inputs: int = 0
    success: bool = False
    recognized: Recognized = NOTHING
    raw: str = field(default="", compare=False, repr=False)

    @classmethod
    def from_script(cls, value: Mapping[str, Any]) -> Look:
        """Return the look that the script made, with what can be understood of a page that no version describes."""
        values = {name: one for name, one in value.items() if name != "collected"}
        look = cls(**values, raw=json.dumps(value, separators=(",", ":"), ensure_ascii=False))
        return look._with(value["collected"]) if value.get("collected") else look

    def _with(self, value: Mapping[str, Any]) -> Look:
        """Return this look with what can be understood of ``value``; the elements of known versions stay."""
        seen = Collected.from_script(value)
        recognized = recognize(seen)
        found = recognized.elements
        by_address = {element.value: control.at for element, control in found.items()}
        if recognized.ways:
            by_address[Element.PAPER_SWITCH.value] = recognized.ways["paper"]
        username, password = found.get(Element.USERNAME), found.get(Element.PASSWORD)
        boxes = [one.filled for one in seen.controls if one.at in recognized.boxes]
        fields = [one.filled for element, one in found.items() if element in CODE_FIELDS]
        error = self.error or seen.alerts
        return replace(
            self,
            visible={**by_address, **({Element.ERROR.value: "[role=alert]"} if seen.alerts else {}), **self.visible},
            form=self.form or (password.n if password else username.n if username else 0),
            username_filled=self.username_filled or bool(username and username.filled),
            password_filled=self.password_filled or bool(password and password.filled),
            code_filled=self.code_filled or any(boxes) or any(fields),
            paper=recognized.paper if self.paper is None else self.paper,
            error=error,
            inputs=max(self.inputs, sum(one.kind in {"text", "password", "select"} for one in seen.controls)),
            success=self.success or bool(value["success"]),
            recognized=recognized,
        )

    def shows(self, *elements: Element) -> bool:
        """Say whether any of ``elements`` is visible."""
        return any(element.value in self.visible for element in elements)

    @property
    def is_recognized(self) -> bool:
        """Whether its form was understood, and is of no known version."""
        return bool({Element.USERNAME, Element.PASSWORD} & set(self.recognized.elements))

    @property
    def shows_form(self) -> bool:
        """Whether the form for username and password (or its first half) is there."""
        return self.shows(Element.USERNAME)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over the wire so far: POSTs to ``/sso/``, how many of them wait, and HTTP statuses of the document."""

    posts: int = 0
    waiting: int = 0
    post_status: int | None = None
    document_status: int | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The page and the wire just before a submit, to tell what changed by it.

    ``answered`` is the question of the second factor that was answered by it, None for the password.
    """

    look: Look
    traffic: Traffic
    answered: Element | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the page is given for what, in seconds."""

    form_s: float = 35.0
    banner_s: float = 5.0
    swallowed_s: float = 2.5
    settled_s: float = 0.7
    empty_error_s: float = 1.5
    answer_s: float = 60.0
    demo_s: float = 10.0
    action_s: float = 5.0
    push_s: float = 180.0
    person_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The page asks for more: the element of the second factor or offer that is visible."""

    element: Element


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt is over."""

    outcome: LoginOutcome
    text: str = ""


_QUESTIONS = (
    Element.CODE_APP,
    Element.DEVICE_CHOICE,
    Element.OFFER_SKIP,
    Element.CHALLENGE,
    Element.CHALLENGE_TEXT,
    Element.CODE_EMAIL,
    Element.CODE_CARD,
    Element.EMAIL_CHECK,
    Element.PASSKEY,
    Element.PUSH,
    Element.OFFER,
)


@dataclass(frozen=True, slots=True)
class Now:
    """Page and wire at one moment, for how long the page has answered since the submit, and both been as they are.

    A page that computes what it sends answers nobody meanwhile, and swallows nothing.
    """

    look: Look
    traffic: Traffic
    answering_s: float
    unchanged_s: float


def judge(now: Now, submitted: Submitted, patience: Patience) -> Ended | Asked | None:
    """Return what the page's state means after a submit; None while nothing is decided yet.

    A form that is there again after a POST is a refusal; without any POST the page swallowed it and the password never
    left the browser.
    """
    if now.look.success:
        return Ended(LoginOutcome.SUCCESS)
    return (
        _judge_error(now, submitted, patience)
        or _judge_illness(now, submitted)
        or _judge_question(now, submitted, patience)
        or _judge_form(now, submitted, patience)
    )


def _posted(now: Now, submitted: Submitted) -> bool:
    return now.traffic.posts > submitted.traffic.posts


def _settled(now: Now, patience: Patience) -> bool:
    return now.traffic.waiting == 0 and now.unchanged_s >= patience.settled_s


def _judge_error(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    """Judge a visible error; a text that stood there before the submit speaks only when the answer has come."""
    look = now.look
    if not look.shows(Element.ERROR):
        return None
    if not look.error:
        silent = now.traffic.waiting == 0 and now.unchanged_s >= patience.empty_error_s
        return Ended(LoginOutcome.UNCLEAR) if silent else None
    posted = _posted(now, submitted)
    if look.error == submitted.look.error and not (posted and _settled(now, patience)):
        return None
    outcome = classify_error(look.error)
    if outcome is LoginOutcome.UNCLEAR and submitted.answered is not None:
        outcome = LoginOutcome.SECOND_FACTOR_REFUSED
    if outcome is LoginOutcome.UNKNOWN_TEXT and not posted:
        outcome = LoginOutcome.SWALLOWED
    return Ended(outcome, look.error)


def _judge_illness(now: Now, submitted: Submitted) -> Ended | None:
    status = now.traffic.document_status or 0
    if status >= 500 and now.look.page != submitted.look.page:
        return Ended(LoginOutcome.UPSTREAM_ILL, f"IBKR answered {status}")
    if now.look.banner and now.look.banner != submitted.look.banner:
        return Ended(LoginOutcome.UPSTREAM_ILL, now.look.banner)
    return None


def _judge_question(now: Now, submitted: Submitted, patience: Patience) -> Ended | Asked | None:
    asked = next((element for element in _QUESTIONS if now.look.shows(element)), None)
    if asked is None or asked is not submitted.answered:
        return None if asked is None else Asked(asked)
    answered_anew = _posted(now, submitted) or now.look.page != submitted.look.page
    if asked in CODE_FIELDS and answered_anew and _settled(now, patience) and not now.look.code_filled:
        return Ended(LoginOutcome.SECOND_FACTOR_REFUSED, "the code was asked for again")
    return None


def _judge_form(now: Now, submitted: Submitted, patience: Patience) -> Ended | None:
    look, before = now.look, submitted.look
    if not look.shows(Element.USERNAME, Element.PASSWORD):
        return None
    posted = _posted(now, submitted)
    anew = look.page != before.page or look.form != before.form or not look.password_filled
    if anew and _settled(now, patience):
        return Ended(LoginOutcome.FORM_AGAIN if posted else LoginOutcome.SWALLOWED)
    if not posted and now.answering_s >= patience.swallowed_s:
        return Ended(LoginOutcome.SWALLOWED)
    return None
