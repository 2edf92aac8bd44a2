"""A client for the admin routes of a running fake IBKR; imports only the standard library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from gwctl.errors import TryAgain, Usage
from gwctl.http_requests import RequestFailed, request

TIMEOUT_S: Final = 5.0


def stand_in_argv(python: str) -> list[str]:
    """Return the command that runs the fake IBKR as a child of this interpreter.

    Its configuration (``StandInConfig.to_json()``) goes to its standard input as one line; once it listens, it prints
    one line, ``{"port": P}``.
    """
    return [python, "-m", "gwctl.sandbox.ibkr"]


def read_state(url: str, token: str) -> dict[str, Any]:
    """Return the fake IBKR's state; raise TryAgain if it does not answer."""
    return _ask("GET", url, token, "/admin/state", None)


def set_scenario(
    url: str,
    token: str,
    name: str,
    *,
    on: bool = True,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Switch a scenario and return the new state; raise Usage if it is unknown, TryAgain without an answer."""
    wish = {"name": name, "on": on, "params": dict(params or {})}
    return _ask("POST", url, token, "/admin/scenario", wish)


def act(url: str, token: str, name: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run an action and return the new state; raise Usage if it is unknown, TryAgain without an answer."""
    return _ask("POST", url, token, "/admin/action", {"name": name, "params": dict(params or {})})


def _ask(method: str, url: str, token: str, path: str, wish: dict[str, Any] | None) -> dict[str, Any]:
    body = None if wish is None else json.dumps(wish).encode()
    try:
        said = request(method, url + path, timeout_s=TIMEOUT_S, body=body, headers={"Authorization": f"Bearer {token}"})
        answer = dict(json.loads(said.body))
    except (RequestFailed, ValueError, TypeError) as error:
        reason = error.reason if isinstance(error, RequestFailed) else type(error).__name__
        raise TryAgain(f"the sandbox does not answer at {url}: {reason}", hint="gwctl up --sandbox") from None
    if said.status == 404:
        raise Usage(answer["error"], hint=answer["hint"])
    if said.status != 200:
        raise TryAgain(f"the sandbox refused: {answer.get('error', said.status)}", hint="gwctl up --sandbox")
    return answer
