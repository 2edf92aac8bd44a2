"""States, events and actions of the supervisor's core. Pure: the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

from gwctl.session_status import Verdict


class Process(StrEnum):
    """State of the gateway's process."""

    STOPPED = auto()
    STARTING = auto()
    RUNNING = auto()
    RECYCLING = auto()
    STOPPING = auto()
    BACKOFF = auto()
    FATAL = auto()


class Session(StrEnum):
    """State of the session at IBKR."""

    LOGGED_OUT = auto()
    LOGGING_IN = auto()
    AWAITING_SECOND_FACTOR = auto()
    AUTHENTICATED = auto()
    COMPETING = auto()
    UNREACHABLE = auto()
    LOCKED_OUT = auto()
    AWAITING_MANUAL_LOGIN = auto()


class Phase(StrEnum):
    """The state that users see; derived from process and session, never stored."""

    STOPPED = auto()
    STARTING = auto()
    LOGGING_IN = auto()
    AWAITING_SECOND_FACTOR = auto()
    READY = auto()
    DEGRADED = auto()
    RECOVERING = auto()
    BACKOFF = auto()
    LOCKED_OUT = auto()
    STOPPING = auto()


class Recovery(StrEnum):
    """The recovery step under way."""

    REAUTHENTICATE = auto()
    RESUME = auto()
    LOGIN = auto()
    SETTLE = auto()


class RestartCause(StrEnum):
    """Why the supervisor restarts the gateway."""

    ASKED = auto()
    ENDED = auto()
    HUNG = auto()
    LOGIN_FAILED = auto()
    NEVER_AUTHENTICATED = auto()
    BORROWED = auto()
    FOLDER_LOST = auto()


class LoginResult(StrEnum):
    """Result of a login for the loop; the event's text holds the page's own outcome."""

    SUCCESS = auto()
    REFUSED_BEFORE_IT_EVER_WORKED = auto()
    REFUSED_AFTER_IT_WORKED = auto()
    NEEDS_PERSON = auto()
    PAUSED = auto()
    IBKR_ILL = auto()
    TRANSIENT = auto()
    ENVIRONMENT = auto()


class Timer(StrEnum):
    """The timers. LOOK ends a check, DEADLINE a start or a recovery step, BY_HAND the wait for a login by hand."""

    CHECK = auto()
    TICKLE = auto()
    START = auto()
    LOGIN = auto()
    SETTLE = auto()
    LOOK = auto()
    DEADLINE = auto()
    BY_HAND = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``epoch`` is the epoch of the action that it answers; None matches every epoch."""

    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class CountsRecalled(Event):
    """An earlier supervisor of the profile kept these counts; their times are wall-clock seconds."""

    kept: Mapping[str, Any] = field(default_factory=dict)
    wall_minus_monotonic_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StartWanted(Event):
    """A person or a unit wants the session; ``adopted`` means that our gateway already runs."""

    adopted: bool = False


@dataclass(frozen=True, slots=True)
class StopWanted(Event):
    """Stop everything; with ``keep_gateway`` the gateway and its session stay up."""

    keep_gateway: bool = False


@dataclass(frozen=True, slots=True)
class RestartWanted(Event):
    """A person wants the gateway restarted."""


@dataclass(frozen=True, slots=True)
class LoginWanted(Event):
    """A person wants a login now."""


@dataclass(frozen=True, slots=True)
class ByHandWanted(Event):
    """A person will log in by hand: the loop sends no login until ``over``, or for ``for_s`` seconds."""

    over: bool = False
    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class LoggedInByHand(Event):
    """A person logged in at the gateway's page; ``resumable`` if the cookies were kept."""

    resumable: bool = False


@dataclass(frozen=True, slots=True)
class GatewayAnswers(Event):
    """The gateway answers with our key."""


@dataclass(frozen=True, slots=True)
class GatewayEnded(Event):
    """The gateway's process is gone."""


@dataclass(frozen=True, slots=True)
class GatewayFellOver(Event):
    """A start failed; the next one may succeed."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class GatewayCannotStart(Event):
    """Something on this machine is missing; ``exit_code`` and ``code`` are the contract's."""

    text: str = ""
    hint: str | None = None
    code: str = "unavailable"
    exit_code: int = 69


@dataclass(frozen=True, slots=True)
class GatewayGone(Event):
    """All processes of the gateway have stopped."""


