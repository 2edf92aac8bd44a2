"""A gateway that is slow and one that hangs, told apart: probe, core and loop together, in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_fakes import AnsweringGateway
from supervisor_fakes import AcceptingLogin, Session, SoundGateway, Told
from virtual_time import VirtualLoop, run_virtually

from gwctl.core.messages import SessionPushed, StartWanted, StopWanted
from gwctl.core.policy import Policy
from gwctl.gateway import heartbeat
from gwctl.gateway.client import PortCheck
from gwctl.gateway.responses import NO_ANSWER, SessionAnswer
from gwctl.history.journal import Journal
from gwctl.session_status import Verdict
from gwctl.supervisor.interfaces import Ports
from gwctl.supervisor.loop import Loop
from gwctl.supervisor.probe import KNOCK_TIMEOUT_S, SECOND_KNOCK_TIMEOUT_S, Probe
from gwctl.supervisor.request_pace import Pace

SLOWEST_S = 3.0
"""How late a gateway under load may answer, and not be hung."""
DECIDED_S = 2.9
"""From the hint of the heartbeat to the decision: 7 s of the issue, less a beat to the hint's request, a beat to the
hint, and the restart."""


NUMBERS = count()


class VirtualClock:
    """All clocks go with the loop's."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.now() + 1_700_000_000.0

    def asleep(self) -> float:
        return 0.0


class LoadedGateway(AnsweringGateway):
    """Takes each time that is drawn for an answer, on every connection, until it hangs."""

    def __init__(self, delays_s: Iterator[float]) -> None:
        super().__init__(SessionAnswer(Verdict.READY, 200))
        self.delays_s = delays_s
        self.hangs = False

    async def _delay(self, timeout_s: float | None) -> bool:
        """Return whether it answers in time."""
        delay_s = next(self.delays_s)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(delay_s)
                if self.hangs:
                    await asyncio.Event().wait()
        except TimeoutError:
            return False
        return True

    async def tickle(self, *, timeout_s: float | None = None) -> SessionAnswer:
        return await self.auth_status(timeout_s=timeout_s)

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        return self.said if await self._delay(timeout_s) else NO_ANSWER

    async def front_door(self, *, timeout_s: float | None = None) -> PortCheck:
        return PortCheck.OURS if await self._delay(timeout_s) else PortCheck.SILENT


class Supervised:
    """A loop over a loaded gateway, with the hints of a heartbeat by hand."""

    def __init__(self, journal_file: Path, delays_s: list[float]) -> None:
        self.gateway = LoadedGateway(cycle(delays_s))
        self.probe = Probe(Pace(at_once=10**9))
        self.probe.client = self.gateway
        self.probe.gateway_is_late = lambda: self.owes_s() > 0.0
        self.probe.gateway_owes_s = self.owes_s
        self._asked_s = self.answered_s = 0.0
        self.told = Told()
        self.journal = Journal(journal_file)
        ports = Ports(
            VirtualClock(), SoundGateway(self.told), self.probe, AcceptingLogin(self.told, Session(self.told))
        )
        self.loop = Loop(Policy(), ports, self.journal, lambda _snapshot: None)

    def owes_s(self) -> float:
        """Return for how long the heartbeat has had no answer."""
        now_s = asyncio.get_running_loop().time()
        return now_s - self._asked_s if now_s < self.answered_s else 0.0

    async def hint(self) -> None:
        """Send a request on the heartbeat's connection, and report after a beat that it has no answer, if so."""
        self._asked_s = asyncio.get_running_loop().time()
        self.answered_s = math.inf if self.gateway.hangs else self._asked_s + next(self.gateway.delays_s)
        await asyncio.sleep(heartbeat.BEAT_S)
        if self.owes_s():
            self.loop.post(SessionPushed(ready=None))

    @property
    def restarts(self) -> int:
        """How often the gateway was restarted."""
        return sum(entry["kind"] == "restart" for entry in self.journal.recent)


async def _supervise(folder: Path, delays_s: list[float], act: Callable[[Supervised], Awaitable[None]]) -> None:
    one = Supervised(folder / f"{next(NUMBERS)}.jsonl", delays_s)
    run = asyncio.ensure_future(one.loop.run(StartWanted()))
    await act(one)
    one.loop.post(StopWanted())
    await run
    await one.probe.settle()


