"""`down` for a supervisor that does not answer: other processes survive; its gateway is kept or logged out first."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_fakes import PROGRAM, Home, a_real_home, wait_for
from rig import free_port

UP = shlex.join([*PROGRAM, "up", "--sandbox", "--foreground", "--quiet"])
BOT = "sleep 1000 & echo $! >bot.pid; "
SCRIPTS = {
    "a start script with a bot in its background": f"{BOT}{UP}; echo $? >ended; sleep 1000",
    "a script whose place the supervisor takes": f"{BOT}exec {UP}",
    "a script with job control": f"set -m; {BOT}{UP} & wait %2; echo $? >ended; sleep 1000",
}


@contextlib.contextmanager
def started_by(home: Home, script: str) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """Yield the start script and its bot once the supervisor that the script started is ready."""
    call = subprocess.Popen(
        ["bash", "-c", script],
        cwd=home.folder,
        env=home.environment(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_for((home.profile_dir / "supervisor.json").exists, 30, "the supervisor has begun")
        home.gwctl("wait", "--timeout", "60").check(0)
        yield psutil.Process(call.pid), psutil.Process(int((home.folder / "bot.pid").read_text()))
    finally:
        home.gwctl("down", "--quiet")
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int((home.folder / "bot.pid").read_text()), signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(call.pid, signal.SIGKILL)
        call.wait(10)


@pytest.mark.each_value
@pytest.mark.parametrize("script", list(SCRIPTS))
@pytest.mark.parametrize("keep", [False, True])
def test_who_stands_beside_a_hung_supervisor_lives(home: Home, script: str, *, keep: bool) -> None:
    """The start script and the bot in its group get no signal; with --keep-session the gateway keeps running."""
    with started_by(home, SCRIPTS[script]) as (starter, bot):
        status = home.status()
        supervisor, gateway, submits = status["supervisor"]["pid"], status["gateway"]["pid"], home.sandbox_submits()
        os.kill(supervisor, signal.SIGSTOP)
        done = home.gwctl("down", *(["--keep-session"] if keep else [])).check(0)
        assert "does not answer" in done.stderr
        assert bot.is_running()
        assert bot.status() != psutil.STATUS_ZOMBIE
        assert not psutil.pid_exists(supervisor) or psutil.Process(supervisor).status() == psutil.STATUS_ZOMBIE
        if supervisor != starter.pid:
            wait_for((home.folder / "ended").exists, 5, "the script goes on after its supervisor")
        if keep:
            assert done.stdout == "stopped (the gateway keeps running)\n"
            assert not (home.profile_dir / "supervisor.json").exists()
            home.gwctl("up", "--sandbox").check(0)
            assert (home.status()["gateway"]["pid"], home.sandbox_submits()) == (gateway, submits)
        else:
            assert done.stdout == "stopped\n"
            assert home.left() == []


def test_a_gateway_that_is_gone_is_not_said_to_go_on(home: Home) -> None:
    """`down --keep-session` reports the gateway's real state, not the requested one; in JSON too."""
    home.gwctl("up", "--sandbox").check(0)
    status = home.status()
    os.kill(status["supervisor"]["pid"], signal.SIGSTOP)
    os.kill(status["gateway"]["pid"], signal.SIGKILL)
    assert home.gwctl("down", "--keep-session").check(0).stdout == "stopped (no gateway to keep)\n"
    assert home.left() == []
    home.gwctl("up", "--sandbox").check(0)
    done = home.gwctl("down", "--keep-session", "--json").check(0)
    assert done.envelope["data"] == {"profile": "default", "was_running": True, "gateway_runs": True}
    assert home.gwctl("down", "--keep-session").check(0).stdout == "already stopped (the gateway keeps running)\n"


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Hold a process frozen, even against SIGCONT, like one whose loop is stuck."""
    over = threading.Event()

    def hold() -> None:
        while not over.wait(0.001):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()


@pytest.mark.real_gateway
@pytest.mark.browser
def test_the_session_of_a_hung_supervisor_is_logged_out(tmp_path: Path, real_release_zip: Path) -> None:
    """A supervisor that never recovers is killed alone; the logout reaches IBKR before its gateway ends."""
    with a_real_home(tmp_path, real_release_zip) as home:
        file = home.folder / "password"
        file.write_text(home.account.password)
        home.gwctl("up", GWCTL_PASSWORD_FILE=str(file)).check(0)
        sessions = home.stand_in.state.sessions
        assert len(sessions.summary()["sso"]) == 1
        with frozen(json.loads((home.profile_dir / "supervisor.json").read_bytes())["pid"]):
            assert home.gwctl("down").check(0).stdout == "stopped\n"
        assert sessions.summary()["sso"] == []
        assert home.left() == []


@pytest.mark.real_gateway
@pytest.mark.browser
def test_a_gateway_that_makes_room_is_logged_out_first(tmp_path: Path, real_release_zip: Path) -> None:
    """A kept gateway that cannot be adopted, for example on another port, leaves no competing session."""
    with a_real_home(tmp_path, real_release_zip) as home:
        file = home.folder / "password"
        file.write_text(home.account.password)
        home.gwctl("up", GWCTL_PASSWORD_FILE=str(file)).check(0)
        home.gwctl("down", "--keep-session").check(0)
        state = home.stand_in.state
        (kept,) = state.sessions.summary()["sso"]
        assert not any("/logout" in path for path in state.requests)
        home.gwctl("up", "--port", str(free_port()), GWCTL_PASSWORD_FILE=str(file)).check(0)
        (begun,) = state.sessions.summary()["sso"]
        assert begun["id"] != kept["id"]
        assert any("/logout" in path for path in state.requests)
        home.gwctl("down").check(0)
        assert home.left() == []
