"""``/admin/*``: look at the stand-in and switch its scenarios, with a token."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gwctl.errors import Usage
from gwctl.sandbox.scenarios import ACTIONS, SCENARIOS
from gwctl.sandbox.standin import StandIn

Handler = Callable[[Request], Awaitable[Response]]


def admin_routes(stand_in: StandIn) -> list[Route]:
    """Return the admin routes; each is 401 without ``Authorization: Bearer TOKEN``."""

    async def state(_request: Request) -> Response:
        return JSONResponse(stand_in.summary())

    async def scenario(request: Request) -> Response:
        wish = await _wish(request)
        if wish is None or not isinstance(wish.get("on", True), bool):
            return _bad_request()
        try:
            stand_in.set_scenario(str(wish["name"]), on=wish.get("on", True), parameters=wish.get("params") or {})
        except Usage as error:
            return _not_found(error, list(SCENARIOS))
        return JSONResponse(stand_in.summary())

    async def action(request: Request) -> Response:
        wish = await _wish(request)
        if wish is None:
            return _bad_request()
        try:
            stand_in.act(str(wish["name"]), wish.get("params") or {})
        except Usage as error:
            return _not_found(error, list(ACTIONS))
        return JSONResponse(stand_in.summary())

    token = stand_in.config.admin_token
    return [
        Route("/admin/state", _guarded(token, state)),
        Route("/admin/scenario", _guarded(token, scenario), methods=["POST"]),
        Route("/admin/action", _guarded(token, action), methods=["POST"]),
    ]


def _guarded(token: str, handler: Handler) -> Handler:
    expected = f"Bearer {token}".encode()

    async def guard(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), expected):
            return JSONResponse({"error": "no such token"}, status_code=401)
        return await handler(request)

    return guard


async def _wish(request: Request) -> dict[str, Any] | None:
    try:
        wish = json.loads(await request.body())
    except ValueError:
        return None
    if not isinstance(wish, dict) or "name" not in wish or not isinstance(wish.get("params") or {}, dict):
        return None
    return wish


def _bad_request() -> Response:
    return JSONResponse({"error": 'send {"name": NAME, "on": true, "params": {}}'}, status_code=400)


def _not_found(error: Usage, names: list[str]) -> Response:
    return JSONResponse({"error": error.message, "hint": error.hint, "known": names}, status_code=404)
