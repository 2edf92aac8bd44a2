"""What parent and worker tell each other: the job, its possible endings, its report; and the meaning of page texts.

The secrets of a job stay ``Secret`` until they are typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict

from gwctl.credentials import Secret
from gwctl.login.codes import Method
from gwctl.login.page_state import Patience

TEXT_LIMIT_CHARS = 500


class LoginOutcome(StrEnum):
    """How one login ended; every ending has a value."""

    SUCCESS = "success"
    REFUSED = "refused"
    FORM_AGAIN = "form_again"
    LOCKED = "locked"
    WRONG_MODE = "wrong_mode"
    PAGE_UNKNOWN = "page_unknown"
    PAGE_NEVER_CAME = "page_never_came"
    TIMED_OUT = "timed_out"
    BROWSER_FAILED = "browser_failed"
    BROWSER_KILLED = "browser_killed"
    FOREIGN_KEY = "foreign_key"
    PORT_FORBIDDEN = "port_forbidden"
    SECOND_FACTOR_NEEDED = "second_factor_needed"
    SECOND_FACTOR_REFUSED = "second_factor_refused"
    UPSTREAM_ILL = "upstream_ill"
    SWALLOWED = "swallowed"
    COOKIES_DISABLED = "cookies_disabled"
    UNCLEAR = "unclear"
    UNKNOWN_TEXT = "unknown_text"
    CANCELLED = "cancelled"

    @property
    def counts_as_refusal(self) -> bool:
        """Say whether IBKR may have counted this login as refused (law 2 also counts doubtful ones)."""
        return ENDINGS[self].is_refusal

    @property
    def is_without_browser(self) -> bool:
        """Say whether the browser went away, so that the result of a submit is unknown."""
        return self in {LoginOutcome.BROWSER_FAILED, LoginOutcome.BROWSER_KILLED}


class Ending(Struct, frozen=True):
    """What happened, and what a person can do; a remedy that begins with ``nothing`` says that gwctl tries again."""

    text: str
    remedy: str
    is_refusal: bool = False


ENDINGS: dict[LoginOutcome, Ending] = {
    LoginOutcome.SUCCESS: Ending("the login succeeded", "nothing"),
    LoginOutcome.REFUSED: Ending(
        "IBKR refused the username or the password",
        "correct them (gwctl secret check password shows where the password comes from), then: gwctl up",
        is_refusal=True,
    ),
    LoginOutcome.FORM_AGAIN: Ending(
        "IBKR showed the login form again without an error, which is one of its ways to refuse",
        "log in by hand at IBKR's website to see why, then: gwctl login --reset-lockout",
        is_refusal=True,
    ),
    LoginOutcome.LOCKED: Ending(
        "IBKR says that the account is locked",
        "ask IBKR to unlock it, or wait 24 hours, then: gwctl login --reset-lockout",
        is_refusal=True,
    ),
    LoginOutcome.WRONG_MODE: Ending(
        "the username is for a paper account but the profile says live, or the other way around",
        "set mode in the profile, then: gwctl up",
    ),
    LoginOutcome.PAGE_UNKNOWN: Ending(
        "gwctl does not know this login page; nothing more was sent",
        "gwctl login --probe shows what it found; set the selectors in the profile's page table, and report it",
    ),
    LoginOutcome.PAGE_NEVER_CAME: Ending(
        "the login form never appeared, even after a reload",
        "nothing: gwctl tries again; if it keeps failing, gwctl login --probe",
    ),
    LoginOutcome.TIMED_OUT: Ending(
        "IBKR received the form but did not answer in time",
        "nothing: gwctl tries again; it does not count as a refusal",
    ),
    LoginOutcome.BROWSER_FAILED: Ending(
        "the browser did not start, or exited",
        "gwctl doctor shows what is missing; gwctl browser install installs a browser",
    ),
    LoginOutcome.BROWSER_KILLED: Ending(
        "the browser was killed, as the system does when memory runs out",
        "give the machine or container more memory: a login needs up to 500 MB on top of the gateway's 200 MB",
    ),
    LoginOutcome.FOREIGN_KEY: Ending(
        "the server at the gateway's port has a different key; nothing was sent to it",
        "gwctl doctor shows which program holds the port",
    ),
    LoginOutcome.PORT_FORBIDDEN: Ending(
        "browsers refuse to open the gateway's port", "set another port in the profile, then: gwctl up"
    ),
    LoginOutcome.SECOND_FACTOR_NEEDED: Ending(
        "the second factor was not given",
        "set second_factor in the profile, or answer at a terminal: gwctl login",
    ),
    LoginOutcome.SECOND_FACTOR_REFUSED: Ending(
        "IBKR refused the second factor",
        "check this machine's clock and the secret or device, then: gwctl login --reset-lockout",
        is_refusal=True,
    ),
    LoginOutcome.UPSTREAM_ILL: Ending(
        "IBKR's login was not available", "nothing: gwctl tries again when IBKR is back; it does not count as a refusal"
    ),
    LoginOutcome.SWALLOWED: Ending(
        "the login page ignored the form twice; the password never left the browser",
        "nothing: gwctl restarts the gateway and tries again",
    ),
    LoginOutcome.COOKIES_DISABLED: Ending("the login page says that cookies must be enabled", "use another browser"),
    LoginOutcome.UNCLEAR: Ending(
        "IBKR ended the login without a clear reason, which counts as a refusal",
        "log in by hand at IBKR's website to see why, then: gwctl login --reset-lockout",
        is_refusal=True,
    ),
    LoginOutcome.UNKNOWN_TEXT: Ending(
        "the login page shows a text that gwctl does not know; it counts as a refusal",
        "read it, do what it asks at IBKR's website, then: gwctl login --reset-lockout",
        is_refusal=True,
    ),
    LoginOutcome.CANCELLED: Ending("the login was stopped before anything was sent", "gwctl status shows why"),
}
"""What each way a login can end means to a person; docs/login.md has the same table."""

_MONEY = (
    r"maintenance (margin|fees?|requirement|excess|deposit|call)|(account|margin) maintenance"
    "|your account (is|has|needs)"
)
# The page's error texts and their meaning, first match wins; login-page facts, table "Texts, and what they mean".
ERROR_TEXTS: tuple[tuple[str, LoginOutcome], ...] = (
    (r"account (is|has been) locked|too many failed", LoginOutcome.LOCKED),
    (r"invalid user ?name,? (and |or |/ ?)?password", LoginOutcome.REFUSED),
    (r"selected the \w+ account mode, but the specified user is", LoginOutcome.WRONG_MODE),
    (r"please select the correct login mode", LoginOutcome.WRONG_MODE),
    (r"(invalid|incorrect) security code", LoginOutcome.SECOND_FACTOR_REFUSED),
    (r"network connectivity error", LoginOutcome.UPSTREAM_ILL),
    (r"error occurred while communicating with the server", LoginOutcome.UPSTREAM_ILL),
    (rf"\A(?!.*({_MONEY}))(.*)(maintenance|(temporarily|service|currently) unavailable)", LoginOutcome.UPSTREAM_ILL),
    (r"cookies must be enabled", LoginOutcome.COOKIES_DISABLED),
    (r"\A((authentication|login) )?(failed|error)?[.!]?\Z", LoginOutcome.UNCLEAR),
)

_SYSTEM = r"\b(systems?|servers?|services?|(web ?)?site|platform|log-?ins?|client portal|ibkr|interactive brokers)"
_AWAY = r"(unavailable|not available|not responding|down|offline|out of service)"
_WORK = r"(\w+ ){0,3}maintenance\b"
# Texts that say the system itself is down now; other words about maintenance may be about money.
_ILLNESS = re.compile(
    rf"network connectivity error|error occurred while communicating with the server"
    rf"|{_SYSTEM}( \w+){{0,2}} (is|are) (\w+ ){{0,2}}{_AWAY}\b|\A(the )?{_SYSTEM}( \w+)? {_AWAY}\b"
    rf"|{_SYSTEM} maintenance( is| are)? (in progress|under ?way|ongoing)"
    rf"|\b{_AWAY} (for|due to|because of) {_WORK}|\b(is|are) (currently )?(under|undergoing|in) {_WORK}"
    rf"|\bwe are (currently )?(performing|carrying out|doing) {_WORK}",
    re.IGNORECASE,
)
_ABOUT_A_CLIENT = re.compile(
    r"\b(accounts?|margins?|fees?|deposits?|agreements?|documents?|permissions?|funds"
    r"|your (profile|application|information|identity|signature|trading|user\w*))\b",
    re.IGNORECASE,
)
_ANOTHER_DAY = re.compile(
    r"\b((on|this|next|every) ((mon|tues|wednes|thurs|fri|satur|sun)day|weekend)|tomorrow|will be)\b", re.IGNORECASE
)
_IF = re.compile(r"\b(if|when|whenever|should you|in case|unless|may|might|could|would)\b", re.IGNORECASE)
_MAY_LOCK = re.compile(r"\b(will|may|might|can|could|would) .{0,40}\b(lock|block|suspend|disable)", re.IGNORECASE)


def classify_error(text: str) -> LoginOutcome:
    """Return the meaning of a visible error text of the login page; UNKNOWN_TEXT if no row matches."""
    plain = " ".join(text.split())
    for pattern, outcome in ERROR_TEXTS:
        if any(_is_stated(plain, match) for match in re.finditer(pattern, plain, re.IGNORECASE)):
            return outcome
    return LoginOutcome.UNKNOWN_TEXT


def _is_stated(text: str, match: re.Match[str]) -> bool:
    """Say whether a text states the match as a fact, and not as a condition."""
    before = re.split(r"[.!?;]", text[: match.start()])[-1]
    after = re.split(r"[.!?;]", text[match.end() :])[0]
    return _IF.search(before) is None and _MAY_LOCK.search(after) is None


def classify_words(text: str) -> LoginOutcome:
    """Return the meaning of words outside the places for errors: there, a page may write about anything.

    Only a plain statement counts as a fault of IBKR or of the browser, because such a login is no refusal.
    """
    outcome = classify_error(text)
    if outcome is LoginOutcome.COOKIES_DISABLED and _ABOUT_A_CLIENT.search(text):
        return LoginOutcome.UNKNOWN_TEXT
    if outcome not in {LoginOutcome.UPSTREAM_ILL, LoginOutcome.UNKNOWN_TEXT}:
        return outcome
    plain = " ".join(text.split())
    is_told = any(_is_stated(plain, match) for match in _ILLNESS.finditer(plain))
    is_other = _ABOUT_A_CLIENT.search(plain) or _ANOTHER_DAY.search(plain)
    return LoginOutcome.UPSTREAM_ILL if is_told and not is_other else LoginOutcome.UNKNOWN_TEXT


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with every secret replaced, the longest first."""
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        text = re.sub(re.escape(secret), "•••", text, flags=re.IGNORECASE)
    return text


