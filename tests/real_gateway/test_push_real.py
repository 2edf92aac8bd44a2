"""The listener against the real gateway jar: what it hears, how soon, and what it must not cost the user."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from push_fakes import PushRig, push_rig, until
from rig import free_port

from gwctl.gateway import websocket as push
from gwctl.gateway.java import find_java
from gwctl.gateway.launch import Runtime
from gwctl.gateway.websocket import PushListener
from gwctl.paths import Paths
from gwctl.sandbox.account_settings import StandInConfig
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread

pytestmark = pytest.mark.real_gateway
_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m"
_PLACES = 5
"""How many WebSockets the gateway has at IBKR at a time [seen]."""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Runtime:
    folder = tmp_path_factory.mktemp("release")
    with zipfile.ZipFile(real_release_zip) as archive:
        archive.extractall(folder)
    return Runtime(folder, find_java(None, os.environ), os.environ, _OPTIONS)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.for_profile("real", tmp_path)


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token="t", heartbeat_s=1.0)) as running:
        yield running


def test_what_happens_to_the_session_is_heard_at_once(paths: Paths, runtime: Runtime, ibkr: RunningStandIn) -> None:
    """Lost, back, taken, given back, dropped: each is told within a fraction of a second, on one connection."""

    async def run() -> list[float]:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            await rig.log_in()
            rig.listen()
            await rig.ears.until(1)
            state, took_s = ibkr.state, []
            changes: list[Callable[[], object]] = [
                lambda: state.act("drop_brokerage", {"how": "no_bridge"}),
                lambda: state.act("restore_brokerage", {}),
                lambda: state.set_scenario("competing", on=True, parameters={}),
                lambda: state.set_scenario("competing", on=False, parameters={}),
                lambda: state.act("drop_session", {}),
            ]
            for change in changes:
                count, began_s = len(rig.ears.told), time.monotonic()
                change()
                await rig.ears.until(count + 1)
                took_s.append(rig.ears.at_s[-1] - began_s)
            assert rig.ears.told == [True, False, True, False, True, False]
            rig.listener.poke(up=False)
            await rig.log_in()
            await until(lambda: rig.ears.told[-1])
            rig.listener.poke()
            assert rig.listener.connected
            assert None not in rig.ears.told
            return took_s

    took_s = sorted(asyncio.run(run()))
    assert took_s[len(took_s) // 2] < 0.25
    assert took_s[-1] < 1.0


def test_started_before_the_login_it_hears_after_it(
    paths: Paths, runtime: Runtime, ibkr: RunningStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened without a session it is silent for ever; with the session's poke one is opened that speaks."""
    monkeypatch.setattr(push, "ANSWERED_WITHIN_S", 1.0)

    async def run() -> None:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            rig.listen()
            await until(lambda: rig.listener._line is not None)
            await rig.log_in()
            assert not rig.listener.connected
            assert rig.ears.told == []
            rig.listener.poke()
            await rig.ears.until(1)
            assert rig.ears.told == [True]
            assert rig.heard_by == 1

    asyncio.run(run())


def test_it_takes_one_place_of_the_users_and_gives_it_back(
    paths: Paths, runtime: Runtime, ibkr: RunningStandIn
) -> None:
    """However often it was started and ended, the gateway's five places are free again, and it has one at a time."""

    async def run() -> None:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            await rig.log_in()
            for turn in range(2 * _PLACES):
                rig.listen()
                await rig.ears.until(turn + 1)
                assert rig.heard_by == 1
                await rig.listener.close()
                await until(lambda: rig.heard_by == 0)
            await _all_speak(rig, _PLACES)

    async def _all_speak(rig: PushRig, count: int) -> None:
        listeners = [PushListener(lambda _ready: None) for _ in range(count)]
        try:
            for listener in listeners:
                listener.start(rig.port, rig.paths.ca_file, rig.leaf.der)
            await until(lambda: all(listener.connected for listener in listeners))
        finally:
            await asyncio.gather(*(listener.close() for listener in listeners))

    asyncio.run(run())


def _is_stopped(pid: int) -> bool:
    """Whether every thread stands still: a signal takes a moment to reach them all."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def test_a_stopped_gateway_goes_on_and_a_killed_one_is_told_at_once(
    paths: Paths, runtime: Runtime, ibkr: RunningStandIn
) -> None:
    """A short SIGSTOP loses nothing; the end of the process is told, once, in moments."""

    async def run() -> None:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            await rig.log_in()
            rig.listen()
            await rig.ears.until(1)
            os.kill(rig.gateway.java.pid, signal.SIGSTOP)
            await until(lambda: _is_stopped(rig.gateway.java.pid))
            ibkr.state.act("drop_brokerage", {"how": "no_bridge"})
            await asyncio.sleep(1.0)  # what is said meanwhile
            assert rig.ears.told == [True]
            os.kill(rig.gateway.java.pid, signal.SIGCONT)
            await rig.ears.until(2)
            assert rig.ears.told == [True, False]
            began_s = time.monotonic()
            os.kill(rig.gateway.java.pid, signal.SIGKILL)
            await rig.ears.until(3)
            assert rig.ears.told == [True, False, None]
            assert rig.ears.at_s[-1] - began_s < 1.0
            assert not rig.listener.connected

    asyncio.run(run())


def test_a_stopped_gateway_is_lost_when_its_beats_are_missed(
    paths: Paths, runtime: Runtime, ibkr: RunningStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that hangs keeps the connection open: the beats that do not come tell."""
    monkeypatch.setattr(push, "LONGEST_PAUSE_OF_BEATS_S", 2.5)

    async def run() -> None:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            await rig.log_in()
            rig.listen()
            await rig.ears.until(1)
            heard_s = rig.listener._line
            assert heard_s is not None
            await until(lambda: heard_s.beats)
            os.kill(rig.gateway.java.pid, signal.SIGSTOP)
            await rig.ears.until(2)
            assert rig.ears.told == [True, None]
            os.kill(rig.gateway.java.pid, signal.SIGCONT)

    asyncio.run(run())


def test_ibkr_gone_is_told_at_once(paths: Paths, runtime: Runtime) -> None:
    """When the way to IBKR breaks, the gateway closes the connection; afterwards it accepts one and is silent."""

    async def run() -> None:
        with serve_in_thread(StandInConfig(admin_token="t")) as ibkr:
            rig_of = push_rig(paths, runtime, ibkr, free_port())
            rig = await rig_of.__aenter__()
            await rig.log_in()
            rig.listen()
            await rig.ears.until(1)
        try:
            await rig.ears.until(2)
            assert rig.ears.told == [True, None]
            await until(lambda: rig.listener._line is not None)
            assert not rig.listener.connected
        finally:
            await rig_of.__aexit__(None, None, None)

    asyncio.run(run())
