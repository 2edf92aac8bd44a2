"""HTTP/1.1 to the gateway over TLS connections that are kept, by h11.

httpx in its place took most of a supervisor's idle processor time, and 6 MB of its memory.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import zlib
from collections.abc import Mapping
from typing import Final

import h11

from gwctl.gateway.tls_connection import TlsConnection
from gwctl.http_requests import USER_AGENT, RawAnswer

AT_ONCE: Final = 4
KEPT: Final = 2
KEPT_S: Final = 8.0
"""From its opening, so that every second check is on a new connection: a gateway that takes no new clients goes on
answering on those that it has. For each check, a TLS connection would double its processor time."""
LONGEST_BYTES: Final = 2_000_000
"""Of an answer; IBKR's are a few KB."""


class NoAnswer(Exception):
    """The connection or the answer is broken; the text contains nothing that was sent."""


class _Connection:
    """One TLS connection to the gateway, and the state of HTTP on it."""

    def __init__(self, line: TlsConnection) -> None:
        self._line = line
        self.http = h11.Connection(h11.CLIENT)
        self._opened_s = time.monotonic()

    def can_be_used(self) -> bool:
        """Whether it is young, and the gateway has not closed it."""
        try:
            return time.monotonic() - self._opened_s < KEPT_S and self._line.receive_now() is None
        except OSError:
            return False

    async def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> RawAnswer:
        """Send a request and return its answer; raise OSError, h11.ProtocolError, NoAnswer, zlib.error, ValueError."""
        sent = self.http.send(h11.Request(method=method, target=target, headers=list(headers.items())))
        sent = b"".join(filter(None, (sent, self.http.send(h11.Data(body)), self.http.send(h11.EndOfMessage()))))
        await self._line.send(sent)
        head = await self._next()
        while isinstance(head, h11.InformationalResponse):
            head = await self._next()
        if not isinstance(head, h11.Response):
            raise NoAnswer("no answer")
        packed = bytearray()
        while isinstance(piece := await self._next(), h11.Data):
            packed += piece.data
            if len(packed) > LONGEST_BYTES:
                raise NoAnswer("too long")
        if not isinstance(piece, h11.EndOfMessage):
            raise NoAnswer("cut off")
        said = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        content = unpacked(bytes(packed), said.get("content-encoding", "identity"))
        return RawAnswer(head.status_code, content, said.get("content-type", ""))

    async def _next(self) -> object:
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self.http.receive_data(await self._line.receive())

    def stays_open(self) -> bool:
        """Prepare it for another request; return False if either side closes it."""
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        self.http.start_next_cycle()
        return True

    def abort(self) -> None:
        """Close it without waiting."""
        self._line.close()


class GatewayHttp:
    """The connections to one gateway on 127.0.0.1, each verified before anything is sent; ``close`` ends all."""

    def __init__(self, port: int, context: ssl.SSLContext, leaf_der: bytes) -> None:
        self._port = port
        self._context = context
        self._leaf_der = leaf_der
        self._room = asyncio.Semaphore(AT_ONCE)
        self._free: list[_Connection] = []
        self._used: set[_Connection] = set()

    async def request(
        self, method: str, target: str, *, value: object = None, headers: Mapping[str, str] | None = None
    ) -> RawAnswer:
        """Return the answer to one request, with ``value`` as its JSON body. It has no deadline of its own.

        Raises OSError without a connection (``ssl.SSLError`` with a stranger), NoAnswer if it breaks.
        """
        body = b"" if value is None else json.dumps(value, separators=(",", ":")).encode()
        fields = {
            "Host": f"127.0.0.1:{self._port}",
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            **({"Content-Type": "application/json"} if body else {}),
            **({"Content-Length": str(len(body))} if body or method != "GET" else {}),
            **(headers or {}),
        }
        async with self._room:
            connection = self._take() or await self._open()
            self._used.add(connection)
            kept = False
            try:
                said = await connection.ask(method, target, fields, body)
                kept = connection.stays_open() and len(self._free) < KEPT
            except (h11.ProtocolError, zlib.error, ValueError, EOFError) as error:
                raise NoAnswer(type(error).__name__) from None
            finally:
                self._used.discard(connection)
                if kept:
                    self._free.append(connection)
                else:
                    connection.abort()
            return said

    def _take(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.can_be_used():
                return connection
            connection.abort()
        return None

    async def _open(self) -> _Connection:
        return _Connection(await TlsConnection.open(self._port, self._context, self._leaf_der))

    def close(self) -> None:
        """End every connection."""
        for connection in (*self._free, *self._used):
            connection.abort()
        self._free.clear()


def unpacked(packed: bytes, encoding: str) -> bytes:
    """Return a body without its compression; raise NoAnswer if it is too long, zlib.error."""
    if encoding.strip().lower() not in {"gzip", "deflate"}:
        return packed
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of the two
    body = decoder.decompress(packed, LONGEST_BYTES)
    if decoder.unconsumed_tail:
        raise NoAnswer("too long")
    return body
