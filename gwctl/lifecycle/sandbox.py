"""Steer the running stand-in for IBKR; its scenarios and actions are in docs/sandbox.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gwctl.errors import GatewayUnreachable
from gwctl.lifecycle.profile import Profile
from gwctl.sandbox import admin_client as client


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A profile's stand-in for IBKR; each call raises GatewayUnreachable if none runs, and Usage for unknown names."""

    profile: Profile

    def _where(self) -> tuple[str, str]:
        from gwctl.supervisor.sandbox_process import StandInRecord

        record = StandInRecord.load(self.profile.paths)
        if record is None:
            raise GatewayUnreachable("no sandbox is running", hint=self.profile.command("up --sandbox"))
        return record.url, record.admin_token

    def state(self) -> dict[str, Any]:
        """Return its address, sessions, logins and scenarios."""
        url, token = self._where()
        token_file = str(self.profile.paths.sandbox_state_file)
        return {"url": url, "token_file": token_file, **client.read_state(url, token)}

    def on(self, scenario: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - each scenario has its own
        """Switch a scenario on and return the new state."""
        return client.set_scenario(*self._where(), scenario, on=True, params=parameters)

    def off(self, scenario: str) -> dict[str, Any]:
        """Switch a scenario off and return the new state."""
        return client.set_scenario(*self._where(), scenario, on=False)

    def do(self, action: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - each action has its own
        """Do something once, `drop_session` for example, and return the new state."""
        return client.act(*self._where(), action, parameters)

    @contextmanager
    def fault(self, scenario: str, **parameters: Any) -> Iterator[None]:  # noqa: ANN401 - each scenario has its own
        """Have a scenario on for the length of a ``with``."""
        self.on(scenario, **parameters)
        try:
            yield
        finally:
            self.off(scenario)
