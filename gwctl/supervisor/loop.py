"""The loop: perform the core's actions and feed the results back. It does all waiting; the core does all deciding."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace

from gwctl.core.causes import may_be_ibkr
from gwctl.core.machine import Snapshot, after_defect, step
from gwctl.core.messages import (
    Action,
    BlockLogin,
    CancelLogin,
    CancelRecovery,
    CauseRead,
    Check,
    Checked,
    ClockJumped,
    Event,
    Explain,
    Finish,
    GatewayAnswers,
    GatewayCannotStart,
    GatewayEnded,
    GatewayFellOver,
    GatewayGone,
    LiftBlock,
    Login,
    LoginDone,
    LoginResult,
    Process,
    Reauthenticate,
    ReauthenticateDone,
    Resume,
    ResumeDone,
    SecondFactorAsked,
    StartGateway,
    StopGateway,
    SubmitBegun,
    TimeOut,
    Warn,
)
from gwctl.core.planned import planned
from gwctl.core.policy import Policy
from gwctl.core.tables import person_needed, phase_of
from gwctl.errors import Configuration, GwctlError, Unavailable
from gwctl.history.journal import Journal
from gwctl.session_status import Verdict
from gwctl.supervisor.calendar_watch import CalendarWatch
from gwctl.supervisor.interfaces import Ports

log = logging.getLogger("gwctl.supervisor")

CLOSE_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 45.0
LEAVE_TIMEOUT_S = 20.0
NOTE_TIMEOUT_S = 15.0
TURN_S = 30.0
"""How often the loop turns when nothing is due, so that ``/livez`` need not know what the loop waits for."""
JUMP_S = 2.0
"""How far two clocks may drift apart between two readings, usually five seconds, before it counts as a jump."""


class Loop:
    """The loop around the core. Only a Finish action ends it, never an error."""

    def __init__(self, policy: Policy, ports: Ports, journal: Journal, on_change: Callable[[Snapshot], None]) -> None:
        self.policy = policy
        self.clock = ports.clock
        self.gateway = ports.gateway
        self.session = ports.session
        self.login = ports.login
        self.journal = journal
        self.on_change = on_change
        self.snapshot = Snapshot(since=self.clock.now())
        self.finish: Finish | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes: set[asyncio.Task[None]] = set()
        self._wall_ahead_s = self.clock.wall() - self.clock.now()
        self._asleep_s = self.clock.asleep()
        self.turned_at = self.clock.now()
        self._calendar = CalendarWatch(ports.calendar, ports.plan, journal.write, self.clock.wall())

    def post(self, event: Event) -> None:
        """Send the loop an event from outside: a command of the control API, a signal."""
        self._events.put_nowait(event)

    def take(self, event: Event) -> None:
        """Take an event at once, before ``run``: what is posted waits for its turn."""
        self._turn(event)

    async def run(self, first: Event) -> Finish:
        """Run until the core returns a Finish action, and return it."""
        self.post(first)
        while self.finish is None:
            event = await self._next_event()
            self._turn(event)
        if self._notes:
            await asyncio.wait(self._notes, timeout=NOTE_TIMEOUT_S)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_TIMEOUT_S)
        return self.finish

    async def _next_event(self) -> Event:
        while True:
            self.turned_at = self.clock.now()
            self._look_at_clocks()
            if not self._events.empty():
                # Before a timer that is due: what happened may forbid it.
                return self._events.get_nowait()
            timers = self.snapshot.timers
            timer = min(timers, key=lambda one: timers[one]) if timers else None
            due = min(self._calendar.due_at, math.inf if timer is None else timers[timer])
            left_s = min(TURN_S, max(0.0, due - self.clock.now()))
            try:
                async with asyncio.timeout(left_s):  # wait_for needs a task for each event
                    return await self._events.get()
            except TimeoutError:
                if timer is not None and timers[timer] <= self.clock.now():
                    return TimeOut(timer=timer)

    def _look_at_clocks(self) -> None:
        """Report to the core: the machine slept, its wall clock was set, something in the calendar is due."""
        now, wall = self.clock.now(), self.clock.wall()
        ahead_s, asleep_s = wall - now, self.clock.asleep()
        jumped_s, slept_s = ahead_s - self._wall_ahead_s, asleep_s - self._asleep_s
        self._wall_ahead_s, self._asleep_s = ahead_s, asleep_s
        if max(abs(jumped_s), slept_s) > JUMP_S:
            self.journal.write("clock", asleep_s=round(slept_s, 1), jumped_s=round(jumped_s, 1))
            log.warning("the wall clock jumped by %.0f s, %.0f s of them asleep", jumped_s, slept_s)
            self.post(ClockJumped(asleep_s=slept_s if slept_s > JUMP_S else 0.0))
            self.look_at_calendar()
        if now >= self._calendar.due_at:
            for event in self._calendar.look(self.snapshot, now, wall):
                self.post(event)

    def look_at_calendar(self) -> None:
        """Look at the wall clock before the next event: something else may be due now."""
        self._calendar.due_at = self.clock.now()

    def _turn(self, event: Event) -> None:
        before = self.snapshot
        try:
            self.snapshot, actions = step(before, event, self.policy, self.clock.now())
        except Exception:
            # An error never ends the loop (field-problems.md): the event is lost, and the next check finds the truth.
            log.exception("the core refused %s", type(event).__name__)
            self.journal.write("defect", event=type(event).__name__, process=before.process, session=before.session)
            self.snapshot = after_defect(before, self.policy, self.clock.now())
            return
        if self.snapshot.pause is not before.pause:
            self.look_at_calendar()
        try:
            self._tell(before, event)
        except Exception:  # a follower's error must not stop the loop
            log.exception("could not report %s", type(event).__name__)
        for action in actions:
            self._perform(action)

    def _tell(self, before: Snapshot, event: Event) -> None:
        after = self.snapshot
        if isinstance(event, TimeOut | Checked) and (before.process, before.session, before.reason) == (
            after.process,
            after.session,
            after.reason,
        ):
            self.on_change(after)
            return
        phase, was = phase_of(after), phase_of(before)
        if phase is not was or before.reason != after.reason:
            waited_s = round(self.clock.now() - before.since, 3)
            needed = {"person_needed": person_needed(after)} if person_needed(after) else {}
            plan = {"planned": planned(after)} if planned(after) else {}
            at_ibkr = may_be_ibkr(event, before.process)
            told = {"after_s": waited_s, "event": type(event).__name__, "at_ibkr": at_ibkr, **needed, **plan}
            self.journal.write("phase", phase=phase, reason=after.reason, **told)
            log.info("%s: %s", phase, after.reason)
        if after.process is Process.RECYCLING and before.process is not Process.RECYCLING:
            self.journal.write("restart", cause=after.restart_cause, reason=after.reason)
        self.on_change(after)

    def _perform(self, action: Action) -> None:
        match action:
            case CancelLogin():
                self._cancel("login")
            case CancelRecovery():
                self._cancel("cure")
            case Explain():
                self._explain()
            case BlockLogin(code, text):
                self._note(self.login.block(code, text))
            case LiftBlock():
                self._note(self.login.lift_block())
            case Warn(code, text):
                self.journal.write("warning", code=code, text=text)
                log.warning("%s: %s", code, text)
            case Finish():
                self.finish = action
            case _:
                self._begin(action, self.snapshot.epoch)

    def _begin(self, action: Action, epoch: int) -> None:
        match action:
            case StartGateway(adopt):
                self._run("gateway", self._start(epoch, adopt=adopt), epoch)
            case StopGateway(logout, hard):
                self._run("gateway", self._stop(logout=logout, hard=hard), epoch)
            case Check(tickle):
                self._run("check", self._check(epoch, tickle=tickle), epoch)
            case Reauthenticate():
                self._run("cure", self._reauthenticate(epoch, action), epoch)
            case Resume():
                self._run("cure", self._resume(epoch), epoch)
            case Login(first):
                self._run("login", self._log_in(epoch, first=first), epoch)

    def _note(self, work: Coroutine[Any, Any, None]) -> None:
        """Write to the ledger in the background; only the end of the loop waits for it."""
        task = asyncio.get_running_loop().create_task(self._bounded("ledger", work, NOTE_TIMEOUT_S))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    def _cancel(self, name: str) -> None:
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()

    def _run(self, name: str, work: Coroutine[Any, Any, None], epoch: int) -> None:
        """Run one task of each kind at a time: a new one waits until cancelled ones have finished their clean-up."""
        self._cancel(name)
        if name == "gateway":
            # Requests to the old gateway get no answer, or an answer from the new one to an outdated question.
            for other in ("login", "cure", "check"):
                self._cancel(other)
        leaving = [task for task in self._tasks if task.cancelling()]

        async def ordered() -> None:
            try:
                if leaving:
                    await asyncio.wait(leaving, timeout=LEAVE_TIMEOUT_S)
                await work
            finally:
                work.close()

        turn = ordered()

        def left(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            turn.close()  # a task that is cancelled before it begins has awaited neither
            work.close()

        task = asyncio.get_running_loop().create_task(self._guarded(name, turn, epoch))
        self._running[name] = task
        self._tasks.add(task)
        task.add_done_callback(left)

    async def _guarded(self, name: str, work: Coroutine[Any, Any, None], epoch: int) -> None:
        """Turn an error in ``work`` into an event, so that the core never waits for an answer that cannot come."""
        try:
            await work
        except Exception as error:  # the core gets an answer in any case
            log.exception("%s failed", name)
            text = f"unexpected error: {type(error).__name__}"
            self.journal.write("defect", where=name, error=type(error).__name__)
            self.post(
                {
                    "gateway": GatewayFellOver(epoch, text),
                    "check": Checked(epoch, Verdict.UPSTREAM_ILL, text),
                    "cure": ReauthenticateDone(epoch, ok=False),
                    "login": LoginDone(epoch, LoginResult.TRANSIENT, text),
                }[name]
            )
            if name == "cure":
                self.post(ResumeDone(epoch, ok=False))

    async def _start(self, epoch: int, *, adopt: bool) -> None:
        try:
            await self.gateway.start(adopt=adopt)
        except (Unavailable, Configuration) as error:
            retry = error.code == "gateway_failed"
            self.post(
                GatewayFellOver(epoch, error.message)
                if retry
                else GatewayCannotStart(epoch, error.message, error.hint, error.code, error.exit_code)
            )
            return
        except GwctlError as error:
            self.post(GatewayFellOver(epoch, error.message))
            return
        self.post(GatewayAnswers(epoch))
        await self.gateway.wait_ended()
        self.post(GatewayEnded(epoch))

    def _explain(self) -> None:
        try:
            cause = self.gateway.why()
        except Exception:  # a missing cause must not stop the loop
            log.exception("could not read the gateway's log")
            cause = CauseRead()
        self.post(cause)

    async def _stop(self, *, logout: bool, hard: bool) -> None:
        """End the login, then the gateway; the loop gets its answer even if a step fails (law 10)."""
        await self._bounded("login", self.login.close(), CLOSE_TIMEOUT_S)
        await self._bounded("gateway", self.gateway.stop(logout=logout, hard=hard), STOP_TIMEOUT_S)
        self.post(GatewayGone())

    async def _bounded(self, name: str, work: Coroutine[Any, Any, None], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await work
        except Exception as error:  # law 10: a stop continues even if a step fails
            log.exception("work on the %s failed", name)
            self.journal.write("defect", where=name, error=type(error).__name__)

    async def _check(self, epoch: int, *, tickle: bool) -> None:
        checked = await self.session.check(tickle=tickle)
        self.post(replace(checked, epoch=epoch))

    async def _reauthenticate(self, epoch: int, action: Reauthenticate) -> None:
        began_s, reason = self.clock.now(), self.snapshot.reason
        done = await self.session.reauthenticate(compete=action.compete, handshake=action.handshake, early=action.early)
        took_s = round(self.clock.now() - began_s, 3)
        said = {} if done.said is None else {"said": done.said}
        self.journal.write("cure", rung="reauthenticate", reason=reason, ok=done.ok, took_s=took_s, **said)
        if done.said is not None:
            log.warning("IBKR did not open the brokerage session: %s", done.said)
        self.post(ReauthenticateDone(epoch, ok=done.ok))

    async def _resume(self, epoch: int) -> None:
        began_s = self.clock.now()
        ok = await self.session.resume()
        self.journal.write(
            "cure", rung="resume", reason=self.snapshot.reason, ok=ok, took_s=round(self.clock.now() - began_s, 3)
        )
        self.post(ResumeDone(epoch, ok=ok))

    async def _log_in(self, epoch: int, *, first: bool) -> None:
        began_s = self.clock.now()

        def on_step(name: str) -> None:
            self.journal.write("step", step=name, after_s=round(self.clock.now() - began_s, 3))

        def on_asked(text: str) -> None:
            self.post(SecondFactorAsked(epoch, text))

        def on_submit() -> None:
            self.post(SubmitBegun(epoch))

        done = await self.login.log_in(first=first, on_step=on_step, on_asked=on_asked, on_submit=on_submit)
        self.journal.write(
            "login", outcome=done.result, code=done.code, text=done.text, took_s=round(self.clock.now() - began_s, 3)
        )
        self.post(replace(done, epoch=epoch))
