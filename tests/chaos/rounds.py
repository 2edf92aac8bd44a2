"""Play rounds: inject a fault, remove it, wait for the session, check the laws."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chaos import injections, laws
from chaos.drawing import LONGEST_PAUSE_S, Round
from chaos.fault import FOR_ROOT, Fault
from chaos.worlds import Interrupted, Run, World, WorldLost, a_world, bring_down

READY_BEFORE_S = 20.0
GIVEN_UP_AFTER_S = 60.0
"""How long to wait for a session after its bound, so that the table can show how late it was."""
LATER_FAULT_S = 1.5
STORM_GAP_S = (0.0, 6.0)
LASTS_ONE_IN = 0.4
"""Which part of a storm's faults lasts until the end of the storm."""
SEEN_WITHIN_S = 20.0
BROWSER_GONE_WITHIN_S = 4.0


@dataclass
class Result:
    """How one round went. ``ready_s`` is None when the session did not come back at all."""

    round: Round
    ready_s: float | None = None
    broken: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    theirs_s: float = 0.0
    """How long the supervisor still waits because of IBKR: after a submit without success, or after too many."""

    @property
    def is_good(self) -> bool:
        """Whether every law and the bound held."""
        return not self.broken


def play(world: World, one: Round) -> Result:
    """Play one round in a world; raise WorldLost if the world is no longer usable."""
    result = Result(one)
    before = world.run.until(world.is_ready, READY_BEFORE_S)
    if not before:
        raise WorldLost(f"not ready before the round: {_reason(world)}")
    submits = len(_outcomes(world))
    entries = len(world.journal())
    ended_s = _storm(world, one) if one.storm else _bring_about(world, one)
    status = _wait_ready(world, one, ended_s, result)
    if (
        not one.storm
        and not one.is_felt
        and (lost := [entry for entry in world.journal()[entries:] if entry.get("kind") == "phase"])
    ):
        result.broken.append(f"the session was to stay ready all the time: {lost}")
    if status is not None:
        if (
            not one.storm
            and not any(not fault.same_gateway for fault in one.faults)
            and status["gateway"]["pid"] != before["gateway"]["pid"]
        ):
            result.broken.append(
                f"the gateway was replaced: pid {before['gateway']['pid']} is now {status['gateway']['pid']}"
            )
        result.broken += _processes(world)
    result.broken += laws.submits_within(submits, _outcomes(world), one.submits)
    result.broken += secrets_in(world)
    result.broken += laws.no_defect(world.journal()[entries:])
    if result.broken:
        result.tail = [str(entry) for entry in world.journal()[entries:]][-40:]
    return result


def _bring_about(world: World, one: Round) -> float:
    """Inject every fault and remove it; return when the last cause ended, in true seconds since 1970."""
    random = Random(one.seed)  # noqa: S311 - a drawing that can be repeated
    # Restart a killed supervisor last, because that call waits for the session.
    faults = sorted(one.faults, key=lambda fault: fault.kind != "supervisor")
    ended: list[float] = []

    def note(cause: injections.Cause) -> None:
        ended.append(time.time() if cause.ended_s is None else cause.ended_s)

    with contextlib.ExitStack() as stack:
        hold_s = 0.0
        for fault in faults:
            if hold_s or fault is not faults[0]:
                world.run.pause(random.uniform(0, LATER_FAULT_S))
            context = injections.named(fault.name)(world, random)
            cause = context.__enter__()
            stack.callback(note, cause)
            stack.push(context)
            hold_s = max(hold_s, random.uniform(*fault.hold_s))
        # A lasting fault must be seen, or its end would prove nothing; a dead supervisor sees nothing.
        watched = hold_s and one.is_felt and all(fault.kind != "supervisor" for fault in faults)
        if watched and not world.run.until(lambda: not (world.status() or {}).get("ready"), SEEN_WITHIN_S):
            raise WorldLost(f"not seen within {SEEN_WITHIN_S:g} s")
        world.run.pause(hold_s)
    return max(ended)


def _storm(world: World, one: Round) -> float:
    """Inject one fault after the other without waiting for recovery; return when all had ended."""
    random = Random(one.seed)  # noqa: S311 - a drawing that can be repeated
    with contextlib.ExitStack() as lasting:
        for fault in one.faults:
            world.run.pause(random.uniform(*STORM_GAP_S))
            if fault.kind == "supervisor":
                # This fault ends with a call that waits for the session.
                lasting.close()
            alone = contextlib.ExitStack()
            try:
                alone.enter_context(injections.named(fault.name)(world, random))
            except (WorldLost, OSError):
                continue  # the target does not exist at this moment
            world.run.pause(random.uniform(*fault.hold_s))
            if fault.kind != "supervisor" and random.random() < LASTS_ONE_IN:
                lasting.push(alone)
            else:
                alone.close()
    return time.time()


@dataclass
class Announced:
    """What status showed during the wait for the session."""

    pause_s: float = 0.0
    theirs_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    def hear(self, status: dict[str, Any] | None) -> None:
        """Record an announced pause; one that is too long must be because of IBKR."""
        follows = None if status is None else status["next"]
        if status is None or status["ready"] or follows is None or follows["what"] not in {"start", "login"}:
            return
        in_s = float(follows["in_s"])
        if in_s <= LONGEST_PAUSE_S + 0.5:
            self.pause_s, self.theirs_s = max(self.pause_s, in_s), 0.0
        elif follows["what"] == "login" and _is_theirs(status):
            self.theirs_s = in_s
        elif not self.broken:
            self.broken.append(f"{follows['what']} is announced for {in_s:g} s later: {status['reason']}")