@dataclass(frozen=True, slots=True)
class Checked(Event):
    """A session check returned."""

    verdict: Verdict = Verdict.READY
    text: str = ""
    certain: bool = True
    """False while it is not known yet whether another client has the session."""
    lost: bool = False
    """The session existed when this check began and is gone now, so there is no point in waiting for it to open."""


@dataclass(frozen=True, slots=True)
class ReauthenticateDone(Event):
    """The request to open the brokerage session returned."""

    ok: bool = True


@dataclass(frozen=True, slots=True)
class ResumeDone(Event):
    """The kept SSO cookies were sent; ``ok`` if IBKR still accepts them."""

    ok: bool = True


@dataclass(frozen=True, slots=True)
class SecondFactorAsked(Event):
    """The login waits for a second factor; ``text`` names it."""

    text: str = "waiting for a second factor"


@dataclass(frozen=True, slots=True)
class SubmitBegun(Event):
    """The login under way is about to send the password; the ledger has recorded it."""


@dataclass(frozen=True, slots=True)
class LoginDone(Event):
    """A login ended. ``submits`` is how often it sent the password; None if unknown."""

    result: LoginResult = LoginResult.SUCCESS
    text: str = ""
    code: str = "login_failed"
    exit_code: int = 75
    hint: str | None = None
    retry_after_s: float | None = None
    resumable: bool = False
    submits: int | None = None
    understood: str = ""
    """How an unknown page was recognized; empty for a known page."""


@dataclass(frozen=True, slots=True)
class TimeOut(Event):
    """A timer of the snapshot is due."""

    timer: Timer = Timer.CHECK


@dataclass(frozen=True, slots=True)
class SessionPushed(Event):
    """The WebSocket reported whether the session is ready; None: the WebSocket closed. A hint to check, not a fact."""

    ready: bool | None = None


@dataclass(frozen=True, slots=True)
class WindowChanged(Event):
    """One of IBKR's maintenance windows opened, ``until`` monotonic seconds; None: the window closed."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class ClockJumped(Event):
    """The machine slept ``asleep_s`` seconds that the monotonic clock does not count, or the wall clock was set."""

    asleep_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FolderLost(Event):
    """The profile's folder was deleted while the gateway ran, and has been created again."""


@dataclass(frozen=True, slots=True)
class CauseRead(Event):
    """Why a session never opened, from the gateway's log; ``ibkr_ill``: IBKR returned errors and refused nothing."""

    text: str = ""
    ibkr_ill: bool = False


@dataclass(frozen=True, slots=True)
class StartGateway:
    """Start the gateway, or adopt the running one."""

    adopt: bool = False


@dataclass(frozen=True, slots=True)
class StopGateway:
    """End all processes of the gateway; with ``logout`` log out at IBKR first, with ``hard`` send it no request."""

    logout: bool = False
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """Check the session; with ``tickle`` by a tickle."""

    tickle: bool = False


@dataclass(frozen=True, slots=True)
class Reauthenticate:
    """Open the brokerage session: ``compete`` takes it over, ``handshake`` repeats every step that follows a login."""

    compete: bool = False
    handshake: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Send the kept SSO cookies to the gateway."""


@dataclass(frozen=True, slots=True)
class Login:
    """Drive the login page; ``first`` is the first attempt after a gateway start."""

    first: bool = False


@dataclass(frozen=True, slots=True)
class CancelLogin:
    """Cancel the running login."""


@dataclass(frozen=True, slots=True)
class CancelRecovery:
    """Cancel the running reauthentication or resume."""


@dataclass(frozen=True, slots=True)
class Explain:
    """Read the cause of the gateway's problem from its log, before the next gateway replaces the log."""


@dataclass(frozen=True, slots=True)
class BlockLogin:
    """Record that the last password must not be sent again with the same settings until a person resets it."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class LiftBlock:
    """Undo ``BlockLogin``: an open session shows that the cause is gone."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Write a warning to the journal."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """End the supervisor with the contract's exit code."""

    exit_code: int
    code: str | None = None
    text: str | None = None
    hint: str | None = None


Action = (
    StartGateway
    | StopGateway
    | Check
    | Reauthenticate
    | Resume
    | Login
    | CancelLogin
    | CancelRecovery
    | BlockLogin
    | LiftBlock
    | Explain
    | Warn
    | Finish
)
