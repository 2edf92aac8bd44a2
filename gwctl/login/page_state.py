"""One look at the login page; pure except for the script that the page runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import Struct, structs

from gwctl.login.controls import COLLECT_SCRIPT, PICK, Collected
from gwctl.login.recognition import NOTHING, Recognized, is_decoy, recognize
from gwctl.login.vocabulary import letters
from gwctl.setting_values import Element

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
    "code",
]

# Returns null while the page looks the same as at the last look, so that one call waits for a change. It reports which
# elements are visible and whether the fields contain something, never what.
LOOK_SCRIPT = (
    r"""
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
  const sound = (text) => text.trim().slice(0, 4000).replace(/[\ud800-\udfff]/g, "");
  const text = (name) => found[name] ? sound(found[name].innerText) : "";
  // All visible errors, in any place: an announcement may come before the one that matters.
  const errors = () => {
    const all = (selectors.error || []).flatMap(every).filter(shown).map((e) => e.innerText.trim());
    return sound([...new Set(all)].filter((t) => t).join("\n"));
  };
  // The page's words to a person, without buttons, links and lists, and without texts that have separate entries.
  const apart = ["maintenance", "cookie_cover", "cookie_button"].map((name) => found[name]).filter((e) => e);
  const mute = "script, style, template, noscript, button, a, select, textarea, [role=button]";
  const words = () => {
    const lines = [];
    const walk = (e) => {
      for (const child of e.childNodes) {
        if (child.nodeType === Node.TEXT_NODE) {
          const line = child.data.replace(/\s+/g, " ").trim();
          if (line) lines.push(line);
        } else if (child.nodeType === Node.ELEMENT_NODE && !child.matches(mute) && !apart.includes(child)
            && child.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) {
          walk(child);
          const within = child.shadowRoot || (child.tagName === "IFRAME" && child.contentDocument?.body);
          if (within) walk(within);
        }
      }
    };
    walk(root);
    return sound(lines.join("\n"));
  };
  PICK_SCRIPT
  const boxes = same_rank((selectors.paper_switch || []).flatMap(every)), box = boxes[0];
  const operable = (e) => !e.matches(":disabled, [aria-disabled=true]");
  const look = {
    visible,
    page: ids.page,
    form: found.password ? id(found.password) : found.username ? id(found.username) : 0,
    username_filled: !!(found.username && found.username.value),
    password_filled: !!(found.password && found.password.value),
    code_filled: ["code_app", "code_temporary", "code_email", "code_card", "challenge", "email_check", "code"].some(
      (name) => found[name] && found[name].value),
    challenge: text("challenge_text"),
    // A hidden switch still counts: its state is the mode in which the form is sent.
    paper: box ? !!box.checked : null,
    paper_torn: boxes.some((e) => e.checked !== box.checked),
    error: errors(),
    banner: text("maintenance"),
    inputs: every("input, select").filter(shown).length,
    success: root.innerText.slice(0, 4000).includes("Client login succeeds"),
    submit_ready: !!found.submit && operable(found.submit),
    words: words(),
    busy: every("[aria-busy=true], [role=progressbar], progress").some(shown),
    blank: document.readyState === "complete" && !root.innerText.trim() && !every("*").some((e) => e.shadowRoot)
      && !every("input, select, img, svg, canvas, iframe, [aria-busy=true], [role=progressbar]").some(shown),
  };
  // A known page is never recognized in another way, even while one of its questions is visible.
  const known_form = found.username && (found.submit || found.username_submit);
  const known_question = Object.keys(found).some((name) => !form_parts.includes(name));
  const strange = !known_form && (!known_question || every("input[type=password]").some(shown));
  look.collected = strange ? (COLLECT)(ids, id, shown, origin) : null;
  return JSON.stringify(look) === known ? null : look;
}
""".replace("COLLECT", COLLECT_SCRIPT.strip())
    .replace("form_parts", json.dumps(_FORM_PARTS))
    .replace("PICK_SCRIPT", PICK.strip())
)


# Returns how each element was found, visible before hidden, for a person who wants to know the page.
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
class PageState:
    """The visible part of the page; ``page`` changes with the document, ``form`` when the fields are rebuilt.

    ``paper_torn`` means that the page has several paper switches that disagree, and the form's cannot be identified.
    ``words`` are the page's words to a person, line by line, ``error`` the text in the places for errors;
    ``submit_ready`` means that the form's button is enabled, ``busy`` that the page shows that it is working, ``blank``
    that it has loaded and is empty, ``settling`` that its controls have just changed and are not reported yet.
    ``recognized`` is what was recognized on an unknown page; its elements are in ``visible`` too. ``raw`` is the look
    as returned by the script, to compare with the next one.
    """

    visible: Mapping[str, str]
    page: str = ""
    form: int = 0
    username_filled: bool = False
    password_filled: bool = False
    code_filled: bool = False
    challenge: str = ""
    paper: bool | None = None
    paper_torn: bool = False
    error: str = ""
    banner: str = ""
    inputs: int = 0
    success: bool = False
    submit_ready: bool = False
    words: str = ""
    busy: bool = False
    blank: bool = False
    settling: bool = False
    recognized: Recognized = NOTHING
    raw: str = field(default="", compare=False, repr=False)

    @classmethod
    def from_script(cls, value: Mapping[str, Any]) -> PageState:
        """Return the script's look, with what can be recognized on an unknown page."""
        values = {name: one for name, one in value.items() if name != "collected"}
        look = cls(**values, raw=json.dumps(value, separators=(",", ":"), ensure_ascii=False))
        return look._with(value["collected"]) if value.get("collected") else look

    def _with(self, value: Mapping[str, Any]) -> PageState:
        """Return this look with what can be recognized in ``value``; elements of known versions stay."""
        seen = Collected.from_script({**value, "text": self.words, "has_switch": self.paper is not None})
        recognized = recognize(seen)
        if self.paper is not None:
            recognized = structs.replace(recognized, ways={})
        found = recognized.elements
        addresses = {element.value: control.at for element, control in found.items()}
        if seen.alerts:
            addresses[Element.ERROR.value] = "[role=alert]"
        if recognized.ways:
            addresses[Element.PAPER_SWITCH.value] = recognized.ways["paper"]
        username, password = found.get(Element.USERNAME), found.get(Element.PASSWORD)
        submit, code = found.get(Element.SUBMIT), found.get(Element.CODE)
        fields = [one for one in seen.controls if one.kind in {"text", "password", "select", "search"}]
        return replace(
            self,
            visible={**addresses, **self.visible},
            form=self.form or (password.n if password else username.n if username else 0),
            username_filled=self.username_filled or bool(username and username.filled),
            password_filled=self.password_filled or bool(password and password.filled),
            code_filled=self.code_filled or bool(code and code.filled),
            paper=recognized.paper if self.paper is None else self.paper,
            error="\n".join(dict.fromkeys([*self.error.splitlines(), *seen.alerts.splitlines()])),
            inputs=max(self.inputs, len(fields)) - sum(one.kind == "search" or is_decoy(one) for one in fields),
            success=self.success or bool(value["success"]),
            submit_ready=self.submit_ready or bool(submit and not submit.off),
            blank=self.blank and not seen.controls and not self.words,
            settling=bool(value.get("settling")),
            recognized=recognized,
        )

    def shows(self, *elements: Element) -> bool:
        """Say whether any of ``elements`` is visible."""
        return any(element.value in self.visible for element in elements)

    @property
    def is_recognized(self) -> bool:
        """Whether its form was recognized, without a known version."""
        return bool({Element.USERNAME, Element.PASSWORD} & set(self.recognized.elements))

    @property
    def is_strange(self) -> bool:
        """Whether it shows nothing to fill in, and nothing of a known version but an announcement."""
        return set(self.visible) <= {Element.MAINTENANCE.value} and not self.inputs and not self.success

    @property
    def shows_form(self) -> bool:
        """Whether the form for username and password (or its first half) is visible."""
        return self.shows(Element.USERNAME)

    @property
    def state(self) -> PageState:
        """This look without parts that change by themselves: the digits of a running clock."""
        return replace(self, words="\n".join(map(letters, self.words.splitlines())))


