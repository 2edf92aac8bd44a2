"""A supervisor's running work: the core's actions in a ``World``, as the loop and the probe do them.

Where the real loop awaits something, there is an event on the timeline; a cancelled answer is ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from msgspec.structs import replace

from gwctl.core.machine import Snapshot
from gwctl.core.messages import (
    Action,
    CancelLogin,
    CancelRecovery,
    CauseRead,
    Check,
    Checked,
    Event,
    Explain,
    Finish,
    GatewayAnswers,
    GatewayEnded,
    GatewayFellOver,
    GatewayGone,
    Login,
    LoginDone,
    Reauthenticate,
    ReauthenticateDone,
    Resume,
    ResumeDone,
    SessionPushed,
    StartGateway,
    StopGateway,
    SubmitBegun,
    Warn,
)
from gwctl.core.policy import Policy
from gwctl.gateway.heartbeat import BEAT_S
from gwctl.session_status import Verdict
from gwctl.supervisor.probe import ANSWER_TIMEOUT_S, SECOND_KNOCK_TIMEOUT_S, SILENCE_S, WHO_INTERVAL_S
from gwctl.supervisor.request_pace import Pace
from simulation.signin import Attempt, Door
from simulation.timeline import to_tick
from simulation.world import World

ADOPT_S = 0.25
STOP_S = 0.25
HUNG_STOP_S = 5.25
LOGOUT_S = 0.5
START_DEADLINE_S = 60.0
PUSH_S = 0.03125
WHOSE = frozenset({Verdict.COMPETING, Verdict.BROKERAGE_GONE})
"""Verdicts after which the probe asks, once a minute, for the session's owner."""
TEXTS = {verdict: str(verdict) for verdict in Verdict}


