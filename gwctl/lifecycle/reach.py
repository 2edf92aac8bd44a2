"""Reach what already runs: the supervisor, the gateway, the sandbox; and what clients need for that."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gwctl.config import Settings
from gwctl.environment import Environment
from gwctl.errors import Configuration, GatewayUnreachable, TimedOut, TryAgain, Usage
from gwctl.http_requests import RawAnswer, RequestFailed, Untrusted, request, trust_only
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.status import look_always, paused
from gwctl.state_file import read_json
from gwctl.supervisor.control import SupervisorClient

if TYPE_CHECKING:
    from gwctl.supervisor.sandbox_process import StandInRecord

CALL_TIMEOUT_S = 30.0
SANDBOX_TIMEOUT_S = 5.0


class Reached(Struct, frozen=True):
    """Where the profile's gateway is."""

    base_url: str
    ca_file: Path

    @property
    def origin(self) -> str:
        """The URL without the API's path."""
        return self.base_url.removesuffix("/v1/api")


def find_supervisor(profile: Profile) -> SupervisorClient | None:
    """Return a client for the running supervisor; raise SupervisorHangs if it runs but does not answer."""
    return SupervisorClient.find(profile.paths)


def require_supervisor(profile: Profile) -> SupervisorClient:
    """Return a client for the running supervisor; raise GatewayUnreachable if the profile is stopped."""
    client = find_supervisor(profile)
    if client is None:
        raise GatewayUnreachable(f"profile {profile.name!r} is not running", hint=profile.up_again())
    return client


def reach(profile: Profile) -> Reached:
    """Return the running profile's address; raise GatewayUnreachable. The trusted CA is always our own."""
    port = require_supervisor(profile).status()["gateway"]["port"]
    return Reached(f"https://localhost:{port}/v1/api", profile.paths.ca_file)


def ask(profile: Profile, method: str, path: str, body: bytes | None = None) -> RawAnswer:
    """Make one verified call; ``path`` works with and without ``/v1/api``. Raise TimedOut or GatewayUnreachable."""
    reached = reach(profile)
    path = "/" + path.lstrip("/")
    whole = path if path.startswith("/v1/") else f"/v1/api{path}"
    headers = {"Accept": "*/*"} if body is None else {"Accept": "*/*", "Content-Type": "application/json"}
    try:
        trust = trust_only(reached.ca_file)
        return request(
            method, reached.origin + whole, timeout_s=CALL_TIMEOUT_S, body=body, headers=headers, trust=trust
        )
    except Untrusted:
        text, verb = f"the server at {reached.origin} does not have this profile's key", "doctor"
    except (RequestFailed, OSError) as error:
        if isinstance(error, RequestFailed) and error.late:
            late = f"{method} {whole} was not answered within {CALL_TIMEOUT_S:g} s"
            raise TimedOut(late, hint=profile.command("status")) from None
        text, verb = f"no gateway answers at {reached.origin}: {error}", "up"
        status = look_always(profile)[0]
        if status["phase"] == "paused":
            raise paused(profile, status) from None
    raise GatewayUnreachable(text, hint=profile.command(verb))


