"""Users' commands that gwctl runs to their end: whatever they leave behind, gwctl never waits without end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rig import wait_for

from gwctl import process
from gwctl.errors import TimedOut

_ENV = {"PATH": os.environ["PATH"]}
BOUND_S = 20.0
"""Distinguishes an end from a wait without end, on any machine."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a working folder; processes that still work there at the end are killed."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for left in inhabitants(tmp_path):
        with contextlib.suppress(psutil.Error):
            left.kill()
            left.wait(10)


def inhabitants(folder: Path) -> list[psutil.Process]:
    """Return the other processes that work in the folder."""
    found = []
    for one in process.inhabitants(folder):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            found.append(psutil.Process(one.pid))
    return [one for one in found if one.pid != os.getpid()]


def daemon(folder: Path) -> list[str]:
    """Return a command that ends after starting a daemon outside its group with its stdout and stderr."""
    leaves = f"import os, signal; os.setsid(); open('{folder}/left', 'w').close(); signal.pause()"
    script = f'echo code; {sys.executable} -c "{leaves}" & until [ -e {folder}/left ]; do :; done; exit 0'
    return ["bash", "-c", script]


@pytest.mark.parametrize("turns", range(12))
def test_a_command_that_is_cancelled_while_it_starts_is_gone(here: Path, turns: int) -> None:
    """At any turn of the loop: the command and its children are killed, and nothing waits for their pipes."""

    async def story() -> None:
        argv = ["bash", "-c", "sleep 600 & sleep 600"]
        running = asyncio.ensure_future(process.run_watched(argv, timeout_s=600, env=_ENV, told=b"read me"))
        for _ in range(turns):
            await asyncio.sleep(0)
        # What it does by itself, it does before the next turn.
        if turns:
            wait_for(lambda: len(inhabitants(here)) == 3, 20, "the command and its two children run")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, BOUND_S)

    asyncio.run(story())
    wait_for(lambda: inhabitants(here) == [], 5, "all of it is gone")


def test_a_command_whose_daemon_keeps_its_output_is_late_and_no_more(here: Path) -> None:
    """A daemon in its own session holds stdout: the command times out at its deadline, and nothing more."""
    with pytest.raises(TimedOut, match="bash did not answer within 6 s"):
        asyncio.run(asyncio.wait_for(process.run_watched(daemon(here), timeout_s=6.0, env=_ENV), BOUND_S))
    assert (here / "left").exists()


def test_a_short_command_whose_daemon_keeps_its_output_is_late_and_no_more(here: Path) -> None:
    """The same for a call that waits, as with `password_command`."""
    began_s = time.monotonic()
    with pytest.raises(TimedOut, match="bash did not answer within 6 s"):
        process.run_short(daemon(here), timeout_s=6.0)
    assert time.monotonic() - began_s < BOUND_S
    assert (here / "left").exists()


def test_a_command_that_may_not_be_killed_is_let_go(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that became another user's, for example by sudo: its deadline still ends the wait."""
    refused: list[int] = []

    def refuse(group: int, _number: int) -> None:
        refused.append(group)
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    began_s = time.monotonic()
    with pytest.raises(TimedOut):
        process.run_short(["sleep", "600"], timeout_s=0.2)
    with pytest.raises(TimedOut):
        asyncio.run(asyncio.wait_for(process.run_watched(["sleep", "600"], timeout_s=0.2, env=_ENV), BOUND_S))
    assert time.monotonic() - began_s < 2 * BOUND_S
    assert {one.pid for one in inhabitants(here)} == set(refused)


def test_a_short_command_ends_with_the_call_that_is_interrupted(here: Path) -> None:
    """Ctrl-C during a command: its own session does not get the signal, so it is killed."""
    code = "from gwctl import process; process.run_short(['bash', '-c', 'sleep 600 & sleep 600'], timeout_s=600)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as call:
        wait_for(lambda: len(inhabitants(here)) == 4, 20, "the command runs")
        call.send_signal(signal.SIGINT)
        call.communicate(timeout=BOUND_S)
    wait_for(lambda: inhabitants(here) == [], 5, "the command is gone")


_INTERRUPTED_AT_THE_START = """
import asyncio, os, signal, subprocess
from gwctl import process

def torn_out(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, torn_out)

begin = subprocess.Popen.__init__
def interrupted_when_it_has_begun(self, *args, **options):
    begin(self, *args, **options)
    os.kill(os.getpid(), signal.{signal})
subprocess.Popen.__init__ = interrupted_when_it_has_begun
env = dict(os.environ)
{call}
"""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("SIGINT", "process.run_short(['sleep', '600'], timeout_s=600)"),
        ("SIGTERM", "process.run_short(['sleep', '600'], timeout_s=600)"),
        ("SIGINT", "asyncio.run(process.run_watched(['sleep', '600'], timeout_s=600, env=env))"),
        ("SIGTERM", "asyncio.run(process.run_watched(['sleep', '600'], timeout_s=600, env=env))"),
    ],
)
def test_a_command_is_ended_where_the_call_is_interrupted_as_it_starts(here: Path, name: str, call: str) -> None:
    """The command already runs, but its pid is not yet known: a busy machine makes that moment long."""
    code = _INTERRUPTED_AT_THE_START.format(signal=name, call=call)
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as interrupted:
        _, told = interrupted.communicate(timeout=BOUND_S)
    assert told.splitlines()[-1] == "KeyboardInterrupt"
    wait_for(lambda: inhabitants(here) == [], 5, "the command is gone")


def test_what_a_command_is_told_may_be_more_than_a_pipe_holds(here: Path) -> None:
    """A megabyte goes in and comes out unchanged; a command that does not read still works."""
    told = bytes(range(1, 127)) * 8192
    done = asyncio.run(process.run_watched(["cat"], timeout_s=60, env=_ENV, told=told))
    assert (done.exit_code, done.stdout.encode(), done.stderr) == (0, told, "")
    done = asyncio.run(process.run_watched(["bash", "-c", "echo no >&2; exit 3"], timeout_s=60, env=_ENV, told=told))
    assert done == process.CompletedShort(3, "", "no\n")


def test_a_command_that_says_no_more_is_waited_for() -> None:
    """The exit code is the command's own, even if it closes stdout and stderr long before its end."""
    argv = ["bash", "-c", "echo a; exec >&- 2>&-; sleep 0.3; exit 7"]
    assert asyncio.run(process.run_watched(argv, timeout_s=60, env=_ENV)) == process.CompletedShort(7, "a\n", "")
