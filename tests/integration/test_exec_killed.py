from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import psutil
import pytest
from cli_fakes import PROGRAM, Home, a_home
from rig import wait_for

from gwctl.paths import Paths
from gwctl.process import inhabitants
from gwctl.supervisor.sandbox_process import ensure_stand_in

GONE_S = 20.0


class Killing:
    """A home in which `gwctl exec` is killed repeatedly, and what is left each time."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.pids = home.folder / "pids"
        self.told = home.folder / "told"
        self.calls: list[subprocess.Popen[str]] = []

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """Start an exec with ``command``, detached from the terminal of the test run."""
        with self.told.open("a") as told:
            call = subprocess.Popen(
                [*PROGRAM, "exec", "--sandbox", "--", *command],
                env=self.home.environment(PIDS=str(self.pids)),
                cwd=self.home.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
                start_new_session=True,
            )
        self.calls.append(call)
        return call

    def begin_and_hear(self, *command: str) -> subprocess.Popen[str]:
        """Start an exec and return once its command has printed `begun`."""
        call = self.begin(*command)
        assert self.hear(call) == "begun\n", self.told.read_text()
        return call

    def hear(self, call: subprocess.Popen[str]) -> str:
        """Return a call's next line."""
        assert call.stdout is not None
        return call.stdout.readline()

    def close(self) -> None:
        """Leave no call and no pipe behind."""
        for call in self.calls:
            call.kill()
            call.wait(10)
            if call.stdout is not None:
                call.stdout.close()

    def family(self) -> list[psutil.Process]:
        """Return the processes that a command recorded, once there are two."""

        def written() -> list[str]:
            lines = self.pids.read_text().split() if self.pids.exists() else []
            return lines if len(lines) == 2 else []

        return [psutil.Process(int(pid)) for pid in wait_for(written, 30, "the command runs")]

    def happened(self, kind: str, **fields: str | None) -> bool:
        """Return whether the journal has such an entry."""
        wanted = {"kind": kind, **fields}
        return any(wanted.items() <= entry.items() for entry in self.home.journal())

    def gone(self) -> None:
        """Wait until no process works in the home and no supervisor record is left."""
        left: list[str] = []

        def nothing() -> bool:
            left[:] = self.home.left()
            return not left

        try:
            wait_for(nothing, GONE_S, "nothing is left")
        except AssertionError:
            pytest.fail(f"still there: {left}, {self.home.journal()[-3:]}")


@pytest.fixture
def killing(tmp_path: Path) -> Iterator[Killing]:
    """Yield an empty home."""
    with a_home(tmp_path) as home:
        killing = Killing(home)
        yield killing
        killing.close()


# A child that is hard to end: orphaned at once, a session leader, and ignoring SIGHUP.
FAMILY = """
    nohup setsid sh -c 'echo $$ >>"$PIDS"; exec sleep 300' >/dev/null 2>&1 &
    echo $$ >>"$PIDS"; sleep 300 & wait
"""

STAGES: dict[str, Callable[[Killing], bool]] = {
    "before the supervisor answers": lambda one: (one.home.profile_dir / "logs" / "start.log").exists(),
    "when it answers": lambda one: (one.home.profile_dir / "supervisor.json").exists(),
    "during the login": lambda one: one.happened("step"),
    "while the command runs": lambda one: len(one.family()) == 2,
}


@pytest.mark.parametrize("stage", list(STAGES))
def test_exec_is_killed(killing: Killing, stage: str) -> None:
    """After SIGKILL of `exec` at any stage, supervisor, gateway, browser, sandbox and the command's family all end."""
    call = killing.begin("sh", "-c", FAMILY)
    wait_for(lambda: STAGES[stage](killing), 30, stage)
    family = killing.family() if killing.pids.exists() else []
    call.kill()
    assert call.wait(10) == -signal.SIGKILL
    killing.gone()
    wait_for(lambda: not any(one.is_running() for one in family), 10, "the command has ended, its orphans with it")
    if family:
        assert killing.happened("warning", code="caller_killed")
        assert killing.happened("end", code=None)


