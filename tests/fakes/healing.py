"""A healthy world for the pure core, wherever it stands: how long it takes to READY without anybody's help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from supervisor_fakes import Core

from gwctl.core.messages import (
    Action,
    CancelLogin,
    CancelRecovery,
    Check,
    Checked,
    Event,
    Finish,
    GatewayAnswers,
    GatewayGone,
    Login,
    LoginDone,
    LoginResult,
    Phase,
    Process,
    Reauthenticate,
    ReauthenticateDone,
    Recovery,
    Resume,
    ResumeDone,
    Session,
    StartGateway,
    StopGateway,
    SubmitBegun,
    TimeOut,
    Timer,
)
from gwctl.session_status import Verdict

ANSWER_S = 0.1
MOST_TURNS = 1000
MOST_LOOKS = 6
_LOOKS = {Timer.CHECK, Timer.TICKLE}
OURS_S = 90.0
"""A pause of a minute at most, and then a start, a login and the session's coming."""


@dataclass
class HealthyWorld:
    """Answers whatever is asked from now on at once and well; ``lost`` is what was asked before and says nothing.

    ``sight`` is what a look says until a login, a resume or a reauthentication has helped.
    """

    core: Core
    gateway: str | None
    asked: set[str]
    sight: Verdict = Verdict.NO_SESSION
    lost: bool = False
    theirs_s: float = 0.0
    """How long was waited for what is IBKR's to say (a pause after a submit, a budget, a window, login hours) or a
    person's."""
    deadlines_s: float = 0.0
    """How long was waited for what says nothing."""
    _idle: int = 0

    def heal(self) -> float | None:
        """Return after how many seconds it is READY that are nobody's but ours; None where a person is needed."""
        core = self.core
        if self.lost:
            self.asked = set()
            self.gateway = None if self.gateway == "starting" else self.gateway
        began = core.now
        for _ in range(MOST_TURNS):
            if core.phase is Phase.READY:
                return core.now - began - self.theirs_s - self.deadlines_s
            if self._needs_person():
                return None
            self._turn()
        raise AssertionError(f"not ready, and nothing helps: {core.snapshot}")

    def _needs_person(self) -> bool:
        snapshot = self.core.snapshot
        ends = snapshot.process in {Process.STOPPED, Process.STOPPING, Process.FATAL} or snapshot.finishing is not None
        ends = ends or snapshot.pause is not None
        locked = snapshot.session is Session.LOCKED_OUT
        # A gateway that is not there yet cannot show whether somebody has logged in meanwhile.
        return ends or (locked and snapshot.recovery is None and not snapshot.login_wanted and not self._may_see())

    def _may_see(self) -> bool:
        return self.sight is Verdict.READY or self.core.snapshot.process is not Process.RUNNING

    def _turn(self) -> None:
        core = self.core
        event = self._answer()
        if event is not None:
            core.now += ANSWER_S
            self._feed(event)
            return
        timers: Mapping[Timer, float] = core.snapshot.timers
        assert timers, f"a dead state: {core.snapshot}"
        timer = min(timers, key=lambda one: timers[one])
        slow = [one for one in timers if one not in _LOOKS]
        self._idle += timer in _LOOKS
        if slow and self._idle > MOST_LOOKS:
            # All that is seen meanwhile is the same again and again.
            timer = min(slow, key=lambda one: timers[one])
        waited_s = max(0.0, timers[timer] - core.now)
        self._book(waited_s)
        core.now += waited_s
        self._feed(TimeOut(timer=timer))

    def _book(self, waited_s: float) -> None:
        snapshot = self.core.snapshot
        if {Timer.DEADLINE, Timer.LOOK} & snapshot.timers.keys():
            self.deadlines_s += waited_s
        elif {Timer.LOGIN, Timer.BY_HAND} & snapshot.timers.keys() or snapshot.rate_limited:
            self.theirs_s += waited_s

    def _answer(self) -> Event | None:
        epoch = self.core.snapshot.epoch
        if self.gateway == "stopping":
            self.gateway = None
            return GatewayGone()
        if self.gateway == "starting":
            self.gateway = "running"
            return GatewayAnswers(epoch)
        for name in ("check", "cure", "login"):
            if name in self.asked:
                self.asked.remove(name)
                return self._answer_to(name, epoch)
        return None

    def _answer_to(self, name: str, epoch: int) -> Event:
        if name == "check":
            return Checked(epoch, self.sight)
        if name == "cure":
            resumed = self.core.snapshot.recovery is Recovery.RESUME
            self.sight = Verdict.READY
            return (ResumeDone if resumed else ReauthenticateDone)(epoch, ok=True)
        self.sight = Verdict.READY
        self._feed(SubmitBegun(epoch))
        return LoginDone(epoch, LoginResult.SUCCESS, "in", resumable=True, submits=1)

    def _feed(self, event: Event) -> None:
        for action in self.core.feed(event):
            self._idle = self._idle if isinstance(action, Check) else 0
            self._obey(action)

    def _obey(self, action: Action) -> None:
        match action:
            case StartGateway():
                self.gateway, self.asked = "starting", set()
                # What a gateway before had is gone; an adopted one has it yet.
                self.sight = Verdict.NO_SESSION
            case StopGateway():
                self.gateway, self.asked = "stopping", set()
            case Check():
                self.asked.add("check")
            case Reauthenticate() | Resume():
                self.asked.add("cure")
            case Login():
                self.asked.add("login")
            case CancelLogin():
                self.asked.discard("login")
            case CancelRecovery():
                self.asked.discard("cure")
            case Finish():
                self.gateway = None


def copy_of(core: Core) -> Core:
    """Return a core at the same point, whose future is its own."""
    return replace(core, done=[])