class Life:
    """What dies with a supervisor: the snapshot, running work, the cookies, the probe's observations."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self.snapshot = snapshot
        self.policy = policy
        self.waiting: dict[str, int] = {}
        self.attempt: Attempt | None = None
        self.watched_epoch: int | None = None
        self.cookies: int | None = None
        self.refused_cookies: int | None = None
        self.tickled = False
        self.was_silent = False
        self.heart_missed = False
        self.asked_who_at: float | None = None
        self.knows_our_app = False
        self.pace = Pace()

    def keep_cookies(self, session: int) -> None:
        """Keep the cookies of a login in memory."""
        self.cookies = session


class Hands(ABC):
    """Does the core's actions. One work of each kind at a time; answers to cancelled work are ignored."""

    def __init__(self, world: World, door: Door) -> None:
        self.world = world
        self.timeline = world.timeline
        self.tally = world.tally
        self.door = door
        self.life: Life | None = None
        self._tasks = 0

    @property
    @abstractmethod
    def now(self) -> float:
        """Monotonic seconds."""

    @abstractmethod
    def feed(self, event: Event) -> None:
        """Give the core an event."""

    @abstractmethod
    def finished(self, finish: Finish) -> None:
        """End the supervisor."""

    def _begin(self, life: Life, name: str) -> int:
        self._tasks += 1
        life.waiting[name] = self._tasks
        return self._tasks

    def _is_over(self, life: Life, name: str, task: int) -> bool:
        """Finish a piece of work; return whether it was cancelled before."""
        if life is not self.life or life.waiting.get(name) != task:
            return True
        del life.waiting[name]
        return False

    def _later(self, life: Life, name: str, in_s: float, event: Event) -> None:
        self._answer_at(life, name, self._begin(life, name), self.timeline.now + in_s, event)

    def _answer_at(self, life: Life, name: str, task: int, at: float, event: Event) -> None:
        def answer() -> None:
            if self.timeline.now < self.world.asleep_until:
                self.timeline.at(self.world.asleep_until, answer)
            elif not self._is_over(life, name, task):
                self.feed(event)

        self.timeline.at(at, answer)

    def perform(self, life: Life, action: Action) -> None:
        """Do what the core asks for."""
        match action:
            case CancelLogin():
                self.cancel_login(life)
            case CancelRecovery():
                life.waiting.pop("cure", None)
            case Explain():
                self.timeline.after(0.0, self.feed, CauseRead())
            case Warn(code, _):
                self.tally.total.counts[f"warning {code}"] += 1
            case Finish():
                self.finished(action)
            case _:
                self._set_about(life, action, life.snapshot.epoch)

    def _set_about(self, life: Life, action: Action, epoch: int) -> None:
        match action:
            case StartGateway(adopt):
                self._start(life, epoch, adopt=adopt)
            case StopGateway(logout, hard):
                self._stop(life, logout=logout, hard=hard)
            case Check(tickle):
                self._check(life, epoch, tickle=tickle)
            case Reauthenticate(compete):
                self._reauthenticate(life, epoch, compete=compete)
            case Resume():
                self._resume(life, epoch)
            case Login():
                self.cancel_login(life)
                life.attempt = Attempt(
                    self.door,
                    lambda: self._submit_begins(life, epoch),
                    lambda done: self._logged_in(life, epoch, done),
                    life.keep_cookies,
                )

    def cancel_login(self, life: Life) -> None:
        """End a login that runs."""
        if life.attempt is not None:
            life.attempt.cancel()
            life.attempt = None

    def _submit_begins(self, life: Life, epoch: int) -> None:
        if life is self.life:
            self.feed(SubmitBegun(epoch))

    def _logged_in(self, life: Life, epoch: int, done: LoginDone) -> None:
        if life is self.life:
            life.attempt = None
            if self.timeline.now < self.world.asleep_until:
                self.timeline.at(self.world.asleep_until, self.feed, replace(done, epoch=epoch))
            else:
                self.feed(replace(done, epoch=epoch))

    # The gateway.

    def _start(self, life: Life, epoch: int, *, adopt: bool) -> None:
        self.cancel_login(life)
        life.tickled = life.was_silent = False
        world = self.world
        if adopt and world.gateway_runs and not world.gateway_hangs:
            task = self._begin(life, "gateway")
            self.timeline.after(ADOPT_S, self._started, life, task, epoch, False)
            return
        self.tally.total.counts["starts"] += 1
        leftovers_s = 0.0 if not world.gateway_runs else HUNG_STOP_S if world.gateway_hangs else STOP_S
        world.stopped()
        if world.rates["start_fails"].chance(world.rng):
            self.tally.blame("start", self.timeline.now)
            self._later(life, "gateway", leftovers_s + START_DEADLINE_S, GatewayFellOver(epoch, "it did not answer"))
            return
        task = self._begin(life, "gateway")
        in_s = leftovers_s + world.rates["start_s"].draw(world.rng)
        self.timeline.after(in_s, self._started, life, task, epoch, True)

    def _started(self, life: Life, task: int, epoch: int, launched: bool) -> None:  # noqa: FBT001 - a call of the timeline
        if self.timeline.now < self.world.asleep_until:
            self.timeline.at(self.world.asleep_until, self._started, life, task, epoch, launched)
        elif not self._is_over(life, "gateway", task):
            if launched:
                self.world.launched()
            life.watched_epoch = epoch
            self.feed(GatewayAnswers(epoch))
            if not self.world.gateway_runs:
                self.gateway_ended()

    def _stop(self, life: Life, *, logout: bool, hard: bool) -> None:
        self.cancel_login(life)
        life.watched_epoch = None
        world = self.world
        if logout:
            world.log_out()
        in_s = HUNG_STOP_S if world.gateway_hangs and not hard else STOP_S
        world.stopped()
        self._later(life, "gateway", in_s + (LOGOUT_S if logout else 0.0), GatewayGone())

    def gateway_ended(self) -> None:
        """Learn that the process is gone, by waiting on it."""
        life = self.life
        if life is not None and life.watched_epoch is not None:
            epoch, life.watched_epoch = life.watched_epoch, None
            self.feed(GatewayEnded(epoch))

    # The session, as ``probe`` observes it.

    def _paced_s(self, life: Life) -> float:
        wait_s = to_tick(life.pace.take(self.now))
        self.tally.asked([self.timeline.now + wait_s])
        return wait_s

    def _check(self, life: Life, epoch: int, *, tickle: bool) -> None:
        task = self._begin(life, "check")
        self.timeline.after(self._paced_s(life), self._look, life, task, epoch, tickle)

    def _look(self, life: Life, task: int, epoch: int, tickle: bool) -> None:  # noqa: FBT001 - a call of the timeline
        if life is not self.life or life.waiting.get("check") != task:
            return
        verdict, latency_s = self.world.see()
        if self.world.gateway_hangs and life.was_silent:
            latency_s = to_tick(SECOND_KNOCK_TIMEOUT_S)
        elif self.world.gateway_hangs:
            latency_s += -to_tick(BEAT_S) if life.heart_missed else SILENCE_S
        life.heart_missed = False
        life.was_silent = verdict is Verdict.HUNG
        if verdict is Verdict.READY and not life.tickled:
            if not tickle:
                latency_s += self._paced_s(life) + latency_s
            life.tickled = True
        elif verdict is Verdict.READY and not tickle and not life.knows_our_app:
            latency_s += self._paced_s(life) + latency_s
            life.knows_our_app = True
        elif verdict in WHOSE and life.knows_our_app:
            recently = life.asked_who_at is not None and self.now - life.asked_who_at < WHO_INTERVAL_S
            if not recently:
                life.asked_who_at = self.now
                latency_s += self._paced_s(life) + latency_s
        elif verdict is Verdict.NO_SESSION and life.cookies == life.refused_cookies:
            life.cookies = None
        event = Checked(epoch, verdict, TEXTS[verdict])
        self._answer_at(life, "check", task, self.timeline.now + latency_s, event)

    def _reauthenticate(self, life: Life, epoch: int, *, compete: bool) -> None:
        world = self.world
        self.tally.total.counts["reauthentications"] += 1
        in_s = 0.25 + self._paced_s(life)
        verdict, _ = world.see()
        if verdict is Verdict.COMPETING and compete:
            world.take_over()
        if verdict is Verdict.BROKERAGE_GONE or (verdict is Verdict.COMPETING and compete):
            if not world.challenged and world.rates["brokerage_opens"].chance(world.rng):
                world.open_in(in_s + world.rates["brokerage_opens_s"].draw(world.rng))
        elif verdict in {Verdict.UPSTREAM_ILL, Verdict.HUNG}:
            in_s = ANSWER_TIMEOUT_S
        self._later(life, "cure", in_s, ReauthenticateDone(epoch, ok=verdict is not Verdict.HUNG))

    def _resume(self, life: Life, epoch: int) -> None:
        world = self.world
        offered = life.cookies
        if offered is None:
            self._later(life, "cure", 0.0, ResumeDone(epoch, ok=False))
            return
        in_s = 0.125  # it does not stand in the row of the looks
        ill = world.is_ill or world.limited or world.gateway_hangs or not world.gateway_runs
        ok = not ill and world.take_cookies(offered)
        self.tally.total.counts["resumes"] += 1
        self.tally.total.counts["resumes that helped"] += ok
        life.refused_cookies = None if ok else offered
        self._later(
            life, "cure", ANSWER_TIMEOUT_S if world.is_silent or world.gateway_hangs else in_s, ResumeDone(epoch, ok=ok)
        )

    def heart_missed(self) -> None:
        """Learn from the heartbeat that the gateway owes an answer."""
        if self.life is not None and self.life.watched_epoch is not None and self.world.gateway_hangs:
            self.life.heart_missed = True
            self.feed(SessionPushed(ready=None))

    def pushed(self, *, ready: bool) -> None:
        """Learn from the WebSocket that the session has changed."""
        if self.life is not None and self.life.watched_epoch is not None:
            self.timeline.after(PUSH_S, self.feed, SessionPushed(ready=ready))
