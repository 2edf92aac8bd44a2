"""Reach what already runs: the supervisor, or the gateway of a profile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gwctl.cli.call import Call
from gwctl.errors import GatewayUnreachable
from gwctl.gateway.raw import RawAnswer, RawRequest, request_once
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
        """The address without the API's path."""
        return self.base_url.removesuffix("/v1/api")


def find_supervisor(call: Call) -> SupervisorClient | None:
    """Return a client for the running supervisor; raise SupervisorHangs if it is there and does not answer.

    After a `kill -9` its record is left, and its port may be another program's, which accepts and says nothing: who is
    provably gone does not hang.
    """
    before, _ = read_json(call.paths.supervisor_state_file)
    try:
        return SupervisorClient.find(call.paths)
    except SupervisorHangs:
        from gwctl.gateway import process

        identity = process.Identity.from_json((before or {}).get("identity"))
        if identity is None or process.is_alive(identity):
            raise
        return None


def require_supervisor(call: Call) -> SupervisorClient:
    """Return a client for the running supervisor; raise GatewayUnreachable if the profile is stopped."""
    client = SupervisorClient.find(call.paths)
    if client is None:
        raise GatewayUnreachable(f"profile {call.profile_name!r} is not running", hint=call.command("up"))
    return client


def reach(call: Call) -> Reached:
    """Return the running profile's address; raise GatewayUnreachable."""
    status = require_supervisor(call).status()
    return Reached(str(status["gateway"]["base_url"]), Path(status["gateway"]["ca_file"]))


def ask(call: Call, method: str, path: str, body: bytes | None = None) -> RawAnswer:
    """Make one verified call; ``path`` may stand with or without ``/v1/api``. Raise TimedOut or GatewayUnreachable."""
    reached = reach(call)
    path = "/" + path.lstrip("/")
    whole = path if path.startswith("/v1/") else f"/v1/api{path}"
    return request_once(reached.origin, reached.ca_file, RawRequest(method, whole, body), timeout_s=CALL_TIMEOUT_S)


def parsed(body: bytes) -> object:
    """Return a body as JSON if it is, as text if not."""
    try:
        value: object = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    return value
