"""One home for hours: random faults, one after the other, and the supervisor's resources at the end."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from chaos import machine
from chaos.drawing import Round
from chaos.fault import Fault
from chaos.rounds import Result, play
from chaos.worlds import Run, World, WorldLost, a_world, bring_down

GAP_S = (20.0, 60.0)


@dataclass(frozen=True)
class Cost:
    """The supervisor's resources."""

    rss_bytes: int
    open_files: int
    requests: int
    at_s: float

    def __str__(self) -> str:
        """Return them as text."""
        return f"{self.rss_bytes / 1e6:.1f} MB, {self.open_files} open files"


def cost_of(world: World) -> Cost:
    """Return the supervisor's resources now, and how many requests have reached IBKR."""
    pid = world.supervisor_pid()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    requests = sum(world.state.requests.values())
    return Cost(pages * 4096, machine.open_files(pid), requests, time.time())


def soak(run: Run, hours: float, seed: int, faults: tuple[Fault, ...], results: queue.Queue[Result]) -> list[str]:
    """Play for a number of hours in one world; return what to print at the end.

    The supervisor stays the same: faults that kill it or remove its disk are left out, because it would start again.
    """
    random = Random(seed)  # noqa: S311 - a drawing that can be repeated
    chosen = [fault for fault in faults if not fault.forgets and not fault.world and fault.name != "state_gone"]
    end_s = time.time() + hours * 3600
    with a_world(run, 0) as world:
        first = cost_of(world)
        most, number = first, 0
        while time.time() < end_s:
            run.pause(random.uniform(*GAP_S))
            fault = random.choice(chosen)
            number += 1
            one = Round(number, (fault,), random.randrange(1 << 32))
            try:
                result = play(world, one)
            except WorldLost as error:
                result = Result(one, broken=[str(error)], tail=[str(entry) for entry in world.journal()][-30:])
            results.put(result)
            if result.theirs_s:
                run.pause(result.theirs_s)
            elif result.ready_s is None:
                break
            now = cost_of(world)
            most = max(most, now, key=lambda cost: cost.rss_bytes)
        last = cost_of(world)
        each_s = (last.requests - first.requests) / max(1.0, last.at_s - first.at_s)
        told = [
            f"supervisor at the start: {first}",
            f"supervisor at its most:  {most}",
            f"supervisor at the end:   {last}",
            f"requests that reached IBKR, the gateway's own and the checks of this run included: {each_s:.2f} a second",
        ]
        if broken := bring_down(world):
            results.put(Result(Round(number, (), 0), broken=broken))
    return told
