"""One home for hours: random faults, one after the other, and what the supervisor costs at the end."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from chaos import machine
from chaos.drawing import Round
from chaos.fault import Fault
from chaos.rounds import Result, play
from chaos.worlds import Run, World, WorldLost, a_world, bring_down
from gwctl.supervisor.budget import HOUR_S, Rung
from gwctl.supervisor.policy import Policy

GAP_S = (20.0, 60.0)
SPARE = 3
"""So many of an hour's logins and resumes are left for what one fault may cost."""
REPLACED_AGAIN_AFTER_S = 620.0
"""Restarts have a budget: each further one within ten minutes waits a little longer, which the bounds leave out."""


@dataclass(frozen=True)
class Cost:
    """What the supervisor holds."""

    rss_bytes: int
    open_files: int
    requests: int
    at_s: float

    def __str__(self) -> str:
        """Return it for a person."""
        return f"{self.rss_bytes / 1e6:.1f} MB, {self.open_files} open files"


def cost_of(world: World) -> Cost:
    """Return what the supervisor holds now, and how many requests have reached IBKR."""
    pid = world.supervisor_pid()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    requests = sum(world.state.requests.values())
    return Cost(pages * 4096, machine.open_files(pid), requests, time.time())


def affordable(world: World, faults: list[Fault], now_s: float) -> list[Fault]:
    """Return the faults whose cures the budgets of this hour still have room for.

    A fault a minute, for hours, is more than the budgets are made for: what they hold back then is no defect.
    """
    recent = [one for one in world.journal() if now_s - datetime.fromisoformat(one["at"]).timestamp() < HOUR_S]
    logins = sum(one["kind"] == "login" for one in recent)
    resumes = sum(one["kind"] == "cure" and one.get("rung") == "resume" for one in recent)
    budgets = Policy().budgets
    may_log_in = logins + SPARE < budgets[Rung.LOGIN].per_hour
    may_resume = resumes + SPARE < budgets[Rung.RESUME].per_hour
    return [
        fault
        for fault in faults
        if (may_log_in or not fault.submits) and (may_resume or not (fault.cookies or not fault.same_gateway))
    ]


def soak(run: Run, hours: float, seed: int, faults: tuple[Fault, ...], results: queue.Queue[Result]) -> list[str]:
    """Play for so many hours in one world; return what to print at the end.

    The supervisor is one and the same: what kills it or takes its disk away is left out, or it would begin anew.
    """
    random = Random(seed)  # noqa: S311 - a drawing that can be repeated
    chosen = [fault for fault in faults if not fault.forgets and not fault.world and fault.name != "state_gone"]
    end_s = time.time() + hours * 3600
    with a_world(run, 0) as world:
        first = cost_of(world)
        most, number, replaced_s = first, 0, 0.0
        while time.time() < end_s:
            run.pause(random.uniform(*GAP_S))
            fresh = time.time() - replaced_s < REPLACED_AGAIN_AFTER_S
            affords = affordable(world, chosen, time.time())
            fault = random.choice([one for one in affords if one.same_gateway or not fresh])
            number += 1
            one = Round(number, (fault,), random.randrange(1 << 32))
            try:
                result = play(world, one)
            except WorldLost as error:
                result = Result(one, broken=[str(error)], tail=[str(entry) for entry in world.journal()][-30:])
            results.put(result)
            if result.ready_s is None:
                break
            if one.replaces_gateway:
                replaced_s = time.time()
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
