"""States, events and actions of the supervisor's core. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto
from typing import Any

from msgspec import Struct, field

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
    PAUSING = auto()
    PAUSED = auto()


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
    PAUSED = auto()
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


class Pause(Struct, frozen=True):
    """A pause that a person wants; times are seconds since 1970. ``text`` says it all to people."""

    since_s: float = 0.0
    until_s: float | None = None
    """None: until a person ends it."""
    reason: str = ""
    text: str = "paused"


class Event(Struct, frozen=True):
    """Something that happened. ``epoch`` is the epoch of the action that it answers; None matches every epoch."""

    epoch: int | None = None


class CountsRecalled(Event, frozen=True):
    """An earlier supervisor of the profile kept these counts; their times are wall-clock seconds."""

    kept: Mapping[str, Any] = field(default_factory=dict)
    wall_minus_monotonic_s: float = 0.0


class StartWanted(Event, frozen=True):
    """A person or a unit wants the session; ``adopted`` means that our gateway already runs."""

    adopted: bool = False


class StopWanted(Event, frozen=True):
    """Stop everything; with ``keep_gateway`` the gateway and its session stay up."""

    keep_gateway: bool = False


class RestartWanted(Event, frozen=True):
    """A person wants the gateway restarted."""


class LoginWanted(Event, frozen=True):
    """A person wants a login now."""


class ByHandWanted(Event, frozen=True):
    """A person will log in by hand: the loop sends no login until ``over``, or for ``for_s`` seconds."""

    over: bool = False
    for_s: float | None = None


class LoggedInByHand(Event, frozen=True):
    """A person logged in at the gateway's page; ``resumable`` if the cookies were kept."""

    resumable: bool = False


class GatewayAnswers(Event, frozen=True):
    """The gateway answers with our key."""


class GatewayEnded(Event, frozen=True):
    """The gateway's process is gone."""


class GatewayFellOver(Event, frozen=True):
    """A start failed; the next one may succeed."""

    text: str = ""


class GatewayCannotStart(Event, frozen=True):
    """Something on this machine is missing; ``exit_code`` and ``code`` are the contract's."""

    text: str = ""
    hint: str | None = None
    code: str = "unavailable"
    exit_code: int = 69


class GatewayGone(Event, frozen=True):
    """All processes of the gateway have stopped."""


class Checked(Event, frozen=True):
    """A session check returned."""

    verdict: Verdict = Verdict.READY
    text: str = ""
    certain: bool = True
    """False while it is not known yet whether another client has the session."""
    lost: bool = False
    """The session existed when this check began and is gone now, so there is no point in waiting for it to open."""


class ReauthenticateDone(Event, frozen=True):
    """The request to open the brokerage session returned."""

    ok: bool = True


class ResumeDone(Event, frozen=True):
    """The kept SSO cookies were sent; ``ok`` if IBKR still accepts them."""

    ok: bool = True


class SecondFactorAsked(Event, frozen=True):
    """The login waits for a second factor; ``text`` names it."""

    text: str = "waiting for a second factor"


class SubmitBegun(Event, frozen=True):
    """The login under way is about to send the password; the ledger has recorded it."""


class LoginDone(Event, frozen=True):
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


class TimeOut(Event, frozen=True):
    """A timer of the snapshot is due."""

    timer: Timer = Timer.CHECK


class SessionPushed(Event, frozen=True):
    """The WebSocket reported whether the session is ready; None: the WebSocket closed. A hint to check, not a fact."""

    ready: bool | None = None


class WindowChanged(Event, frozen=True):
    """One of IBKR's maintenance windows opened, ``until`` monotonic seconds; None: the window closed."""

    until: float | None = None


class ClockJumped(Event, frozen=True):
    """The machine slept ``asleep_s`` seconds that the monotonic clock does not count, or the wall clock was set."""

    asleep_s: float = 0.0


class FolderLost(Event, frozen=True):
    """The profile's folder was deleted while the gateway ran, and has been created again."""


class CauseRead(Event, frozen=True):
    """Why a session never opened, from the gateway's log; ``ibkr_ill``: IBKR returned errors and refused nothing."""

    text: str = ""
    ibkr_ill: bool = False


class StartGateway(Struct, frozen=True):
    """Start the gateway, or adopt the running one."""

    adopt: bool = False


class StopGateway(Struct, frozen=True):
    """End all processes of the gateway; with ``logout`` log out at IBKR first, with ``hard`` send it no request."""

    logout: bool = False
    hard: bool = False


class Check(Struct, frozen=True):
    """Check the session; with ``tickle`` by a tickle."""

    tickle: bool = False


class Reauthenticate(Struct, frozen=True):
    """Open the brokerage session: ``compete`` takes it over, ``handshake`` repeats every step that follows a login.

    ``early`` asks once, before the gateway's own handshake, and leaves the rest to that.
    """

    compete: bool = False
    handshake: bool = False
    early: bool = False


class Resume(Struct, frozen=True):
    """Send the kept SSO cookies to the gateway."""


class Login(Struct, frozen=True):
    """Drive the login page; ``first`` is the first attempt after a gateway start."""

    first: bool = False


class CancelLogin(Struct, frozen=True):
    """Cancel the running login."""


class CancelRecovery(Struct, frozen=True):
    """Cancel the running reauthentication or resume."""


class Explain(Struct, frozen=True):
    """Read the cause of the gateway's problem from its log, before the next gateway replaces the log."""


class BlockLogin(Struct, frozen=True):
    """Record that the last password must not be sent again with the same settings until a person resets it."""

    code: str
    text: str


class LiftBlock(Struct, frozen=True):
    """Undo ``BlockLogin``: an open session shows that the cause is gone."""


class Warn(Struct, frozen=True):
    """Write a warning to the journal."""

    code: str
    text: str


class Finish(Struct, frozen=True):
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
