"""Pass requests and WebSockets on from the door to the gateway, as the rules allow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h11
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from gwctl.door.guests import Ends, Guests
from gwctl.door.rules import MOST_A_SECOND, Pace, Refusal, Rules, shown
from gwctl.http_requests import trust_only
from gwctl.httpx_import import httpx, no_cookies

LARGEST_BODY_BYTES = 1_000_000
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
BODY_TIMEOUT_S = 15.0
CLIENT_LEFT = 499
"""The status in the log for a client that left before its answer came."""
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

    def __init__(self, rules: Rules, gateway_port: int, ca_file: Path, guests: Guests) -> None:
        self._rules = rules
        self._guests = guests
        self._pace = Pace()
        self._trusted = trust_only(ca_file)
        self._gateway = f"localhost:{gateway_port}"
        self._client = httpx.AsyncClient(
            verify=self._trusted,
            base_url=f"https://{self._gateway}",
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=MOST_REQUESTS),
            trust_env=False,
            cookies=no_cookies(),
        )
        self._websockets = 0
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one WebSocket."""
        began_s = time.monotonic()
        ends = Ends(scope.get("client") or ("?", 0), scope.get("server") or ("?", 0))
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        is_websocket = scope["type"] == "websocket"
        method = "GET" if is_websocket else scope["method"]
        status = 500
        self._guests.asks(ends)
        try:
            fields = _fields_of(scope["headers"])
            refusal = Refusal(400, "a field of the head is there twice") if fields is None else None
            refusal = refusal or self._rules.judge(method, path, fields or {}, is_websocket=is_websocket)
            if refusal is not None:
                status = refusal.status
                await _answer(scope, receive, send, refusal)
            elif is_websocket:
                status = await self._serve_websocket(scope, receive, send)
            else:
                status = await self._serve_request(scope, fields or {}, receive, send)
        except TimeoutError:
            status = CLIENT_LEFT  # it reads nothing any more
            self._guests.send_away(ends)
        except h11.LocalProtocolError:
            status = 400  # the request broke HTTP's rules after its head: there is nobody to answer
        except Exception as error:
            log.error("%s in the door itself", type(error).__name__)  # noqa: TRY400 - a traceback may hold what was sent
            raise
        finally:
            self._guests.answered(ends)
            kind = "WS" if is_websocket else method[:10]
            log.info(
                "%s %s %s %s %.0f ms", ends.theirs[0], status, kind, shown(path), 1000 * (time.monotonic() - began_s)
            )

    def _over_pace(self) -> Refusal | None:
        if self._pace.lets_pass(time.monotonic()):
            return None
        return Refusal(429, f"more than {MOST_A_SECOND} requests a second: IBKR would lock this address out")

    async def _serve_request(self, scope: Scope, fields: Mapping[str, str], receive: Receive, send: Send) -> int:
        """Return the status of the answer; 499 if the client left before it came, and then nothing goes on."""
        body = await _body_of(receive)
        # What waits for its turn could reach IBKR after its sender has given up: it is refused instead.
        refusal = body if isinstance(body, Refusal) else self._over_pace()
        if refusal is None and self._under_way >= MOST_REQUESTS:
            refusal = Refusal(503, f"{MOST_REQUESTS} requests are under way")
        request = None if refusal or isinstance(body, Refusal) else self._request(scope, fields, body)
        if request is None:
            refusal = refusal or Refusal(400, "the address is not valid")
            await _answer(scope, receive, send, refusal)
            return refusal.status
        self._under_way += 1
        complete = asyncio.Event()
        passing = asyncio.ensure_future(self._pass_on(request, scope, receive, send, complete))
        leaving = asyncio.ensure_future(receive())  # the body has been read: only the client's end comes now
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return await passing if passing.done() or complete.is_set() else CLIENT_LEFT
        finally:
            self._under_way -= 1
            for one in (passing, leaving):
                one.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)

    def _request(self, scope: Scope, fields: Mapping[str, str], body: bytes) -> httpx.Request | None:
        """Return the request for the gateway, None if its address is not valid."""
        query = scope["query_string"]
        raw_path = scope["raw_path"].partition(b"?")[0] + (b"?" + query if query else b"")
        sent = {"accept-encoding": "identity"} | {name: value for name, value in fields.items() if name in _SENT_ON}
        if self._hides_session(raw_path.decode("latin-1").partition("?")[0]):
            sent["accept-encoding"] = "identity"
        headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
        try:
            url = httpx.URL(f"https://{self._gateway}").copy_with(raw_path=raw_path)
        except httpx.InvalidURL:
            return None
        return self._client.build_request(scope["method"], url, headers=headers, content=body)

    def _hides_session(self, path: str) -> bool:
        """Return whether an answer has the session's key, and the client has no use for it."""
        return self._rules.read_only and path.rstrip("/").endswith("/tickle")

    async def _pass_on(
        self, request: httpx.Request, scope: Scope, receive: Receive, send: Send, complete: asyncio.Event
    ) -> int:
        """Return the status of the answer; ``complete`` is set when all of it has been given to the client."""
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            late = isinstance(error, httpx.TimeoutException)
            refusal = Refusal(504 if late else 502, "the gateway does not answer")
            complete.set()
            await _answer(scope, receive, send, refusal)
            return refusal.status
        try:
            headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() in _PASSED_BACK]
            if self._hides_session(request.url.path):
                content = without_session(await answer.aread())
                complete.set()
                await _send_whole(send, answer.status_code, content)
                return answer.status_code
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for part in answer.aiter_raw():
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            complete.set()
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()
        return answer.status_code

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> int:
        refusal = self._over_pace()
        if refusal is None and self._websockets >= MOST_WEBSOCKETS:
            refusal = Refusal(503, f"{MOST_WEBSOCKETS} WebSockets are open")
        if refusal is not None:
            await _answer(scope, receive, send, refusal)
            return refusal.status
        await receive()  # websocket.connect
        self._websockets += 1
        try:
            async with connect(
                f"wss://{self._gateway}/v1/api/ws", ssl=self._trusted, open_timeout=CONNECT_TIMEOUT_S, proxy=None
            ) as gateway:
                await send({"type": "websocket.accept"})
                code, why = await self._pump(gateway, receive, send)
            with contextlib.suppress(RuntimeError, OSError):  # the client has closed it already
                await send({"type": "websocket.close", "code": code, "reason": why})
        except (OSError, WebSocketException, TimeoutError):
            with contextlib.suppress(RuntimeError, OSError):
                await send({"type": "websocket.close", "code": _TRY_AGAIN, "reason": "the gateway does not answer"})
            return 502
        finally:
            self._websockets -= 1
        return 101

    async def _pump(self, gateway: ClientConnection, receive: Receive, send: Send) -> tuple[int, str]:
        """Pass messages on both ways until one side ends; return with which code and why the client's end closes."""

        async def outward() -> tuple[int, str]:
            with contextlib.suppress(ConnectionClosed, OSError, RuntimeError):
                async for message in gateway:
                    await send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})
            return _close_code(gateway.close_code), ""

        async def inward() -> tuple[int, str]:
            while (event := await receive())["type"] == "websocket.receive":
                text = event.get("text")
                message = text if text is not None else event["bytes"]
                if not self._rules.lets_say(message):
                    return _POLICY, "this door is read-only"
                try:
                    await gateway.send(message)
                except ConnectionClosed:
                    break
            return _close_code(gateway.close_code), ""

        ways = [asyncio.ensure_future(outward()), asyncio.ensure_future(inward())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        return next(way.result() for way in ways if way in done)

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


async def _body_of(receive: Receive) -> bytes | Refusal:
    """Return a request's body; a refusal if it is too large or too slow, or its sender is gone."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                event = await receive()
                body += event.get("body", b"")
                if event["type"] != "http.request" or len(body) > LARGEST_BODY_BYTES:
                    return Refusal(413, f"a body may have {LARGEST_BODY_BYTES} bytes")
                if not event.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        return Refusal(408, f"the body did not come within {BODY_TIMEOUT_S:g} s")


def without_session(body: bytes) -> bytes:
    """Return a tickle's answer without the session's key; nothing of one that cannot be read."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return b"{}"
    return json.dumps({**said, "session": "…"}).encode() if "session" in said else body


def _close_code(code: int | None) -> int:
    """Return a code that may be sent: the protocol reserves some for those who see a connection end without one."""
    is_sendable = code is not None and (1000 <= code < 1004 or 1007 <= code < 1015 or 3000 <= code < 5000)
    return code if is_sendable and code is not None else 1000 if code == 1005 else _TRY_AGAIN


async def _send_whole(
    send: Send, status: int, content: bytes, more: Sequence[tuple[bytes, bytes]] = (), kind: str = "http.response"
) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)), *more]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": content})


async def _answer(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    headers = [(b"connection", b"close")]  # a body may be unread
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="gwctl"'))
    if refusal.status == 429:
        headers.append((b"retry-after", b"1"))
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        kind = "websocket.http.response"  # in place of the handshake's answer
    await _send_whole(send, refusal.status, json.dumps({"error": f"gwctl: {refusal.why}"}).encode(), headers, kind)
