"""Commands of the user's that gwctl runs to their end: whatever they leave behind, nobody waits for it for ever."""

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

from gwctl.errors import TimedOut
from gwctl.gateway import process

_ENV = {"PATH": os.environ["PATH"]}
BOUND_S = 20.0
"""What tells an end from a wait without one, on any machine."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder to work in; what still works there at the end is ended."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for left in inhabitants(tmp_path):
        with contextlib.suppress(psutil.Error):
            left.kill()


def inhabitants(folder: Path) -> list[psutil.Process]:
    """Return the processes but this one that work in the folder."""
    return [psutil.Process(one.pid) for one in process.inhabitants(folder) if one.pid != os.getpid()]


def daemon(folder: Path) -> list[str]:
    """Return a command that ends at once and leaves a process out of its group with its stdout and stderr."""
    return ["bash", "-c", f"echo code; setsid sleep 600 & until [ -e {folder}/up ]; do :; done; exit 0"]


def leave(folder: Path) -> None:
    """Let the command end once its daemon has left the group."""

    def left() -> bool:
        sleeping = [one for one in inhabitants(folder) if one.cmdline()[:1] == ["sleep"]]
        return bool(sleeping) and os.getsid(sleeping[0].pid) == sleeping[0].pid

    wait_for(left, 10, "the daemon is on its own")
    (folder / "up").touch()


@pytest.mark.parametrize("turns", range(12))
def test_a_command_that_is_cancelled_while_it_starts_is_gone(here: Path, turns: int) -> None:
    """At any turn of the loop: the command and what it has started are ended, and nobody waits for their pipes."""

    async def story() -> None:
        argv = ["bash", "-c", "sleep 600 & sleep 600"]
        running = asyncio.ensure_future(process.run_watched(argv, timeout_s=600, env=_ENV, told=b"read me"))
        for _ in range(turns):
            await asyncio.sleep(0)
        # Whatever it does by itself, it does before the next turn.
        if turns:
            began_s = time.monotonic()
            while len(inhabitants(here)) < 3 and time.monotonic() - began_s < 10:
                pass
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, BOUND_S)

    asyncio.run(story())
    assert inhabitants(here) == []


def test_a_command_whose_daemon_keeps_its_output_is_late_and_no_more(here: Path) -> None:
    """A daemon in a session of its own holds stdout: the command is late at its deadline, which is the end of it."""

    async def story() -> None:
        running = asyncio.ensure_future(process.run_watched(daemon(here), timeout_s=2.0, env=_ENV))
        await asyncio.to_thread(leave, here)
        with pytest.raises(TimedOut, match="bash did not answer within 2 s"):
            await asyncio.wait_for(running, BOUND_S)

    asyncio.run(story())


def test_a_short_command_whose_daemon_keeps_its_output_is_late_and_no_more(here: Path) -> None:
    """The same where a call waits for it, as for `password_command`."""
    code = (
        "import os, sys\nfrom gwctl.errors import TimedOut\nfrom gwctl.gateway import process\n"
        "try:\n    process.run_short(sys.argv[1:], timeout_s=2.0)\n"
        "except TimedOut as error:\n    print(error.message)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, *daemon(here)], stdout=subprocess.PIPE, text=True) as call:
        leave(here)
        assert call.communicate(timeout=BOUND_S)[0] == "bash did not answer within 2 s\n"


def test_a_short_command_ends_with_the_call_that_is_interrupted(here: Path) -> None:
    """Ctrl-C while a command is waited for: it has a session of its own, so that it is ended for it."""
    code = (
        "from gwctl.gateway import process; process.run_short(['bash', '-c', 'sleep 600 & sleep 600'], timeout_s=600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as call:
        wait_for(lambda: len(inhabitants(here)) == 4, 20, "the command runs")
        call.send_signal(signal.SIGINT)
        call.communicate(timeout=BOUND_S)
    wait_for(lambda: inhabitants(here) == [], 5, "the command is gone")


def test_what_a_command_is_told_may_be_more_than_a_pipe_holds(here: Path) -> None:
    """A megabyte goes in and comes out again, byte for byte; a command that does not read is none the worse for it."""
    told = bytes(range(1, 127)) * 8192
    done = asyncio.run(process.run_watched(["cat"], timeout_s=60, env=_ENV, told=told))
    assert (done.exit_code, done.stdout.encode(), done.stderr) == (0, told, "")
    done = asyncio.run(process.run_watched(["bash", "-c", "echo no >&2; exit 3"], timeout_s=60, env=_ENV, told=told))
    assert done == process.CompletedShort(3, "", "no\n")


def test_a_command_that_says_no_more_is_waited_for() -> None:
    """Its exit code is its own, also where it closes stdout and stderr long before it ends."""
    argv = ["bash", "-c", "echo a; exec >&- 2>&-; sleep 0.3; exit 7"]
    assert asyncio.run(process.run_watched(argv, timeout_s=60, env=_ENV)) == process.CompletedShort(7, "a\n", "")