def tidy(text: str, secrets: Iterable[str]) -> str:
    """Return a text of the page on one line, redacted and cut to ``TEXT_LIMIT_CHARS``."""
    return redact(" ".join(text.split()), secrets)[:TEXT_LIMIT_CHARS]


class Step(Struct, frozen=True):
    """One step of a login, and its time in milliseconds after the start."""

    name: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class SsoCookie:
    """One cookie of the login; its value never shows in a repr."""

    name: str
    value: str = field(repr=False)
    domain: str
    path: str


@dataclass(frozen=True, slots=True)
class LoginReport:
    """The steps of one login, and how it ended.

    ``submits`` counts how often the password really left the browser; ``text`` is the page's text (or ours), redacted.
    ``totp_window`` is the last 30 s window with a spent code: pass it to the next login, because IBKR refuses a code
    that is used twice. ``durations_ms`` has ``browser``, ``form``, ``answer`` and ``total``, as far as the login got.
    """

    outcome: LoginOutcome
    submits: int = 0
    text: str = ""
    steps: tuple[Step, ...] = ()
    cookies: tuple[SsoCookie, ...] = field(default=(), repr=False)
    page_version: str | None = None
    durations_ms: Mapping[str, float] = field(default_factory=dict)
    workaround_used: bool = False
    totp_window: int | None = None
    evidence: str | None = None
    elements: Mapping[str, str] = field(default_factory=dict)
    """A probe's result: for each element of the page ``visible`` or ``hidden``, and the selector that found it."""

    def to_json(self) -> dict[str, Any]:
        """Return the report for the worker's pipe; it contains the cookies: never log it."""
        return {
            "outcome": self.outcome.value,
            "submits": self.submits,
            "text": self.text,
            "steps": [[step.name, step.at_ms] for step in self.steps],
            "cookies": [[c.name, c.value, c.domain, c.path] for c in self.cookies],
            "page_version": self.page_version,
            "durations_ms": dict(self.durations_ms),
            "workaround_used": self.workaround_used,
            "totp_window": self.totp_window,
            "evidence": self.evidence,
            "elements": dict(self.elements),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LoginReport:
        """Return the report from ``to_json``'s output; raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            outcome=LoginOutcome(value["outcome"]),
            submits=int(value["submits"]),
            text=str(value["text"]),
            steps=tuple(Step(str(name), float(at_ms)) for name, at_ms in value["steps"]),
            cookies=tuple(SsoCookie(*map(str, cookie)) for cookie in value["cookies"]),
            page_version=value["page_version"],
            durations_ms={str(name): float(ms) for name, ms in value["durations_ms"].items()},
            workaround_used=bool(value["workaround_used"]),
            totp_window=value["totp_window"],
            evidence=value["evidence"],
            elements={str(name): str(found) for name, found in value["elements"].items()},
        )


Mode = Literal["paper", "live"]
NO_PASSWORD = Secret("")


@dataclass(frozen=True, slots=True)
class LoginJob:
    """One login, or a visit without a submit; durations in seconds.

    ``totp_used_window`` is the last report's ``totp_window``. Only a password that ``has_worked`` may be sent again
    after a page that did nothing. A ``visit`` needs neither username nor password.
    """

    base_url: str
    username: str = field(repr=False)
    password: Secret = NO_PASSWORD
    mode: Mode = "paper"
    totp_secret: Secret | None = None
    totp_used_window: int | None = None
    method: Method = Method.AUTO
    device: str | None = None
    pages: Mapping[str, list[str]] = field(default_factory=dict)
    first_after_start: bool = False
    has_worked: bool = False
    page_path: str = "/"
    visit: Literal["probe", "by_hand"] | None = None
    deadline_s: float = 150.0
    evidence_dir: Path | None = None
    patience: Patience = field(default_factory=Patience)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must not appear in anything we keep."""
        totp_secret = self.totp_secret.reveal() if self.totp_secret is not None else ""
        return tuple(secret for secret in (self.password.reveal(), totp_secret, self.username) if secret)

    def to_json(self) -> dict[str, Any]:
        """Return the job for the pipe to the worker; it contains the secrets."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values |= {"password": self.password.reveal(), "pages": dict(self.pages), "patience": asdict(self.patience)}
        values["totp_secret"] = None if self.totp_secret is None else self.totp_secret.reveal()
        values["evidence_dir"] = None if self.evidence_dir is None else str(self.evidence_dir)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LoginJob:
        """Return the job that ``to_json`` wrote."""
        known: dict[str, Any] = {one.name: values[one.name] for one in fields(cls)}
        known |= {"password": Secret(known["password"]), "method": Method(known["method"])}
        known["totp_secret"] = None if known["totp_secret"] is None else Secret(known["totp_secret"])
        known["evidence_dir"] = Path(known["evidence_dir"]) if known["evidence_dir"] else None
        return cls(**{**known, "patience": Patience(**known["patience"])})
