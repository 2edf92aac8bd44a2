"""The fake IBKR's server: its login pages, its faults in front of every route, the routes that control it.

It listens on loopback only, plain HTTP: a child process of the supervisor (``__main__``), or a thread in tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import html
import http
import json
import math
import threading
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict
from email.utils import formatdate
from functools import cache
from typing import Any, Final

from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gwctl.errors import TimedOut, Usage
from gwctl.sandbox.api_routes import Api, api_routes
from gwctl.sandbox.fake_ibkr import GATEWAY_COOKIE, StandIn
from gwctl.sandbox.listening import LOOPBACK, bound_socket
from gwctl.sandbox.push_routes import push_routes
from gwctl.sandbox.serving import RefusingServer, server_config
from gwctl.sandbox.settings import ACTIONS, SCENARIOS, StandInConfig, fixture
from gwctl.sandbox.whole_answers import Filled, WholeAnswers

PLACE_OF_FLAGS = '"@@FLAGS@@"'
PLACE_OF_SCRIPT = '"@@SCRIPT@@";\n'


@cache
def _with_script(name: str) -> str:
    """Return one of the pages in ``fixtures/login`` with the script that they share."""
    script = fixture("login/page.js").read_text(encoding="utf-8")
    return fixture(f"login/{name}.html").read_text(encoding="utf-8").replace(PLACE_OF_SCRIPT, script)


def sso_routes(stand_in: StandIn) -> list[Route]:
    """Return the routes of IBKR's single sign-on."""

    async def login_page(request: Request) -> Response:
        gateway = stand_in.meet(request.cookies)
        response = HTMLResponse(_render(stand_in, gateway))
        # A gateway keeps both in its jar: JSESSIONID for /sso only, the other for every later upstream call.
        response.set_cookie("JSESSIONID", f"{gateway}.sso", path="/sso", httponly=True)
        response.set_cookie(GATEWAY_COOKIE, gateway, path="/", httponly=True)
        response.headers.update(_date(stand_in))
        return response

    async def email_page(_request: Request) -> Response:
        return HTMLResponse(_with_flags(_with_script("restricted"), _flags(stand_in)))

    async def authenticator(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"result": "OK"})
        fields = urllib.parse.parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        answer = stand_in.desk.answer({key: values[0] for key, values in fields.items()})
        return JSONResponse(answer, headers=_date(stand_in))

    async def dispatcher(request: Request) -> Response:
        if not stand_in.dispatch(request.cookies):
            # No redirect: the gateway takes every 302 of the Dispatcher as a successful login.
            return await login_page(request)
        return Response(status_code=302, headers={"Location": "/sso/Redirect"})

    async def ping(request: Request) -> Response:
        alive = stand_in.session_of(request.cookies) is not None
        return PlainTextResponse("", status_code=200 if alive else 401)

    return [
        Route("/sso/Login", login_page),
        Route("/sso/restricted/", email_page),
        Route("/sso/Authenticator", authenticator, methods=["GET", "POST"]),
        Route("/sso/Dispatcher", dispatcher),
        Route("/sso/ping", ping),
    ]


def _date(stand_in: StandIn) -> dict[str, str]:
    """Return IBKR's clock, which login codes follow if this machine's clock is wrong."""
    return {"Date": formatdate(stand_in.wall_clock(), usegmt=True)}


def _render(stand_in: StandIn, gateway: str) -> str:
    banner = stand_in.scenarios.get("maintenance_banner")
    flags = {
        **_flags(stand_in),
        "form_never": not stand_in.form_comes(gateway),
        "swallow": stand_in.swallows(gateway),
        "temper": stand_in.temper(),
        "banner": None if banner is None else html.escape(str(banner["text"])),
    }
    return _with_flags(_with_script(stand_in.page().variant), flags)


def _flags(stand_in: StandIn) -> dict[str, object]:
    """Return the flags for the pages' script, for a page whose form appears and works."""
    return {**asdict(stand_in.page()), "form_never": False, "swallow": False, "temper": "", "banner": None}


def _with_flags(text: str, flags: dict[str, object]) -> str:
    return text.replace(PLACE_OF_FLAGS, json.dumps(flags).replace("<", "\\u003c"))


MAINTENANCE_HTML = (
    "<!DOCTYPE html><html><head><title>Service Unavailable</title></head><body><h1>Service Unavailable</h1>"
    "<p>The system is undergoing scheduled maintenance.</p></body></html>"
)
ERROR_HTML = "<!DOCTYPE html><html><head><title>{status} {reason}</title></head><body><h1>{reason}</h1></body></html>"
WRONG_TYPES = {
    "session": 9,
    "ssoExpires": "soon",
    "userId": [132329622],
    "authenticated": "true",
    "connected": 1,
    "competing": None,
    "message": {"text": 0},
    "serverInfo": "JifZ34060",
    "iserver": {"authStatus": {"authenticated": "true", "connected": 1, "competing": 0, "serverInfo": []}},
    "USER_ID": "132329622",
    "EXPIRES": {},
    "LOGIN_TYPE": "paper",
    "RESULT": "yes",
}
RECHECK_S = 0.02


