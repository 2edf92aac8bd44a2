"""A sound machine made of small real parts, and the doctor's findings about it."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from rig import Done, free_port, wait_for

from gwctl.doctor import CHECKS
from gwctl.doctor.case import Case, Finding, Ports, State, Tried, examine
from gwctl.environment import Environment
from gwctl.gateway import ca_bundle, keystore
from gwctl.login.browser import find_browser
from gwctl.paths import Paths
from gwctl.release.store import ReleaseStore

PASSWORD = "Quail-Harbor-5521"
SUPERVISOR = Path(__file__).with_name("doctor_supervisor.py")


class _Ibkr(BaseHTTPRequestHandler):
    """Answers HEAD with the server's status and clock."""

    server: IbkrServer

    def do_HEAD(self) -> None:
        if self.server.mute.is_set():
            self.server.closing.wait(20)
            return
        self.send_response_only(self.server.status)
        self.send_header("Date", formatdate(time.time() + self.server.ahead_s, usegmt=True))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class IbkrServer(HTTPServer):
    """IBKR's web server on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Ibkr)
        self.status, self.ahead_s = 200, 0.0
        self.mute, self.closing = threading.Event(), threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that do not trust us."""


@contextmanager
def an_ibkr(tls: ssl.SSLContext | None = None) -> Iterator[IbkrServer]:
    """Yield IBKR's web server, with TLS if a context is given."""
    server = IbkrServer()
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def program(file: Path, script: str) -> Path:
    """Write an executable shell script."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


@dataclass
class Machine:
    """A sound home, programs and IBKR; a test breaks one of them."""

    folder: Path
    ibkr: IbkrServer
    port: int = field(default_factory=free_port)
    ports: Ports = field(default_factory=Ports)
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def paths(self) -> Paths:
        return Paths.for_profile("default", self.home)

    def build(self, release_zip: bytes) -> None:
        """Set everything up."""
        bin_dir, scratch = self.folder / "bin", self.folder / "scratch"
        scratch.mkdir()
        java = program(bin_dir / "java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
        real = find_browser(None, os.environ).executable
        browser = program(bin_dir / "chromium-headless-shell", f'exec {real} "$@"')
        program(bin_dir / "crontab", f"cat {self.folder}/crontab 2>/dev/null || exit 1")
        password = self.folder / "password"
        password.write_text(f"{PASSWORD}\n")
        password.chmod(0o600)
        (self.folder / "crontab").write_text("")
        self.ports = Ports(unit_dirs=(self.folder / "units",), try_browser=lambda _case, _browser: Tried())
        self.variables = {
            "GWCTL_HOME": str(self.home),
            "GWCTL_PORT": str(self.port),
            "GWCTL_UPSTREAM": f"http://127.0.0.1:{self.ibkr.port}",
            "GWCTL_USERNAME": "magpieuser7",
            "GWCTL_PASSWORD_FILE": str(password),
            "GWCTL_JAVA": str(java),
            "GWCTL_BROWSER": str(browser),
            "PATH": f"{bin_dir}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "TMPDIR": str(scratch),
        }
        archive = self.folder / "release.zip"
        archive.write_bytes(release_zip)
        self.write_config("[defaults]\nmaintenance = []\n")
        ReleaseStore(self.paths.releases_dir, self.paths.cache_dir).install(str(archive))
        keystore.ensure_leaf(self.paths)
        ca_bundle.write_bundle(self.paths.ca_dir)
        self.paths.logs_dir.mkdir(mode=0o700)

    def write_config(self, text: str) -> None:
        """Write config.toml, readable only by its owner."""
        self.home.mkdir(exist_ok=True, mode=0o700)
        self.paths.config_file.write_text(text)
        self.paths.config_file.chmod(0o600)

    def write_state(self, file: Path, value: object) -> None:
        """Write a state file as gwctl does."""
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(value if isinstance(value, str) else json.dumps(value))
        file.chmod(0o600)

    def case(self) -> Case:
        case = Case.of("default", Environment(self.variables))
        case.ports = self.ports
        return case

    def gwctl(self, *argv: str, without_root: bool = False, **changes: str) -> Done:
        """Run the real program; ``without_root`` with file modes that apply to it, if the tests run as root."""
        command = [sys.executable, "-m", "gwctl", *argv]
        if without_root and os.getuid() == 0:
            drop = "--bounding-set=-dac_override,-dac_read_search,-fowner"
            command = ["setpriv", drop, "--inh-caps=-all", *command]
        done = subprocess.run(
            command,
            env={**self.variables, **changes},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def findings(self) -> list[Finding]:
        """Return the doctor's findings, from this process."""
        return examine(self.case(), CHECKS)

    def wrong(self) -> dict[str, Finding]:
        """Return the worst finding per check; fail if a check reports an error in itself."""
        wrong: dict[str, Finding] = {}
        for one in self.findings():
            assert "in gwctl itself" not in one.what, one
            if one.state is State.FAILED or (one.state is State.WARNING and one.check not in wrong):
                wrong[one.check] = one
        return wrong

    @contextmanager
    def supervised(self, **said: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process that looks like a supervisor: a record, a lock, the health server's answers."""
        child = subprocess.Popen(
            [sys.executable, str(SUPERVISOR), str(self.home), json.dumps({"gateway_port": self.port, **said})],
            cwd=self.paths.profile_dir,
            start_new_session=True,
        )
        try:
            wait_for(self.paths.supervisor_state_file.exists, 30, "the supervisor's record")
            yield child
        finally:
            child.kill()
            child.wait()


@contextmanager
def a_sound_machine(folder: Path, release_zip: bytes) -> Iterator[Machine]:
    """Yield a sound machine."""
    with an_ibkr() as ibkr:
        machine = Machine(folder, ibkr)
        machine.build(release_zip)
        yield machine


@contextmanager
def a_process(argv: list[str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a folder and a new session; it prints a line when it is ready."""
    child = subprocess.Popen(argv, cwd=cwd, start_new_session=True, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline()
        yield child
    finally:
        child.kill()
        child.communicate()


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return name, kind, mode, owner, size, change time and content of everything below ``folder``."""
    seen: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content: bytes | str = b""
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            with contextlib.suppress(OSError):
                content = path.read_bytes()
        changed = 0 if path.is_dir() else status.st_mtime_ns
        seen[str(path)] = (status.st_mode, status.st_uid, status.st_size, changed, content)
    return seen
