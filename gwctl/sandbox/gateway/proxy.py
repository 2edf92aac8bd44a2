"""What the fake gateway forwards, including WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gwctl.sandbox.gateway.conf_yaml import AddressRules, Conf
from gwctl.sandbox.gateway.handshake import Handshake
from gwctl.sandbox.gateway.upstream import USER_AGENT, Answer, CookieJar, Upstream, UpstreamGone


async def relay(
    upstream: Upstream,
    jar: CookieJar,
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Accept the client, connect upstream, and pass messages both ways until either side ends."""
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import WebSocketException

    async def down(remote: ClientConnection) -> None:
        async for message in remote:
            # The real gateway writes every message as a binary frame [seen].
            await send({"type": "websocket.send", "bytes": message.encode() if isinstance(message, str) else message})

    async def up(remote: ClientConnection) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            await remote.send(text if text is not None else message.get("bytes", b"").decode("utf-8", "replace"))

    await receive()
    await send({"type": "websocket.accept"})
    path: str = scope["path"]
    with contextlib.suppress(OSError, WebSocketException, UpstreamGone):
        async with connect(
            upstream.web_socket_base + path,
            host=await upstream.address(),
            port=upstream.port,
            additional_headers={"Cookie": jar.header_for(path)},
            user_agent_header=USER_AGENT,
            proxy=None,
        ) as remote:
            tasks = {asyncio.create_task(down(remote)), asyncio.create_task(up(remote))}
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(RuntimeError):
        await send({"type": "websocket.close", "code": 1000})


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[str, str]]

MEDIA_TYPES = {".html": "text/html;charset=UTF-8", ".js": "application/javascript", ".css": "text/css"}
NOT_PASSED_BACK = {"content-length", "content-security-policy", "transfer-encoding", "connection"}


class GatewayApp:
    """Answer the gateway's clients."""

    def __init__(self, conf: Conf, jar: CookieJar, upstream: Upstream, handshake: Handshake, web_apps: Path) -> None:
        self._conf = conf
        self._jar = jar
        self._upstream = upstream
        self._handshake = handshake
        self._web_apps = web_apps
        self._rules = AddressRules(conf.allow, conf.deny)
        environment = re.escape(conf.environment)
        self._forwarded = re.compile(rf"/(sso|{environment}/(portal|api))/.+")
        self._reauthenticate = re.compile(rf"/{environment}/(portal|api)/iserver/reauthenticate")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; some never get an answer."""
        if scope["type"] == "websocket":
            # The allow list does not apply to it [seen].
            await relay(self._upstream, self._jar, scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        if not self._rules.allows(scope["client"][0]):
            await exchange.answer(404, b"Access Denied")
            return
        if not await self._passes_cors(exchange):
            return
        await self._route(exchange)

    async def _passes_cors(self, exchange: Exchange) -> bool:
        origin = exchange.header("origin")
        allowed = self._conf.cors_origin
        if origin is None or allowed is None:
            return True
        if allowed != "*" and not re.fullmatch(allowed, origin):
            await exchange.answer(403, b"")
            return False
        exchange.extra.append(("Access-Control-Allow-Origin", "*" if allowed == "*" else origin))
        if exchange.method == "OPTIONS" and exchange.header("access-control-request-method") is not None:
            exchange.extra.append(("Access-Control-Allow-Methods", "POST,GET,OPTIONS,DELETE,PUT"))
            exchange.extra.append(("Access-Control-Allow-Headers", "Content-Type,portal,Cookie"))
            await exchange.answer(204, b"")
            return False
        return True

    async def _route(self, exchange: Exchange) -> None:
        path = exchange.path
        if path == "/":
            await exchange.redirect(f"/sso/Login?forwardTo=22&RL=1&ip2loc={self._conf.ip2loc}")
        elif path.rstrip("/") == "/status":
            await exchange.never_answer()
        elif path.rstrip("/") == "/clear":
            self._jar.clear()
            await exchange.answer(200, b"cleared")
        elif self._reauthenticate.fullmatch(path):
            await self._answer_reauthenticate(exchange)
        elif (file := self._static(path)) is not None:
            media = MEDIA_TYPES.get(file.suffix, "application/octet-stream")
            await exchange.answer(200, file.read_bytes(), [("Content-Type", media)])
        elif self._forwarded.fullmatch(path):
            await self._forward(exchange)
        else:
            await exchange.redirect(self._conf.remote_host + path)

    async def _answer_reauthenticate(self, exchange: Exchange) -> None:
        media = [("Content-Type", "application/json; charset=utf-8")]
        if not self._handshake.logged_in:
            await exchange.answer(200, b'{"error":"not logged in"}', media)
            return
        self._handshake.repeat()
        await exchange.answer(200, b'{"message":"triggered"}', media)

    def _static(self, path: str) -> Path | None:
        for app in self._conf.web_apps:
            if path != f"/{app.name}" and not path.startswith(f"/{app.name}/"):
                continue
            folder = (self._web_apps / app.name).resolve()
            file = (folder / (path[len(app.name) + 1 :].strip("/") or app.index)).resolve()
            if file.is_relative_to(folder) and file.is_file():
                return file
        return None

    async def _forward(self, exchange: Exchange) -> None:
        body = await exchange.body()
        on_sso = exchange.path.startswith("/sso")
        if on_sso:
            self._jar.capture_request(exchange.header("cookie") or "")
        target = exchange.target.replace(f"/{self._conf.environment}/portal", f"/{self._conf.environment}/api", 1)
        call = asyncio.create_task(self._upstream.call(exchange.method, target, exchange.headers(), body))
        gone = asyncio.create_task(exchange.disconnected())
        await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            call.cancel()
            return
        try:
            answer = call.result()
        except UpstreamGone:
            await gone
            return
        gone.cancel()
        if on_sso:
            self._jar.capture_response(value for name, value in answer.headers if name.lower() == "set-cookie")
        await self._pass_back(exchange, answer)

    async def _pass_back(self, exchange: Exchange, answer: Answer) -> None:
        # The gateway's own headers (CORS) are lost on forwarded answers [seen].
        exchange.extra.clear()
        headers = [(name, value) for name, value in answer.headers if name.lower() not in NOT_PASSED_BACK]
        if answer.status == 302 and exchange.target.startswith("/sso/Dispatcher"):
            await exchange.answer(200, b"Client login succeeds", headers, sized=False)
            self._handshake.begin()
            return
        await exchange.answer(answer.status, answer.body, headers, sized=False)


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        query: bytes = scope["query_string"]
        raw_path: bytes = scope.get("raw_path") or self.path.encode()
        self.target = raw_path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        self.extra: Headers = []

    def headers(self) -> Headers:
        """Return the request's headers."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._scope["headers"]]

    def header(self, name: str) -> str | None:
        """Return one request header, or None."""
        return next((value for key, value in self.headers() if key.lower() == name), None)

    async def body(self) -> bytes:
        """Return the request's complete body."""
        chunks: list[bytes] = []
        while True:
            message = await self._receive()
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def disconnected(self) -> None:
        """Return when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def never_answer(self) -> None:
        """Keep the client waiting until it disconnects."""
        await self.disconnected()

    async def redirect(self, location: str) -> None:
        """Answer 302."""
        await self.answer(302, b"", [("Location", location)], sized=False)

    async def answer(self, status: int, body: bytes, headers: Headers | None = None, *, sized: bool = True) -> None:
        """Answer; without ``sized``, send the body in chunks, as the gateway does."""
        own = list(headers or []) + self.extra
        if sized:
            own.append(("Content-Length", str(len(body))))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in own]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        await self._send({"type": "http.response.body", "body": body})
