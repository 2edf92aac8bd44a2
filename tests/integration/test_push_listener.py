"""The listener against the fake gateway."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from facts import current
from push_fakes import DEADLINE_S, push_rig, until
from rig import free_port

from gwctl.gateway.launch import Runtime
from gwctl.paths import Paths
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import StandInConfig, build_standin_release


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    release = tmp_path / "release"
    with zipfile.ZipFile(build_standin_release(tmp_path / "standin.zip")) as archive:
        archive.extractall(release)
    return Runtime(release, None, os.environ, python=sys.executable)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.for_profile("one", tmp_path / "home")


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token="t")) as running:
        yield running


def test_what_happens_to_the_session_is_heard(paths: Paths, runtime: Runtime, ibkr: RunningStandIn) -> None:
    """Lost and back, taken and given back, dropped and logged in again: each is reported, on one connection."""

    async def run() -> None:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            await rig.log_in()
            assert current(rig.listener.last_frame_age_s) is None
            rig.listen()
            await rig.ears.until(1)
            assert rig.listener.connected
            state = ibkr.state
            changes: list[Callable[[], object]] = [
                lambda: state.act("drop_brokerage", {"how": "no_bridge"}),
                lambda: state.act("restore_brokerage", {}),
                lambda: state.set_scenario("competing", on=True, parameters={}),
                lambda: state.set_scenario("competing", on=False, parameters={}),
                lambda: state.act("drop_session", {}),
            ]
            for change in changes:
                count = len(rig.ears.told)
                change()
                await rig.ears.until(count + 1)
            assert rig.ears.told == [True, False, True, False, True, False]
            rig.listener.poke(up=False)
            await rig.log_in()
            await until(lambda: rig.ears.told[-1])
            rig.listener.poke(up=True)
            assert rig.listener.connected
            assert None not in rig.ears.told
            age_s = rig.listener.last_frame_age_s
            assert age_s is not None
            assert 0 <= age_s < DEADLINE_S

    asyncio.run(run())


def test_a_drop_is_heard_at_once(paths: Paths, runtime: Runtime, ibkr: RunningStandIn) -> None:
    """The hint follows the loss of the session within a fraction of a second, far below the 5 s of the checks."""

    async def run() -> list[float]:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            await rig.log_in()
            rig.listen()
            await rig.ears.until(1)
            took_s = []
            for change in ("drop_brokerage", "restore_brokerage") * 5:
                count, began_s = len(rig.ears.told), time.monotonic()
                ibkr.state.act(change, {"how": "no_bridge"} if change.startswith("drop") else {})
                await rig.ears.until(count + 1)
                took_s.append(rig.ears.at_s[-1] - began_s)
            return took_s

    took_s = sorted(asyncio.run(run()))
    assert took_s[len(took_s) // 2] < 0.25
    assert took_s[-1] < 1.0


def test_a_killed_gateway_is_told_and_its_successor_is_found(
    paths: Paths, runtime: Runtime, ibkr: RunningStandIn
) -> None:
    """A lost connection is reported once, as None; after a poke, it listens to a new gateway on the port."""
    port = free_port()

    async def run() -> None:
        async with push_rig(paths, runtime, ibkr, port) as rig:
            await rig.log_in()
            rig.listen()
            await rig.ears.until(1)
            os.kill(rig.gateway.java.pid, signal.SIGKILL)
            await rig.ears.until(2)
            assert rig.ears.told == [True, None]
            assert not rig.listener.connected
            await rig.gateway.stop(2)
            async with push_rig(paths, runtime, ibkr, port) as second:
                await second.log_in()
                rig.listener.poke()
                await rig.ears.until(3)  # connected from the first frame; sts may be a later one
                assert rig.ears.told == [True, None, True]
                assert rig.listener.connected

    asyncio.run(run())


def test_close_leaves_nothing(paths: Paths, runtime: Runtime, ibkr: RunningStandIn) -> None:
    """After close there is no task, no open file, no connection at IBKR, and no further report."""

    def open_files() -> int:
        gc.collect()  # unclosed objects would warn, and a warning fails the test
        return len(list(Path("/proc/self/fd").iterdir()))

    async def run() -> None:
        async with push_rig(paths, runtime, ibkr, free_port()) as rig:
            await rig.log_in()
            files, tasks = open_files(), asyncio.all_tasks()
            for _ in range(3):
                told = len(rig.ears.told)
                rig.listen()
                await rig.ears.until(told + 1)
                await rig.listener.close()
                assert asyncio.all_tasks() == tasks
                assert not rig.listener.connected
            await until(lambda: rig.heard_by == 0)
            await until(lambda: open_files() <= files)  # the fake IBKR runs in this process and closes its end too
            told = len(rig.ears.told)
            ibkr.state.act("drop_session", {})
            assert (await rig.client.tickle()).authenticated is not True
            assert len(rig.ears.told) == told
            await rig.listener.close()
            rig.listen()
            await rig.listener.close()
            assert asyncio.all_tasks() == tasks

    asyncio.run(run())
