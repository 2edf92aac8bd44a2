"""What the tests of the command line share: homes of their own, the real program in them, and what it leaves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rig import AT_ANY_HOUR, Done, free_port, status_of, wait_for
from warm_calls import PROGRAM, call

from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import Account, StandInConfig

CALL_TIMEOUT_S = 90
QUICK = {"GWCTL_AUTH_DELAY_MS": "100"}
"""For tests that do not measure: the gateway's own pause after a login, shortened."""


class Home:
    """One GWCTL_HOME with its own port. Every call is the real program, in a process of its own."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = free_port()
        self.variables = {"GWCTL_HOME": str(self.home), "GWCTL_PORT": str(self.port), **QUICK, **variables}
        self._started: list[subprocess.Popen[str]] = []

    def environment(self, **changes: str | None) -> dict[str, str]:
        """Return what a call's environment is; None takes a variable away."""
        merged: Mapping[str, str | None] = {**os.environ, **self.variables, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def gwctl(self, *argv: str, cwd: Path | str | None = None, stdin: str = "", **changes: str | None) -> Done:
        """Run one call to its end."""
        code, *texts = call(argv, self.environment(**changes), cwd or self.folder, stdin, CALL_TIMEOUT_S)
        return Done(int(code), *texts)

    def start(self, *argv: str, **changes: str | None) -> subprocess.Popen[str]:
        """Begin one call and return at once."""
        started = subprocess.Popen(
            [*PROGRAM, *argv],
            env=self.environment(**changes),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(started)
        return started

    def end_started(self) -> None:
        """End the calls that a failed test has left, so that they disturb no other test."""
        for one in self._started:
            if one.returncode is None:
                one.kill()
                one.wait()
                for pipe in (one.stdout, one.stderr):
                    if pipe is not None:
                        pipe.close()

    def run_program(self, *argv: str, **changes: str | None) -> Done:
        """Run one call from the program's start, as a person does: for tests that measure how long it takes."""
        started = self.start(*argv, **changes)
        said = started.communicate(timeout=CALL_TIMEOUT_S)
        return Done(started.returncode, *said)

    @property
    def profile_dir(self) -> Path:
        """The default profile's folder."""
        return self.home / "state" / "profiles" / "default"

    def write_config(self, text: str) -> None:
        """Write config.toml."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "config.toml").write_text(text)

    def status(self) -> dict[str, Any]:
        """Return the ``data`` of status, asked of the supervisor itself: a process for each look costs more."""
        return dict(status_of(self.home) or self.gwctl("status", "--json").envelope["data"])

    def journal(self) -> list[dict[str, Any]]:
        """Return what happened so far."""
        try:
            lines = (self.profile_dir / "journal.jsonl").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def sandbox_submits(self) -> int:
        """Return how often a password arrived at the sandbox's stand-in."""
        state = self.gwctl("sandbox", "show", "--json").check(0).envelope["data"]
        return len(state["login"]["submits"])

    def processes(self) -> list[psutil.Process]:
        """Return what works below the home or names it in its arguments."""
        home, found = str(self.home), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                works_there = process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(home)
                if works_there or home in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def left(self) -> list[str]:
        """Return what must not be there when the profile is stopped: processes and a supervisor's record."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        return found + [str(file) for file in self.home.glob("state/profiles/*/supervisor.json")]

    def fingerprint(self) -> dict[str, tuple[int, str]]:
        """Return each file below the home with its time of change and the digest of its content."""
        return {
            str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(self.home.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }


@contextmanager
def a_home(folder: Path, **variables: str) -> Iterator[Home]:
    """Yield a home; at the end everything in it is stopped, and nothing may be left."""
    home = Home(folder, **variables)
    try:
        yield home
    finally:
        home.end_started()
        if home.left():  # most tests have stopped it themselves
            home.gwctl("down", "--quiet", GWCTL_PROFILE=None)
            # A supervisor that ends by itself has let go of everything a moment before its process is gone.
            wait_for(lambda: not home.left(), 10, f"nothing is left: {home.left()}")


class RealHome(Home):
    """A home with the real Standard Release and an ordinary profile, whose IBKR is a stand-in in this process."""

    def __init__(self, folder: Path, account: Account, stand_in: RunningStandIn) -> None:
        super().__init__(folder, GWCTL_UPSTREAM=stand_in.url, GWCTL_USERNAME=account.username)
        self.account = account
        self.stand_in = stand_in
        self.write_config("[defaults]\n")

    def write_config(self, text: str) -> None:
        """Write config.toml; a table of defaults stands first in it, and no window of IBKR's opens meanwhile."""
        super().write_config(AT_ANY_HOUR + text.removeprefix("[defaults]\n"))

    def submits(self) -> int:
        """Return how often a password arrived at IBKR."""
        return len(self.stand_in.state.desk.submits)


@contextmanager
def a_real_home(folder: Path, release_zip: Path, account: Account | None = None) -> Iterator[RealHome]:
    """Yield a real home, stopped again at the end with nothing left."""
    account = account or Account(username="reader01", password=f"canary{secrets.token_hex(12)}")
    with serve_in_thread(StandInConfig(admin_token=secrets.token_hex(8), account=account)) as stand_in:
        home = RealHome(folder, account, stand_in)
        home.gwctl("release", "install", str(release_zip)).check(0)
        try:
            yield home
        finally:
            home.end_started()
            if home.left():
                home.gwctl("down", "--quiet")
        assert home.left() == []


def one_line_with_hint(done: Done) -> str:
    """Assert that stderr ends in one clear error with a hint, and stdout is empty; return the error."""
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("gwctl: ")]) == 1, done.stderr
    assert lines[-2].startswith("gwctl: "), done.stderr
    assert lines[-1].startswith("  try: "), done.stderr
    assert len(lines[-1]) > len("  try: ")
    assert "Traceback" not in done.stderr
    assert "in gwctl itself" not in done.stderr
    return lines[-2].removeprefix("gwctl: ") + "\n" + lines[-1].removeprefix("  try: ")


__all__ = [
    "CALL_TIMEOUT_S",
    "PROGRAM",
    "QUICK",
    "Done",
    "Home",
    "RealHome",
    "a_home",
    "a_real_home",
    "free_port",
    "one_line_with_hint",
    "wait_for",
]
