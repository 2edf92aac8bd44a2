"""The supervisor's ports, each fake named by how it behaves, a clock that jumps, and a driver for the pure core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from gwctl.core.machine import Snapshot, step
from gwctl.core.messages import (
    Action,
    CauseRead,
    Checked,
    Event,
    Login,
    LoginDone,
    LoginResult,
    Phase,
    StartWanted,
    TimeOut,
    Timer,
)
from gwctl.core.policy import Policy
from gwctl.core.tables import phase_of
from gwctl.errors import GatewayFailed
from gwctl.session_status import Verdict
from gwctl.supervisor.interfaces import GatewayPort, LoginPort, Reopening, SessionPort

SUCCESS = LoginDone(result=LoginResult.SUCCESS, text="logged in", code="success", exit_code=0, resumable=True)
REFUSED = LoginDone(
    result=LoginResult.REFUSED_BEFORE_IT_EVER_WORKED,
    text="IBKR refused the username or the password",
    code="credentials_rejected",
    exit_code=77,
    hint="correct them",
)
SWALLOWED = LoginDone(result=LoginResult.TRANSIENT, text="the page swallowed the form")


@dataclass
class Core:
    """Drive ``step`` by hand: no clock but ``now``, no I/O; every action is remembered."""

    policy: Policy = field(default_factory=lambda: Policy(jitter=0.0))
    now: float = 1000.0
    snapshot: Snapshot = field(default_factory=Snapshot)
    done: list[Action] = field(default_factory=list)

    def feed(self, event: Event) -> list[Action]:
        """Give an event and return what is to be done."""
        self.snapshot, actions = step(self.snapshot, event, self.policy, self.now)
        self.done += actions
        return actions

    def see(self, verdict: Verdict, text: str = "") -> list[Action]:
        """Answer the check under way, having it asked first if none is."""
        if not self.snapshot.checking:
            self.fire(Timer.CHECK)
        return self.feed(Checked(self.snapshot.epoch, verdict, text))

    def fire(self, timer: Timer) -> list[Action]:
        """Let a timer come due, time passing until then."""
        self.now = max(self.now, self.snapshot.timers[timer])
        return self.feed(TimeOut(timer=timer))

    def fire_next(self) -> Timer:
        """Let the timer that is due first come due, and return which it was."""
        timer = min(self.snapshot.timers, key=lambda one: self.snapshot.timers[one])
        self.fire(timer)
        return timer

    def count(self, kind: type[object]) -> int:
        """Return how many actions of a kind there were."""
        return sum(isinstance(action, kind) for action in self.done)

    @property
    def phase(self) -> Phase:
        """What a user sees."""
        return phase_of(self.snapshot)

    @property
    def logins(self) -> int:
        """How often the login page was driven."""
        return self.count(Login)


def started(policy: Policy | None = None, *, adopted: bool = False) -> Core:
    """Return a core whose gateway is being started."""
    core = Core(policy or Policy(jitter=0.0))
    core.feed(StartWanted(adopted=adopted))
    return core


class VirtualClock:
    """Time that moves only when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        """Return it."""
        return self.seconds

    def wall(self) -> float:
        """Return it, counted from another day."""
        return self.seconds + 1_700_000_000.0

    def asleep(self) -> float:
        """Return that the machine never slept."""
        return 0.0


class RealClock:
    """The event loop's own time."""

    def now(self) -> float:
        """Return it."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Return the real wall clock."""
        return time.time()

    def asleep(self) -> float:
        """Return that the machine never slept."""
        return 0.0


@dataclass
class Told:
    """What the fakes were asked to do, in order."""

    calls: list[str] = field(default_factory=list)

    def count(self, call: str) -> int:
        """Return how often."""
        return self.calls.count(call)


