"""The admin routes of a fake IBKR, by its address and token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gwctl.lifecycle.reach import ask_sandbox


def read_state(url: str, token: str) -> dict[str, Any]:
    """Return the fake IBKR's state."""
    return ask_sandbox(url, token, "state")


def set_scenario(
    url: str, token: str, name: str, *, on: bool = True, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Switch a scenario and return the new state."""
    return ask_sandbox(url, token, "scenario", {"name": name, "on": on, "params": dict(params or {})})


def act(url: str, token: str, name: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run an action and return the new state."""
    return ask_sandbox(url, token, "action", {"name": name, "params": dict(params or {})})
