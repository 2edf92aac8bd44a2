"""The main cells of the login's matrix through the real gateway: one JVM, its jar emptied between two logins."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import login_matrix as matrix
import login_rig
import pytest
from login_matrix_cell import job_of, record, stage
from rig import free_port

from gwctl.gateway.client import GatewayClient
from gwctl.gateway.java import find_java
from gwctl.gateway.launch import Runtime, launch
from gwctl.gateway.work_folder import GatewaySettings, prepare_home
from gwctl.login.outcome import LoginOutcome
from gwctl.paths import Paths
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import Account, PageOptions, StandInConfig

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]
_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m"


@dataclass
class Real:
    """A real gateway before a stand-in for IBKR."""

    url: str
    pin: str
    ibkr: RunningStandIn
    clear: Callable[[], None]


class Loop:
    """An event loop in a thread, for a gateway that outlives a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Iterator[Real]:
    """Yield one real gateway for all cells."""
    folder = tmp_path_factory.mktemp("matrix")
    release = folder / "release"
    with zipfile.ZipFile(real_release_zip) as archive:
        archive.extractall(release)
    account = Account(login_rig.USERNAME, login_rig.PASSWORD, totp_secret=matrix.TOTP_SECRET)
    loop = Loop()
    page = PageOptions(form_delay_ms=0, cookie_dialog=False)
    with serve_in_thread(StandInConfig("token", account, page=page)) as ibkr:
        paths = Paths.for_profile("real", folder)
        prepared = prepare_home(paths, release, GatewaySettings(free_port(), ibkr.url, auth_delay_ms=1))
        runtime = Runtime(release, find_java(None, os.environ), os.environ, _OPTIONS)
        running = loop.run(launch(paths, prepared, runtime))
        url = f"https://localhost:{prepared.port}"

        async def clear() -> None:
            async with GatewayClient(prepared.port, paths.ca_file, prepared.leaf.der) as client:
                assert (await client.request("GET", "/clear")).body.strip() == b"cleared"

        yield Real(url, prepared.leaf.spki_pin_base64, ibkr, lambda: loop.run(clear()))
        loop.run(running.stop(10))
    loop.close()


ALWAYS = ("none", "totp", "push, second", "challenge")
"""The questions that are played with every push: no other passes more kinds of requests through the gateway."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=() if case.factor.name in ALWAYS else pytest.mark.wide)
        for case in matrix.by_code(matrix.real_cases())
    ],
)
def test_cell_ends_as_it_should_on_the_real_gateway(
    real: Real, case: matrix.Case, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """What the stand-in gateway let through the real one lets through, too, and ends in the same outcome."""
    real.clear()
    real.ibkr.state.act("reset", {})
    real.ibkr.state.set_scenario("login_page", on=True, parameters=dict(case.variant.page))
    stage(case, real.ibkr)
    login = login_rig.log_in(job_of(case, real.url), real.pin, tmp_path / "scratch", answer=case.factor.reply)
    said = (login.report.text, [step.name for step in login.steps], real.ibkr.state.desk.submits)
    assert login.report.outcome is case.ending.outcome, said
    assert (login.report.submits, login.permits) == (case.ending.submits, case.ending.submits), said
    assert tuple(question.kind for question in login.questions) == case.factor.asked, said
    assert bool(login.report.cookies) is (case.ending.outcome is LoginOutcome.SUCCESS)
    record(record_property, case, login, gateway="real")


def test_ibkrs_clock_comes_through_the_real_gateway(
    real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway hands IBKR's ``Date`` on: a code of a machine whose clock is wrong is right all the same."""
    real.clear()
    real.ibkr.state.act("reset", {})

    def ibkrs_clock() -> float:
        return time.time() + 95.0

    monkeypatch.setattr(real.ibkr.state, "wall_clock", ibkrs_clock)
    monkeypatch.setattr(real.ibkr.state.desk, "_wall_clock", ibkrs_clock)
    case = next(one for one in matrix.real_cases() if one.factor.name == "totp")
    stage(case, real.ibkr)
    login = login_rig.log_in(job_of(case, real.url), real.pin, tmp_path / "scratch")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert any("clock is" in step.name and step.name.endswith("behind") for step in login.steps)
