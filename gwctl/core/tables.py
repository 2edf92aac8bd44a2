"""The core's two state machines as tables, and the current turn. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.core.budget import Budgeted, Spent, uniform
from gwctl.core.messages import (
    Action,
    CancelLogin,
    Finish,
    Pause,
    Phase,
    Process,
    Recovery,
    RestartCause,
    Session,
    StartGateway,
    StopGateway,
    Timer,
)
from gwctl.core.policy import Policy


class Arrow(Enum):
    """The inputs of the two tables, those of the process first; ``step`` derives them from events."""

    START = auto()
    ANSWERS = auto()
    LOST = auto()
    FELL_OVER = auto()
    CANNOT_START = auto()
    RESTART = auto()
    STOP = auto()
    PAUSE = auto()
    GONE = auto()
    RESET = auto()
    BEGIN = auto()
    HANDED_OVER = auto()
    HANDED_BACK = auto()
    ASKED = auto()
    READY = auto()
    MISSING = auto()
    OTHER = auto()
    ILL = auto()
    FORBIDDEN = auto()


PROCESS_TABLE: dict[Process, dict[Arrow, Process]] = {
    Process.STOPPED: {
        Arrow.START: Process.STARTING,
        Arrow.STOP: Process.STOPPED,
        Arrow.PAUSE: Process.PAUSED,
    },
    Process.STARTING: {
        Arrow.ANSWERS: Process.RUNNING,
        Arrow.FELL_OVER: Process.BACKOFF,
        Arrow.CANNOT_START: Process.FATAL,
        Arrow.LOST: Process.RECYCLING,
        Arrow.STOP: Process.STOPPING,
        Arrow.PAUSE: Process.PAUSING,
    },
    Process.RUNNING: {
        Arrow.LOST: Process.RECYCLING,
        Arrow.RESTART: Process.RECYCLING,
        Arrow.STOP: Process.STOPPING,
        Arrow.PAUSE: Process.PAUSING,
    },
    Process.RECYCLING: {
        Arrow.GONE: Process.BACKOFF,
        Arrow.STOP: Process.STOPPING,
        Arrow.PAUSE: Process.PAUSING,
    },
    Process.BACKOFF: {Arrow.START: Process.STARTING, Arrow.STOP: Process.STOPPING, Arrow.PAUSE: Process.PAUSED},
    Process.PAUSING: {Arrow.GONE: Process.PAUSED, Arrow.STOP: Process.STOPPING},
    Process.PAUSED: {Arrow.START: Process.STARTING, Arrow.STOP: Process.STOPPING},
    Process.STOPPING: {Arrow.GONE: Process.STOPPED, Arrow.STOP: Process.STOPPING},
    Process.FATAL: {Arrow.STOP: Process.STOPPING, Arrow.GONE: Process.STOPPED},
}

_SEEN: dict[Arrow, Session] = {
    Arrow.RESET: Session.LOGGED_OUT,
    Arrow.READY: Session.AUTHENTICATED,
    Arrow.OTHER: Session.COMPETING,
    Arrow.ILL: Session.UNREACHABLE,
    Arrow.MISSING: Session.LOGGED_OUT,
    Arrow.BEGIN: Session.LOGGING_IN,
}
_WITHOUT_SESSION = {**_SEEN, Arrow.HANDED_OVER: Session.AWAITING_MANUAL_LOGIN}


def _until_a_person_acts(here: Session) -> dict[Arrow, Session]:
    """Return the row of a state that no check ends, except one that finds a session."""
    stays = dict.fromkeys((Arrow.RESET, Arrow.OTHER, Arrow.ILL, Arrow.MISSING), here)
    return {**stays, Arrow.READY: Session.AUTHENTICATED, Arrow.BEGIN: Session.LOGGING_IN}


SESSION_TABLE: dict[Session, dict[Arrow, Session]] = {
    Session.LOGGED_OUT: _WITHOUT_SESSION,
    Session.COMPETING: _WITHOUT_SESSION,
    Session.UNREACHABLE: _WITHOUT_SESSION,
    Session.AUTHENTICATED: _SEEN,
    Session.LOGGING_IN: {
        **_WITHOUT_SESSION,
        Arrow.ASKED: Session.AWAITING_SECOND_FACTOR,
        Arrow.FORBIDDEN: Session.LOCKED_OUT,
    },
    Session.AWAITING_SECOND_FACTOR: {
        Arrow.RESET: Session.LOGGED_OUT,
        Arrow.ASKED: Session.AWAITING_SECOND_FACTOR,
        Arrow.BEGIN: Session.LOGGING_IN,
        Arrow.MISSING: Session.LOGGED_OUT,
        Arrow.FORBIDDEN: Session.LOCKED_OUT,
    },
    Session.LOCKED_OUT: _until_a_person_acts(Session.LOCKED_OUT),
    Session.AWAITING_MANUAL_LOGIN: {
        **_until_a_person_acts(Session.AWAITING_MANUAL_LOGIN),
        Arrow.HANDED_BACK: Session.LOGGED_OUT,
    },
}

NEEDS_PERSON: dict[Session, str] = {
    Session.LOCKED_OUT: "locked_out",
    Session.AWAITING_MANUAL_LOGIN: "manual_login",
    Session.AWAITING_SECOND_FACTOR: "second_factor",
}
"""What a person is needed for, as ``status`` and the journal name it."""
NO_LOGINS = frozenset({Session.LOCKED_OUT, Session.AWAITING_MANUAL_LOGIN})
"""States in which no login is made until a person acts."""


GIVES_UP = frozenset({Timer.LOOK, Timer.DEADLINE, Timer.BY_HAND})
"""Timers that only end a wait; they are not shown as the next action."""


class ImpossibleTransition(Exception):
    """A transition that the tables do not have."""


class Snapshot(Struct, frozen=True):
    """The state of the core. Times are monotonic seconds."""

    process: Process = Process.STOPPED
    session: Session = Session.LOGGED_OUT
    epoch: int = 0
    recovery: Recovery | None = None
    recovery_since: float = 0.0
    settling: Recovery | None = None
    handshake_over_at: float = 0.0
    handshakes: int = 0
    checking: bool = False
    timers: Mapping[Timer, float] = field(default_factory=dict)
    reason: str = "not started"
    since: float = 0.0
    ever_ready: bool = False
    returning: bool = False
    """Whether the session is on its way back from a pause, and nothing went wrong."""
    resumable: bool = False
    resume_tried: bool = False
    reauthentications: int = 0
    take_overs: int = 0
    took_over_at: float | None = None
    ill: bool = False
    hung: int = 0
    failed_starts: int = 0
    failed_logins: int = 0
    login_not_before: float = 0.0
    login_wanted: bool = False
    submits: int = 0
    local_failures: int = 0
    often: bool = False
    locked_reason: str = ""
    settle_restarted: bool = False
    blocked: bool = False
    sso_lives: bool = False
    cause: str = ""
    cause_ill: bool = False
    started_at: float | None = None
    restarts: int = 0
    restart_cause: RestartCause | None = None
    spent: Spent = field(default_factory=Spent)
    draws: int = 0
    ready_since: float | None = None
    ready_here: bool = False
    window_until: float | None = None
    pause: Pause | None = None
    logins_from: float | None = None
    """When the login hours begin again; None while they last, or if there are none."""
    hours_text: str = ""
    held: bool = False
    """Whether the next login waits for the login hours, also while IBKR cannot be reached."""
    replacing: bool = False
    """Whether the login under way began while the session was there."""
    logged_in_at: float | None = None
    """When this supervisor last saw a login succeed."""
    ill_since: float | None = None
    spread: bool = False
    rate_limited: int = 0
    look_again: bool = False
    first_login: bool = True
    finishing: Finish | None = None


def person_needed(snapshot: Snapshot) -> str | None:
    """Return what a person is needed for: ``manual_login``, ``second_factor`` or ``locked_out``; None for nothing."""
    waits = phase_of(snapshot) in {Phase.LOCKED_OUT, Phase.AWAITING_SECOND_FACTOR}
    return NEEDS_PERSON.get(snapshot.session) if waits else None


def phase_of(snapshot: Snapshot) -> Phase:
    """Return the phase that both machines add up to."""
    process, session = snapshot.process, snapshot.session
    if process is Process.RUNNING:
        return _running_phase(snapshot, session)
    by_process = {
        Process.STOPPED: Phase.STOPPED,
        Process.FATAL: Phase.STOPPING,
        Process.STOPPING: Phase.STOPPING,
        Process.RECYCLING: Phase.RECOVERING,
        Process.BACKOFF: Phase.BACKOFF,
        Process.PAUSING: Phase.PAUSED,
        Process.PAUSED: Phase.PAUSED,
    }
    return by_process.get(process, _on_the_way(snapshot))


def _on_the_way(snapshot: Snapshot) -> Phase:
    return Phase.RECOVERING if snapshot.ever_ready and not snapshot.returning else Phase.STARTING


def _running_phase(snapshot: Snapshot, session: Session) -> Phase:
    by_session = {
        Session.AUTHENTICATED: Phase.READY,
        Session.AWAITING_SECOND_FACTOR: Phase.AWAITING_SECOND_FACTOR,
        Session.COMPETING: Phase.DEGRADED,
        Session.UNREACHABLE: Phase.DEGRADED,
        Session.LOCKED_OUT: Phase.LOCKED_OUT,
        Session.AWAITING_MANUAL_LOGIN: Phase.LOCKED_OUT,
    }
    if session in by_session:
        return by_session[session]
    if Timer.LOGIN in snapshot.timers:
        return Phase.BACKOFF
    if session is Session.LOGGING_IN and (
        snapshot.recovery in {Recovery.LOGIN, Recovery.SETTLE} or not snapshot.ever_ready
    ):
        return Phase.LOGGING_IN
    return _on_the_way(snapshot)


class Turn:
    """One step: the snapshot as it changes, and the actions collected so far."""

    def __init__(self, snapshot: Snapshot, policy: Policy, now: float) -> None:
        self.snapshot = snapshot
        self.policy = policy
        self.now = now
        self.actions: list[Action] = []

    def set(self, **changes: object) -> None:
        """Set fields of the snapshot."""
        self.snapshot = replace(self.snapshot, **changes)

    def act(self, *actions: Action) -> None:
        """Add actions."""
        self.actions.extend(actions)

    def move_process(self, arrow: Arrow) -> None:
        """Take a transition of the process table."""
        before = self.snapshot.process
        try:
            self.set(process=PROCESS_TABLE[before][arrow])
        except KeyError:
            raise ImpossibleTransition(f"process {before} has no arrow {arrow.name}") from None

    def move_session(self, arrow: Arrow) -> None:
        """Take a transition of the session table."""
        before = self.snapshot.session
        try:
            self.set(session=SESSION_TABLE[before][arrow])
        except KeyError:
            raise ImpossibleTransition(f"session {before} has no arrow {arrow.name}") from None

    def say(self, reason: str) -> None:
        """Set the reason that users see, and since when."""
        if reason != self.snapshot.reason:
            self.set(reason=reason, since=self.now)

    def wake(self, timer: Timer, in_s: float) -> None:
        """Set a timer, replacing an earlier one."""
        self.set(timers={**self.snapshot.timers, timer: self.now + in_s})

    def unwake(self, *timers: Timer) -> None:
        """Clear timers."""
        if any(timer in self.snapshot.timers for timer in timers):
            self.set(timers={timer: due for timer, due in self.snapshot.timers.items() if timer not in timers})

    def draw(self) -> float:
        """Return this machine's next pseudo-random number in [0, 1)."""
        self.set(draws=self.snapshot.draws + 1)
        return uniform(self.policy.seed, self.snapshot.draws)

    def jittered(self, pause_s: float) -> float:
        """Return a pause shortened by a random share."""
        return pause_s * (1.0 - self.policy.jitter * self.draw())

    def spend(self, budgeted: Budgeted, number: int = 1) -> None:
        """Record ``number`` runs of a recovery step."""
        for _ in range(number):
            self.set(spent=self.snapshot.spent.plus(budgeted, self.now))

    def room_in_s(self, budgeted: Budgeted) -> float:
        """Return in how many seconds a recovery step may run, 0 if it may now."""
        return self.snapshot.spent.room_in_s(budgeted, self.policy.budgets[budgeted], self.now)

    def new_epoch(self) -> None:
        """Make all pending answers stale; the wait for a login by hand goes on."""
        by_hand = self.snapshot.timers.get(Timer.BY_HAND)
        self.set(
            epoch=self.snapshot.epoch + 1,
            checking=False,
            recovery=None,
            settling=None,
            timers={} if by_hand is None else {Timer.BY_HAND: by_hand},
            submits=0,
            hung=0,
            look_again=False,
            ready_since=None,
        )


