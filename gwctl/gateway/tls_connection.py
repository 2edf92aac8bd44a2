"""TLS connections to a gateway on 127.0.0.1, straight on the socket.

asyncio's transports in their place take twice the processor time of an idle supervisor's requests.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, Self, TypeVar

T = TypeVar("T")
_PIECE_BYTES: Final = 65_536


class TlsConnection:
    """One connection to the server that has a certificate; ``close`` it in the end."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._socket = connection
        self._waiting: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, port: int, trust: ssl.SSLContext, leaf_der: bytes) -> Self:
        """Connect, and compare the certificate; raise OSError (``ssl.SSLError`` with a stranger). Has no deadline."""
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
            opened = cls(trust.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False))
        finally:
            plain.close()  # by then an empty shell, unless something failed
        try:
            await opened._shake_hands()
            opened._compare(leaf_der)
        except BaseException:
            opened.close()
            raise
        return opened

    async def _shake_hands(self) -> None:
        try:
            await self._once_possible(self._socket.do_handshake)
        except (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError):  # it closed; that is no stranger's TLS
            raise ConnectionResetError("closed during the handshake") from None

    def _compare(self, leaf_der: bytes) -> None:
        if self._socket.getpeercert(binary_form=True) != leaf_der:
            raise ssl.SSLError("a stranger's certificate")

    async def send(self, content: bytes) -> None:
        """Send all of it; raise OSError."""
        left = memoryview(content)
        while left:
            left = left[await self._once_possible(partial(self._socket.send, left)) :]

    async def receive(self) -> bytes:
        """Return what comes next, nothing at the end; raise OSError."""
        return await self._once_possible(partial(self._socket.recv, _PIECE_BYTES))

    def send_now(self, content: bytes) -> None:
        """Send a few bytes; raise OSError, also if there is no room for them."""
        self._socket.send(content)

    def receive_now(self) -> bytes | None:
        """Return all that has come, None if nothing has, and nothing at the end; raise OSError."""
        parts: list[bytes] = []
        while True:
            try:
                part = self._socket.recv(_PIECE_BYTES)
            except ssl.SSLWantReadError:
                return b"".join(parts) or None
            if not part:
                return b""
            parts.append(part)

    def close(self) -> None:
        """Close it at once: who waits for it gets an OSError. Safe to repeat."""
        if self._socket.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionAbortedError("closed"))

    async def _once_possible(self, act: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                watch, leave = loop.add_reader, loop.remove_reader
            except ssl.SSLWantWriteError:
                watch, leave = loop.add_writer, loop.remove_writer
            self._waiting = loop.create_future()
            watch(self._socket, self._wake)
            try:
                await self._waiting
            finally:
                if self._socket.fileno() >= 0:  # otherwise the number may be another connection's
                    leave(self._socket)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
