"""What a machine may be like: for each row the session comes up, survives the gateway's end, and goes down.

A row is an environment, not a setting. Where an orderly result is that nothing can be started, the row says which error
tells it. Rows that need a namespace of their own (mounts, network) are made by ``unshare`` and need root.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import string
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest
from cli_fakes import QUICK, wait_for
from rig import AT_ANY_HOUR, free_port, status_of

from gwctl.errors import GwctlError
from gwctl.login.browser import find_window_browser

BOUND_S = 100
IN_LINUX = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs namespaces, and root")


def plain_home(short: Path) -> Path:
    """Return the folder of a row that does not say another."""
    return short / "home"


@dataclass(frozen=True)
class Row:
    """One environment: how the home's folder is called, what the variables are, what is typed before each call."""

    name: str
    folder: Callable[[Path], Path] = plain_home
    variables: dict[str, str | None] = field(default_factory=dict)
    before: str = ""
    """Shell commands that run in the same process before gwctl."""
    unshared: str = ""
    """Shell commands that run first, in mount and network namespaces of the row's own."""
    after: str = ""
    """What stands behind the call: redirections."""


def long(length: int) -> Callable[[Path], Path]:
    """Return what makes a folder whose path has exactly so many letters; a shorter one than ours is in the root."""

    def make(short: Path) -> Path:
        rest = length - len(str(short)) - 1
        return short / ("h" * rest) if rest > 0 else Path("/", random_letters(length - 1))

    return make


