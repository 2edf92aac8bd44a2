"""The login's matrix as data: the page's look, the second factor, the ending of the login.

``test_login_matrix`` plays every case with a real Chromium; ``scripts/login-matrix`` writes the docs' page from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gwctl.login.codes import Kind, Method, Question
from gwctl.login.outcome import LoginOutcome
from gwctl.login.page_state import Patience

TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CODE, RESPONSE = "135790", "24681357"
QUICK = Patience(form_s=4.0, banner_s=0.3, answer_s=4.0, push_s=1.2, person_s=5.0)
"""As long as is needed to tell what comes late from what never comes, and no longer."""

Reply = Callable[[Question], str | None]


@dataclass(frozen=True)
class Variant:
    """One look of the page: the fake IBKR's page options."""

    name: str
    page: Mapping[str, Any]
    mode: Literal["paper", "live"] = "paper"


@dataclass(frozen=True)
class Factor:
    """One second factor: the fake IBKR's scenario, the profile's settings, who answers."""

    name: str
    scenario: Mapping[str, Any] | None = None
    method: Method = Method.AUTO
    device: str | None = None
    totp: bool = False
    reply: Reply | None = None
    asked: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class Ending:
    """One ending of a login: further scenarios of the fake IBKR, and the expected result."""

    name: str
    outcome: LoginOutcome
    scenarios: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    submits: int = 1


@dataclass(frozen=True)
class Case:
    """One login."""

    variant: Variant
    factor: Factor
    ending: Ending

    def __str__(self) -> str:
        """Return its name in the test run."""
        return f"{self.variant.name}-{self.factor.name}-{self.ending.name}".replace(" ", "_")


def _code(_question: Question) -> str:
    return CODE


def _response(question: Question) -> str | None:
    return RESPONSE if question.challenge == "482 913" else None


def _wrong(question: Question) -> str:
    return "000002" if question.again else "000001"


VARIANTS = (
    Variant("current", {"toggle_clears": False}),
    Variant("no switch", {"toggle": False}, mode="live"),
    Variant("two-step", {"two_step": True}),
    Variant("switch clears", {"toggle_clears": True}),
    Variant("cookie dialog", {"cookie_dialog": True, "cookie_dialog_returns": True}),
    Variant("second load", {"form_on_load": 2}),
    Variant("legacy", {"variant": "legacy"}),
)
SECOND_LOAD = VARIANTS[5]
FEW_VARIANTS = (VARIANTS[0], VARIANTS[-1])
"""The pages that differ in more than what lies before the password."""
LATE = Variant("form after 10 s", {"form_delay_ms": 10_000})
FEW_FACTORS = ("none", "totp")
"""For a page that differs by nothing but what lies before the password."""
LEGACY_FACTORS = ("totp", "sms, choice", "push")
"""One for each way in which the legacy page asks."""

