"""The supervisor's HTTP: commands on a Unix socket of its own user; probes, status, metrics and the page on a port.

Anybody on this machine can reach the port, and other machines may reach ``metrics_address``. So a port answers nobody's
commands, shows the details only to those who know the token, and cannot be filled with connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import h11
from msgspec import Struct, field

from gwctl import process
from gwctl.config import Settings
from gwctl.errors import GwctlError, Unavailable
from gwctl.isolation.namespaces import UNKNOWN_UID, knows_all_users
from gwctl.isolation.socket_owner import SocketOwners, owners_or_none
from gwctl.profile_registry import neighbour_on
from gwctl.supervisor.connections import Access, Connection, Connections
from gwctl.supervisor.control import ERROR_HEADER, INSTANCE_HEADER

log = logging.getLogger("gwctl.supervisor")

MAX_BODY_BYTES = 65_536
MAX_PIECES = 1000
"""Of a body: each chunk of it takes the loop 50 µs, and a stranger's may have one byte."""
HEAD_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 10.0
"""How long one piece of an answer may wait for a client that does not read."""
_PORT = re.compile(r":\d*$")
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
PROBE_PATHS = frozenset({"/livez", "/readyz"})
OUTSIDE_PATHS = PROBE_PATHS | {"/metrics"}
OWN_SITE = frozenset({"same-origin", "none", ""})
CONTROL_BACKLOG = 1024


class Answer(Struct, frozen=True):
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


class Request(Struct, frozen=True):
    """One complete request."""

    method: str
    path: str
    host: str
    token: str | None
    body: bytes
    accept: str = ""
    site: str = ""
    """Whose page sent it, as a browser says it (``Sec-Fetch-Site``)."""

    @property
    def is_look(self) -> bool:
        """Whether the request only reads."""
        return self.method in {"GET", "HEAD"}


class Routes(Struct, frozen=True):
    """The supervisor's functions that the server answers with."""

    status: Callable[[], dict[str, Any]]
    outline: Callable[[], dict[str, Any]]
    """Returns what everybody may know of the status: ``phase``, ``reason``, ``ready``."""
    is_live: Callable[[], bool]
    control: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
    events: Callable[[int], AsyncIterator[dict[str, Any]]]
    pages: Mapping[str, Callable[[], Answer]] = field(default_factory=dict)
    """Further paths to GET, for everybody."""
    streams: Mapping[str, Callable[[bool], AsyncIterator[bytes]]] = field(default_factory=dict)
    """Paths to GET that answer with server-sent events (text/event-stream); each item is sent unchanged. They get
    whether the caller may see everything."""
    metrics: Callable[[str], Answer] = lambda _accept: _NOT_FOUND
    """Answers a scrape; gets the request's Accept header."""