def _error(parameters: Mapping[str, object]) -> Response:
    """Return an answer with the scenario's status and format."""
    status = int(str(parameters["status"]))
    reason = http.HTTPStatus(status).phrase if status in {member.value for member in http.HTTPStatus} else "Error"
    if parameters["html"]:
        return HTMLResponse(ERROR_HTML.format(status=status, reason=reason), status_code=status)
    return JSONResponse({"error": reason, "statusCode": status}, status_code=status)


async def _megabytes(count: int) -> AsyncIterator[bytes]:
    block = b"9" * (1 << 20)
    yield b'"'
    for _ in range(count):
        yield block
    yield b'"'


WHOLE_ANSWERS: Final[Mapping[str, Callable[[Mapping[str, object]], Response]]] = {
    "http_503": lambda _parameters: Response(status_code=503),
    "html_503": lambda _parameters: HTMLResponse(MAINTENANCE_HTML, status_code=503),
    "http_error": _error,
    "http_429": lambda _parameters: Response("Too Many Requests", status_code=429),
    "bad_json": lambda _parameters: Response('{"session": "9fe1c2', media_type="application/json"),
    "wrong_types": lambda _parameters: JSONResponse(WRONG_TYPES),
}
"""The answers that replace all others while a scenario is on; the first scenario that is on wins."""


class Faults:
    """Pass requests through, or apply the scenarios that are on; never affects ``/admin``."""

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
        answer = self._huge_answer(path) or self._whole_answer(part)
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _parameters(self, name: str, part: str) -> dict[str, object] | None:
        parameters = self._stand_in.scenarios.get(name)
        return parameters if parameters is not None and parameters["paths"] in ("all", part) else None

    def _huge_answer(self, path: str) -> Response | None:
        parameters = self._stand_in.scenarios.get("huge")
        if parameters is None or not path.endswith(str(parameters["path"])):
            return None
        return StreamingResponse(_megabytes(int(parameters["megabytes"])), media_type="application/json")

    def _whole_answer(self, part: str) -> Response | None:
        for name, answer in WHOLE_ANSWERS.items():
            parameters = self._parameters(name, part)
            if parameters is not None:
                return answer(parameters)
        ill = self._stand_in.ill_after_login() if part == "api" else None
        return None if ill is None else Response(status_code=ill)

    async def _wait_while(self, name: str, part: str, limit_s: float = math.inf) -> None:
        """Wait while the scenario is on; another thread may switch it, so this checks it repeatedly."""
        until_s = time.monotonic() + limit_s
        while True:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or self._parameters(name, part) is None:
                return
            await asyncio.sleep(min(left_s, RECHECK_S))


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


THREAD_DEADLINE_S = 10.0


def build_app(stand_in: StandIn) -> ASGIApp:
    """Return the whole fake IBKR as an ASGI application."""
    pushes = push_routes(stand_in, Api(stand_in).auth_status)
    routes = [*admin_routes(stand_in), *sso_routes(stand_in), *pushes, *api_routes(stand_in)]
    return Faults(Starlette(routes=routes), stand_in)


def server_of(stand_in: StandIn, port: int) -> RefusingServer:
    """Return the fake IBKR's server; ``serve`` gets the socket that it listens on first."""
    config = server_config(Filled(build_app(stand_in)))
    config.http = WholeAnswers
    return RefusingServer(config, stand_in, (LOOPBACK, port))


class RunningStandIn(Struct, frozen=True):
    """A fake IBKR that runs in this process; ``state`` is its live state."""

    port: int
    admin_token: str
    state: StandIn

    @property
    def url(self) -> str:
        """The address for a gateway's ``proxyRemoteHost``."""
        return f"http://{LOOPBACK}:{self.port}"


@contextlib.contextmanager
def serve_in_thread(config: StandInConfig, *, wall_clock: Callable[[], float] = time.time) -> Iterator[RunningStandIn]:
    """Run a fake IBKR in a thread for the length of a ``with``; raise OSError if its port is taken.

    ``wall_clock`` is IBKR's clock, in seconds since 1970.
    """
    stand_in = StandIn(config, wall_clock=wall_clock)
    listener = bound_socket(LOOPBACK, config.port)
    port: int = listener.getsockname()[1]
    server = server_of(stand_in, port)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), name="gwctl-stand-in", daemon=True
    )
    thread.start()
    try:
        yield RunningStandIn(port, config.admin_token, stand_in)
    finally:
        server.end()
        thread.join(THREAD_DEADLINE_S)
        listener.close()
        if thread.is_alive():
            raise TimedOut(f"the sandbox's thread did not end within {THREAD_DEADLINE_S:.0f} s")
