"""Reach what already runs: the supervisor, the gateway, the sandbox; and what clients need for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwctl.config import Environment, Settings
from gwctl.errors import GatewayUnreachable
from gwctl.gateway.tls_requests import RawAnswer, RawRequest, request_once
from gwctl.lifecycle.profile import Profile
from gwctl.sandbox import admin_client as client
from gwctl.state_file import read_json
from gwctl.supervisor.control import SupervisorClient, SupervisorHangs

CALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Reached:
    """Where the profile's gateway is."""

    base_url: str
    ca_file: Path

    @property
    def origin(self) -> str:
        """The URL without the API's path."""
        return self.base_url.removesuffix("/v1/api")


def find_supervisor(profile: Profile) -> SupervisorClient | None:
    """Return a client for the running supervisor; raise SupervisorHangs if it runs but does not answer.

    After a `kill -9` its record is left, and another program that never answers may have its port: a supervisor that
    has provably ended does not hang.
    """
    before, _ = read_json(profile.paths.supervisor_state_file)
    try:
        return SupervisorClient.find(profile.paths)
    except SupervisorHangs:
        from gwctl import process

        identity = process.Identity.from_json((before or {}).get("identity"))
        if identity is None or process.is_alive(identity):
            raise
        return None


def require_supervisor(profile: Profile) -> SupervisorClient:
    """Return a client for the running supervisor; raise GatewayUnreachable if the profile is stopped."""
    client = SupervisorClient.find(profile.paths)
    if client is None:
        raise GatewayUnreachable(f"profile {profile.name!r} is not running", hint=profile.command("up"))
    return client


def reach(profile: Profile) -> Reached:
    """Return the running profile's address; raise GatewayUnreachable."""
    status = require_supervisor(profile).status()
    return Reached(str(status["gateway"]["base_url"]), Path(status["gateway"]["ca_file"]))


def ask(profile: Profile, method: str, path: str, body: bytes | None = None) -> RawAnswer:
    """Make one verified call; ``path`` works with and without ``/v1/api``. Raise TimedOut or GatewayUnreachable."""
    reached = reach(profile)
    path = "/" + path.lstrip("/")
    whole = path if path.startswith("/v1/") else f"/v1/api{path}"
    return request_once(reached.origin, reached.ca_file, RawRequest(method, whole, body), timeout_s=CALL_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A profile's sandbox; each call raises GatewayUnreachable if none runs, and Usage for unknown names."""

    profile: Profile

    def _where(self) -> tuple[str, str]:
        from gwctl.supervisor.sandbox_process import StandInRecord

        record = StandInRecord.load(self.profile.paths)
        if record is None:
            raise GatewayUnreachable("no sandbox is running", hint=self.profile.command("up --sandbox"))
        return record.url, record.admin_token

    def state(self) -> dict[str, Any]:
        """Return the sandbox's address, sessions, logins and scenarios."""
        url, token = self._where()
        token_file = str(self.profile.paths.sandbox_state_file)
        return {"url": url, "token_file": token_file, **client.read_state(url, token)}

    def on(self, scenario: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - parameters differ by scenario
        """Turn a scenario on and return the new state."""
        return client.set_scenario(*self._where(), scenario, on=True, params=parameters)

    def off(self, scenario: str) -> dict[str, Any]:
        """Turn a scenario off and return the new state."""
        return client.set_scenario(*self._where(), scenario, on=False)

    def do(self, action: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - parameters differ by action
        """Do an action once, for example `drop_session`, and return the new state."""
        return client.act(*self._where(), action, parameters)

    @contextmanager
    def fault(self, scenario: str, **parameters: Any) -> Iterator[None]:  # noqa: ANN401 - parameters differ by scenario
        """Keep a scenario on for the duration of a ``with``."""
        self.on(scenario, **parameters)
        try:
            yield
        finally:
            self.off(scenario)


NO_PROXY = ("NO_PROXY", "no_proxy")
THIS_MACHINE = ("localhost", "127.0.0.1")


def variables_of(settings: Settings, environment: Environment) -> dict[str, str]:
    """Return the variables of the contract; write the bundle if it is missing or old."""
    from gwctl.gateway.keystore import write_bundle

    bundle = str(write_bundle(settings.paths.ca_dir, settings["certificate_names"]))
    ca_file = str(settings.paths.ca_file)
    address = f"localhost:{port_of(settings)}"
    return {
        "GWCTL_BASE_URL": f"https://{address}/v1/api",
        "GWCTL_CA_FILE": ca_file,
        "SSL_CERT_FILE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
        "IBIND_REST_URL": f"https://{address}/v1/api/",
        "IBIND_WS_URL": f"wss://{address}/v1/api/ws",
        "IBIND_CACERT": ca_file,
        **dict.fromkeys(NO_PROXY, past_proxies(environment)),
    }


def past_proxies(environment: Environment) -> str:
    """Return the hosts to reach without a proxy: those in the environment, in either spelling, and this machine."""
    named = [part.strip() for name in NO_PROXY for part in (environment.get(name) or "").split(",")]
    return ",".join(dict.fromkeys(part for part in (*named, *THIS_MACHINE) if part))


def port_of(settings: Settings) -> int:
    """Return the running gateway's port, which may come from a flag of its `up`, or else the port in the settings."""
    raw, _ = read_json(settings.paths.supervisor_state_file)
    port = (raw or {}).get("gateway_port")
    return int(port) if isinstance(port, int) else int(settings["port"])