class Sandbox(Struct, frozen=True):
    """A profile's sandbox; each call raises GatewayUnreachable if none runs, and Usage for unknown names."""

    profile: Profile

    def state(self) -> dict[str, Any]:
        """Return the sandbox's address, sessions, logins and scenarios."""
        record = self._record()
        told = ask_sandbox(record.url, record.admin_token, "state")
        return {"url": record.url, "token_file": str(self.profile.paths.sandbox_state_file), **told}

    def on(self, scenario: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - parameters differ by scenario
        """Turn a scenario on and return the new state."""
        return self._wish("scenario", {"name": scenario, "on": True, "params": parameters})

    def off(self, scenario: str) -> dict[str, Any]:
        """Turn a scenario off and return the new state."""
        return self._wish("scenario", {"name": scenario, "on": False, "params": {}})

    def do(self, action: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - parameters differ by action
        """Do an action once, for example `drop_session`, and return the new state."""
        return self._wish("action", {"name": action, "params": parameters})

    @contextmanager
    def fault(self, scenario: str, **parameters: Any) -> Iterator[None]:  # noqa: ANN401 - parameters differ by scenario
        """Keep a scenario on for the duration of a ``with``."""
        self.on(scenario, **parameters)
        try:
            yield
        finally:
            self.off(scenario)

    def _wish(self, route: str, wish: dict[str, Any]) -> dict[str, Any]:
        record = self._record()
        return ask_sandbox(record.url, record.admin_token, route, wish)

    def _record(self) -> StandInRecord:
        from gwctl.supervisor.sandbox_process import StandInRecord

        record = StandInRecord.load(self.profile.paths)
        if record is None:
            raise GatewayUnreachable("no sandbox is running", hint=self.profile.command("up --sandbox"))
        return record


def ask_sandbox(url: str, token: str, route: str, wish: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call an admin route of a fake IBKR, by GET without a ``wish``; return the state, or raise Usage or TryAgain."""
    method, body = ("GET", None) if wish is None else ("POST", json.dumps(wish).encode())
    sent = {"Authorization": f"Bearer {token}"}
    try:
        said = request(method, f"{url}/admin/{route}", timeout_s=SANDBOX_TIMEOUT_S, body=body, headers=sent)
        answer = dict(json.loads(said.body))
    except (RequestFailed, ValueError, TypeError) as error:
        reason = error.reason if isinstance(error, RequestFailed) else type(error).__name__
        raise TryAgain(f"the sandbox does not answer at {url}: {reason}", hint="gwctl up --sandbox") from None
    if said.status == 404:
        raise Usage(answer["error"], hint=answer["hint"])
    if said.status != 200:
        raise TryAgain(f"the sandbox refused: {answer.get('error', said.status)}", hint="gwctl up --sandbox")
    return answer


_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NODES = "NODE_EXTRA_CA_CERTS"
NO_PROXY = ("NO_PROXY", "no_proxy")
THIS_MACHINE = ("localhost", "127.0.0.1")


def variables_of(settings: Settings, environment: Environment) -> dict[str, str]:
    """Return the variables of the contract; write the bundle if it is missing or old."""
    from gwctl.gateway.ca_bundle import write_bundle

    ca_file = str(settings.paths.ca_file)
    named = {name: environment.get(name) for name in (*_BUNDLES, _NODES)}
    trusted = dict.fromkeys(Path(file) for file in named.values() if file not in {None, "", ca_file})
    bundle = str(write_bundle(settings.paths.ca_dir, settings["certificate_names"], trusted))
    address = f"localhost:{port_of(settings)}"
    return {
        "GWCTL_BASE_URL": f"https://{address}/v1/api",
        "GWCTL_CA_FILE": ca_file,
        **dict.fromkeys(_BUNDLES, bundle),
        _NODES: bundle if named[_NODES] not in {None, "", ca_file} else ca_file,
        "IBIND_REST_URL": f"https://{address}/v1/api/",
        "IBIND_WS_URL": f"wss://{address}/v1/api/ws",
        "IBIND_CACERT": ca_file,
        **dict.fromkeys(NO_PROXY, past_proxies(environment)),
    }


def docker_options(variables: dict[str, str]) -> list[str]:
    """Return the options of `docker run` with which a container uses the gateway as a program of this user does.

    The container shares this machine's network, because the gateway's address is on loopback; it runs as this user,
    because the gateway lets no other one in; and it gets the files that the variables name, at the same paths, but not
    the folder they are in: that has the certificate authority's key. Raise Configuration for a path with a colon.
    """
    files = dict.fromkeys(value for value in variables.values() if value.startswith("/"))
    for file in files:
        if ":" in file:
            raise Configuration(f"docker cannot mount {file}", hint="set GWCTL_HOME to a folder without a colon")
    return [
        *("--network=host", f"--user={os.geteuid()}:{os.getegid()}"),
        *(f"--volume={file}:{file}:ro" for file in files),
        *(f"--env={name}={value}" for name, value in variables.items()),
    ]


def past_proxies(environment: Environment) -> str:
    """Return the hosts to reach without a proxy: those in the environment, in either spelling, and this machine."""
    named = [part.strip() for name in NO_PROXY for part in (environment.get(name) or "").split(",")]
    return ",".join(dict.fromkeys(part for part in (*named, *THIS_MACHINE) if part))


def port_of(settings: Settings) -> int:
    """Return the running gateway's port, which may come from a flag of its `up`, or else the port in the settings."""
    raw, _ = read_json(settings.paths.supervisor_state_file)
    port = (raw or {}).get("gateway_port")
    return int(port) if isinstance(port, int) else int(settings["port"])
