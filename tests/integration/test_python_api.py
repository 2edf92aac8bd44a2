"""``import gwctl`` as a program uses it: sessions in threads, loops and notebooks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import QUICK, wait_for
from rig import AT_ANY_HOUR, free_port, status_of

import gwctl
from gwctl import errors
from gwctl.lifecycle.follow import Ended


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a home that this process's environment names; it is stopped at the end."""
    (tmp_path / "config.toml").write_text(AT_ANY_HOUR)
    for name, value in {**QUICK, "GWCTL_HOME": str(tmp_path), "GWCTL_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    gwctl.down()


def test_a_session_lasts_as_long_as_its_with(home: Path) -> None:
    """Ready inside, with a verifying client; stopped afterwards; the program's signal handlers stay."""
    steps: list[str] = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with gwctl.session(sandbox=True, on_step=steps.append) as session, session.client() as client:
        assert session.started
        assert session.base_url == f"https://localhost:{os.environ['GWCTL_PORT']}/v1/api"
        assert session.ca_file.is_file()
        assert client.get("/iserver/auth/status").json()["authenticated"] is True
        status = session.status()
        assert (status["ready"], status["phase"], status["profile"]) == (True, "ready", "default")
        assert session.wait(timeout_s=1)["ready"]
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert any("logging in" in step for step in steps)
    assert gwctl.status()["phase"] == "stopped"
    assert status_of(home) is None


def test_what_ran_before_goes_on(home: Path) -> None:
    """A session inside one that was started to stay does not stop it."""
    kept = gwctl.up(sandbox=True)
    assert kept.started
    with gwctl.session(sandbox=True) as session:
        assert not session.started
    assert gwctl.wait(timeout_s=5)["ready"]
    assert gwctl.down()
    assert not gwctl.down()
    assert gwctl.wait(wanted="stopped", timeout_s=1)["phase"] == "stopped"


def test_two_sessions_of_one_program(home: Path) -> None:
    """Two threads hold the same profile: the first to end does not stop it for the other."""
    first_is_there, first_may_end, first_has_ended = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with gwctl.session(sandbox=True):
            first_is_there.set()
            assert first_may_end.wait(60)
        first_has_ended.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert first_is_there.wait(60)
    with gwctl.session(sandbox=True) as session:
        first_may_end.set()
        assert first_has_ended.wait(60)
        assert session.status()["ready"]
    thread.join()
    wait_for(lambda: status_of(home) is None, 30, "it ends with the last that held it")


def test_in_a_running_event_loop(home: Path) -> None:
    """As in a notebook cell: the plain calls work while a loop runs in this thread."""

    async def cell() -> None:
        with gwctl.session(sandbox=True) as session:
            assert session.status()["ready"]

    asyncio.run(cell())
    assert gwctl.status()["phase"] == "stopped"


def test_the_asynchronous_twin(home: Path) -> None:
    """The loop keeps running; its client is asynchronous."""

    async def use() -> int:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)  # counts turns of the loop
                turns += 1

        turning = asyncio.create_task(turn())
        async with gwctl.async_session(sandbox=True) as session, session.client() as client:
            assert (await client.get("/iserver/auth/status")).json()["authenticated"] is True
            assert (await session.status())["ready"]
            assert (await session.wait(timeout_s=1))["ready"]
        turning.cancel()
        return turns

    assert asyncio.run(use()) > 50
    assert gwctl.status()["phase"] == "stopped"


def test_a_cancelled_task_leaves_nothing(home: Path) -> None:
    """Cancelled while it starts: nothing is left running when the task has ended."""

    async def give_up() -> None:
        task = asyncio.create_task(use())
        while status_of(home) is None:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)  # until the next look at the file
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def use() -> None:
        async with gwctl.async_session(sandbox=True):
            await asyncio.Event().wait()

    asyncio.run(give_up())
    assert status_of(home) is None


def test_a_killed_program_takes_its_session_with_it(home: Path) -> None:
    """After kill -9 of the program its supervisor notices and ends in order."""
    text = (
        "import gwctl, sys\nwith gwctl.session(sandbox=True):\n    print('ready', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        program.kill()
    wait_for(lambda: status_of(home) is None, 30, "the session ends")


def test_errors_are_those_of_gwctl(home: Path) -> None:
    """No credentials, an invalid profile name, a wait without a start: one class each, with a hint."""
    with pytest.raises(errors.CredentialsMissing) as missing, gwctl.session():
        pass
    assert missing.value.hint
    with pytest.raises(errors.Configuration):
        gwctl.status("no/such")
    with pytest.raises(errors.TryAgain, match="wait does not start it"):
        gwctl.wait(timeout_s=1)


def test_a_wait_is_over_when_the_session_is_there_again(home: Path) -> None:
    """IBKR dropped it a moment ago, and the supervisor may not know yet: what wait returns, a client has."""
    with gwctl.session(sandbox=True, fast=True) as session, session.client() as client:
        for _ in range(4):
            session.sandbox.do("drop_session")
            assert session.wait(timeout_s=60)["ready"]
            assert client.get("/iserver/accounts").status_code == 200
            session.sandbox.do("drop_session")
            assert gwctl.wait(timeout_s=60)["ready"]
            assert client.get("/iserver/accounts").status_code == 200


def test_a_wait_for_a_person_is_over_at_once(home: Path) -> None:
    """Nothing but a person makes it ready, so the wait ends with the class and the command for that."""
    with gwctl.session(sandbox=True, fast=True) as session:
        session.sandbox.on("second_factor", kind="app")
        session.sandbox.do("drop_session")
        with pytest.raises(errors.NeedsPerson, match="second factor") as needed:
            session.wait(timeout_s=100)
        assert needed.value.hint == "gwctl login --explain"


def test_a_new_sandbox_remembers_no_refusal(home: Path) -> None:
    """Its predecessor locked it out or made it wait; this one's IBKR has seen no login."""
    for scenario, options in (("second_factor", {"kind": "app"}), ("wrong_password", {})):
        with gwctl.session(sandbox=True, fast=True) as session:
            session.sandbox.on(scenario, **options)
            session.sandbox.do("drop_session")
            wait_for(lambda: session.status()["phase"] in {"locked_out", "backoff"}, 60, "it is refused")
        with gwctl.session(sandbox=True, fast=True) as session:
            assert session.status()["login"]["rejected"] == 0


def test_an_end_is_of_the_class_that_its_code_names(home: Path) -> None:
    """A supervisor that gives up tells a code and an exit code; a program catches the class of `gwctl.errors`."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(errors.PortBusy) as busy:
        gwctl.up(sandbox=True, fast=True, port=port)
    assert (busy.value.code, busy.value.exit_code) == ("port_busy", 69)
    assert f"{port}" in str(busy.value)
    assert "export GWCTL_PORT=" in (busy.value.hint or "")
    for code, exit_code, kind in (
        ("second_factor_needed", 77, errors.SecondFactorNeeded),
        ("supervisor_failed", 69, errors.Unavailable),
        ("not_a_code_of_ours", 75, errors.TryAgain),
        ("unexpected", 1, errors.GwctlError),
    ):
        error = Ended("it ended", code=code, exit_code=exit_code, hint="gwctl logs").as_error()
        assert type(error) is kind
        assert (str(error), error.exit_code, error.hint) == ("it ended", exit_code, "gwctl logs")


def test_importing_costs_little() -> None:
    """``import gwctl`` loads neither httpx nor Playwright nor click."""
    large = "('httpx', 'playwright', 'click', 'rich')"
    text = f"import sys, gwctl\ngwctl.session\nprint([one for one in {large} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