def random_letters(count: int) -> str:
    """Return so many letters, other ones each time."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(count))


def called(name: str) -> Callable[[Path], Path]:
    """Return what makes a folder of a name."""
    return lambda short: short / name


LENGTHS = (12, 90)
"""Of a home's path: those that people have, and those at which a socket's path is as long as the system allows."""


def whole_browser() -> str:
    """Return the program of a browser with windows, empty if this machine has none: then no test here runs."""
    with contextlib.suppress(GwctlError):
        return str(find_window_browser(None, os.environ).executable)
    return ""


WHOLE_BROWSER = whole_browser()
"""One that makes a socket below its temporary folder; a Chromium without windows does not."""
WIDE = "GWCTL_TEST_WIDE"
"""Set for the long run: a home of each length up to 90, with either browser (some 20 min)."""
ROOM = 20
"""A home that is shorter lies in the root, where root alone may make one."""
ROOT = Path(__file__).parents[2]
SMALL_TMP = (
    f"mount --bind {ROOT} /mnt && mount -t tmpfs -o size=64m none /tmp && mkdir -p {ROOT} && mount --move /mnt {ROOT}"
)
"""This clone stays where it is, though that be below /tmp."""


def homes() -> Iterator[Row]:
    """Yield homes by the lengths of their paths."""
    every = WIDE in os.environ
    for length in range(2, 91) if every else LENGTHS:
        if length > ROOM or os.geteuid() == 0:
            yield Row(f"path of {length}", long(length), {"GWCTL_BROWSER": WHOLE_BROWSER})
            if every:
                yield Row(f"path of {length} without windows", long(length))


EACH = [
    Row("spaces", called("a home with  spaces")),
    Row("non-ASCII", called("Jürgen Müller 日本")),
    Row("non-ASCII in C", called("Jürgen"), {"LC_ALL": "C", "LANG": "C"}),
    Row("non-ASCII in POSIX", called("Jürgen"), {"LC_ALL": "POSIX"}),
    Row("a locale that is not there", called("Jürgen"), {"LC_ALL": "xx_YY.UTF-8"}),
    Row("shell's own letters", called("a'b\"c$d;e&f")),
    Row("another umask", before="umask 0000"),
    Row("a narrow umask", before="umask 0777"),
    Row("no zone, no language", variables={"TZ": None, "LANG": None, "LC_ALL": None, "LANGUAGE": None}),
    Row("an odd zone", variables={"TZ": "Nowhere/Atall"}),
    Row("no home", variables={"HOME": None}),
    Row("a home that is not there", variables={"HOME": "/nonexistent"}),
    Row("no path", variables={"PATH": None}),
    Row("nothing but what is set", before='eval "unset $(env | cut -d= -f1 | grep -E "^[A-Z_]+$" | grep -v GWCTL_)"'),
    Row(
        "proxies",
        variables=dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"
        ),
    ),
    Row("stdin closed", after="<&-"),
    Row("every stream closed", after="<&- >&- 2>&-"),
    Row("a long TMPDIR", before='mkdir -p "/tmp/$0" && export TMPDIR="/tmp/$0"'.replace("$0", "t" * 90)),
    Row("no TMPDIR", variables={"TMPDIR": "/nonexistent"}),
    Row("few files", before="ulimit -n 256"),
    Row("a debugger's variables", variables={"DEBUG": "*", "PYTHONWARNINGS": "error", "NODE_OPTIONS": "--bad-option"}),
]
TOGETHER = (
    ("spaces", "another umask", "an odd zone", "proxies"),
    ("non-ASCII in C", "few files", "no TMPDIR"),
    ("non-ASCII in POSIX", "a narrow umask", "a debugger's variables"),
    ("shell's own letters", "a locale that is not there", "stdin closed"),
    ("no zone, no language", "no home", "no path"),
    ("a home that is not there", "every stream closed", "a long TMPDIR"),
    ("non-ASCII",),
    ("nothing but what is set",),
)
"""Environments that do not hinder each other are tried in one home; the long run tries each alone."""


def together() -> Iterator[Row]:
    """Yield one row for each group."""
    named = {row.name: row for row in EACH}
    assert sorted(named) == sorted(name for names in TOGETHER for name in names)
    for names in TOGETHER:
        rows = [named[name] for name in names]
        yield Row(
            ", ".join(names),
            next((row.folder for row in rows if row.folder is not plain_home), plain_home),
            {name: value for row in rows for name, value in row.variables.items()},
            before="; ".join(row.before for row in rows if row.before),
            after=" ".join(row.after for row in rows if row.after),
        )


ROWS = [*homes(), *(EACH if WIDE in os.environ else together())]
UNSHARED = [
    Row("no /dev/shm", unshared="umount -l /dev/shm || mount -t tmpfs -o ro,size=4k none /dev/shm"),
    Row("small /tmp", unshared=SMALL_TMP),
    Row("small /tmp and a long path", long(60), unshared="mkdir -p /tmp/x && " + SMALL_TMP),
    Row("localhost is IPv6 first", unshared="{ echo '::1 localhost'; echo '127.0.0.1 localhost'; } > $H && "
        "mount --bind $H /etc/hosts"),
    Row("no network", unshared="true"),
]  # fmt: skip


class Machine:
    """One row's home, and gwctl in its environment."""

    def __init__(self, row: Row, short: Path, tools: Path) -> None:
        self.row, self.home = row, row.folder(short)
        self.home.mkdir(mode=0o700)
        (self.home / "config.toml").write_text(AT_ANY_HOUR)
        self.variables: dict[str, str] = {}
        changes: dict[str, str | None] = {
            **QUICK, "GWCTL_HOME": str(self.home), "GWCTL_PORT": str(free_port()), **row.variables
        }  # fmt: skip
        merged = {**os.environ, **changes}
        self.variables = {name: value for name, value in merged.items() if value is not None}
        self.inner: list[str] = []
        if row.unshared:
            self.inner = self._namespace(tools)

    def _namespace(self, tools: Path) -> list[str]:
        """Make the row's namespaces, held by a process that sleeps, and return what enters them."""
        hosts = tools / "hosts"
        network = ["--net"] if self.row.name == "no network" else []
        begun = f"H={shlex.quote(str(hosts))}; ip link set lo up 2>/dev/null; {self.row.unshared}"
        made = f"{begun}; echo made; exec sleep 900"
        self.holder = subprocess.Popen(
            ["unshare", "--mount", *network, "sh", "-c", made], stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "made\n"
        return ["nsenter", "--target", str(self.holder.pid), "--mount", *network]

    def argv(self, *argv: str) -> list[str]:
        """Return how a call is made in this environment."""
        call = shlex.join([sys.executable, "-m", "gwctl", *argv])
        return [*self.inner, "/bin/sh", "-c", f"{self.row.before or ':'}; exec {call} {self.row.after}"]

    def gwctl(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a call to its end."""
        return subprocess.run(
            self.argv(*argv), env=self.variables, capture_output=True, text=True, timeout=BOUND_S, check=False, cwd="/"
        )

    def close(self) -> None:
        """End what is left, and say what that was."""
        self.gwctl("down")
        left = [process for process in psutil.process_iter() if self._works_here(process)]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.inner:
            self.holder.kill()
            self.holder.wait()
            assert self.holder.stdout is not None
            self.holder.stdout.close()
        assert left == []

    def _works_here(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(self.home))
        return False


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Yield a row's machine below a folder whose path is short, and outside of /tmp, which a row may cover."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/var") as short:
        made = Machine(request.param, Path(short), tmp_path)
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(made.home)


def _is_ready(machine: Machine) -> bool:
    status = status_of(machine.home)
    return status is not None and status["ready"]


def check(machine: Machine) -> None:
    """Up, login, kill, the session again, down; each within its bound."""
    came = machine.gwctl("up", "--sandbox", "--timeout", "60")
    assert came.returncode == 0, (came.stdout, came.stderr, _told(machine))
    status = status_of(machine.home)
    assert status is not None
    assert status["phase"] == "ready"
    assert status["login"]["last_outcome"] == "success"
    gateway = status["gateway"]["pid"]
    assert gateway is not None
    os.kill(gateway, signal.SIGKILL)

    def is_back() -> bool:
        now = status_of(machine.home)
        return now is not None and now["ready"] and now["gateway"]["pid"] not in {None, gateway}

    wait_for(is_back, 40, "the session after its gateway was killed")
    went = machine.gwctl("down")
    assert went.returncode == 0, (went.stdout, went.stderr)
    assert status_of(machine.home) is None


def _told(machine: Machine) -> list[str]:
    with contextlib.suppress(OSError):
        lines = (machine.home / "state/profiles/default/journal.jsonl").read_text().splitlines()
        return [line for line in lines if '"text"' in line or '"error"' in line][-8:]
    return []


@pytest.mark.parametrize("machine", [pytest.param(row, id=row.name) for row in ROWS], indirect=True)
def test_a_session_lives_in_every_environment(machine: Machine) -> None:
    """The row's environment changes nothing of what gwctl does."""
    check(machine)


@IN_LINUX
@pytest.mark.parametrize(
    "machine",
    [pytest.param(row, id=row.name, marks=pytest.mark.wide if row.name == "small /tmp" else ()) for row in UNSHARED],
    indirect=True,
)
def test_a_session_lives_on_every_machine(machine: Machine) -> None:
    """The same for what takes a namespace: mounts, names, a network of its own."""
    if machine.row.name == "no network":
        came = machine.gwctl("up", "--sandbox", "--timeout", "60")
        assert came.returncode == 0, (came.stderr, _told(machine))
        assert machine.gwctl("down").returncode == 0
        return
    check(machine)


@IN_LINUX
@pytest.mark.parametrize("machine", [Row("read-only", unshared="true")], indirect=True, ids=["read-only"])
def test_a_read_only_home_is_said(machine: Machine) -> None:
    """Nothing can be written: one clear error, which is the disk's (69), and nothing is left running."""
    subprocess.run(
        ["nsenter", "--target", str(machine.holder.pid), "--mount", "sh", "-c",
         f"mount --bind {machine.home} {machine.home} && mount -o remount,ro,bind {machine.home}"], check=True
    )  # fmt: skip
    came = machine.gwctl("up", "--sandbox")
    assert came.returncode == 69, came.stderr
    assert came.stderr.count("gwctl: ") == 1
    assert "Read-only file system" in came.stderr


@pytest.mark.parametrize("machine", [Row("terminal")], indirect=True, ids=["hangup"])
def test_a_hang_up_ends_what_runs_in_the_foreground_in_order(machine: Machine) -> None:
    """SIGHUP of `up --foreground` (a closed terminal) leaves no gateway that nobody supervises."""
    running = subprocess.Popen(
        machine.argv("up", "--foreground", "--sandbox"), env=machine.variables, stderr=subprocess.DEVNULL, cwd="/"
    )
    wait_for(partial(_is_ready, machine), 60, "ready in the foreground")
    running.send_signal(signal.SIGHUP)
    running.wait(30)
    record = machine.home / "state/profiles/default/gateway.json"
    gateway = json.loads(record.read_text())["java"] if record.exists() else None
    assert gateway is None or not psutil.pid_exists(gateway["pid"]), "a gateway was left running"


@pytest.mark.parametrize("machine", [Row("terminal")], indirect=True, ids=["ctrl-s"])
def test_a_terminal_that_is_stopped_does_not_stop_the_supervisor(machine: Machine) -> None:
    """After Ctrl-S nobody reads what `up --foreground` prints: the session is kept all the same."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    running = subprocess.Popen(
        machine.argv("up", "--foreground", "--sandbox"), env=machine.variables, stdout=writer, stderr=writer, cwd="/"
    )
    os.close(writer)
    try:
        wait_for(partial(_is_ready, machine), 60, "ready although nobody reads")
        assert machine.gwctl("down").returncode == 0
        running.wait(30)
    finally:
        os.close(reader)
        running.kill()
        running.wait()