def test_exec_is_killed_while_it_brings_down(killing: Killing) -> None:
    """After SIGKILL while it brings down, the supervisor still ends."""
    call = killing.begin("true")
    wait_for(lambda: killing.happened("phase", phase="stopping"), 30, "it is brought down")
    call.kill()
    call.wait(10)
    killing.gone()
    assert not killing.happened("warning", code="caller_killed")


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.wide)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_exec_is_interrupted_on_its_way(killing: Killing, number: signal.Signals, code: int) -> None:
    """INT, TERM and HUP before the command starts: the contract's exit code, and nothing is left."""
    call = killing.begin("sh", "-c", FAMILY)
    wait_for(lambda: killing.happened("gateway"), 30, "the gateway answers")
    call.send_signal(number)
    assert (call.wait(30), killing.home.left()) == (code, []), killing.told.read_text()
    assert "stopped what this command had started" in killing.told.read_text()
    assert not killing.pids.exists()


def test_signals_reach_the_command(killing: Killing) -> None:
    """While the command runs, it gets INT, TERM and HUP once each, and exec exits with its code; nothing is left."""
    script = """
        trap 'echo INT' INT; trap 'echo TERM' TERM; trap 'echo HUP; exit 7' HUP
        echo begun; while :; do sleep 0.05; done
    """
    call = killing.begin_and_hear("sh", "-c", script)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        call.send_signal(number)
        assert killing.hear(call) == f"{number.name.removeprefix('SIG')}\n"
    assert (killing.hear(call), call.wait(30)) == ("", 7)
    assert killing.home.left() == []


def test_a_session_is_shared_and_kept(killing: Killing) -> None:
    """The last of two execs brings down; `up` within a command keeps nothing, `up` by hand keeps the session."""
    home, ask = killing.home, f"{' '.join(PROGRAM)} up --sandbox >&2"
    os.mkfifo(home.folder / "in")
    first = killing.begin_and_hear("sh", "-c", f"{ask}; echo begun; read x <in; exit 5")
    pid = home.status()["gateway"]["pid"]
    second = killing.begin_and_hear("sh", "-c", f"{ask}; echo begun; exec sleep 300")
    (home.folder / "in").write_text("go\n")
    assert first.wait(30) == 5
    assert home.status()["gateway"]["pid"] == pid, "the second one still holds it"
    assert "now stays running" not in killing.told.read_text()

    assert "now stays running" in home.gwctl("up", "--sandbox").check(0).stderr
    assert "stays" not in home.gwctl("up", "--sandbox").check(0).stderr
    (command,) = psutil.Process(second.pid).children()
    second.kill()
    wait_for(lambda: not command.is_running(), 20, "the command ends with its exec")
    assert home.status()["gateway"]["pid"] == pid
    assert home.status()["phase"] == "ready"


@pytest.mark.parametrize("turns", [0, 1, 5, None])
def test_a_stand_in_is_not_left_by_a_start_that_is_cancelled(tmp_path: Path, turns: int | None) -> None:
    """A sandbox whose start is cancelled before it is recorded is ended: nothing else would know of it."""
    paths = Paths.for_profile("default", tmp_path)
    paths.profile_dir.mkdir(parents=True)

    async def start_and_cancel() -> None:
        start = asyncio.create_task(ensure_stand_in(paths, os.environ, "paper"))
        if turns is None:
            await asyncio.to_thread(wait_for, lambda: inhabitants(paths.profile_dir), 20, "the stand-in runs")
        for _ in range(turns or 0):
            await asyncio.sleep(0)  # somewhere before, or while a thread starts the process
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)

    asyncio.run(start_and_cancel())
    assert inhabitants(paths.profile_dir) == []


THROUGH = "import os, sys; from gwctl.process.spawn import run_through; "
THROUGH += "sys.exit(run_through(sys.argv[1:], env=os.environ))"


def test_what_nohup_ignores_the_command_ignores(tmp_path: Path) -> None:
    """Under nohup neither we nor the command end by SIGHUP."""
    script = "kill -HUP $PPID; kill -HUP $$; echo alive"
    argv = ["nohup", sys.executable, "-c", THROUGH, "sh", "-c", script]
    done = subprocess.run(argv, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_ctrl_c_reaches_the_command_once() -> None:
    """The terminal delivers Ctrl-C to the command; we do not pass it on a second time."""
    script = "trap 'seen=$((seen+1)); echo INT $seen' INT; echo begun; while :; do sleep 0.05; done"
    child = pexpect.spawn(sys.executable, ["-c", THROUGH, "sh", "-c", script], encoding="utf-8", timeout=20)
    child.expect_exact("begun")
    child.sendintr()
    child.expect_exact("INT 1")
    child.sendintr()
    child.expect_exact("INT ")
    assert child.read(1) == "2"
    child.close(force=True)
