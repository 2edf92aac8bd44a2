"""Drive the real program as a person would: one home, one port, a stand-in for IBKR."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from warm_calls import PROGRAM, call, run

from gwctl.errors import GwctlError
from gwctl.free_ports import BROWSERS_REFUSE
from gwctl.paths import Paths
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import Account, PageOptions, StandInConfig
from gwctl.session_status import Status
from gwctl.supervisor.control import NoSupervisor, SupervisorClient

T = TypeVar("T")
AT_ANY_HOUR = "[defaults]\nmaintenance = []\n"
"""Settings with which a test sees the same at any hour: in IBKR's maintenance a lost session waits for its turn."""
CALL_TIMEOUT_S = 110


_PORTS = (Path(tempfile.gettempdir()) / f"gwctl-tests-{os.getuid()}.ports").open("ab")
"""Locked a byte for each port: another test process gets no port that this one was given, whether in use or not yet."""


def free_port() -> int:
    """Return a free port that the system gives to no connection meanwhile, as it does with those above 32,768.

    Not one of those that browsers refuse, such as 10080.
    """
    while True:
        port = secrets.SystemRandom().choice([one for one in range(10_000, 32_000) if one not in BROWSERS_REFUSE])
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            fcntl.lockf(_PORTS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            return port


@contextlib.contextmanager
def built_in_ports() -> Iterator[None]:
    """Keep other test processes from the built-in port and those above it, for tests that use them as people do."""
    fcntl.lockf(_PORTS, fcntl.LOCK_EX, 100, 5000)
    try:
        yield
    finally:
        fcntl.lockf(_PORTS, fcntl.LOCK_UN, 100, 5000)


def wait_for(fact: Callable[[], T | None], timeout_s: float, what: str) -> T:
    """Return the fact once it is true; fail after ``timeout_s``."""
    began_s = time.monotonic()
    while True:
        value = fact()
        if value:
            return value
        waited_s = time.monotonic() - began_s
        if waited_s > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(min(0.1, 0.02 + waited_s / 20))  # a fact of another process: nothing to wait on; bounded above


def delete(folder: Path) -> None:
    """Delete a folder into which a supervisor writes meanwhile: again, if a file came or went while it was emptied."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT} or time.monotonic() > deadline_s:
                raise
        else:
            return


def status_of(home: Path) -> Status | None:
    """Return what the supervisor of a home's default profile says of itself, None if none answers."""
    with contextlib.suppress(GwctlError, NoSupervisor):
        client = SupervisorClient.find(Paths.for_profile("default", home))
        return None if client is None else client.status()
    return None


@dataclass(frozen=True)
class Done:
    """One call of gwctl."""

    exit_code: int
    stdout: str
    stderr: str

    def check(self, exit_code: int) -> Done:
        """Assert the exit code and return the call."""
        assert self.exit_code == exit_code, (self.exit_code, self.stdout, self.stderr)
        return self

    @property
    def envelope(self) -> dict[str, Any]:
        """The JSON envelope."""
        value: dict[str, Any] = json.loads(self.stdout)
        return value


class Rig:
    """One home with one profile that talks to a stand-in for IBKR, as if that were IBKR."""

    def __init__(self, home: Path, port: int, account: Account, stand_in: RunningStandIn) -> None:
        self.home = home / "home"
        self.port = port
        self.account = account
        self.stand_in = stand_in
        self.python = sys.executable
        self.prefix: list[str] = []
        """What stands before every call: a namespace of its own, say."""
        self.starts_the_program = False
        """Whether each call starts the program as a person does: for who measures how long that takes."""
        self.password_file = home / "password"
        self.password_file.write_text(account.password)
        self.password_file.chmod(0o600)
        self.home.mkdir(mode=0o700, exist_ok=True)
        (self.home / "config.toml").write_text(AT_ANY_HOUR)
        self.settings = {
            "GWCTL_HOME": str(self.home),
            "GWCTL_PORT": str(port),
            "GWCTL_UPSTREAM": stand_in.url,
            "GWCTL_USERNAME": account.username,
            "GWCTL_PASSWORD_FILE": str(self.password_file),
        }

    @property
    def profile_dir(self) -> Path:
        """The profile's folder."""
        return self.home / "state" / "profiles" / "default"

    def gwctl(self, *argv: str, **variables: str) -> Done:
        """Run one call to its end."""
        env = {**os.environ, **self.settings, **variables}
        program = [*self.prefix, self.python, "-m", "gwctl"]
        if program == PROGRAM and not self.starts_the_program:
            code, *texts = call(argv, env, Path.cwd(), "", CALL_TIMEOUT_S)
        else:
            code, *texts = run([*program, *argv], env, Path.cwd(), "", CALL_TIMEOUT_S)
        return Done(int(code), *texts)

    def status(self) -> dict[str, Any]:
        """Return the ``data`` of status."""
        return dict(status_of(self.home) or self.gwctl("status", "--json").envelope["data"])

    def journal(self) -> list[dict[str, Any]]:
        """Return what happened."""
        return [json.loads(line) for line in (self.profile_dir / "journal.jsonl").read_text().splitlines()]

    def submits(self) -> int:
        """Return how often the password arrived at IBKR."""
        return len(self.stand_in.state.desk.summary()["submits"])

    def wait_ready_after(self, entries: int, timeout_s: float) -> list[dict[str, Any]]:
        """Return the journal from entry ``entries`` on, once it has become ready again."""

        def fresh() -> list[dict[str, Any]]:
            new = self.journal()[entries:]
            phases = [entry["phase"] for entry in new if entry["kind"] == "phase"]
            return new if phases[-1:] == ["ready"] else []

        return wait_for(fresh, timeout_s, f"ready after entry {entries}: {self.journal()[entries:]}")

    def processes_left(self) -> list[str]:
        """Return what still works in the home or names it in its arguments."""
        home = str(self.home)
        left = []
        for process in psutil.process_iter():
            try:
                text = " ".join(process.cmdline())
                if home in text or process.cwd().startswith(home):
                    left.append(f"{process.pid} {text[:200]}")
            except psutil.Error:
                continue
        return left

    def listens(self) -> bool:
        """Say whether anybody accepts on the port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def a_rig(folder: Path, release_zip: Path, account: Account, page: PageOptions | None = None) -> Iterator[Rig]:
    """Yield a rig whose profile is an ordinary one; at the end everything is stopped and nothing may be left."""
    config = StandInConfig(secrets.token_hex(8), account, page=page or PageOptions())
    with serve_in_thread(config) as stand_in:
        rig = Rig(folder, free_port(), account, stand_in)
        rig.gwctl("release", "install", str(release_zip)).check(0)
        try:
            yield rig
        finally:
            rig.gwctl("down")
        assert rig.processes_left() == []
