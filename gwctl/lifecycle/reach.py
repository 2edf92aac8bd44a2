"""Reach what already runs: the supervisor, or the gateway of a profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gwctl.errors import GatewayUnreachable
from gwctl.gateway.http_once import RawAnswer, RawRequest, request_once
from gwctl.lifecycle.profile import Profile
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


def find_supervisor(profile: Profile) -> SupervisorClient | None:
    """Return a client for the running supervisor; raise SupervisorHangs if it is there and does not answer.

    After a `kill -9` its record is left, and its port may be another program's, which accepts and says nothing: who is
    provably gone does not hang.
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
    """Make one verified call; ``path`` may stand with or without ``/v1/api``. Raise TimedOut or GatewayUnreachable."""
    reached = reach(profile)
    path = "/" + path.lstrip("/")
    whole = path if path.startswith("/v1/") else f"/v1/api{path}"
    return request_once(reached.origin, reached.ca_file, RawRequest(method, whole, body), timeout_s=CALL_TIMEOUT_S)
