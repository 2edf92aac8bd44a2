"""The gateway of one test run, behind the pytest fixture."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from gwctl.config import load, profile_of
from gwctl.environment import Environment, own_environment
from gwctl.errors import GwctlError
from gwctl.lifecycle import start
from gwctl.lifecycle.lease import holder_of, let_go
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.reach import variables_of
from gwctl.lifecycle.session import Session
from gwctl.lifecycle.status import wait_for

if TYPE_CHECKING:
    import httpx

    from gwctl.lifecycle.reach import Sandbox

_OF_THE_MACHINE = ("GWCTL_JAVA", "GWCTL_JAVA_OPTIONS", "GWCTL_BROWSER", "GWCTL_AUTH_DELAY_MS")
"""The settings that a test sandbox takes from the user's environment."""
_EXEC = "GWCTL_EXEC"
"""Set by `gwctl exec` for its command (gwctl.supervisor.handover)."""
_PASSWORDS = ("GWCTL_PASSWORD", "GWCTL_PASSWORD_FILE", "CREDENTIALS_DIRECTORY")


class Trouble(Exception):
    """One line for a person: what went wrong and the next command to type."""


class Run(Struct, frozen=True):
    """One pytest run and the session it needs."""

    account: str
    """``sandbox``, ``paper``, or ``given`` by the `gwctl exec` that runs pytest."""
    timeout_s: float
    home: str | None
    """The GWCTL_HOME of a sandbox; None for a paper account, so that its refusals count in the user's own home (law 2).
    """
    port: int | None
    pid: int
    """The process with whose end everything ends."""
    fast: bool = False
    """Whether a sandbox is started without a browser."""

    @classmethod
    def plan(  # noqa: PLR0913 - one argument an option
        cls, *, account: str, timeout_s: float | str, folder: Path, pid: int, apart: bool, fast: bool = False
    ) -> Run:
        """Decide what this run needs; ``apart`` gives each worker its own session. Raise Trouble."""
        environment = own_environment()
        if account == "auto" and environment.get(_EXEC):
            return cls("given", _seconds(timeout_s), None, None, pid)
        if account == "auto":
            has_password = any(environment.get(name) for name in _PASSWORDS)
            account = "paper" if environment.get("GWCTL_USERNAME") and has_password else "sandbox"
        if account not in {"sandbox", "paper"}:
            raise Trouble(f"gwctl: ibkr_account is {account!r}; try: auto, sandbox or paper")
        if account == "sandbox":
            return cls(account, _seconds(timeout_s), str(folder), _port_for(folder), pid, fast)
        if fast:
            text = "ibkr_fast logs in without a browser, which only the sandbox allows; try: --ibkr-sandbox"
            raise Trouble(f"gwctl: {text}")
        if apart:
            text = "IBKR allows one session per username, so workers must share it; try: ibkr_per_worker = false"
            raise Trouble(f"gwctl: {text}")
        with _as_trouble():
            mode = load(profile_of(environment), environment=environment)["mode"]
        if mode != "paper":
            raise Trouble("gwctl: tests do not run on a live account; try: GWCTL_MODE=paper, or --ibkr-sandbox")
        return cls(account, _seconds(timeout_s), None, None, pid)

    def to_json(self) -> dict[str, Any]:
        """Return what a worker sends to its controller."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Run:
        """Return the run that ``to_json`` described."""
        return cls(**value)

    @property
    def profile(self) -> Profile:
        """The profile of the run's session."""
        environment = Environment(self._environment())
        return Profile(profile_of(environment), environment)

    def bring_up(self) -> IbkrGateway:
        """Return the ready gateway, which other workers of this run may have started; raise Trouble."""
        profile = self.profile
        with _as_trouble():
            if self.account == "given":
                status = wait_for(profile, timeout_s=self.timeout_s)
            else:
                holder = holder_of(self.pid)
                up = start.up(
                    profile,
                    sandbox=self.account == "sandbox",
                    fast=self.fast,
                    timeout_s=self.timeout_s,
                    holder=holder,
                )
                status = up.status
            variables = variables_of(profile.settings(), profile.environment)
        session = Session(profile, status, started=False)
        return IbkrGateway(session, int(status["gateway"]["port"] or 0), status["sandbox"], variables)

    def bring_down(self) -> None:
        """Release the gateway; it stops unless it ran before or others hold it. Raise Trouble."""
        holder = None if self.account == "given" else holder_of(self.pid)
        if holder is not None:
            with _as_trouble():
                let_go(self.profile, holder, started=True)

    def _environment(self) -> dict[str, str]:
        variables = dict(own_environment().variables)
        if self.home is None:
            return variables
        ours = {name: value for name, value in variables.items() if name in _OF_THE_MACHINE}
        others = {name: value for name, value in variables.items() if not name.startswith("GWCTL_")}
        return {**others, **ours, "GWCTL_HOME": self.home, "GWCTL_PORT": str(self.port)}


@dataclass(frozen=True)
class IbkrGateway:
    """A ready session, as a test sees it."""

    session: Session
    port: int
    is_sandbox: bool
    variables: Mapping[str, str]
    """The variables that `gwctl env` prints, for a program that a test starts."""

    @property
    def base_url(self) -> str:
        """The API's URL, ``https://localhost:PORT/v1/api``."""
        return self.session.base_url

    @property
    def ca_file(self) -> Path:
        """The CA file for verifying the gateway's certificate."""
        return self.session.ca_file

    @functools.cached_property
    def client(self) -> httpx.Client:
        """An httpx client for the API: ``ibkr_gateway.client.get("/portfolio/accounts")``."""
        return self.session.client()

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox's controls; a paper account has none."""
        if not self.is_sandbox:
            raise Trouble("gwctl: a paper account has no sandbox controls; try: --ibkr-sandbox")
        return self.session.sandbox

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return once the session is ready, for example after a fault was turned off; raise Trouble."""
        with _as_trouble():
            self.session.wait(timeout_s=timeout_s)

    def close(self) -> None:
        """Close the client, if there is one."""
        if "client" in self.__dict__:
            self.client.close()


@contextlib.contextmanager
def _as_trouble() -> Iterator[None]:
    """Turn an error into one line without its cause, which pytest would show."""
    trouble: Trouble | None = None
    try:
        yield
    except GwctlError as error:
        trouble = Trouble(f"gwctl: {error.message}; try: {error.hint}" if error.hint else f"gwctl: {error.message}")
    if trouble is not None:
        raise trouble


def _seconds(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Trouble(f"gwctl: ibkr_timeout is {value!r}; try: a number of seconds") from None


def _port_for(folder: Path) -> int:
    """Return the port of a run's sandbox: the first worker to ask finds a free one."""
    import socket

    from filelock import FileLock

    from gwctl.state_file import make_private_dir

    make_private_dir(folder)
    file = folder / "pytest-port"
    with FileLock(folder / "pytest-port.lock", mode=0o600):
        if file.exists():
            return int(file.read_text())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        file.write_text(str(port))
    return port
