"""One world: a home, a gateway, a supervisor, and a fake IBKR in this process."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import shutil
import socket
import ssl
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from rig import Rig

from chaos import laws, machine
from chaos.fault import NAMES, SMALL_HEAP, TAKES_OVER
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import MARKER, Account, PageOptions, StandInConfig, build_standin_release

POLL_S = 0.05
ASK_TIMEOUT_S = 2.0
UP_TIMEOUT_S = 100
DOWN_TIMEOUT_S = 20.0
ENDED_WITHIN_S = 15.0
NAME = "ibkr.localhost"
SMALL_HEAP_OPTIONS = (
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx28m -XX:MaxDirectMemorySize=1g -Dio.netty.maxDirectMemory=0"
    " -XX:+ExitOnOutOfMemoryError"
)
"""The heap must run out first: the JVM does not end for other memory, and netty counts its own."""
SHORTEST_S = 10.0
REQUESTS_A_SECOND = 1.0
"""Requests a second that gwctl may send to IBKR over ten seconds or more; users need the rest (gateway-facts.md)."""


class Interrupted(Exception):
    """The run was interrupted."""


class WorldLost(Exception):
    """A world is not in the right state for a round; no more rounds are played in it."""


@dataclass
class Run:
    """What all worlds of one run share."""

    folder: Path
    release_zip: Path
    real: bool
    ending: threading.Event = field(default_factory=threading.Event)
    ports: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pause(self, seconds: float) -> None:
        """Wait, unless the run ends."""
        if self.ending.wait(seconds):
            raise Interrupted

    def until(self, fact: Callable[[], Any], timeout_s: float) -> Any:
        """Return the fact once it is true, or what it is after ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            value = fact()
            if value or time.monotonic() > deadline_s:
                return value
            self.pause(POLL_S)

    def port(self) -> int:
        """Return a port for one world only."""
        with self.lock:
            return machine.take_port(self.ports)


def plain_release(target: Path) -> Path:
    """Write the fake release without its marker file, so that an ordinary profile runs it as the real one.

    It has no Java; it runs with the interpreter that gwctl passes to every gateway.
    """
    marked = build_standin_release(target.with_suffix(".marked"))
    with zipfile.ZipFile(marked) as source, zipfile.ZipFile(target, "w") as plain:
        for entry in source.infolist():
            if entry.filename != MARKER:
                plain.writestr(entry, source.read(entry))
        plain.writestr("build/lib/runtime/none.jar", b"")
    marked.unlink()
    return target


