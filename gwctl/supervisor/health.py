"""The health server on loopback: probes, status, metrics, commands, the page."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11

from gwctl import process
from gwctl.config import Settings
from gwctl.errors import GwctlError, Unavailable
from gwctl.profile_registry import neighbour_on

log = logging.getLogger("gwctl.supervisor")

MAX_BODY_BYTES = 65_536
REQUEST_TIMEOUT_S = 10.0
_PORT = re.compile(r":\d*$")
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
OUTSIDE_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
OUTSIDE_CONNECTIONS = 32
"""How many outside connections may be open; further ones are closed at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: JSON, or text, which is plain text unless ``content_type`` says otherwise."""

    status: int
    body: dict[str, Any] | str | bytes
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers."""

    def encode(self) -> tuple[str, bytes]:
        """Return the content type and the body to send."""
        match self.body:
            case bytes() as body:
                return self.content_type or "application/octet-stream", body
            case str() as text:
                return self.content_type or "text/plain; charset=utf-8", text.encode()
            case value:
                return self.content_type or "application/json", json.dumps(value).encode() + b"\n"


_NOT_FOUND = Answer(404, "not found\n")


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request."""

    method: str
    path: str
    host: str
    token: str | None
    body: bytes
    accept: str = ""

    @property
    def is_look(self) -> bool:
        """Whether the request only reads."""
        return self.method in {"GET", "HEAD"}


@dataclass(frozen=True, slots=True)
class Routes:
    """The supervisor's functions that the server answers with."""

    status: Callable[[], dict[str, Any]]
    is_live: Callable[[], bool]
    control: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
    events: Callable[[int], AsyncIterator[dict[str, Any]]]
    pages: Mapping[str, Callable[[], Answer]] = field(default_factory=dict)
    """Further paths to GET, open like ``/status``."""
    streams: Mapping[str, Callable[[], AsyncIterator[bytes]]] = field(default_factory=dict)
    """Paths to GET that answer with server-sent events (text/event-stream); each item is sent unchanged."""
    metrics: Callable[[str], Answer] = lambda _accept: _NOT_FOUND
    """Answers a scrape; gets the request's Accept header."""


