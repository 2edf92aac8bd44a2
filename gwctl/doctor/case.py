"""A check, its input (the case) and output (the findings), and the runner that gives each check a time limit."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.config import Settings, check_profile_name, usual_profile
from gwctl.environment import Environment
from gwctl.errors import GwctlError
from gwctl.login.worker_client import StartLimits
from gwctl.paths import Paths
from gwctl.session_status import Status, typed
from gwctl.state_file import look_at_json

if TYPE_CHECKING:
    from gwctl.gateway.launch import RunningGateway
    from gwctl.isolation.firewall import Firewall
    from gwctl.login.browser import Browser
    from gwctl.login_ledger.ledger import Ledger
    from gwctl.process import Identity
    from gwctl.supervisor.sandbox_process import StandInRecord

T = TypeVar("T")

_CHILDREN_GRACE_S = 0.5
_THREADS_WAIT_S = 2.0
_WORK = "doctor-check"
"""The name of a thread that runs a check."""


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works now, but something may break it later."""
    FAILED = "failed"
    NOT_CHECKED = "not_checked"
    """The check could not run: something it needs was missing."""


class Finding(Struct, frozen=True):
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


class Tried(Struct, frozen=True):
    """How a browser's start went: ``text`` is empty if it started."""

    text: str = ""
    was_killed: bool = False
    has_sandbox: bool = True


class Ports(Struct, frozen=True):
    """Facts about the machine that tests replace."""

    resolve: Callable[[str, int], list[str]] = resolve
    disk: Callable[[Path], os.statvfs_result] = os.statvfs
    wall_clock: Callable[[], float] = time.time
    try_browser: Callable[[Case, Browser], Tried] | None = None
    """Used instead of a real start, which takes a second."""
    browser_limits: StartLimits = field(default_factory=StartLimits)
    """How long the browser may take to start: as long as for a login."""
    unit_dirs: tuple[Path, ...] = (Path("/etc/systemd/system"),)


class Contact(Struct, frozen=True):
    """An answer from IBKR: its status and, if it had a date, how far IBKR's clock is ahead of this machine's."""

    status: int
    ahead_s: float | None
    took_s: float


class Case(Struct):
    """One profile. Checks fill in the last fields for the checks that need them."""

    profile: str
    environment: Environment
    paths: Paths
    ports: Ports = field(default_factory=Ports)
    settings: Settings | None = None
    _contact: Contact | None = None
    _status: Status | None = None
    versions: dict[str, str] = field(default_factory=dict)
    """Versions found along the way: Java, browser, release."""
    ended: set[str] = field(default_factory=set)
    """The codes of the checks that have ended."""

    @classmethod
    def of(cls, profile: str, environment: Environment) -> Case:
        """Return the case of ``profile``; raise Configuration if its name or its home is invalid."""
        return cls(profile, environment, Paths.for_profile(check_profile_name(profile), environment.home))

    def command(self, rest: str) -> str:
        """Return the command to type for this profile."""
        return typed(self.profile, rest, usual_profile(self.paths))

    @property
    def known(self) -> Settings:
        """The settings, for checks that list ``settings`` in their needs."""
        if self.settings is None:
            raise LookupError("a check that needs the settings does not declare it")
        return self.settings

    @property
    def status(self) -> Status | None:
        """The supervisor's answer, None if none answers, for checks that come after ``supervisor``."""
        self._require("supervisor")
        return self._status

    @status.setter
    def status(self, status: Status) -> None:
        self._status = status

    @property
    def contact(self) -> Contact | None:
        """IBKR's answer, None if there was none, for checks that come after ``upstream``."""
        self._require("upstream")
        return self._contact

    @contact.setter
    def contact(self, contact: Contact) -> None:
        self._contact = contact

    def _require(self, code: str) -> None:
        """Raise LookupError for a check that would see something or nothing, by which of two checks is faster."""
        if code not in self.ended:
            raise LookupError(f"a check that comes after {code} does not declare it")

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

    @property
    def gateway(self) -> RunningGateway | None:
        """The recorded gateway, if it is running and this profile's."""
        from gwctl.gateway.launch import RunningGateway, recognised

        return recognised(self.paths, RunningGateway.from_json(self.state_of(self.paths.gateway_state_file)))

    @property
    def firewall(self) -> Firewall | None:
        """The recorded firewall of the gateway's port."""
        from gwctl.isolation.firewall import Firewall

        return Firewall.from_json(self.state_of(self.paths.firewall_file))

    @property
    def stand_in(self) -> StandInRecord | None:
        """The recorded fake IBKR, if it is running."""
        from gwctl.supervisor.sandbox_process import StandInRecord

        with contextlib.suppress(KeyError, TypeError, ValueError):
            return StandInRecord.from_json(self.state_of(self.paths.sandbox_state_file))
        return None

    @property
    def ledger(self) -> Ledger:
        """The ledger of the logins, for checks that come after ``settings``: the account's, or the sandbox's own."""
        self._require("settings")
        from gwctl.login_ledger.ledger import Ledger

        if self.is_sandbox:
            return Ledger(self.paths.sandbox_ledger_file)
        return Ledger.noted(self.paths) if self.settings is None else Ledger.of(self.settings)

    def state_of(self, file: Path) -> dict[str, Any] | None:
        """Return the content of a state file; None if it is missing or unreadable, which ``state_files`` reports."""
        try:
            return look_at_json(file)[0]
        except OSError:
            return None


