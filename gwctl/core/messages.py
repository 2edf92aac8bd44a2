"""The words of the supervisor's core: states, events and actions. Pure: the standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Process(StrEnum):
    """Where the gateway's process is."""

    STOPPED = auto()
    STARTING = auto()
    RUNNING = auto()
    RECYCLING = auto()
    STOPPING = auto()
    BACKOFF = auto()
    FATAL = auto()


class Session(StrEnum):
    """Where the session at IBKR is."""

    LOGGED_OUT = auto()
    LOGGING_IN = auto()
    AWAITING_SECOND_FACTOR = auto()
    AUTHENTICATED = auto()
    COMPETING = auto()
    UNREACHABLE = auto()
    LOCKED_OUT = auto()


class Phase(StrEnum):
    """What a user sees; derived from both states, never stored."""

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


class Cure(StrEnum):
    """The rung of the ladder that is being tried."""

    REAUTHENTICATE = auto()
    RESUME = auto()
    LOGIN = auto()
    SETTLE = auto()


class RestartCause(StrEnum):
    """Why a gateway is replaced by another."""

    ASKED = auto()
    ENDED = auto()
    HUNG = auto()
    LOGIN_FAILED = auto()
    NEVER_AUTHENTICATED = auto()
    BORROWED = auto()
    FOLDER_LOST = auto()


class LoginResult(StrEnum):
    """What a login means for the loop; the page's own outcome is in the event's text."""

    SUCCESS = auto()
    REFUSED_BEFORE_IT_EVER_WORKED = auto()
    REFUSED_AFTER_IT_WORKED = auto()
    NEEDS_PERSON = auto()
    PAUSED = auto()
    IBKR_ILL = auto()
    TRANSIENT = auto()
    ENVIRONMENT = auto()


class Timer(StrEnum):
    """What the core can be woken for; LOOK gives up a check, DEADLINE a start or a cure, BY_HAND a person's login."""

    CHECK = auto()
    TICKLE = auto()
    START = auto()
    LOGIN = auto()
    SETTLE = auto()
    LOOK = auto()
    DEADLINE = auto()
    BY_HAND = auto()


class Verdict(StrEnum):
    """What a check of the session says."""

    READY = auto()
    NO_SESSION = auto()
    NO_BROKERAGE = auto()
    COMPETING = auto()
    BORROWED = auto()
    UPSTREAM_ILL = auto()
    HUNG = auto()
    RATE_LIMITED = auto()
    ACCESS_DENIED = auto()
    WRONG_KIND = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``epoch`` is that of the action it answers; None belongs to every epoch."""

    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class StartWanted(Event):
    """A person or a unit wants the session; ``adopted`` says that a gateway of ours already runs."""

    adopted: bool = False


@dataclass(frozen=True, slots=True)
class StopWanted(Event):
    """Stop everything; with ``keep_gateway`` the gateway and its session go on."""

    keep_gateway: bool = False


@dataclass(frozen=True, slots=True)
class RestartWanted(Event):
    """A person wants the gateway restarted."""


@dataclass(frozen=True, slots=True)
class LoginWanted(Event):
    """A person wants a login now."""


@dataclass(frozen=True, slots=True)
class ByHandWanted(Event):
    """A person is going to log in by hand: no login of the loop's own until ``over``, or for ``for_s`` seconds."""

    over: bool = False
    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class LoggedInByHand(Event):
    """A person has logged in at the gateway's page; ``resumable`` if the cookies of it were kept."""

    resumable: bool = False


@dataclass(frozen=True, slots=True)
class GatewayAnswers(Event):
    """The gateway answers with our key."""


@dataclass(frozen=True, slots=True)
class GatewayEnded(Event):
    """The gateway's process is gone."""


@dataclass(frozen=True, slots=True)
class GatewayFellOver(Event):
    """A start did not succeed; another may."""

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
    """Every process of the gateway has been stopped."""


@dataclass(frozen=True, slots=True)
class Checked(Event):
    """A check of the session came back."""

    verdict: Verdict = Verdict.READY
    text: str = ""
    certain: bool = True
    """False while it cannot be told yet whether another client has the session."""
    lost: bool = False
    """The session was there when this check began and is not any more: nobody has to wait for it to come up."""


@dataclass(frozen=True, slots=True)
class ReauthenticateDone(Event):
    """The request to open the brokerage session was answered."""

    ok: bool = True


@dataclass(frozen=True, slots=True)
class ResumeDone(Event):
    """The kept SSO cookies were sent; ``ok`` if IBKR still honours them."""

    ok: bool = True


@dataclass(frozen=True, slots=True)
class SecondFactorAsked(Event):
    """The login waits for a second factor; ``text`` says which."""

    text: str = "waiting for a second factor"


@dataclass(frozen=True, slots=True)
class SubmitBegun(Event):
    """The login under way is about to send the password; the ledger has it."""


@dataclass(frozen=True, slots=True)
class LoginDone(Event):
    """A login ended. ``submits`` is how often it sent the password; None where nobody can say."""

    result: LoginResult = LoginResult.SUCCESS
    text: str = ""
    code: str = "login_failed"
    exit_code: int = 75
    hint: str | None = None
    retry_after_s: float | None = None
    resumable: bool = False
    submits: int | None = None
    understood: str = ""
    """What was understood of a page that no known version describes, and by what; empty for one that is known."""


@dataclass(frozen=True, slots=True)
class TimeOut(Event):
    """A timer of the snapshot is due."""

    timer: Timer = Timer.CHECK


@dataclass(frozen=True, slots=True)
class SessionPushed(Event):
    """The gateway's WebSocket said whether the session is ready; None: it was lost. A hint to look, never the truth."""

    ready: bool | None = None


@dataclass(frozen=True, slots=True)
class WindowChanged(Event):
    """A maintenance window of IBKR's opened, ``until`` monotonic seconds; None: none is open any more."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class ClockJumped(Event):
    """The machine slept for ``asleep_s`` seconds that the monotonic clock does not count, or its wall clock was set."""

    asleep_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FolderLost(Event):
    """The profile's folder was deleted under the running gateway and has been made anew."""


@dataclass(frozen=True, slots=True)
class CauseRead(Event):
    """What the gateway's log names as the refusal of a session that never came; ``ibkr_ill``: errors, no refusal."""

    text: str = ""
    ibkr_ill: bool = False


@dataclass(frozen=True, slots=True)
class StartGateway:
    """Launch the gateway, or take over the one that runs."""

    adopt: bool = False


@dataclass(frozen=True, slots=True)
class StopGateway:
    """End every process of the gateway; with ``logout`` say goodbye to IBKR first, with ``hard`` ask it nothing."""

    logout: bool = False
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """Look at the session; with ``tickle`` by a tickle."""

    tickle: bool = False


@dataclass(frozen=True, slots=True)
class Reauthenticate:
    """Open the brokerage session: ``compete`` takes it over, ``handshake`` repeats all that follows a login."""

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
    """End a login that runs."""


@dataclass(frozen=True, slots=True)
class CancelCure:
    """End a reauthentication or a resume that runs."""


@dataclass(frozen=True, slots=True)
class Explain:
    """Read the cause of the gateway's trouble from its log while the log is still that of this gateway."""


@dataclass(frozen=True, slots=True)
class BlockLogin:
    """Write down that the last password is not to be sent again under the same settings until a person resets."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class LiftBlock:
    """Take back what ``BlockLogin`` wrote: a session that somebody brought about shows that its cause is gone."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell whoever listens."""

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
    | CancelCure
    | BlockLogin
    | LiftBlock
    | Explain
    | Warn
    | Finish
)