class World:
    """A ready profile, with everything to observe and to do."""

    def __init__(self, run: Run, rig: Rig, clock: machine.Clock, resolver: machine.Resolver | None) -> None:
        self.run = run
        self.rig = rig
        self.clock = clock
        self.resolver = resolver
        self.ended_pids: set[int] = set()
        self.last_pid = 0
        self.began_s = time.monotonic()
        self.asked = 0
        self.asked_who_before = 0
        self._health_port: int | None = None
        self._tls: ssl.SSLContext | None = None

    # What is seen.

    @property
    def state(self) -> Any:
        """The state of the fake IBKR."""
        return self.rig.stand_in.state

    def now_s(self) -> float:
        """Return the time in the journal's format."""
        return time.time() + self.clock.ahead_s

    def status(self) -> dict[str, Any] | None:
        """Return the supervisor's status from its address, None if it does not answer."""
        with contextlib.suppress(OSError, ValueError):
            record = json.loads((self.rig.profile_dir / "supervisor.json").read_bytes())
            self._health_port = int(record["port"])
        if self._health_port is None:
            return None
        connection = http.client.HTTPConnection("127.0.0.1", self._health_port, timeout=ASK_TIMEOUT_S)
        try:
            connection.request("GET", "/status")
            value = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return value if isinstance(value, dict) and "ready" in value else None

    def gateway_pid(self) -> int:
        """Return the gateway's pid as the supervisor last named it."""
        status = self.status()
        if status is not None and status["gateway"]["pid"]:
            self.last_pid = int(status["gateway"]["pid"])
        return self.last_pid

    def front_pid(self) -> int:
        """Return the pid of the isolated gateway's front."""
        return int(json.loads((self.rig.profile_dir / "gateway.json").read_text())["front"]["pid"])

    def supervisor_pid(self) -> int:
        """Return the supervisor's pid, 0 if none answers."""
        status = self.status()
        return 0 if status is None else int(status["supervisor"]["pid"])

    def session_lives(self) -> bool:
        """Return whether IBKR really has a session, independent of what gwctl reports."""
        sessions = self.state.sessions.summary()
        in_the_way = {"competing", "borrowed"} & set(self.state.scenarios)
        return bool(sessions["sso"]) and sessions["brokerage"] == "authenticated" and not in_the_way

    def is_ready(self) -> dict[str, Any] | None:
        """Return the status if the session is really ready, not only according to it."""
        status = self.status()
        if status is None or not status["ready"] or not self.session_lives():
            return None
        pid = status["gateway"]["pid"]
        if not pid or pid in self.ended_pids or not machine.is_alive(pid) or machine.state_of(pid) == "T":
            return None
        self.last_pid = pid
        return status

    def ask(self, method: str, path: str, timeout_s: float = ASK_TIMEOUT_S) -> tuple[int, bytes]:
        """Call the gateway as a user's program does; return 0 if it does not answer."""
        try:
            if self._tls is None:
                self._tls = ssl.create_default_context(cafile=self.rig.home / "ca" / "ca.pem")
            connection = http.client.HTTPSConnection("127.0.0.1", self.rig.port, timeout=timeout_s, context=self._tls)
        except OSError:
            return 0, b""
        try:
            connection.request(method, path, headers={"User-Agent": "chaos", "Content-Length": "0"})
            self.asked += path.startswith("/v1/api/")
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def asked_who(self) -> int:
        """Return how often the session's owner was asked for, except by the gateway itself."""
        return int(self.state.requests["/v1/api/sso/validate"])

    def requests(self) -> int:
        """Return how many requests have reached IBKR, except the gateway's own."""
        return sum(count for path, count in dict(self.state.requests).items() if path.startswith("/v1/api/"))

    def requests_a_second(self) -> float:
        """Return how many requests of the supervisor have reached IBKR since the world was ready."""
        return (self.requests() - self.asked) / max(SHORTEST_S, time.monotonic() - self.began_s)

    def serves_users(self) -> bool:
        """Return whether a call through the gateway finds the session authenticated."""
        code, body = self.ask("POST", "/v1/api/iserver/auth/status")
        self.asked += code == 200  # it reached IBKR, and is a user's
        with contextlib.suppress(ValueError):
            said = json.loads(body)
            return code == 200 and isinstance(said, dict) and said.get("authenticated") is True
        return False

    def journal(self) -> list[dict[str, Any]]:
        """Return the journal's complete lines; skip a line that a full disk cut off."""
        entries = []
        with contextlib.suppress(OSError):
            for line in (self.rig.profile_dir / "journal.jsonl").read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    entries.append(json.loads(line))
        return entries

    def last_ready_s(self) -> float | None:
        """Return when the session last became ready, according to the journal."""
        times = [entry["at"] for entry in self.journal() if entry.get("kind") == "phase" and entry["phase"] == "ready"]
        return datetime.fromisoformat(times[-1]).timestamp() if times else None

    def secrets(self) -> dict[str, str]:
        """Return every secret that must not be in any file, argument or environment, by its name."""
        account = self.rig.account
        found = {"the password": account.password, "the TOTP secret": account.totp_secret or TOTP_SECRET}
        found |= {f"cookie {n}": token for n, token in enumerate(self.state.sessions.given)}
        found["the stand-in's token"] = self.rig.stand_in.admin_token
        return found

    # What is done.

    def signal_gateway(self, number: Any) -> int:
        """Signal the gateway, and return its pid."""
        pid = self.gateway_pid()
        machine.signal_within(self.rig.profile_dir, pid, number)
        return pid

    def end_gateway(self, number: Any) -> None:
        """Signal the gateway so that it ends; the next ready one must be a different process."""
        self.ended_pids.add(self.signal_gateway(number))

    def up(self) -> int:
        """Call ``gwctl up``, as a person or cron does, and return its exit code."""
        self.asked_who_before = self.asked_who()
        return self.rig.gwctl("up", "--timeout", str(UP_TIMEOUT_S)).exit_code

    def scenario(self, name: str, *, on: bool, **parameters: object) -> None:
        """Switch a scenario of the fake IBKR."""
        self.state.set_scenario(name, on=on, parameters=parameters)