DELAYS = st.lists(st.one_of(st.just(SLOWEST_S), st.floats(0.0, SLOWEST_S)), min_size=1, max_size=20)
PAUSES = st.lists(st.floats(heartbeat.HINT_PAUSE_S, 12.0), max_size=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hung")


@given(delays_s=DELAYS, pauses_s=PAUSES)
def test_one_that_answers_within_three_seconds_is_never_restarted(
    folder: Path, delays_s: list[float], pauses_s: list[float]
) -> None:
    """Whatever each answer takes, and whenever the heartbeat hints."""

    async def act(one: Supervised) -> None:
        for pause_s in pauses_s:
            await asyncio.sleep(pause_s)
            await one.hint()
        await asyncio.sleep(30.0)
        assert one.restarts == 0

    run_virtually(_supervise(folder, delays_s, act))


@given(delays_s=DELAYS, hung_s=st.floats(5.0, 20.0), to_beat_s=st.floats(0.0, heartbeat.BEAT_S))
def test_one_that_is_silent_for_ever_is_restarted_in_time(
    folder: Path, delays_s: list[float], hung_s: float, to_beat_s: float
) -> None:
    """Whatever was under way when it stopped answering."""

    async def act(one: Supervised) -> None:
        await asyncio.sleep(hung_s)
        one.gateway.hangs = True
        await asyncio.sleep(to_beat_s)
        await one.hint()
        await asyncio.sleep(DECIDED_S)
        assert one.restarts

    run_virtually(_supervise(folder, delays_s, act))


def test_the_time_in_which_we_are_stopped_is_not_the_gateways(folder: Path) -> None:
    """A supervisor that is stopped in the middle of a probe does not take its own absence for the gateway's."""

    async def act(one: Supervised) -> None:
        await asyncio.sleep(10.0)
        one.gateway.delays_s = cycle([SLOWEST_S])
        await one.hint()
        await asyncio.sleep(1.0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.jump(60.0)
        await asyncio.sleep(30.0)
        assert one.restarts == 0

    run_virtually(_supervise(folder, [0.1], act))


def test_a_pause_of_the_whole_machine_counts_as_one_beat(folder: Path) -> None:
    """The heartbeat's request is a minute old when machine and gateway go on: the probe still gives it time."""

    async def act(one: Supervised) -> None:
        await asyncio.sleep(10.0)
        one.gateway.delays_s = cycle([1.5])
        beat = asyncio.ensure_future(one.hint())
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.jump(60.0)
        one.answered_s += 60.0 + SLOWEST_S
        await beat
        await asyncio.sleep(30.0)
        assert one.restarts == 0

    run_virtually(_supervise(folder, [0.1], act))


def test_one_that_the_heartbeat_finds_late_is_probed_at_once(folder: Path) -> None:
    """The check that a hint starts does not wait for IBKR's silence first."""

    async def act(one: Supervised) -> None:
        await asyncio.sleep(10.0)
        one.gateway.hangs = True
        await one.hint()
        left_s = KNOCK_TIMEOUT_S - heartbeat.BEAT_S
        await asyncio.sleep(left_s + SECOND_KNOCK_TIMEOUT_S + Policy().hung_confirm_s + 0.1)
        assert one.restarts

    run_virtually(_supervise(folder, [0.1], act))


def test_after_a_probe_that_failed_at_once_the_next_one_has_all_the_time(folder: Path) -> None:
    """Under load, a connection that is refused or reset may be followed by one that gets its answer after 3 s."""

    class Resetting(LoadedGateway):
        resets = 1

        async def front_door(self, *, timeout_s: float | None = None) -> PortCheck:
            if self.resets:
                self.resets -= 1
                return PortCheck.SILENT
            return await super().front_door(timeout_s=timeout_s)

    async def act(one: Supervised) -> None:
        await asyncio.sleep(10.0)
        one.probe.client = Resetting(cycle([SLOWEST_S]))
        await one.hint()
        await asyncio.sleep(30.0)
        assert one.restarts == 0
        assert one.probe.client.resets == 0

    run_virtually(_supervise(folder, [0.1], act))