class HealthServer:
    """Answers on a Unix socket (``open_control``) and on ports (``open``). ``token`` opens the details on the port."""

    def __init__(self, routes: Routes, token: str, instance: str) -> None:
        self._routes = routes
        self.token = token
        self._instance = instance
        self._servers: list[asyncio.Server] = []
        self._control: asyncio.Server | None = None
        self._connections = Connections()
        self._owners: SocketOwners | None = None
        # In a container's user namespace, this number also stands for every user that is unknown there.
        self._own_uids = {os.geteuid(), 0} - (set() if knows_all_users() else {UNKNOWN_UID})

    async def open_control(self, bound: socket.socket) -> None:
        """Answer our own user on a socket of ``bind_control_socket``, in place of an earlier one."""
        if self._control is not None:
            self._control.close()
        serve = partial(self._serve, access=Access.CONTROL)
        self._control = await asyncio.start_unix_server(serve, sock=bound, backlog=CONTROL_BACKLOG)

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1, at any free port if ``port`` is 0; return the port, or raise OSError if it is taken."""
        server = await asyncio.start_server(partial(self._serve, access=Access.LOOPBACK), "127.0.0.1", port)
        self._servers.append(server)
        self._owners = owners_or_none()
        return int(server.sockets[0].getsockname()[1])

    async def open(self, port: int, address: str | None) -> int:
        """Listen on loopback and, for probes and scrapers, at ``address`` if given; return the loopback port.

        Raises Unavailable if either is taken; then neither is open.
        """
        try:
            mine = await self.start(port)
        except OSError as error:
            raise Unavailable(
                f"the health port {port} cannot be used: {error.strerror}", hint="set health_port to 0"
            ) from None
        if address is not None:
            host, _, outside_port = address.rpartition(":")
            serve = partial(self._serve, access=Access.OUTSIDE)
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
        for server in (*self._servers, *([] if self._control is None else [self._control])):
            server.close()
        tasks = self._connections.tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._owners is not None:
            self._owners.close()
            self._owners = None

    async def drain(self, timeout_s: float) -> None:
        """Let the followers on the Unix socket read their streams to the end."""
        followers = self._connections.tasks(Access.CONTROL)
        if followers:
            await asyncio.wait(followers, timeout=timeout_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, access: Access) -> None:
        task = asyncio.current_task()
        if task is None:  # it is one: asyncio runs this as a task
            writer.close()
            return
        peer = writer.get_extra_info("peername") or ()
        here = Connection(access, str(peer[0]) if peer else "", task, writer.get_extra_info("socket"))
        self._connections.add(here)
        # An answer is sent whole before its connection is closed and forgotten.
        writer.transport.set_write_buffer_limits(0)
        try:
            await self._one_request(reader, writer, here)
        except (OSError, h11.RemoteProtocolError, h11.LocalProtocolError, TimeoutError, asyncio.CancelledError):
            if access is not Access.CONTROL:
                writer.transport.abort()
        finally:
            writer.close()
            self._connections.remove(here)

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, here: Connection) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            request = await _read_request(connection, reader)
        except h11.RemoteProtocolError:
            await self._send(connection, writer, here, Answer(400, "not HTTP\n"))
            return
        except _TooLong:
            await self._send(connection, writer, here, Answer(413, f"more than {MAX_BODY_BYTES} bytes\n"))
            return
        if request is None:
            return
        here.heard = True
        path, _, query = request.path.partition("?")
        refusal = self._refuse(request, path, here.access)
        if refusal is not None:
            await self._send(connection, writer, here, refusal, request)
            return
        stream = self._stream_at(request, path, query, here)
        if stream is not None:
            await self._stream(connection, writer, here, *stream)
            return
        try:
            answer = await self._answer(request, path, here)
        except Exception as error:
            # Without an answer, the caller would think that the supervisor has stopped.
            log.exception("could not answer %s", path)
            said = error.message if isinstance(error, GwctlError) else type(error).__name__
            code = ((ERROR_HEADER, error.code),) if isinstance(error, GwctlError) else ()
            answer = Answer(500, f"the supervisor could not answer: {said}\n", headers=code)
        await self._send(connection, writer, here, answer, request)

    def _refuse(self, request: Request, path: str, access: Access) -> Answer | None:
        """Return the answer to a request that is not allowed, None if it is allowed."""
        if access is Access.OUTSIDE and path not in OUTSIDE_PATHS:
            return _NOT_FOUND
        if access is Access.LOOPBACK:
            if request.host not in LOOPBACK_HOSTS:
                return Answer(421, "not for this host\n")
            if path == "/events" or path.startswith("/control/"):
                return _NOT_FOUND
            if path in self._routes.streams and request.site not in OWN_SITE:
                # Another site's page cannot read a stream, but would take up a viewer's place.
                return Answer(403, "not for other sites\n")
        if not request.is_look and (path in {"/status", *OUTSIDE_PATHS} or path in self._routes.pages):
            return Answer(405, "GET or HEAD\n", headers=(("allow", "GET, HEAD"),))
        return None

    def _stream_at(
        self, request: Request, path: str, query: str, here: Connection
    ) -> tuple[str, AsyncIterator[bytes]] | None:
        """Return the content type and the chunks of a streamed answer, None for other paths."""
        if request.method != "GET":
            return None
        if path == "/events":
            number = re.fullmatch(r"since=(\d{1,15})", query, re.ASCII)
            since = int(number[1]) if number else 0
            entries = self._routes.events(since)
            return "application/x-ndjson", (json.dumps(entry).encode() + b"\n" async for entry in entries)
        opened = self._routes.streams.get(path)
        return None if opened is None else ("text/event-stream", opened(self._sees_all(request, here)))

    def _sees_all(self, request: Request, here: Connection) -> bool:
        """Return whether the caller is our own user, as the kernel knows it, or has the token."""
        token = request.token
        known = token is not None and hmac.compare_digest(token.encode(), self.token.encode())
        return known or here.access is Access.CONTROL or self._owner_of(here) in self._own_uids

    def _owner_of(self, here: Connection) -> int | None:
        if self._owners is None or here.access is not Access.LOOPBACK:
            return None
        return self._owners.of_peer(here.socket)

    async def _answer(self, request: Request, path: str, here: Connection) -> Answer:
        if request.is_look:
            return self._look(path, request.accept, sees_all=self._sees_all(request, here))
        if request.method != "POST" or not path.startswith("/control/"):
            return _NOT_FOUND
        try:
            body = json.loads(request.body or b"{}")
        except (ValueError, RecursionError):
            return Answer(400, "not JSON\n")
        if not isinstance(body, dict):
            return Answer(400, "not a JSON object\n")
        return Answer(200, await self._routes.control(path.removeprefix("/control/"), body))

    def _look(self, path: str, accept: str, *, sees_all: bool) -> Answer:
        if path == "/livez":
            return Answer(200, "ok\n") if self._routes.is_live() else Answer(503, "the loop is stuck\n")
        if path == "/readyz":
            outline = self._routes.outline()
            return (
                Answer(200, "ready\n")
                if outline["ready"]
                else Answer(503, f"{outline['phase']}: {outline['reason']}\n")
            )
        if path == "/status":
            return Answer(200, self._routes.status() if sees_all else self._routes.outline())
        if path == "/metrics":
            return self._routes.metrics(accept)
        if path in self._routes.pages:
            return self._routes.pages[path]()
        return _NOT_FOUND

    def _headers(self, here: Connection, content_type: str) -> list[tuple[str, str]]:
        headers = [("content-type", content_type), ("cache-control", "no-store"), ("connection", "close")]
        # Not on a port: whoever knows it could pose as this supervisor once the port is free.
        return [*headers, (INSTANCE_HEADER, self._instance)] if here.access is Access.CONTROL else headers

    async def _send(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        here: Connection,
        answer: Answer,
        request: Request | None = None,
    ) -> None:
        content_type, body = answer.encode()
        headers = [*self._headers(here, content_type), *answer.headers, ("content-length", str(len(body)))]
        await _write(connection, writer, h11.Response(status_code=answer.status, headers=headers))
        if request is None or request.method != "HEAD":
            await _write(connection, writer, h11.Data(data=body))
        await _write(connection, writer, h11.EndOfMessage())

    async def _stream(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        here: Connection,
        content_type: str,
        chunks: AsyncIterator[bytes],
    ) -> None:
        await _write(connection, writer, h11.Response(status_code=200, headers=self._headers(here, content_type)))
        async with contextlib.aclosing(chunks) as items:  # type: ignore[type-var] # an async generator has aclose
            async for item in items:
                await _write(connection, writer, h11.Data(data=item))
        await _write(connection, writer, h11.EndOfMessage())


async def _write(connection: h11.Connection, writer: asyncio.StreamWriter, event: h11.Event) -> None:
    data = connection.send(event)
    if data:
        writer.write(data)
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await writer.drain()


class _TooLong(Exception):
    """A body longer than any of our commands."""


async def _read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    async with asyncio.timeout(HEAD_TIMEOUT_S) as deadline:
        return await _read_whole(connection, reader, deadline)


async def _read_whole(
    connection: h11.Connection, reader: asyncio.StreamReader, deadline: asyncio.Timeout
) -> Request | None:
    head: h11.Request | None = None
    body, pieces = bytearray(), 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            head = event
            deadline.reschedule(asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S)
        elif isinstance(event, h11.Data):
            body += event.data
            pieces += 1
            if len(body) > MAX_BODY_BYTES or pieces > MAX_PIECES:
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
                headers.get("sec-fetch-site", ""),
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
