"""The contract's ``status`` object, as supervisor, verbs and Python API return it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NotRequired, TypedDict

UNREACHABLE = "IBKR cannot be reached"
RESTART_ASKED = "restarting the gateway as asked"
"""What is said where IBKR does not answer."""


class Verdict(StrEnum):
    """What a check says of the session: the answer's own meaning, or what the check around it found."""

    READY = "ready"
    NOT_AUTHENTICATED = "not_authenticated"
    """The SSO session lives and the brokerage session is not authenticated: not yet, or another client uses it."""
    BROKERAGE_GONE = "brokerage_gone"
    """The SSO session lives and there is no brokerage session; ``ssodh/init`` opens one."""
    COMPETING = "competing"
    BORROWED = "borrowed"
    NO_SESSION = "no_session"
    ACCESS_DENIED = "access_denied"
    """The gateway refuses our address: it is not in ``ips.allow``."""
    RATE_LIMITED = "rate_limited"
    UPSTREAM_ILL = "upstream_ill"
    """IBKR answers with an error, or does not answer."""
    HUNG = "hung"
    WRONG_KIND = "wrong_kind"

    @property
    def sso_lives(self) -> bool:
        """Whether only the brokerage session is missing, which needs no login."""
        return self in {Verdict.NOT_AUTHENTICATED, Verdict.BROKERAGE_GONE}


class GatewayStatus(TypedDict):
    """The gateway's process; ``pid`` is None if none is running."""

    pid: int | None
    port: int | None
    base_url: str | None
    ca_file: str
    release: str | None
    uptime_s: float | None
    rss_bytes: int | None
    restarts: int


class IsolationStatus(TypedDict):
    """Who can reach the gateway's port. ``kind`` is ``namespace``, ``firewall`` or ``off``; ``reason`` says why."""

    kind: str
    open_to: list[str]
    reason: str | None


def access(isolation: IsolationStatus) -> str:
    """Return who can reach the gateway, in words."""
    if not isolation["open_to"]:
        return "this user's programs only"
    return f"OPEN to {' and '.join(isolation['open_to'])}: {isolation['reason']}"


class DoorStatus(TypedDict):
    """The door for other machines; ``problem`` says why it is closed, None while it serves."""

    address: str
    pid: int | None
    read_only: bool
    token_file: str | None
    problem: str | None


def door_line(door: DoorStatus) -> str:
    """Return where the door is, in words."""
    if door["problem"]:
        return f"closed: {door['problem']}"
    key = f"token in {door['token_file']}" if door["token_file"] else "client certificates"
    return f"https://{door['address']}{' · read-only' if door['read_only'] else ''} · {key}"


class SessionStatus(TypedDict):
    """What IBKR last reported about the session."""

    authenticated: bool
    connected: bool
    competing: bool
    user_id: int | None
    sso_expires_s: float | None
    server_name: str | None
    last_tickle_age_s: float | None
    sso: NotRequired[bool]
    """Whether IBKR knows the login, and its account is of the profile's kind: enough to read the portfolio.

    Supervisors before 0.1 leave it out.
    """


class SupervisorStatus(TypedDict):
    """The supervisor's process."""

    pid: int
    uptime_s: float
    rss_bytes: int | None
    health_url: str


class LoginStatus(TypedDict):
    """The logins so far: refusals in the last 24 h, and whether a person is needed.

    They are those of the username: ``shared_with`` names the other profiles that have it, too.
    """

    last_at: str | None
    last_outcome: str | None
    rejected: int
    rejected_limit: int
    locked: bool
    shared_with: NotRequired[list[str]]
    """Supervisors before 0.1 leave it out."""


def together(names: Sequence[str]) -> str:
    """Return, in words, which other profiles' logins are counted as well; empty without any."""
    return f"together with {', '.join(names)}: the same username" if names else ""


class PauseStatus(TypedDict):
    """A pause in force; times are UTC. ``until`` is None if a person must end it."""

    since: str
    until: str | None
    reason: str | None