class Traffic(Struct, frozen=True):
    """The form's network traffic so far: how often it was sent, and how many answers are missing.

    ``answers`` counts those that came, ``post_status`` is the last one's HTTP status, ``document_status`` the
    document's.
    """

    posts: int = 0
    waiting: int = 0
    answers: int = 0
    post_status: int | None = None
    document_status: int | None = None


class Submitted(Struct, frozen=True):
    """The page and the traffic just before a submit, to see what it changes.

    ``answered`` is the second-factor question that it answers, None for the password. ``said`` is what the page said
    until the password was answered, ``follows`` whether the password was sent before this submit.
    """

    look: PageState
    traffic: Traffic
    answered: Element | None = None
    said: str = ""
    follows: bool = False


class Patience(Struct, frozen=True):
    """The page's time limits, in seconds."""

    form_s: float = 35.0
    blank_s: float = 3.0
    unanswered_s: float = 8.0
    banner_s: float = 5.0
    operable_s: float = 20.0
    swallowed_s: float = 2.5
    settled_s: float = 0.7
    empty_error_s: float = 1.5
    words_s: float = 6.0
    idle_s: float = 8.0
    answer_s: float = 60.0
    demo_call_s: float = 1.0
    demo_s: float = 10.0
    action_s: float = 5.0
    push_s: float = 180.0
    person_s: float = 180.0
