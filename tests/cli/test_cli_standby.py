"""deploy/standby.sh: a lock decides which of two machines is active, whatever ends first.

Two homes are the machines, with `up --paused` at boot; the test is the service manager that starts a script again. The
rows of the table in docs/how-to/pause-and-standby.md, for each kind of lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import child_ending_lock
import psutil
import pytest
from cli_fakes import Home, a_home, free_port
from rig import wait_for

STANDBY = Path(__file__).parents[2] / "deploy" / "standby.sh"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
ETCD = shutil.which("etcd", path=f"{os.environ['PATH']}:{Path(sys.prefix)}")
LOST = "the lock is lost, or cannot be seen"
CHECKS_EVERY_S = 5
"""As the page says; the script notices a killed program at its next check."""


@dataclass
class Lock:
    """A lock as each machine's script takes it, and what can happen to it."""

    argvs: tuple[list[str], list[str]]
    variables: Mapping[str, str] = field(default_factory=dict)
    lose: Callable[[], object] | None = None
    """End the session of the machine that has the lock."""
    reports_loss: bool = False
    """Whether the exit code of the lock's program says that the lock was lost."""
    stop_server: Callable[[], object] | None = None


@contextlib.contextmanager
def a_flock(folder: Path) -> Iterator[Lock]:
    """Yield a lock on a file."""
    argv = ["flock", str(folder / "lock")]
    yield Lock((argv, argv))


def etcdctl(url: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run one command of etcd's client."""
    return subprocess.run(["etcdctl", "--endpoints", url, *argv], capture_output=True, text=True, check=False)


@contextlib.contextmanager
def an_etcd(folder: Path) -> Iterator[Lock]:
    """Yield a lock of an etcd with a store of its own."""
    url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    addresses = ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer]
    cluster = ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]

    def lose() -> None:
        key = etcdctl(url, "get", "gwctl", "--prefix", "--keys-only", "--sort-by=CREATE").stdout.split()[0]
        assert etcdctl(url, "lease", "revoke", key.rpartition("/")[2]).returncode == 0

    with (folder / "etcd.log").open("w") as log:
        argv = [str(ETCD), "--data-dir", str(folder / "etcd"), *addresses, *cluster]
        etcd = subprocess.Popen(argv, stdout=log, stderr=log)

        def stop() -> None:
            etcd.kill()
            etcd.wait()

        try:
            wait_for(lambda: etcdctl(url, "endpoint", "health").returncode == 0, 30, "etcd answers")
            argv = ["etcdctl", "lock", "--ttl=20", "gwctl"]
            yield Lock((argv, argv), {"ETCDCTL_ENDPOINTS": url}, lose, reports_loss=True, stop_server=stop)
        finally:
            stop()


@contextlib.contextmanager
def a_consul(folder: Path) -> Iterator[Lock]:
    """Yield a lock of a stand-in for Consul, the second machine's with a shell that stays between it and the script.

    Once the server is gone, a pause takes longer than Consul waits before it kills the script.
    """
    server, programs = folder / "server", folder / "bin"
    server.mkdir()
    programs.mkdir()
    slow = 'case "$*" in *pause*) [ -d "$CONSUL_HTTP_ADDR" ] || while kill -0 "$PPID"; do sleep 0.1; done ;; esac'
    for name, lines in {
        "consul": [f'exec "{sys.executable}" "{child_ending_lock.__file__}" "$@"'],
        "gwctl": [slow, f'exec "{Path(sys.executable).with_name("gwctl")}" "$@"'],
        "shell": ['sh "$@"', "exit"],
    }.items():
        (programs / name).write_text("\n".join(["#!/bin/sh", *lines, ""]))
        (programs / name).chmod(0o700)
    variables = {"CONSUL_HTTP_ADDR": str(server), "SHELL": str(programs / "shell"), "PATH": f"{programs}:{PATH}"}
    argvs = (["consul", "lock", "-shell=false", "gwctl/default"], ["consul", "lock", "gwctl/default"])
    yield Lock(
        argvs,
        variables,
        lose=lambda: (server / "gwctl" / "default" / ".lock").write_text(""),
        # At once: while a folder is deleted file by file, the lock is lost and the server still there.
        stop_server=lambda: server.rename(folder / "gone"),
    )