class PlanStatus(TypedDict):
    """When the login hours begin, None while they last, and when the session is replaced next; times are UTC."""

    logins_from: str | None
    relogin_at: str | None


class NextStep(TypedDict):
    """What happens next and in how many seconds; 0 while it is in progress."""

    what: str
    in_s: float


class OpenQuestion(TypedDict):
    """A second factor code that the login is waiting for."""

    id: int
    what: str
    challenge: str | None
    text: str


class Drift(TypedDict):
    """A setting that changed after the gateway started."""

    setting: str
    text: str
    remedy: str


def by_remedy(drift: Sequence[Drift]) -> list[tuple[list[str], str]]:
    """Return the texts that one remedy applies, and that remedy, introduced in words, once."""
    texts: dict[str, list[str]] = {}
    for one in drift:
        texts.setdefault(one["remedy"], []).append(one["text"])
    return [(said, f"to apply {'it' if len(said) == 1 else 'them'}: {remedy}") for remedy, said in texts.items()]


class Tickles(TypedDict):
    """How long the last tickles took, in seconds, oldest first."""

    last_s: float
    median_s: float
    worst_s: float
    recent_s: list[float]


class BudgetStatus(TypedDict):
    """How often one recovery action was tried in the last hour and day, and the limit for each."""

    hour: int
    per_hour: int
    day: int
    per_day: int


class Status(TypedDict):
    """The state of a profile's session. ``phase`` is one of the contract's phases; times are UTC, durations seconds."""

    profile: str
    phase: str
    reason: str
    ready: bool
    since: str | None
    sandbox: bool
    mode: NotRequired[str]
    username: NotRequired[str | None]
    """None in the sandbox. Supervisors before 0.1 leave out the account."""
    show_username: NotRequired[bool]
    """Whether views for people show it."""
    paused: NotRequired[PauseStatus | None]
    planned: NotRequired[PlanStatus]
    """Supervisors before 0.1 leave both out."""
    gateway: GatewayStatus
    session: SessionStatus
    supervisor: SupervisorStatus | None
    login: LoginStatus
    next: NextStep | None
    last_error: str | None
    person_needed: NotRequired[str | None]
    """``manual_login``, ``second_factor`` or ``locked_out``; None while nobody is needed."""
    isolation: NotRequired[IsolationStatus | None]
    door: NotRequired[DoorStatus | None]
    """Supervisors before 0.1 leave it out; None while no gateway runs."""
    drift: NotRequired[list[Drift]]
    """Supervisors before 0.1 leave it out."""
    question: OpenQuestion | None
    tickles: Tickles | None
    budget: dict[str, BudgetStatus] | None


def account_words(status: Status) -> str:
    """Return the account kind and the user, in words that cannot be overlooked; empty if they are not known."""
    if status.get("sandbox"):
        return "SANDBOX"
    kind = {"paper": "PAPER", "live": "LIVE, real money"}.get(status.get("mode", ""), "")
    user = status.get("username") if status.get("show_username", True) else None
    return " · ".join(filter(None, (kind, user)))


def plan_rows(status: Status) -> list[tuple[str, str]]:
    """Return what a person planned, as a label and a text each."""
    paused, planned = status.get("paused"), status.get("planned")
    rows = []
    if paused and status["phase"] != "paused":
        end = f" until {paused['until']}" if paused["until"] else ""
        rows.append(("paused", f"the next start waits{end}{': ' if paused['reason'] else ''}{paused['reason'] or ''}"))
    if planned and planned["logins_from"]:
        rows.append(("hours", f"no login by itself before {planned['logins_from']}"))
    if planned and planned["relogin_at"]:
        rows.append(("planned", f"a new login at {planned['relogin_at']}"))
    return rows


def typed(profile: str, rest: str, usual: str = "default") -> str:
    """Return the command to type for a profile; ``usual`` is the one that is used where none is named."""
    option = "" if profile == usual else f" --profile {profile}"
    return f"gwctl{option} {rest}"