def nearest(folder: Path) -> Path:
    """Return ``folder``, or its nearest parent that exists."""
    return next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))


class Check(Struct, frozen=True):
    """One check: the first line of its function's docstring says what it does, for the docs.

    Scripts know it by ``code``; ``needs`` lists the codes of checks that must pass first, ``after`` of those that must
    have ended.
    """

    code: str
    examine: Callable[[Case], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    bound_s: float = 10.0
    """Long enough for a busy machine; checks that can hang have a shorter limit inside."""


def examine(case: Case, checks: Sequence[Check]) -> list[Finding]:
    """Return the findings of every check, in the checks' order; no process that they started is left.

    The checks run at the same time, each after those that it needs. A check does not run if one that it needs failed;
    one that takes longer than its limit is abandoned.
    """
    before, said = _children(), {check.code: Future[list[Finding]]() for check in checks}
    for check in checks:
        threading.Thread(target=_settle, args=(check, case, said), daemon=True).start()
    try:
        return [replace(one, check=code) for code, future in said.items() for one in future.result()]
    finally:
        for future in said.values():
            future.cancel()  # after an interrupt, no further check starts
        _end_what_goes_on(before)


def _settle(check: Check, case: Case, said: dict[str, Future[list[Finding]]]) -> None:
    with contextlib.suppress(CancelledError, InvalidStateError):
        for code in check.after:
            said[code].result()
        lacking = [code for code in check.needs if not _is_well(said[code].result())]
        try:
            findings = (
                [not_checked(", ".join(lacking))]
                if lacking
                else within(check.bound_s, lambda: _run(check, case), name=_WORK)
            )
        except TimeoutError:
            text = f"it took longer than {check.bound_s:g} s"
            findings = [Finding(State.NOT_CHECKED, text, case.command("doctor"))]
        case.ended.add(check.code)
        said[check.code].set_result(findings)


def _run(check: Check, case: Case) -> list[Finding]:
    try:
        return list(check.examine(case))
    except GwctlError as error:
        return [failed(error.message, error.hint)]
    except OSError as error:
        place = error.filename or "a file"
        return [failed(f"cannot read {place}: {error.strerror or type(error).__name__}", f"ls -ld {place}")]
    except Exception as error:  # noqa: BLE001 - one check's failure must not stop the others
        remedy = f"report it with: {case.command('doctor --bundle FILE')}"
        return [failed(f"{type(error).__name__} in gwctl itself", remedy)]


def _is_well(findings: list[Finding]) -> bool:
    return all(one.state in {State.OK, State.WARNING} for one in findings)


def within(timeout_s: float, work: Callable[[], T], name: str = "doctor-within") -> T:
    """Return what ``work`` returns, or raise what it raises; raise TimeoutError after ``timeout_s``.

    On a timeout, the work goes on in a daemon thread, which does not keep the program alive.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            done.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done.result(timeout_s)


def _end_what_goes_on(before: set[Identity]) -> None:
    """Stop what an abandoned or interrupted check started, and let it clean up."""
    import asyncio

    from gwctl import process

    if threads := [one for one in threading.enumerate() if one.name == _WORK]:
        asyncio.run(process.stop(_children() - before, grace_s=_CHILDREN_GRACE_S))
        deadline_s = time.monotonic() + _THREADS_WAIT_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))


def _children() -> set[Identity]:
    from gwctl import process

    me = process.identify(os.getpid())
    return set() if me is None else set(process.descendants(me))