class HealthServer:
    """Listens on 127.0.0.1; ``port`` 0 takes any free port."""

    def __init__(self, routes: Routes, token: str, instance: str) -> None:
        self._routes = routes
        self.token = token
        self._instance = instance
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._outside = 0

    async def start(self, port: int) -> int:
        """Listen and return the port; raises OSError if it is taken."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def open(self, port: int, address: str | None) -> int:
        """Listen on loopback and, for probes and scrapers, at ``address`` if given; return the loopback port.

        Raises Unavailable if either is taken; then nothing listens.
        """
        try:
            mine = await self.start(port)
        except OSError as error:
            raise Unavailable(
                f"the health port {port} cannot be used: {error.strerror}", hint="set health_port to 0"
            ) from None
        if address is not None:
            host, _, outside_port = address.rpartition(":")
            serve = partial(self._serve, outside=True)
            try:
                self._servers.append(await asyncio.start_server(serve, host.strip("[]"), int(outside_port)))
            except OSError as error:
                await self.stop()
                raise Unavailable(
                    f"metrics_address {address} cannot be used: {error.strerror}",
                    hint="set metrics_address to another port or address: each profile needs its own",
                ) from None
        return mine

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        for server in self._servers:
            server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def drain(self, timeout_s: float) -> None:
        """Let followers read their streams to the end."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=timeout_s)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outside: bool = False
    ) -> None:
        if outside and self._outside >= OUTSIDE_CONNECTIONS:
            writer.close()
            return
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        self._outside += outside
        try:
            await self._one_request(reader, writer, outside=outside)
        except (OSError, h11.RemoteProtocolError, h11.LocalProtocolError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._outside -= outside
            if task is not None:
                self._connections.discard(task)

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outside: bool) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = await _read_request(connection, reader)
        except h11.RemoteProtocolError:
            await self._send(connection, writer, Answer(400, "not HTTP\n"))
            return
        except _TooLong:
            await self._send(connection, writer, Answer(413, f"more than {MAX_BODY_BYTES} bytes\n"))
            return
        if request is None:
            return
        path, _, query = request.path.partition("?")
        refusal = self._refuse(request, path, outside=outside)
        if refusal is not None:
            await self._send(connection, writer, refusal, request)
            return
        stream = self._stream_at(request, path, query)
        if stream is not None:
            await self._stream(connection, writer, *stream)
            return
        try:
            answer = await self._answer(request, path)
        except Exception as error:
            # Without an answer, the caller would think that the supervisor has stopped.
            log.exception("could not answer %s", path)
            said = error.message if isinstance(error, GwctlError) else type(error).__name__
            answer = Answer(500, f"the supervisor could not answer: {said}\n")
        await self._send(connection, writer, answer, request)

    def _refuse(self, request: Request, path: str, *, outside: bool) -> Answer | None:
        """Return the answer to a request that is not allowed, None if it is allowed."""
        if outside and path not in OUTSIDE_PATHS:
            return _NOT_FOUND
        if not outside and request.host not in LOOPBACK_HOSTS:
            return Answer(421, "not for this host\n")
        if path == "/events" and request.method == "GET" and not self._is_trusted(request):
            return Answer(401, "a token is needed\n")
        if not request.is_look and (path in {"/status", *OUTSIDE_PATHS} or path in self._routes.pages):
            return Answer(405, "GET or HEAD\n", headers=(("allow", "GET, HEAD"),))
        return None

    def _stream_at(self, request: Request, path: str, query: str) -> tuple[str, AsyncIterator[bytes]] | None:
        """Return the content type and the chunks of a streamed answer, None for other paths."""
        if request.method != "GET":
            return None
        if path == "/events":
            since = int(query.removeprefix("since=")) if query.removeprefix("since=").isdigit() else 0
            entries = self._routes.events(since)
            return "application/x-ndjson", (json.dumps(entry).encode() + b"\n" async for entry in entries)
        opened = self._routes.streams.get(path)
        return None if opened is None else ("text/event-stream", opened())

    def _is_trusted(self, request: Request) -> bool:
        return request.token is not None and hmac.compare_digest(request.token.encode(), self.token.encode())

    async def _answer(self, request: Request, path: str) -> Answer:
        if request.is_look:
            return self._look(path, request.accept)
        if request.method != "POST" or not path.startswith("/control/"):
            return _NOT_FOUND
        if not self._is_trusted(request):
            return Answer(401, "a token is needed\n")
        try:
            body = json.loads(request.body or b"{}")
        except ValueError:
            return Answer(400, "not JSON\n")
        if not isinstance(body, dict):
            return Answer(400, "not a JSON object\n")
        return Answer(200, await self._routes.control(path.removeprefix("/control/"), body))

    def _look(self, path: str, accept: str) -> Answer:
        if path == "/livez":
            return Answer(200, "ok\n") if self._routes.is_live() else Answer(503, "the loop is stuck\n")
        if path == "/readyz":
            status = self._routes.status()
            return (
                Answer(200, "ready\n") if status["ready"] else Answer(503, f"{status['phase']}: {status['reason']}\n")
            )
        if path == "/status":
            return Answer(200, self._routes.status())
        if path == "/metrics":
            return self._routes.metrics(accept)
        if path in self._routes.pages:
            return self._routes.pages[path]()
        return _NOT_FOUND

    def _headers(self, content_type: str) -> list[tuple[str, str]]:
        return [
            ("content-type", content_type),
            ("cache-control", "no-store"),
            ("x-gwctl-instance", self._instance),
            ("connection", "close"),
        ]

    async def _send(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        answer: Answer,
        request: Request | None = None,
    ) -> None:
        content_type, body = answer.encode()
        headers = [*self._headers(content_type), *answer.headers, ("content-length", str(len(body)))]
        await _write(connection, writer, h11.Response(status_code=answer.status, headers=headers))
        if request is None or request.method != "HEAD":
            await _write(connection, writer, h11.Data(data=body))
        await _write(connection, writer, h11.EndOfMessage())

    async def _stream(
        self, connection: h11.Connection, writer: asyncio.StreamWriter, content_type: str, chunks: AsyncIterator[bytes]
    ) -> None:
        await _write(connection, writer, h11.Response(status_code=200, headers=self._headers(content_type)))
        async with contextlib.aclosing(chunks) as items:  # type: ignore[type-var] # an async generator has aclose
            async for item in items:
                await _write(connection, writer, h11.Data(data=item))
        await _write(connection, writer, h11.EndOfMessage())


async def _write(connection: h11.Connection, writer: asyncio.StreamWriter, event: h11.Event) -> None:
    data = connection.send(event)
    if data:
        writer.write(data)
        await writer.drain()


class _TooLong(Exception):
    """A body longer than any of our commands."""


async def _read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise _TooLong
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            scheme, _, token = headers.get("authorization", "").partition(" ")
            return Request(
                head.method.decode(),
                head.target.decode("latin-1"),
                _PORT.sub("", headers.get("host", "")).lower(),
                token if scheme == "Bearer" else None,
                bytes(body),
                headers.get("accept", ""),
            )
        else:
            return None


async def open_health(health: HealthServer, settings: Settings) -> int:
    """Listen and return the loopback port; raise PortBusy if another profile of ours has it, else Unavailable."""
    wanted = int(settings["health_port"])
    try:
        return await health.open(wanted, settings["metrics_address"])
    except Unavailable:
        holder = process.find_listener(wanted) if wanted else None
        neighbour = neighbour_on(settings.paths, "health_port", wanted, holder.cwd if holder is not None else None)
        if neighbour is not None:
            raise neighbour from None
        raise