NONE = Factor("none", {"kind": "none"})
_COMMAND = {"method": Method.COMMAND, "reply": _code}
FACTORS = (
    NONE,
    Factor("remembered", {"kind": "app", "remembered": True}),
    Factor("totp", {"kind": "app"}, Method.TOTP, totp=True),
    Factor("app, command", {"kind": "app"}, asked=(Kind.APP,), **_COMMAND),  # type: ignore[arg-type]
    Factor("sms, choice", {"kind": "choice"}, device="sms", asked=(Kind.SMS,), **_COMMAND),  # type: ignore[arg-type]
    Factor("temporary code", {"kind": "temporary"}, asked=(Kind.TEMPORARY,), **_COMMAND),  # type: ignore[arg-type]
    Factor("channel, sms", {"kind": "channel"}, asked=(Kind.SMS,), **_COMMAND),  # type: ignore[arg-type]
    Factor("channel, e-mail", {"kind": "channel"}, device="email", asked=(Kind.EMAIL,), **_COMMAND),  # type: ignore[arg-type]
    Factor("card", {"kind": "card"}, asked=(Kind.CARD,), **_COMMAND),  # type: ignore[arg-type]
    Factor("challenge", {"kind": "challenge"}, Method.PROMPT, reply=_response, asked=(Kind.CHALLENGE,)),
    Factor("choice, totp", {"kind": "choice", "choice_needs_button": True}, Method.TOTP, totp=True),
    Factor("push", {"kind": "push"}, Method.PUSH, asked=(Kind.PUSH,)),
    Factor("choice, push", {"kind": "choice"}, Method.PUSH, asked=(Kind.PUSH,)),
    Factor("push, second", {"kind": "push", "approve": "second"}, asked=(Kind.PUSH, Kind.PUSH)),
    Factor(
        "push, challenge",
        {"kind": "push", "approve": "never"},
        Method.COMMAND,
        reply=_response,
        asked=(Kind.CHALLENGE,),
    ),
    Factor("offer", {"kind": "none", "offer": "enablepush"}),
    Factor("offer, IB Key", {"kind": "app", "offer": "ibkey"}, Method.TOTP, totp=True),
    Factor("e-mail check", {"kind": "email_check"}),
)
PROMO = Factor("offer, promo", {"kind": "app", "offer": "promo"}, Method.TOTP, totp=True)

SUCCESS = Ending("success", LoginOutcome.SUCCESS)
ENDINGS = (
    Ending("refused", LoginOutcome.REFUSED, {"wrong_password": {}}),
    Ending("form again", LoginOutcome.FORM_AGAIN, {"form_again": {}}),
    Ending("error text", LoginOutcome.UNCLEAR, {"login_error": {"text": "Authentication failed"}}),
    Ending("unknown text", LoginOutcome.UNKNOWN_TEXT, {"login_error": {"text": "Please call your broker"}}),
    Ending("locked", LoginOutcome.LOCKED, {"login_error": {"text": "Your account is locked"}}),
    Ending(
        "IBKR down",
        LoginOutcome.UPSTREAM_ILL,
        {"login_error": {"text": "An error occurred while communicating with the server"}},
    ),
    Ending("spinner", LoginOutcome.TIMED_OUT, {"login_spins": {}}),
    Ending("banner", LoginOutcome.UPSTREAM_ILL, {"maintenance_banner": {}}, submits=0),
    Ending("503 page", LoginOutcome.UPSTREAM_ILL, {"html_503": {"paths": "sso"}}, submits=0),
    Ending("form never", LoginOutcome.PAGE_NEVER_CAME, {"login_page": {"form_never": True}}, {"short": True}, 0),
)
WRONG_MODE = Ending("wrong mode", LoginOutcome.WRONG_MODE, job={"mode": "live"})

_REFUSED = Ending("refused twice", LoginOutcome.SECOND_FACTOR_REFUSED)
_NEEDED = Ending("not given", LoginOutcome.SECOND_FACTOR_NEEDED)
FACTOR_ENDINGS: tuple[tuple[Factor, Ending], ...] = (
    (Factor("app, wrong code", {"kind": "app"}, Method.COMMAND, reply=_wrong, asked=(Kind.APP, Kind.APP)), _REFUSED),
    (
        Factor(
            "temporary, wrong code",
            {"kind": "temporary"},
            Method.COMMAND,
            reply=_wrong,
            asked=(Kind.TEMPORARY,) * 2,
        ),
        _REFUSED,
    ),
    (
        Factor(
            "challenge, wrong",
            {"kind": "challenge"},
            Method.PROMPT,
            reply=_wrong,
            asked=(Kind.CHALLENGE,) * 2,
        ),
        _REFUSED,
    ),
    (
        Factor("the same code again", {"kind": "app", "code": "975310"}, asked=(Kind.APP,) * 2, **_COMMAND),  # type: ignore[arg-type]
        _REFUSED,
    ),
    (Factor("app, no answer", {"kind": "app"}, asked=(Kind.APP,)), _NEEDED),
    (Factor("app, none", {"kind": "app"}, Method.NONE), _NEEDED),
    (Factor("device missing", {"kind": "choice"}, Method.PUSH, device="Fax"), _NEEDED),
    (Factor("passkey", {"kind": "passkey"}), _NEEDED),
    (Factor("push, totp", {"kind": "push", "approve": "never"}, Method.TOTP, totp=True), _NEEDED),
    (
        Factor("push, denied", {"kind": "push", "approve": "denied"}, Method.PUSH, asked=(Kind.PUSH,)),
        Ending("denied", LoginOutcome.SECOND_FACTOR_REFUSED),
    ),
    (
        Factor("push, never", {"kind": "push", "approve": "never"}, Method.PUSH, asked=(Kind.PUSH, Kind.PUSH)),
        Ending("never approved", LoginOutcome.SECOND_FACTOR_NEEDED),
    ),
)


