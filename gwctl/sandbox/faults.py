"""The faults that lie over whole answers: an ASGI layer in front of the stand-in's pages and API."""

from __future__ import annotations

import asyncio
import math
import time

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gwctl.sandbox.standin import StandIn

MAINTENANCE_HTML = (
    "<!DOCTYPE html><html><head><title>Service Unavailable</title></head><body><h1>Service Unavailable</h1>"
    "<p>The system is undergoing scheduled maintenance.</p></body></html>"
)
RECHECK_S = 0.02


class Faults:
    """Let requests through, or do to them what the scenarios that are on say; ``/admin`` is never touched."""

    def __init__(self, app: ASGIApp, stand_in: StandIn) -> None:
        self._app = app
        self._stand_in = stand_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope.get("path", "")
        if scope["type"] != "http" or path.startswith("/admin/"):
            await self._app(scope, receive, send)
            return
        self._stand_in.requests[path] += 1
        part = "sso" if path.startswith("/sso/") else "api"
        await self._wait_while("hang", part)
        if (slow := self._parameters("slow", part)) is not None:
            await self._wait_while("slow", part, float(str(slow["delay_ms"])) / 1000)
        answer = self._whole_answer(part)
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _parameters(self, name: str, part: str) -> dict[str, object] | None:
        parameters = self._stand_in.scenarios.get(name)
        return parameters if parameters is not None and parameters["paths"] in ("all", part) else None

    def _whole_answer(self, part: str) -> Response | None:
        if self._parameters("http_503", part) is not None:
            return Response(status_code=503)
        if self._parameters("html_503", part) is not None:
            return HTMLResponse(MAINTENANCE_HTML, status_code=503)
        if self._parameters("http_429", part) is not None:
            return Response("Too Many Requests", status_code=429)
        if self._parameters("bad_json", part) is not None:
            return Response('{"session": "9fe1c2', media_type="application/json")
        return None

    async def _wait_while(self, name: str, part: str, limit_s: float = math.inf) -> None:
        """Wait for as long as the scenario is on; another thread may switch it, so this looks again and again."""
        until_s = time.monotonic() + limit_s
        while True:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or self._parameters(name, part) is None:
                return
            await asyncio.sleep(min(left_s, RECHECK_S))
