"""The way to a profile's supervisor for other gwctl processes: its record, its Unix socket, and the client.

Commands may carry secrets, so they go through a socket that only its own user can reach and create: never to a port,
which anybody may take over when a supervisor was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from gwctl.errors import DiskTrouble, TimedOut
from gwctl.http_requests import Incoming, RequestFailed, exchange
from gwctl.paths import Paths
from gwctl.plain_text import cleaned
from gwctl.state_file import read_json

if TYPE_CHECKING:
    from gwctl.session_status import Status

ANSWER_TIMEOUT_S = 5.0
INSTANCE_HEADER = "x-gwctl-instance"
ERROR_HEADER = "x-gwctl-error"
"""The code of the error because of which the supervisor could not do something."""


class NoSupervisor(Exception):
    """No supervisor of this profile answers at its socket."""


class SupervisorHangs(TimedOut):
    """The supervisor runs but does not answer."""

    code = "supervisor_hangs"


class SupervisorTrouble(SupervisorHangs):
    """The supervisor answers but could not perform the request."""

    code = "supervisor_trouble"
    cause: str | None = None
    """The code of its own error."""


class SupervisorRecord(Struct, frozen=True):
    """The content of ``supervisor.json``; ``instance`` distinguishes a supervisor from the next one at its socket.

    ``port`` and ``token`` are those of its health server, for whoever wants to read the whole status there.
    """

    pid: int
    created_s: float
    port: int
    instance: str
    sandbox: bool
    token: str
    control: Path | None = None
    """The file of its control socket; None if an earlier version wrote the record."""

    def __repr__(self) -> str:
        """Leave the token out."""
        return f"SupervisorRecord(pid={self.pid}, instance={self.instance!r})"

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
                control=_path(raw["control"]) if isinstance(raw.get("control"), str) else None,
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


def _path(text: str) -> Path:
    """Return a file's path; raise ValueError for a text that can name none."""
    if b"\0" in os.fsencode(text):
        raise ValueError("a NUL in a path")
    return Path(text)


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
    def _request(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Iterator[Incoming]:
        if self.record.control is None:
            raise self._of_earlier_version()
        url = f"http://localhost{path}"
        try:
            with exchange(method, url, timeout_s=timeout_s, body=body, socket_file=self.record.control) as answer:
                if answer.headers.get(INSTANCE_HEADER) != self.record.instance:
                    raise NoSupervisor
                if answer.status != 200:
                    text = answer.read().decode(errors="replace").strip()
                    trouble = SupervisorTrouble(text or f"HTTP {answer.status}", hint="gwctl logs --supervisor")
                    trouble.cause = answer.headers.get(ERROR_HEADER)
                    raise trouble
                yield answer
        except RequestFailed as error:
            if error.late:
                raise SupervisorHangs(
                    f"the supervisor (pid {self.record.pid}) does not answer",
                    hint=f"gwctl down, then {self._up_again()}",
                ) from None
            raise NoSupervisor from None

    def _of_earlier_version(self) -> Exception:
        from gwctl import process

        alive = process.identify(self.record.pid)
        if alive is None or alive.created_s != self.record.created_s:
            return NoSupervisor()
        return SupervisorHangs(
            f"the supervisor (pid {self.record.pid}) was started by an earlier version of gwctl",
            hint=f"gwctl down --keep-session, then {self._up_again()}",
        )

    def _up_again(self) -> str:
        return "gwctl up --sandbox" if self.record.sandbox else "gwctl up"

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
        """Send a command; raise DiskTrouble if the supervisor could not write what it must keep.

        The body may contain secrets: only a process of our own user can get it.
        """
        try:
            with self._request("POST", f"/control/{verb}", json.dumps(body or {}).encode(), timeout_s) as answer:
                return _read_object(answer)
        except SupervisorTrouble as trouble:
            if trouble.cause == DiskTrouble.code:
                # As without a supervisor: more space is needed, not more time.
                raise DiskTrouble(trouble.message, hint="check the free space and the owner of the file") from None
            raise

    def events(self, *, since: int, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Yield journal entries and a last ``finish`` entry; raise TimedOut if nothing arrives for ``timeout_s``."""
        with self._request("GET", f"/events?since={since}", None, timeout_s) as answer:
            try:
                for line in answer.lines(idle_s=timeout_s):
                    yield cleaned(json.loads(line))
            except RequestFailed as error:
                if error.late:
                    raise TimedOut("the supervisor sent nothing more", hint="gwctl status") from None


def _read_object(answer: Incoming) -> dict[str, Any]:
    try:
        value = json.loads(answer.read())
    except (ValueError, RecursionError):
        raise NoSupervisor from None
    if not isinstance(value, dict):
        raise NoSupervisor
    return dict(cleaned(value))