_DRAWN_VARIANTS = ("no switch", "switch clears", "cookie dialog")
_DRAWN_FACTORS = (
    *("none", "remembered", "totp", "app, command", "sms, choice", "choice, totp"),
    *("push", "choice, push", "offer"),
)
_DRAWN_ENDINGS = (
    *("refused", "form again", "error text", "unknown text", "locked", "IBKR down"),
    *("spinner", "503 page", "wrong mode"),
)


def is_drawn(case: Case) -> bool:
    """Say whether the grammar of pages has a case (``page_grammar``); ``test_page_grammar`` checks that it does."""
    if case.ending is SUCCESS:
        return case.variant.name in _DRAWN_VARIANTS and case.factor.name in _DRAWN_FACTORS
    return case.factor is NONE and case.variant is not VARIANTS[0] and case.ending.name in _DRAWN_ENDINGS


def cases() -> list[Case]:
    """Return every case to play; the others are left to the grammar of pages."""
    return [case for case in every_case() if not is_drawn(case)]


def every_case() -> list[Case]:
    """Return every case: all factors and endings on the page that most people get, on others what differs from it."""
    current, legacy = VARIANTS[0], VARIANTS[-1]
    few = {SECOND_LOAD.name: FEW_FACTORS, "two-step": FEW_FACTORS, legacy.name: LEGACY_FACTORS}
    found = [
        Case(variant, factor, SUCCESS)
        for variant in VARIANTS
        for factor in FACTORS
        if factor.name in few.get(variant.name, _DRAWN_FACTORS) or variant is current
    ]
    found.append(Case(legacy, PROMO, SUCCESS))
    found += [Case(variant, NONE, ending) for variant in (current, legacy) for ending in (*ENDINGS, WRONG_MODE)]
    found += [Case(current, factor, ending) for factor, ending in FACTOR_ENDINGS]
    found += [Case(legacy, *FACTOR_ENDINGS[at]) for at in (0, -2)]
    found.append(Case(LATE, NONE, SUCCESS))
    return found


def by_code(cases: list[Case]) -> list[Case]:
    """Return them, those with a TOTP code first: once one has waited for its window, the others need not."""
    return sorted(cases, key=lambda case: not case.factor.totp)


def real_cases() -> list[Case]:
    """Return the cells for which the real gateway's proxy, jar and Dispatcher matter; the page's look does not."""
    current, legacy = VARIANTS[0], VARIANTS[-1]
    named = {factor.name: factor for factor in FACTORS}
    wanted = ("none", "totp", "sms, choice", "choice, push", "push, second", "challenge", "offer", "e-mail check")
    endings = {ending.name: ending for ending in ENDINGS}
    return [
        *(Case(current, named[name], SUCCESS) for name in wanted),
        Case(legacy, named["totp"], SUCCESS),
        *(Case(current, NONE, endings[name]) for name in ("refused", "form again", "IBKR down", "503 page")),
        *(Case(current, *FACTOR_ENDINGS[at]) for at in (0, -1)),
    ]
