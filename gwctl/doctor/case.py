"""The input and output of a check: the case, the findings, and reads with a time limit."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gwctl.config import Environment, Settings
from gwctl.paths import Paths
from gwctl.session_status import Status
from gwctl.state_file import look_at_json

if TYPE_CHECKING:
    from gwctl.login.browser import Browser

T = TypeVar("T")


def within(timeout_s: float, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises; raise TimeoutError after ``timeout_s``.

    On a timeout, the work goes on in a daemon thread, which does not keep the program alive.
    """
    done: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            failure.append(error)

    thread = threading.Thread(target=run, name="doctor-within", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failure:
        raise failure[0]
    if not done:
        raise TimeoutError
    return done[0]


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works now, but something may break it later."""
    FAILED = "failed"
    NOT_CHECKED = "not_checked"
    """The check could not run: something it needs was missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check; the runner fills in ``check``, the check's code."""

    state: State
    what: str
    remedy: str | None = None
    where: str | None = None
    check: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON for the envelope."""
        return {
            "check": self.check,
            "state": str(self.state),
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
        }


def ok(what: str, *, where: object = None) -> Finding:
    """Return a finding that all is well."""
    return Finding(State.OK, what, None, _text(where))


def warning(what: str, remedy: str | None, *, where: object = None) -> Finding:
    """Return a finding about a possible later problem."""
    return Finding(State.WARNING, what, remedy, _text(where))


def failed(what: str, remedy: str | None, *, where: object = None) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(State.FAILED, what, remedy, _text(where))


def not_checked(needed: str) -> Finding:
    """Return a finding that the check did not run, because ``needed`` is missing."""
    return Finding(State.NOT_CHECKED, f"needs {needed}")


def _text(where: object) -> str | None:
    return None if where is None else str(where)


def summarise(findings: list[Finding]) -> dict[str, int]:
    """Return the number of findings in each state."""
    return {str(state): sum(one.state is state for one in findings) for state in State}


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of ``host``; raise OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


@dataclass(frozen=True, slots=True)
class Tried:
    """How a browser's start went: ``text`` is empty if it started."""

    text: str = ""
    was_killed: bool = False
    has_sandbox: bool = True


@dataclass(frozen=True, slots=True)
class Ports:
    """Facts about the machine that tests replace."""

    resolve: Callable[[str, int], list[str]] = resolve
    disk: Callable[[Path], os.statvfs_result] = os.statvfs
    wall_clock: Callable[[], float] = time.time
    try_browser: Callable[[Case, Browser], Tried] | None = None
    """Used instead of a real start, which takes a second."""
    unit_dirs: tuple[Path, ...] = (Path("/etc/systemd/system"),)


@dataclass(frozen=True, slots=True)
class Contact:
    """An answer from IBKR: its status and, if it had a date, how far IBKR's clock is ahead of this machine's."""

    status: int
    ahead_s: float | None
    took_s: float


@dataclass(slots=True)
class Case:
    """One profile. Checks fill in the last fields for the checks that need them."""

    profile: str
    environment: Environment
    paths: Paths
    ports: Ports = field(default_factory=Ports)
    settings: Settings | None = None
    contact: Contact | None = None
    status: Status | None = None
    """The supervisor's answer; None if none answers."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions found along the way: Java, browser, release."""

    @classmethod
    def of(cls, profile: str, environment: Environment) -> Case:
        """Return the case of ``profile``; raise Configuration if its name or its home is invalid."""
        return cls(profile, environment, Paths.for_profile(profile, environment.home))

    def command(self, rest: str) -> str:
        """Return the command to type for this profile."""
        option = "" if self.profile == "default" else f" --profile {self.profile}"
        return f"gwctl{option} {rest}"

    @property
    def known(self) -> Settings:
        """The settings, for checks that list ``settings`` in their needs."""
        if self.settings is None:
            raise LookupError("a check that needs the settings does not declare it")
        return self.settings

    @property
    def port(self) -> int:
        """The gateway's port: the running supervisor's, which a flag may have set, otherwise the setting."""
        port = (self.state_of(self.paths.supervisor_state_file) or {}).get("gateway_port")
        return port if isinstance(port, int) else int(self.known["port"])

    @property
    def scratch_dir(self) -> Path:
        """The folder where programs put their temporary files."""
        named = next((value for name in ("TMPDIR", "TEMP", "TMP") if (value := self.environment.get(name))), None)
        return Path(named) if named else Path(tempfile.gettempdir())

    @property
    def is_sandbox(self) -> bool:
        """Whether the supervisor's record says that it runs the sandbox."""
        return (self.state_of(self.paths.supervisor_state_file) or {}).get("sandbox") is True

    def state_of(self, file: Path) -> dict[str, Any] | None:
        """Return the content of a state file; None if it is missing or unreadable, which ``state_files`` reports."""
        try:
            return look_at_json(file)[0]
        except OSError:
            return None


def nearest(folder: Path) -> Path:
    """Return ``folder``, or its nearest parent that exists."""
    return next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))
