"""What stands behind the pytest fixture: a run's gateway, brought up and down by the program itself."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gwctl.config import Environment, load
from gwctl.errors import GwctlError
from gwctl.gateway.process.foreground import run_unseen

if TYPE_CHECKING:
    import httpx

CALL_TIMEOUT_S = 120.0
_OF_THE_MACHINE = ("GWCTL_JAVA", "GWCTL_JAVA_OPTIONS", "GWCTL_BROWSER", "GWCTL_AUTH_DELAY_MS")
"""What a sandbox of its own takes over from the settings of whoever runs the tests."""
_EXEC = "GWCTL_EXEC"
"""Set by `gwctl exec` for its command (gwctl.supervisor.tether)."""
_PASSWORDS = ("GWCTL_PASSWORD", "GWCTL_PASSWORD_FILE", "CREDENTIALS_DIRECTORY")


class Trouble(Exception):
    """One line for a person: what went wrong, and the next command to type."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest and the session it needs; a call of the program for each thing to do."""

    account: str
    """``sandbox``, ``paper``, or ``given``: by the `gwctl exec` that runs pytest."""
    timeout_s: float
    home: str | None
    """GWCTL_HOME of a sandbox; None: a paper account's refusals are counted in the user's own (law 2)."""
    port: int | None
    pid: int
    """With whose end everything ends."""

    @classmethod
    def plan(cls, *, account: str, timeout_s: float | str, folder: Path, pid: int, apart: bool) -> Run:
        """Decide what this run needs; ``apart``: each worker wants its own. Raises Trouble."""
        environment = Environment()
        if account == "auto" and environment.get(_EXEC):
            return cls("given", _seconds(timeout_s), None, None, pid)
        if account == "auto":
            has_password = any(environment.get(name) for name in _PASSWORDS)
            account = "paper" if environment.get("GWCTL_USERNAME") and has_password else "sandbox"
        if account not in {"sandbox", "paper"}:
            raise Trouble(f"gwctl: ibkr_account is {account!r}; try: auto, sandbox or paper")
        if account == "sandbox":
            return cls(account, _seconds(timeout_s), str(folder), _port_for(folder), pid)
        if apart:
            text = "a username can have one session, so workers cannot have one each; try: ibkr_per_worker = false"
            raise Trouble(f"gwctl: {text}")
        try:
            mode = load(environment.profile, environment=environment)["mode"]
        except GwctlError as error:
            raise _trouble(error.message, error.hint) from None
        if mode != "paper":
            raise Trouble("gwctl: tests are not run on a live account; try: GWCTL_MODE=paper, or --ibkr-sandbox")
        return cls(account, _seconds(timeout_s), None, None, pid)

    def to_json(self) -> dict[str, Any]:
        """Return what a worker tells its controller."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Run:
        """Return what ``to_json`` made."""
        return cls(**value)

    @property
    def _sandbox(self) -> list[str]:
        return ["--sandbox"] if self.account == "sandbox" else []

    def bring_up(self) -> IbkrGateway:
        """Return the ready gateway, which others of this run may have brought up already; raise Trouble."""
        argv = ["wait"] if self.account == "given" else ["up", *self._sandbox, "--tether", str(self.pid)]
        self.call(*argv, "--timeout", f"{self.timeout_s:g}", timeout_s=self.timeout_s + CALL_TIMEOUT_S)
        status, variables = self.call("status"), self.call("env")
        gateway = status["gateway"]
        return IbkrGateway(
            self, gateway["base_url"], Path(gateway["ca_file"]), gateway["port"], status["sandbox"], variables
        )

    def bring_down(self) -> None:
        """Let go of it; it is stopped unless it was there before, or others hold it. Raises Trouble."""
        if self.account != "given":
            self.call("down", "--tether", str(self.pid))

    def call(self, *argv: str, timeout_s: float = CALL_TIMEOUT_S) -> dict[str, Any]:
        """Run one call of the program and return its data; raise Trouble."""
        whole = [sys.executable, "-m", "gwctl", "--json", "--no-input", *argv]
        try:
            done = run_unseen(whole, env=self._environment(), timeout_s=timeout_s)
            envelope = json.loads(done.stdout)
        except GwctlError as error:
            raise _trouble(error.message, error.hint) from None
        except (OSError, ValueError) as error:
            raise Trouble(
                f"gwctl: gwctl {argv[0]} did not answer ({type(error).__name__}); try: gwctl doctor"
            ) from None
        if envelope["error"] is not None:
            raise _trouble(envelope["error"]["message"], envelope["error"]["hint"])
        data: dict[str, Any] = envelope["data"]
        return data

    def _environment(self) -> dict[str, str]:
        variables = dict(Environment().variables)
        if self.home is None:
            return variables
        ours = {name: value for name, value in variables.items() if name in _OF_THE_MACHINE}
        others = {name: value for name, value in variables.items() if not name.startswith("GWCTL_")}
        return {**others, **ours, "GWCTL_HOME": self.home, "GWCTL_PORT": str(self.port)}


@dataclass(frozen=True)
class IbkrGateway:
    """A ready session, as a test sees it."""

    run: Run
    base_url: str
    """The API's address, ``https://localhost:PORT/v1/api``."""
    ca_file: Path
    """What its certificate is verified with."""
    port: int
    is_sandbox: bool
    variables: Mapping[str, str]
    """What `gwctl env` prints, for a program that is started."""

    @functools.cached_property
    def client(self) -> httpx.Client:
        """An httpx client for the API: ``ibkr_gateway.client.get("/portfolio/accounts")``."""
        import ssl

        import httpx

        verified = ssl.create_default_context(cafile=self.ca_file)
        return httpx.Client(base_url=self.base_url, verify=verified, timeout=30.0, trust_env=False)

    @property
    def sandbox(self) -> Sandbox:
        """The stand-in for IBKR, to be steered; a paper account has none."""
        if not self.is_sandbox:
            raise Trouble("gwctl: a paper account is not steered; try: --ibkr-sandbox")
        return Sandbox(self.run)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return once the session is ready, as after a fault that was switched off; raise Trouble."""
        self.run.call("wait", "--timeout", f"{timeout_s:g}", timeout_s=timeout_s + CALL_TIMEOUT_S)

    def close(self) -> None:
        """Close the client, if there is one."""
        if "client" in self.__dict__:
            self.client.close()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The running stand-in for IBKR; its scenarios and actions are in docs/sandbox.md."""

    run: Run

    def state(self) -> dict[str, Any]:
        """Return its sessions, logins and scenarios."""
        return self.run.call("sandbox", "show")

    def on(self, scenario: str, **parameters: object) -> None:
        """Switch a scenario on."""
        self.run.call("sandbox", "on", scenario, *_pairs(parameters))

    def off(self, scenario: str) -> None:
        """Switch a scenario off."""
        self.run.call("sandbox", "off", scenario)

    def do(self, action: str, **parameters: object) -> None:
        """Do something once, `drop_session` for example."""
        self.run.call("sandbox", "do", action, *_pairs(parameters))

    @contextlib.contextmanager
    def fault(self, scenario: str, **parameters: object) -> Iterator[None]:
        """Have a scenario on for the length of a ``with``."""
        self.on(scenario, **parameters)
        try:
            yield
        finally:
            self.off(scenario)


def _pairs(parameters: Mapping[str, object]) -> list[str]:
    return [f"{name}={json.dumps(value)}" for name, value in parameters.items()]


def _trouble(message: str, hint: str | None) -> Trouble:
    return Trouble(f"gwctl: {message}; try: {hint}" if hint else f"gwctl: {message}")


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
