"""A grammar of login pages: their look and behavior, as a frozen spec that Hypothesis draws.

``page_grammar_html`` renders a spec, ``page_grammar_server`` serves it, ``page_grammar_model`` says how a careful
person's login on it ends. Every default is the simplest value, so that a spec shows only what is special.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from hypothesis import strategies as st

DEVICES = {"ibkey": ("5.2i", "IB Key (iPhone)"), "app": ("4", "Mobile Authenticator APP"), "sms": ("4.2", "SMS")}
PASSKEY = ("9", "Passkey")

ERROR_TEXTS = {
    "refused": "Invalid username password combination",
    "locked": "Your account is locked. Please contact customer service.",
    "wrong_mode": "You have selected the Live Account Mode, but the specified user is a Paper Trading user. "
    "Please select the correct Login mode.",
    "ill": "An error occurred while communicating with the server",
    "unclear": "Authentication failed",
    "unknown_text": "Please call your broker about form W-8",
}
STUCK_TEXTS = {
    "review": "Annual review. Your financial information has to be confirmed before you can go on.",
    "attention": "Your account needs attention. Please contact customer service.",
    "logged_out": "You have been logged out.",
}


@dataclass(frozen=True)
class Markup:
    """How the form is written: a known version, or an unknown one."""

    version: str = "current"  # current, legacy, two-step, unknown
    by: str = "id"  # known: id, name; unknown: autocomplete, label, wrap, aria, placeholder
    language: str = "en"
    inside: str = "none"  # none, shadow, frame
    button: str = "submit"  # submit, button, input, role
    in_form: bool = True
    decoys: tuple[str, ...] = ()  # hidden, offscreen, search, newsletter, remember
    two_passwords: bool = False
    lazy: bool = False  # panels are added to the page only when they are shown
    username_stays: bool = True  # two-step: next to the password


@dataclass(frozen=True)
class Switch:
    """The choice between paper and live."""

    kind: str = "toggle"  # none, toggle, wrapped, bare; unknown: none, checkbox, switch, radio, tab, select
    at_first: str = "live"
    clears: bool = False
    first_click_lost: bool = False
    name: int = 0  # which of the language's names for it


@dataclass(frozen=True)
class Load:
    """How the page loads, before anything is sent."""

    status: int = 200
    body: bool = True
    form_after_ms: int = 0
    never: bool = False
    empties_after_ms: int | None = None  # after the form appeared, its fields are rendered again, empty
    first_press_empties: bool = False  # and sends nothing
    disabled_ms: int = 0
    disabled_while_empty: bool = False
    cover: str = "none"  # none, cookie, cookie returns, cover, banner, banner goes
    announces_after_ms: int | None = None


@dataclass(frozen=True)
class Wire:
    """The network traffic, and a gateway that has just been started."""

    answer_ms: int = 30
    telemetry: str = "none"  # none, click, always
    transport: str = "fetch"  # fetch, document
    temper: str = "none"  # none, swallowed, filled, cleared, reloads
    demos: int = 1  # how often the demo page must call the API until it helps
    demo_ms: int = 0


@dataclass(frozen=True)
class Factor:
    """The second factor after the password, and its look."""

    kind: str = "none"  # none, app, sms, push, passkey
    devices: tuple[str, ...] = ()  # offered first: of ibkey, app, sms, passkey
    list_as: str = "select"  # select, divs, cards, options
    list_needs_button: bool = False
    channel: bool = False  # sms: choose the channel first
    field: str = "known"  # known, numeric, otp, placeholder, label, boxes
    enter_sends: bool = True
    wrong: str = "never"  # never, once, always
    keeps_code: bool = False
    error: str = "xyz"
    push: str = "approved"  # approved, never, denied
    push_ms: int = 300


@dataclass(frozen=True)
class Offer:
    """An offer in between that can be skipped."""

    look: str = "known"  # known, unknown
    way: str = "Not now"
    before_factor: bool = True


@dataclass(frozen=True)
class Ending:
    """The ending: after the password, or after the second factor."""

    kind: str = "success"  # success, one of ERROR_TEXTS, again, silent, spin, status, banner, one of STUCK_TEXTS
    error: str = "xyz"  # xyz, role, danger, both, feedback, aria, plain
    stands_ms: int | None = None
    late_ms: int = 0
    form: str = "filled"  # filled, cleared, reloads: next to an error, or form again
    status: int = 503
    body: bool = True
    after_factor: bool = False
    done_ms: int = 0


@dataclass(frozen=True)
class Profile:
    """The account and the profile."""

    mode: str = "paper"
    method: str = "command"  # none, totp, push, command, auto
    gives: bool = True  # the person, or the command, answers
    first_after_start: bool = False
    worked: bool = False


@dataclass(frozen=True)
class Spec:
    """One login page, and its user."""

    markup: Markup = field(default_factory=Markup)
    switch: Switch = field(default_factory=Switch)
    load: Load = field(default_factory=Load)
    wire: Wire = field(default_factory=Wire)
    factor: Factor = field(default_factory=Factor)
    offer: Offer | None = None
    ending: Ending = field(default_factory=Ending)
    profile: Profile = field(default_factory=Profile)

    def __str__(self) -> str:
        """Return only the values that differ from the defaults."""
        return f"Spec({', '.join(_special(self))})"


def _special(one: Any) -> list[str]:
    plain = type(one)()
    said = []
    for each in fields(one):
        value = getattr(one, each.name)
        if value == getattr(plain, each.name):
            continue
        if hasattr(value, "__dataclass_fields__"):
            said.append(f"{each.name}={type(value).__name__}({', '.join(_special(value))})")
        else:
            said.append(f"{each.name}={value!r}")
    return said


def _one(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "ja", "zh", "zh-TW", "ru")
WAYS_PAST = ("Not now", "Skip", "Maybe later", "Remind me later", "No thanks")
ERRORS = ("xyz", "role", "danger", "both", "feedback", "aria", "plain")
_DECOYS = ("hidden", "offscreen", "search", "newsletter", "remember")


@st.composite
def _markups(draw: st.DrawFn) -> Markup:
    version = draw(_one("current", "unknown", "two-step", "legacy", "unknown"))
    if version != "unknown":
        by = draw(_one("id", "name"))
        decoys = draw(st.lists(_one(*_DECOYS), max_size=1, unique=True).map(tuple))
        return Markup(version, by, decoys=decoys, lazy=draw(st.booleans()), username_stays=draw(st.booleans()))
    return Markup(
        version,
        by=draw(_one("autocomplete", "label", "wrap", "aria", "placeholder")),
        language=draw(_one(*LANGUAGES)),
        inside=draw(_one("none", "none", "shadow", "frame")),
        button=draw(_one("submit", "button", "input", "role")),
        in_form=draw(_one(True, True, False)),
        decoys=tuple(sorted(draw(st.sets(_one(*_DECOYS), max_size=3)))),
        two_passwords=draw(st.integers(0, 19)) == 19,
        lazy=draw(st.booleans()),
    )


@st.composite
def _switches(draw: st.DrawFn, version: str) -> Switch:
    known = ("toggle", "toggle", "wrapped", "bare", "none")
    kinds = ("checkbox", "switch", "radio", "tab", "select", "none") if version == "unknown" else known
    kind = draw(_one(*kinds))
    if kind == "none":
        return Switch(kind)
    return Switch(
        kind,
        at_first=draw(_one("live", "live", "paper")),
        clears=draw(st.booleans()),
        first_click_lost=draw(_one(False, False, False, True)),
        name=draw(_one(0, 1)),
    )


@st.composite
def _loads(draw: st.DrawFn) -> Load:
    rare = draw(st.integers(0, 39))
    if rare == 39:
        return Load(status=draw(_one(503, 500, 401, 403)), body=draw(st.booleans()))
    if rare == 38:
        return Load(never=True)
    return Load(
        form_after_ms=draw(_one(0, 0, 300, 1200)),
        empties_after_ms=draw(_one(None, None, None, 60, 250, 700)),
        first_press_empties=draw(st.integers(0, 7)) == 7,
        disabled_ms=draw(_one(0, 0, 0, 600, 2000)),
        disabled_while_empty=draw(_one(False, False, True)),
        cover=draw(_one("none", "none", "none", "cookie", "cookie returns", "cover", "banner", "banner goes")),
        announces_after_ms=draw(_one(None, None, None, 0, 400, 1500)),
    )


@st.composite
def _wires(draw: st.DrawFn) -> Wire:
    return Wire(
        answer_ms=draw(_one(30, 30, 200, 1200)),
        telemetry=draw(_one("none", "none", "click", "always")),
        transport=draw(_one("fetch", "fetch", "document")),
        temper=draw(_one("none", "none", "swallowed", "filled", "cleared", "reloads")),
        demos=draw(_one(1, 1, 2)),
        demo_ms=draw(_one(0, 0, 200, 3000)),
    )


@st.composite
def _factors(draw: st.DrawFn, *, legacy: bool) -> Factor:
    kind = draw(_one("none", "none", "none", "app", "sms", "push", "app", "sms", "push", "passkey"))
    if kind == "none":
        return Factor()
    devices: tuple[str, ...] = ()
    if draw(st.booleans()):
        others = {"app": "app", "sms": "sms", "push": "ibkey", "passkey": "passkey"}
        own = others.pop(kind)
        more = draw(st.sets(_one(*others.values()), max_size=2)) if kind != "passkey" else set()
        devices = tuple(draw(st.permutations([own, *sorted(more)])))
    if kind == "passkey":
        return Factor(kind, devices)
    return Factor(
        kind,
        devices,
        list_as=draw(_one("select", "select", "divs", "cards", "options")),
        list_needs_button=draw(st.booleans()),
        channel=kind == "sms" and not legacy and draw(st.booleans()),
        field=draw(_one("known", "known", "numeric", "otp", "placeholder", "label", "boxes")),
        enter_sends=draw(_one(True, True, False)),
        wrong=draw(_one("never", "never", "never", "once", "always")) if kind != "push" else "never",
        keeps_code=draw(st.booleans()),
        error=draw(_one(*ERRORS)),
        push=draw(_one("approved", "approved", "never", "denied")) if kind == "push" else "approved",
        push_ms=draw(_one(0, 300, 3000)),
    )


@st.composite
def _endings(draw: st.DrawFn, *, has_factor: bool) -> Ending:
    if draw(_one(True, False)):
        return Ending(done_ms=draw(_one(0, 0, 500)))
    kind = draw(_one("refused", *ERROR_TEXTS, "again", "silent", "spin", "status", "banner", *STUCK_TEXTS))
    return Ending(
        kind,
        error=draw(_one(*ERRORS)),
        stands_ms=draw(_one(None, None, 1500, 3000)),
        late_ms=draw(_one(0, 0, 300)),
        form=draw(_one("filled", "cleared", "reloads") if kind != "again" else _one("cleared", "reloads")),
        status=draw(_one(503, 500, 502, 401, 403)),
        body=draw(st.booleans()),
        after_factor=has_factor and kind in {"spin", "status", "banner", *STUCK_TEXTS} and draw(st.booleans()),
    )


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Draw a login page and a profile that usually has the right second factor for it."""
    markup = draw(_markups())
    factor = draw(_factors(legacy=markup.version == "legacy"))
    methods = {
        "app": ("command", "totp") if factor.wrong == "never" else ("command",),
        "sms": ("command",),
        "push": ("push", "auto"),
    }.get(factor.kind, ("command", "auto"))
    first = draw(st.booleans())
    wire = draw(_wires())
    offer = Offer(draw(_one("known", "unknown")), draw(_one(*WAYS_PAST)), draw(st.booleans()))
    return Spec(
        markup=markup,
        switch=draw(_switches(markup.version)),
        load=draw(_loads()),
        wire=wire if first else Wire(wire.answer_ms, wire.telemetry, wire.transport),
        factor=factor,
        offer=draw(_one(None, None, None, offer)),
        ending=draw(_endings(has_factor=factor.kind != "none")),
        profile=Profile(
            mode=draw(_one("paper", "paper", "live")),
            method=draw(_one(*methods)) if draw(st.integers(0, 9)) < 9 else "none",
            gives=draw(st.integers(0, 9)) < 9,
            first_after_start=first,
            worked=draw(st.booleans()),
        ),
    )