def start(turn: Turn, reason: str | None = None, *, adopt: bool = False) -> None:
    """Start the gateway, or adopt the running one."""
    turn.move_process(Arrow.START)
    if reason is not None:
        turn.say(reason)
    turn.wake(Timer.DEADLINE, turn.policy.start_timeout_s)
    turn.act(StartGateway(adopt=adopt))


def stop(turn: Turn, reason: str, *, logout: bool) -> None:
    """Begin to stop; ``GatewayGone`` completes it."""
    turn.move_process(Arrow.STOP)
    turn.say(reason)
    turn.act(StopGateway(logout=logout))


def give_up(turn: Turn, finish: Finish) -> None:
    """End the supervisor and leave nothing running."""
    logout = turn.snapshot.process is Process.RUNNING
    turn.new_epoch()
    turn.set(finishing=finish)
    turn.act(CancelLogin())
    stop(turn, finish.text or "giving up", logout=logout)


def recycle(turn: Turn, arrow: Arrow, cause: RestartCause, reason: str, *, hard: bool = False) -> None:
    """Restart the gateway, at once if the budget has room; with ``hard`` without sending it a request first."""
    turn.new_epoch()
    turn.act(CancelLogin())
    turn.move_process(arrow)
    turn.move_session(Arrow.RESET)
    turn.set(restart_cause=cause, returning=False)
    turn.say(reason)
    turn.act(StopGateway(logout=False, hard=hard))
