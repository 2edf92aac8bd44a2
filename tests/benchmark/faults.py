"""What is done to a side that is up, and what is measured then: a fault, an idle time, a client's requests."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from benchmark import client, memory
from benchmark.figures import Figures
from benchmark.plan import Plan
from benchmark.rows import FLOOR, KILL, PATH, SOAK_ALL, SOAK_KEEPER
from benchmark.sides import READY_WITHIN_S, Ours, Side
from gwctl.sandbox.ibkr import RunningStandIn

NEVER = f"not within {READY_WITHIN_S:.0f} s"
TEN_MINUTES_S = 600.0
GOLDEN = 0.618034
ENDS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Life:
    """One side from its start to its end."""

    side: Side
    stand_in: RunningStandIn
    plan: Plan
    figures: Figures

    def note(self, row: str, value: float | None) -> None:
        """Add a value of this side; None is a session that did not come back."""
        if value is None:
            self.figures.miss(row, self.side.name, NEVER)
        else:
            self.figures.add(row, self.side.name, value)

    def quiet(self, row: str | None = None) -> None:
        """Wait until nothing of the last start or fault is at work, and before a fault, until its moment.

        A side that looks every minute finds a fault after anything up to a minute. The moments of a row's measurements
        are spread evenly over that time, for each side over its own.
        """
        spread = 0.0
        if row is not None and not self.plan.short:
            spread = (0.5 + GOLDEN * self.figures.attempts(row, self.side.name)) % 1 * self.side.check_every_s
        time.sleep(self.plan.quiet_s + spread)  # a fixed time on purpose: the session must be idle
        if client.wait_ready(self.side.port, READY_WITHIN_S) is None:
            raise AssertionError("the session was lost while nothing happened")


def nothing(life: Life) -> None:
    """Do nothing: the start is what is measured."""


def calls(life: Life) -> None:
    """Time what a person or cron calls, and in turn with it what Python and Click take by themselves."""
    life.quiet()
    figures, side = life.figures, life.side
    assert isinstance(side, Ours)
    for _ in range(life.plan.calls):
        bare_s = _bare_s("-c", "import click")
        for row in ("status", "help", "version"):
            figures.add(row, FLOOR, bare_s * 1000)
        life.note("status", side.timed("status") * 1000)
        life.note("up_again", side.timed("up") * 1000)
        life.note("help", side.timed("--help") * 1000)
        life.note("version", side.timed("--version") * 1000)


def _bare_s(*argv: str) -> float:
    began_s = time.monotonic()
    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began_s


def kill(life: Life) -> None:
    """Kill the gateway once."""
    _hurt(life, "killed", lambda: life.side.gateway().kill())


def hang(life: Life) -> None:
    """Stop the gateway's process, so that it keeps its connections and answers nothing."""
    _hurt(life, "hung", lambda: os.kill(life.side.gateway().pid, signal.SIGSTOP))


def drop(life: Life) -> None:
    """Have IBKR forget the session."""
    _hurt(life, "dropped", lambda: life.stand_in.state.act("drop_session", {}))


def drop_polled(life: Life) -> None:
    """Have IBKR forget the session of a gwctl that only polls."""
    _hurt(life, "polled", lambda: life.stand_in.state.act("drop_session", {}))


def _hurt(life: Life, row: str, inject: Callable[[], None]) -> None:
    life.quiet(row)
    inject()
    life.note(row, client.wait_ready(life.side.port, READY_WITHIN_S))


def kill_often(life: Life) -> None:
    """Kill the gateway again each time that the session is back; the last kill is the row's figure."""
    began_s = time.monotonic()
    for number in range(1, life.plan.kills + 1):
        life.quiet()
        if time.monotonic() - began_s > TEN_MINUTES_S:
            why = f"only {number - 1} kills fit into ten minutes"
            life.figures.miss("killed_often", life.side.name, why)
            return
        life.side.gateway().kill()
        took_s = client.wait_ready(life.side.port, READY_WITHIN_S)
        life.note(f"{KILL}{number}", took_s)
        if took_s is None:
            life.figures.miss("killed_often", life.side.name, f"{NEVER} after kill {number}")
            return
    life.note("killed_often", took_s)


def kill_keeper(life: Life) -> None:
    """Kill what keeps the session, and start it again as a service manager does."""
    life.quiet()
    keeper = life.side.keeper()
    keeper.kill()
    psutil.wait_procs([keeper], ENDS_WITHIN_S)
    took_s = life.side.again()
    if took_s is not None and not life.side.keeper().is_running():
        raise AssertionError("there is a session, and nothing keeps it")
    life.note("keeper", took_s)


def idle(life: Life) -> None:
    """Measure what a session costs while nobody uses it."""
    life.quiet()
    side, name, asked = life.side, life.side.name, life.stand_in.state.requests
    requests, before_s = Counter(dict(asked)), memory.cpu_s(side.processes())
    time.sleep(life.plan.idle_s)  # what is measured
    spent_s, requests = memory.cpu_s(side.processes()) - before_s, Counter(dict(asked)) - requests
    minutes = life.plan.idle_s / 60
    life.note("cpu", spent_s / minutes * 60)
    life.note("cpu_share", spent_s / life.plan.idle_s * 100)
    life.note("memory", memory.pss_mb(side.processes()))
    life.note("memory_keeper", memory.pss_mb([side.keeper()]))
    life.note("requests", requests.total() / minutes)
    for path, number in sorted(requests.items()):
        life.figures.add(f"{PATH}{path}", name, number / minutes)


def traffic(life: Life) -> None:
    """Measure what a client sees, and what its requests leave in memory."""
    life.quiet()
    side = life.side
    seen = client.traffic(side.port, life.plan.requests)
    life.note("latency", seen.median_ms)
    life.note("latency_p99", seen.p99_ms)
    life.note("a_second", seen.a_second)
    life.note("failed", seen.failed)
    life.note("memory_used", memory.pss_mb(side.processes()))
    if side.name != FLOOR:
        life.note("memory_keeper_used", memory.pss_mb([side.keeper()]))


LOOKS, WARM_LOOKS = 60, 10
PACE = 10.0
"""A client's requests a second: as many as IBKR allows."""


def soak(life: Life) -> None:
    """Look how memory and CPU grow under a client that asks all the time."""
    life.quiet()
    side, name = life.side, life.side.name
    began_s, before_s, failed = time.monotonic(), memory.cpu_s(side.processes()), 0
    hours: list[float] = []
    for number in range(LOOKS):
        left_s = life.plan.soak_s * (number + 1) / LOOKS - (time.monotonic() - began_s)
        failed += client.traffic(side.port, max(1, round(left_s * PACE)), a_second=PACE).failed
        hours.append((time.monotonic() - began_s) / 3600)
        life.note(SOAK_ALL, memory.pss_mb(side.processes()))
        life.note(SOAK_KEEPER, memory.pss_mb([side.keeper()]))
    for row, looks in (("soak_memory", SOAK_ALL), ("soak_keeper", SOAK_KEEPER)):
        seen = life.figures.of(looks, name).values[-LOOKS:]
        life.note(row, statistics.linear_regression(hours[WARM_LOOKS:], seen[WARM_LOOKS:]).slope)
    life.note("soak_cpu", (memory.cpu_s(side.processes()) - before_s) / (time.monotonic() - began_s) * 100)
    life.note("soak_failed", failed)