class SoundGateway(GatewayPort):
    """Answers at once and lives until it is stopped or ended by the test."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.ended = asyncio.Event()

    async def start(self, *, adopt: bool) -> None:
        self.told.calls.append("gateway.adopt" if adopt else "gateway.start")
        self.ended = asyncio.Event()

    async def wait_ended(self) -> None:
        await self.ended.wait()

    async def stop(self, *, logout: bool, hard: bool = False) -> None:
        self.told.calls.append("gateway.logout+stop" if logout else "gateway.stop")
        self.ended.set()

    def why(self) -> CauseRead:
        return CauseRead(text="its log names the cause")


class SlowGateway(SoundGateway):
    """Answers when the test lets it."""

    def __init__(self, told: Told) -> None:
        super().__init__(told)
        self.may_answer = asyncio.Event()

    async def start(self, *, adopt: bool) -> None:
        await super().start(adopt=adopt)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.told.calls.append("gateway.start was cancelled")
            raise


class DyingGateway(SoundGateway):
    """Answers, and ends of itself the first ``lives`` times."""

    def __init__(self, told: Told, lives: int) -> None:
        super().__init__(told)
        self.lives = lives

    async def start(self, *, adopt: bool) -> None:
        await super().start(adopt=adopt)
        if self.lives:
            self.lives -= 1
            self.ended.set()


class NeverReadyGateway(SoundGateway):
    """Never comes up."""

    async def start(self, *, adopt: bool) -> None:
        await super().start(adopt=adopt)
        raise GatewayFailed("the gateway ended while it was being started", hint="gwctl logs --gateway")


class BrokenGateway(SoundGateway):
    """Is a port with defects: each call named in ``broken`` raises what no port may raise."""

    def __init__(self, told: Told, *broken: str) -> None:
        super().__init__(told)
        self.broken = list(broken)

    def _break(self, name: str) -> None:
        if name in self.broken:
            self.broken.remove(name)
            raise RuntimeError(f"a defect in {name}")

    async def start(self, *, adopt: bool) -> None:
        await super().start(adopt=adopt)
        self._break("start")

    async def wait_ended(self) -> None:
        self._break("wait_ended")
        await super().wait_ended()

    async def stop(self, *, logout: bool, hard: bool = False) -> None:
        await super().stop(logout=logout)
        self._break("stop")


class StubbornGateway(SoundGateway):
    """Does not come to its end when it is stopped."""

    async def stop(self, *, logout: bool, hard: bool = False) -> None:
        await super().stop(logout=logout)
        await asyncio.Event().wait()


class Session(SessionPort):
    """Says what the test, or a login, made of it."""

    def __init__(self, told: Told, verdict: Verdict = Verdict.NO_SESSION) -> None:
        self.told = told
        self.verdict = verdict
        self.resumes = True

    async def check(self, *, tickle: bool) -> Checked:
        self.told.calls.append("tickle" if tickle else "check")
        return Checked(verdict=self.verdict)

    async def reauthenticate(self, *, compete: bool, handshake: bool, early: bool) -> Reopening:
        self.told.calls.append(
            "handshake" if handshake else "compete" if compete else "early" if early else "reauthenticate"
        )
        self.verdict = Verdict.READY
        return Reopening(ok=True)

    async def resume(self) -> bool:
        self.told.calls.append("resume")
        if self.resumes:
            self.verdict = Verdict.READY
        return self.resumes


class HangingProbe(Session):
    """Has its first check never answered, and counts how many are in flight at once."""

    def __init__(self, told: Told) -> None:
        super().__init__(told, Verdict.READY)
        self.in_flight = 0
        self.most_in_flight = 0

    async def check(self, *, tickle: bool) -> Checked:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await super().check(tickle=tickle)
            await asyncio.Event().wait()
        finally:
            self.in_flight -= 1
        raise AssertionError


class CrashingProbe(Session):
    """Has a defect in its first ``crashes`` checks."""

    def __init__(self, told: Told, crashes: int) -> None:
        super().__init__(told, Verdict.READY)
        self.crashes = crashes

    async def check(self, *, tickle: bool) -> Checked:
        checked = await super().check(tickle=tickle)
        if self.crashes:
            self.crashes -= 1
            raise KeyError("a defect")
        return checked


class CrashingResume(Session):
    """Has a defect where the cookies are sent."""

    async def resume(self) -> bool:
        self.told.calls.append("resume")
        raise KeyError("a defect")


class AcceptingLogin(LoginPort):
    """Logs in at once."""

    def __init__(self, told: Told, session: Session, *outcomes: LoginDone) -> None:
        self.told = told
        self.session = session
        self.outcomes = list(outcomes)

    async def log_in(
        self,
        *,
        first: bool,
        on_step: Callable[[str], None],
        on_asked: Callable[[str], None],
        on_submit: Callable[[], None],
    ) -> LoginDone:
        self.told.calls.append("login.first" if first else "login")
        on_step("submitted")
        outcome = self.outcomes.pop(0) if self.outcomes else SUCCESS
        if outcome.result is LoginResult.SUCCESS:
            self.session.verdict = Verdict.READY
        return outcome

    async def block(self, code: str, text: str) -> None:
        self.told.calls.append(f"block {code}")

    async def lift_block(self) -> None:
        self.told.calls.append("lift block")

    async def close(self) -> None:
        self.told.calls.append("login.close")


class RejectingLogin(AcceptingLogin):
    """Is refused, always."""

    async def log_in(
        self,
        *,
        first: bool,
        on_step: Callable[[str], None],
        on_asked: Callable[[str], None],
        on_submit: Callable[[], None],
    ) -> LoginDone:
        self.told.calls.append("login.first" if first else "login")
        return replace(REFUSED)


class WaitingLogin(AcceptingLogin):
    """Waits for a second factor that nobody gives; its browser ends when it is cancelled or closed."""

    def __init__(self, told: Told, session: Session) -> None:
        super().__init__(told, session)
        self.waits = asyncio.Event()

    async def log_in(
        self,
        *,
        first: bool,
        on_step: Callable[[str], None],
        on_asked: Callable[[str], None],
        on_submit: Callable[[], None],
    ) -> LoginDone:
        self.told.calls.append("login")
        on_asked("IBKR asks for a code")
        self.waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.told.calls.append("login ended")
        raise AssertionError


class CrashingLogin(AcceptingLogin):
    """Has a defect in its first login, and in every close."""

    def __init__(self, told: Told, session: Session) -> None:
        super().__init__(told, session)
        self.crashes = 1

    async def log_in(
        self,
        *,
        first: bool,
        on_step: Callable[[str], None],
        on_asked: Callable[[str], None],
        on_submit: Callable[[], None],
    ) -> LoginDone:
        if self.crashes:
            self.crashes -= 1
            self.told.calls.append("login")
            raise KeyError("a defect")
        return await super().log_in(first=first, on_step=on_step, on_asked=on_asked, on_submit=on_submit)

    async def close(self) -> None:
        await super().close()
        raise RuntimeError("a defect in close")