class Machine:
    """A home whose session the lock decides about."""

    def __init__(self, home: Home, argv: list[str], variables: Mapping[str, str]) -> None:
        self.home = home
        self._argv = ["sh", str(STANDBY), *argv]
        self._environment = home.environment(**{"PATH": PATH, **variables})
        self._log = home.folder / "standby.log"
        home.gwctl("up", "--sandbox", "--fast", "--paused").check(0)

    def start(self) -> None:
        """Start the script, as a service manager does; it becomes the lock's program."""
        with self._log.open("w") as log:
            self.program = subprocess.Popen(
                self._argv, env=self._environment, cwd=self.home.folder, stdout=log, stderr=log
            )

    def _scripts(self) -> Iterator[psutil.Process]:
        """Yield what runs the script here, also what has lost its parent."""
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(STANDBY) in one.cmdline() and Path(one.cwd()) == self.home.folder:
                    yield one

    @property
    def script(self) -> psutil.Process:
        """The script that the lock's program has started."""
        [script] = [one for one in self._scripts() if one.cmdline() == ["sh", str(STANDBY)]]
        return script

    def end(self) -> None:
        """End the script and the lock's program."""
        for one in self._scripts():
            with contextlib.suppress(psutil.Error):
                one.kill()
        self.program.wait()

    def said(self) -> str:
        """Return what the script and the lock's program said since they were started."""
        return self._log.read_text()

    def is_active(self, why: str) -> None:
        """Wait until the session is ready."""
        wait_for(lambda: self.home.status()["ready"], 120, f"the machine is active: {why}\n{self.said()}")

    def is_paused(self, why: str) -> None:
        """Wait until the session was given away."""
        wait_for(lambda: self.home.status()["phase"] == "paused", 60, f"the machine is paused: {why}\n{self.said()}")


@pytest.mark.waits
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(a_flock, id="flock"),
        pytest.param(an_etcd, id="etcd", marks=[pytest.mark.needs("etcd"), pytest.mark.needs("etcdctl")]),
        pytest.param(a_consul, id="consul"),
    ],
)
def test_a_lock_decides_which_machine_is_active(
    tmp_path_factory: pytest.TempPathFactory, kind: Callable[[Path], AbstractContextManager[Lock]]
) -> None:
    """Whatever ends, script, program, session or server: whoever has no lock pauses, and the other is active."""
    with contextlib.ExitStack() as started:
        lock = started.enter_context(kind(tmp_path_factory.mktemp("lock")))
        first, second = (
            Machine(started.enter_context(a_home(tmp_path_factory.mktemp("machine"))), argv, lock.variables)
            for argv in lock.argvs
        )
        for machine in (first, second):
            machine.start()
            started.callback(machine.end)
            first.is_active("it has the lock")
        second.is_paused("the first one has the lock")

        first.script.kill()
        second.is_active("the first one's script was killed")
        first.program.wait(60)
        first.start()
        first.is_paused("its service manager has started it again")

        second.program.kill()
        second.program.wait()
        wait_for(lambda: LOST in second.said(), CHECKS_EVERY_S + 2, "it is seen that the lock's program was killed")
        second.is_paused("the lock's program was killed")
        first.is_active("the second one's program was killed")
        second.start()

        if lock.lose is not None:
            lock.lose()
            first.is_paused("the lock was lost")
            second.is_active("the first one's lock was lost")
            assert (first.program.wait(60) != 0) is lock.reports_loss
            first.start()
        else:
            first.script.terminate()
            second.is_active("the first one's script was ended")
            first.program.wait(60)
            first.start()

        second.script.terminate()
        second.is_paused("a person ended the script")
        first.is_active("the second one's script was ended")
        assert second.program.wait(60) == 0

        if lock.stop_server is not None:
            lock.stop_server()
            first.is_paused("the server is gone")
            assert kind is not a_consul or child_ending_lock.KILLED in first.said()


@pytest.mark.timeout(120)
def test_a_machine_whose_script_was_killed_pauses_before_it_waits(home: Home) -> None:
    """After `kill -9` of the script, the service manager starts it again, and that pauses first."""
    home.gwctl("up", "--sandbox", "--fast").check(0)
    # A lock that is never given: the program that would take it says that it was started, and ends.
    done = subprocess.run(
        ["sh", STANDBY, "echo", "waits for the lock"],
        env=home.environment(PATH=PATH),
        cwd=home.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("waits for the lock sh ")
    assert home.status()["phase"] == "paused"


def test_without_a_lock_the_script_does_nothing(tmp_path: Path) -> None:
    """Started without the lock's program, it would make the machine active unasked: it says what is missing."""
    program = tmp_path / "gwctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path / "called"}\n')
    program.chmod(0o700)
    environ = {**os.environ, "PATH": f"{tmp_path}:{PATH}"}
    done = subprocess.run(["sh", STANDBY], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "name the program that takes the lock" in done.stderr
    assert not (tmp_path / "called").exists()
