"""The client of a profile's supervisor, for other gwctl processes; uses the standard library's HTTP to start fast."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from gwctl.errors import TimedOut
from gwctl.paths import Paths
from gwctl.signals import woken
from gwctl.state_file import read_json, write_json

if TYPE_CHECKING:
    from gwctl.session_status import Status

ANSWER_TIMEOUT_S = 5.0


class NoSupervisor(Exception):
    """No supervisor of this profile answers at its address."""


class SupervisorHangs(TimedOut):
    """Something accepts connections at the supervisor's address but does not answer."""

    code = "supervisor_hangs"


class SupervisorTrouble(SupervisorHangs):
    """The supervisor answers but could not perform the request."""

    code = "supervisor_trouble"


@dataclass(frozen=True, slots=True)
class SupervisorRecord:
    """The content of ``supervisor.json``; ``instance`` distinguishes a supervisor from a later owner of its port."""

    pid: int
    created_s: float
    port: int
    instance: str
    sandbox: bool
    token: str = field(repr=False)

    @classmethod
    def load(cls, paths: Paths) -> SupervisorRecord | None:
        """Return the record, None if there is none or it is damaged."""
        return cls.from_json(read_json(paths.supervisor_state_file)[0])

    @classmethod
    def from_json(cls, raw: dict[str, Any] | None) -> SupervisorRecord | None:
        """Return the record in ``raw``, None if there is none."""
        if raw is None:
            return None
        try:
            return cls(
                pid=int(raw["pid"]),
                created_s=float(raw["created_s"]),
                port=int(raw["port"]),
                instance=str(raw["instance"]),
                sandbox=bool(raw["sandbox"]),
                token=str(raw["token"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


def record_this_process(paths: Paths, told: Mapping[str, Any]) -> None:
    """Write the record by which others find this supervisor, with the fields in ``told``; raise DiskTrouble."""
    from gwctl import process

    me = process.identify(os.getpid())
    who = {"pid": os.getpid(), "created_s": me.created_s if me else 0.0, "identity": me.to_json() if me else None}
    write_json(paths.supervisor_state_file, {**who, **told})


class SupervisorClient:
    """A supervisor that may be running. Every call has a deadline in seconds."""

    def __init__(self, record: SupervisorRecord) -> None:
        self.record = record

    @classmethod
    def find(cls, paths: Paths) -> SupervisorClient | None:
        """Return a client for the profile's supervisor if it answers; raise SupervisorHangs if it stays silent."""
        found = cls.find_with_status(paths)
        return None if found is None else found[0]

    @classmethod
    def find_with_status(cls, paths: Paths) -> tuple[SupervisorClient, Status] | None:
        """Do the same as ``find``, and return the status with it: the supervisor may end before a second request."""
        record = SupervisorRecord.load(paths)
        if record is None:
            return None
        client = cls(record)
        try:
            return client, client.status()
        except NoSupervisor:
            return None

    @contextmanager
    def _request(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.record.port, timeout=timeout_s)
        try:
            answer = self._ask(connection, method, path, body)
            with answer:
                if answer.headers.get("x-gwctl-instance") != self.record.instance:
                    raise NoSupervisor
                if answer.status != 200:
                    text = _read(answer).decode(errors="replace").strip()
                    raise SupervisorTrouble(text or f"HTTP {answer.status}", hint="gwctl logs --supervisor")
                yield answer
        finally:
            connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.record.token}"})
            return connection.getresponse()
        except TimeoutError:
            raise SupervisorHangs(
                f"the supervisor (pid {self.record.pid}) does not answer", hint="gwctl down, then gwctl up"
            ) from None
        except (OSError, http.client.HTTPException):
            raise NoSupervisor from None

    def status(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> Status:
        """Return the ``status`` object."""
        with self._request("GET", "/status", None, timeout_s) as answer:
            return cast("Status", _read_object(answer))

    def is_live(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> bool:
        """Return whether its loop runs; raise NoSupervisor or SupervisorHangs."""
        try:
            with self._request("GET", "/livez", None, timeout_s):
                return True
        except SupervisorTrouble:
            return False

    def command(
        self, verb: str, body: dict[str, Any] | None = None, *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        """Send a command. The body may contain secrets: it goes to our own process on loopback, with its token."""
        with self._request("POST", f"/control/{verb}", json.dumps(body or {}).encode(), timeout_s) as answer:
            return _read_object(answer)

    def events(self, *, since: int, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Yield journal entries and a last ``finish`` entry; raise TimedOut if nothing arrives for ``timeout_s``."""
        with (
            self._request("GET", f"/events?since={since}", None, timeout_s) as answer,
            # A copy of the answer's socket, so that cancelling this thread can wake it by ending the connection.
            socket.socket(fileno=os.dup(answer.fileno())) as same,
        ):
            while True:
                try:
                    with woken(lambda: same.shutdown(socket.SHUT_RDWR)):
                        line = answer.readline()
                except TimeoutError:
                    raise TimedOut("the supervisor sent nothing more", hint="gwctl status") from None
                except (OSError, http.client.HTTPException):
                    return
                if not line.endswith(b"\n"):
                    return
                yield json.loads(line)


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read()
    except TimeoutError:
        raise SupervisorHangs("the supervisor did not complete its answer", hint="gwctl status") from None
    except (OSError, http.client.HTTPException):
        raise NoSupervisor from None


def _read_object(answer: http.client.HTTPResponse) -> dict[str, Any]:
    try:
        value = json.loads(_read(answer))
    except ValueError:
        raise NoSupervisor from None
    if not isinstance(value, dict):
        raise NoSupervisor
    return value