def _is_theirs(status: dict[str, Any]) -> bool:
    """Return whether a login waits because of IBKR: one was sent without success, or too many were sent."""
    login, budget = status["login"], status["budget"]["login"]
    spent = budget["hour"] >= budget["per_hour"] or budget["day"] >= budget["per_day"]
    return bool(spent or login["rejected"] or login["last_outcome"] not in {"success", None})


def _wait_ready(world: World, one: Round, ended_s: float, result: Result) -> dict[str, Any] | None:
    """Wait for the session, note how long that took, and return the status then."""
    left_s = ended_s + one.bound_s + GIVEN_UP_AFTER_S - time.time()
    announced = Announced()

    def look() -> dict[str, Any] | bool | None:
        announced.hear(world.status())
        return announced.theirs_s > 0 or ((found := world.is_ready()) and world.serves_users() and found)

    status = world.run.until(look, left_s)
    seen_s = time.time()
    result.broken += announced.broken
    if announced.theirs_s:
        result.theirs_s = announced.theirs_s
        return None
    if not status:
        result.broken.append(f"not ready {one.bound_s + GIVEN_UP_AFTER_S:g} s after the cause's end: {_reason(world)}")
        return None
    said_s = world.last_ready_s()
    # The journal is exact to the millisecond; if a full disk lost the line, use the polled time.
    became_s = seen_s if said_s is None else said_s - world.clock.ahead_s
    result.ready_s = max(0.0, min(became_s, seen_s) - ended_s)
    bound_s = one.bound_s + (0.0 if one.storm else announced.pause_s)
    if result.ready_s > bound_s:
        result.broken.append(f"ready {result.ready_s:.2f} s after the cause's end; the bound is {bound_s:g} s")
    found: dict[str, Any] = status
    return found


def _processes(world: World) -> list[str]:
    """Check laws 1 and 7."""
    profile = world.rig.profile_dir

    def broken() -> list[str]:
        seen = laws.of_home(world.rig.home)
        return [
            *laws.one_gateway(seen, profile / "gateway", world.gateway_pid()),
            *laws.one_front(seen, profile / "gateway"),
            *laws.one_supervisor(seen, profile, world.supervisor_pid()),
            *(f"left of a login: {one}" for one in laws.browsers(seen)),
        ]

    # A login's browser ends shortly after its login, and what a start cleans up shortly after the start.
    world.run.until(lambda: not broken(), BROWSER_GONE_WITHIN_S)
    return broken()


def secrets_in(world: World) -> list[str]:
    """Check law 8."""
    wanted = world.secrets()
    inside = laws.no_secret_in_files(world.rig.home, wanted)
    return inside + laws.no_secret_in_processes({**wanted, **laws.control_tokens(world.rig.home)})


def _outcomes(world: World) -> list[str]:
    return [submit.outcome for submit in list(world.state.desk.submits)]


def _reason(world: World) -> str:
    status = world.status()
    if status is None:
        return "no supervisor answers"
    return f"{status['phase']}, {status['reason']}, next {status['next']}; in truth {world.state.sessions.summary()}"


def play_world(run: Run, rounds: list[Round], results: queue.Queue[Result]) -> None:
    """Play the rounds of one world; rounds that a broken world prevents count as broken."""
    left = list(rounds)
    try:
        while left:
            with a_world(run, left[0].number, left[0].world) as world:
                left = _play_until_broken(world, left, results)
    except Interrupted:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        if run.ending.is_set():
            return  # a call that was interrupted together with this run
        traceback.print_exc(file=sys.stderr)
        for one in left:
            results.put(Result(one, broken=[f"not played: {type(error).__name__}: {error}"]))


def _play_until_broken(world: World, rounds: list[Round], results: queue.Queue[Result]) -> list[Round]:
    """Play rounds, bring the world down and return those that need another world."""
    left = list(rounds)
    last: Result | None = None
    while left:
        one = left.pop(0)
        try:
            last = play(world, one)
        except WorldLost as error:
            last = Result(one, broken=[str(error)], tail=[str(entry) for entry in world.journal()][-30:])
        results.put(last)
        if last.ready_s is None:
            break
    if broken := bring_down(world):
        results.put(Result(Round(last.round.number if last else 0, (), 0), broken=broken))
    return left


def play_all(run: Run, worlds: Iterable[list[Round]], lanes: int, results: queue.Queue[Result]) -> None:
    """Play every world, a number of them at a time; return when all are played or the run was interrupted."""
    waiting: queue.SimpleQueue[list[Round]] = queue.SimpleQueue()
    for rounds in worlds:
        waiting.put(rounds)

    def lane() -> None:
        while not run.ending.is_set():
            try:
                rounds = waiting.get_nowait()
            except queue.Empty:
                return
            play_world(run, rounds, results)

    threads = [threading.Thread(target=lane, name=f"lane-{number}") for number in range(lanes)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        run.ending.set()
        for thread in threads:
            thread.join()
        raise


def can_be_injected(fault: Fault, *, root: bool) -> bool:
    """Return whether this machine allows a fault to be injected."""
    return root or fault.world not in FOR_ROOT
