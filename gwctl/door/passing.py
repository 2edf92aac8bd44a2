"""Pass requests and WebSockets on from the door to the gateway, as the rules allow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h11
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from gwctl.door.rules import MOST_A_SECOND, Pace, Refusal, Rules, shown
from gwctl.http_requests import trust_only
from gwctl.httpx_import import httpx

LARGEST_BODY_BYTES = 1_000_000
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
MOST_REQUESTS = 32
"""At a time."""
MOST_WEBSOCKETS = 4
"""IBKR allows five a session; gwctl has one."""
_SENT_ON = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "user-agent"})
_PASSED_BACK = frozenset({b"content-type", b"content-encoding", b"content-length", b"cache-control", b"retry-after"})
_DECIDE = frozenset({"host", "authorization", "origin", "referer", "upgrade", "content-type"})
_TRY_AGAIN = 1013
_POLICY = 1008

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

log = logging.getLogger("gwctl.door")


class Door:
    """The ASGI application."""

    def __init__(self, rules: Rules, gateway_port: int, ca_file: Path) -> None:
        self._rules = rules
        self._pace = Pace()
        self._trusted = trust_only(ca_file)
        self._gateway = f"localhost:{gateway_port}"
        self._client = httpx.AsyncClient(
            verify=self._trusted,
            base_url=f"https://{self._gateway}",
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=MOST_REQUESTS),
            trust_env=False,
        )
        self._websockets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one WebSocket."""
        began_s = time.monotonic()
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        is_websocket = scope["type"] == "websocket"
        method = "GET" if is_websocket else scope["method"]
        status = 500
        try:
            fields = _fields_of(scope["headers"])
            refusal = Refusal(400, "a field of the head is there twice") if fields is None else None
            refusal = refusal or self._rules.judge(method, path, fields or {}) or self._over_pace()
            if refusal is not None:
                status = refusal.status
                await _answer(scope, receive, send, refusal)
            elif is_websocket:
                status = await self._serve_websocket(receive, send)
            else:
                status = await self._pass_on(scope, fields or {}, receive, send)
        except h11.LocalProtocolError:
            status = 400  # the request broke HTTP's rules after its head: there is nobody to answer
        except Exception as error:
            log.error("%s in the door itself", type(error).__name__)  # noqa: TRY400 - a traceback may hold what was sent
            raise
        finally:
            client = (scope.get("client") or ("?",))[0]
            kind = "WS" if is_websocket else method[:10]
            log.info("%s %s %s %s %.0f ms", client, status, kind, shown(path), 1000 * (time.monotonic() - began_s))

    def _over_pace(self) -> Refusal | None:
        if self._pace.lets_pass(time.monotonic()):
            return None
        return Refusal(429, f"more than {MOST_A_SECOND} requests a second: IBKR would lock this address out")

    async def _pass_on(self, scope: Scope, fields: Mapping[str, str], receive: Receive, send: Send) -> int:
        body = await _body_of(receive)
        if body is None:
            refusal = Refusal(413, f"a body may have {LARGEST_BODY_BYTES} bytes")
            await _answer(scope, receive, send, refusal)
            return refusal.status
        query = scope["query_string"]
        url = httpx.URL(f"https://{self._gateway}").copy_with(
            raw_path=scope["raw_path"].partition(b"?")[0] + (b"?" + query if query else b"")
        )
        sent = {name: value for name, value in fields.items() if name in _SENT_ON}
        request = self._client.build_request(scope["method"], url, headers=sent, content=body)
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            late = isinstance(error, httpx.TimeoutException)
            refusal = Refusal(504 if late else 502, "the gateway does not answer")
            await _answer(scope, receive, send, refusal)
            return refusal.status
        try:
            headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() in _PASSED_BACK]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for part in answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()
        return answer.status_code

    async def _serve_websocket(self, receive: Receive, send: Send) -> int:
        await receive()  # websocket.connect
        if self._websockets >= MOST_WEBSOCKETS:
            await send({"type": "websocket.close", "code": _TRY_AGAIN, "reason": "too many WebSockets"})
            return 429
        self._websockets += 1
        try:
            async with connect(
                f"wss://{self._gateway}/v1/api/ws", ssl=self._trusted, open_timeout=CONNECT_TIMEOUT_S, proxy=None
            ) as gateway:
                await send({"type": "websocket.accept"})
                await self._pump(gateway, receive, send)
        except (OSError, WebSocketException, TimeoutError):
            with contextlib.suppress(RuntimeError):  # it has been closed meanwhile
                await send({"type": "websocket.close", "code": _TRY_AGAIN, "reason": "the gateway does not answer"})
            return 502
        finally:
            self._websockets -= 1
        return 101

    async def _pump(self, gateway: ClientConnection, receive: Receive, send: Send) -> None:
        """Pass messages on both ways until one side ends; close both."""

        async def outward() -> None:
            async for message in gateway:
                await send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})
            await send({"type": "websocket.close", "code": gateway.close_code or _TRY_AGAIN})

        async def inward() -> None:
            while (event := await receive())["type"] == "websocket.receive":
                text = event.get("text")
                message = text if text is not None else event["bytes"]
                if not self._rules.lets_say(message):
                    await send({"type": "websocket.close", "code": _POLICY, "reason": "this door is read-only"})
                    return
                await gateway.send(message)

        ways = [asyncio.ensure_future(outward()), asyncio.ensure_future(inward())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        for way in done:
            with contextlib.suppress(ConnectionClosed):
                way.result()

    async def close(self) -> None:
        """Close the connections to the gateway."""
        await self._client.aclose()


def _fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str] | None:
    """Return the fields of a head, None if one that decides is there twice."""
    fields: dict[str, str] = {}
    for name, value in headers:
        key = name.decode("latin-1").lower()
        if key in fields and (key in _DECIDE or key.startswith("sec-fetch-")):
            return None
        fields[key] = value.decode("latin-1").strip()
    return fields


async def _body_of(receive: Receive) -> bytes | None:
    """Return a request's body, None if it is too large or its sender is gone."""
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if event["type"] != "http.request" or len(body) > LARGEST_BODY_BYTES:
            return None
        if not event.get("more_body"):
            return bytes(body)


async def _answer(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await send({"type": "websocket.close"})  # before it is accepted: a 403
        return
    content = json.dumps({"error": f"gwctl: {refusal.why}"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="gwctl"'))
    if refusal.status == 429:
        headers.append((b"retry-after", b"1"))
    headers.append((b"connection", b"close"))  # a body may be unread
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