TOTP_SECRET = "JBSWY3DPEHPK3PXPGWCTLCHAOS23AAAA"
"""gwctl finds it, but the page never asks for a code: a code works once in 30 s, longer than any bound allows."""


@contextlib.contextmanager
def a_world(run: Run, number: int, kind: str = "") -> Iterator[World]:
    """Start a world of a kind (``Fault.world``), yield it when ready, and leave nothing of it behind."""
    folder = Path(tempfile.mkdtemp(prefix=f"world-{number}-", dir=run.folder))
    account = Account(username="chaos", password=f"canary-{secrets.token_hex(8)}")
    config = StandInConfig(
        admin_token=secrets.token_hex(16), account=account, port=run.port(), page=PageOptions(form_delay_ms=0)
    )
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        home = folder / "home"
        home.mkdir(mode=0o700)
        stack.enter_context(machine.small_disk(home))
        stack.callback(_end_what_is_left, folder)
        resolver = None
        if kind == NAMES:
            resolver = machine.Resolver(number)
            stack.callback(resolver.close)
        stand_in: RunningStandIn = stack.enter_context(serve_in_thread(config))
        rig = Rig(folder, run.port(), account, stand_in)
        clock = machine.Clock.make(folder)
        rig.python = str(clock.python)
        totp_file = folder / "totp"
        totp_file.write_text(TOTP_SECRET)
        rig.settings["GWCTL_TOTP_SECRET_FILE"] = str(totp_file)
        if resolver is not None:
            rig.prefix = resolver.prefix(folder)
            clock.trust(NAME)
            rig.settings["GWCTL_UPSTREAM"] = f"http://{NAME}:{stand_in.port}"
        if kind == TAKES_OVER:
            rig.settings["GWCTL_ON_COMPETING"] = "take_over"
        if kind == SMALL_HEAP:
            rig.settings["GWCTL_JAVA_OPTIONS"] = SMALL_HEAP_OPTIONS
        world = World(run, rig, clock, resolver)
        rig.gwctl("release", "install", str(run.release_zip)).check(0)
        rig.gwctl("up", "--timeout", str(UP_TIMEOUT_S)).check(0)
        world.began_s = time.monotonic()
        world.asked = world.requests()
        yield world


def bring_down(world: World) -> list[str]:
    """Stop a world as a person does; return violations of law 10."""
    done = world.rig.gwctl("down")
    broken = [] if done.exit_code == 0 else [f"down ended with {done.exit_code}: {done.stderr.strip()}"]
    if (each_s := world.requests_a_second()) >= REQUESTS_A_SECOND:
        broken.append(f"{each_s:.2f} requests a second on average")
    left = world.run.until(lambda: not world.rig.processes_left(), DOWN_TIMEOUT_S if done.exit_code == 0 else 0)
    if not left:
        broken.append(f"left after down: {world.rig.processes_left()}")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", world.rig.port)) == 0:
            broken.append("somebody still listens on the gateway's port after down")
    return broken


def _end_what_is_left(folder: Path) -> None:
    """End by pid all processes of a world: nothing may outlive a run, even if it broke or was interrupted.

    A process may start another one while it ends, so this repeats until there is none.
    """
    deadline_s = time.monotonic() + ENDED_WITHIN_S
    while (left := laws.of_home(folder)) and time.monotonic() < deadline_s:
        for one in left:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(one.pid)
                process.kill()
                process.wait(1)


def release_of(folder: Path, real_zip: str | None) -> Path:
    """Return the archive to install: the real one if it is given, else the fake one."""
    if real_zip is not None:
        return Path(real_zip)
    return plain_release(folder / "release.zip")
