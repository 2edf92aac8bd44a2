"""A request a second to the gateway itself, on one kept connection: it tells when the gateway stops answering.

``GET /`` never reaches IBKR (gateway-facts.md, HTTP surface). What it tells is a hint: a check decides.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gwctl.http_requests import USER_AGENT, trust_only

log = logging.getLogger("gwctl.gateway")

INTERVAL_S: Final = 1.0
"""From an answer to the next request."""
ANSWER_S: Final = 0.3
"""A gateway that is well answers within a few milliseconds."""
CONNECT_S: Final = 1.0
"""Longer: a JVM that has just started computes its first TLS handshake slowly."""
HINT_PAUSE_S: Final = 5.0
"""Between two hints: each costs a request to IBKR, as the check does that is due every five seconds."""
GIVE_UP_S: Final = 10.0
"""Then the connection is replaced: only this one may be without an answer."""
RECONNECT_PAUSE_S: Final = 1.0
_REQUEST: Final = f"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {USER_AGENT}\r\n\r\n".encode()


class _Stranger(Exception):
    """The server does not have our gateway's certificate."""


class Heartbeat:
    """Ask one gateway whether it answers, and call ``on_silent`` when it does not.

    While an answer is overdue, nothing more is sent.
    """

    def __init__(self, on_silent: Callable[[], None]) -> None:
        self._on_silent = on_silent
        self._task: asyncio.Task[None] | None = None
        self._line: _Line | None = None
        self._waiting: asyncio.TimerHandle | None = None
        """Calls ``_late``."""
        self._not_before_s = 0.0
        self.overdue = False
        """Whether the gateway owes an answer, for longer than one that is well takes."""

    def start(self, port: int, ca_file: Path, leaf_der: bytes) -> None:
        """Ask the gateway on 127.0.0.1 with the certificate ``leaf_der`` from now on, in the background.

        A second call leaves the earlier gateway for this one.
        """
        before = self._cancel()
        self._not_before_s = 0.0
        work = self._run(port, trust_only(ca_file), leaf_der, before)
        self._task = asyncio.get_running_loop().create_task(work, name="gwctl-heartbeat")

    async def close(self) -> None:
        """Stop asking and release everything; ``on_silent`` is not called afterwards. Safe at any time."""
        if (leaving := self._cancel()) is not None:
            await asyncio.wait([leaving])

    def _cancel(self) -> asyncio.Task[None] | None:
        leaving, self._task = self._task, None
        if leaving is not None:
            leaving.cancel()
        if self._line is not None:
            self._line.end()
        self._answered()
        return leaving

    async def _run(self, port: int, trust: ssl.SSLContext, leaf_der: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        while True:
            try:
                await self._use_connection(port, trust, leaf_der)
            except (OSError, _Stranger) as error:  # a timeout and a certificate that is not trusted are OSErrors
                log.debug("no heartbeat: %s", type(error).__name__)
            except Exception:  # the supervisor works without hints too
                log.exception("the heartbeat failed")
            self._late()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _use_connection(self, port: int, trust: ssl.SSLContext, leaf_der: bytes) -> None:
        """Ask on one connection until it ends; raise OSError, _Stranger. Sends nothing to a stranger."""
        line = _Line(self._answered, lambda: self._expect(ANSWER_S))
        if not self.overdue:
            self._expect(CONNECT_S)
        connect = asyncio.get_running_loop().create_connection
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await connect(lambda: line, "127.0.0.1", port, ssl=trust, server_hostname="localhost")
            if line.certificate() != leaf_der:
                raise _Stranger
            self._line = line
            line.ask()
            await line.lost
        finally:
            self._line = None
            await line.close()

    def _expect(self, within_s: float) -> None:
        self._stop_waiting()
        self._waiting = asyncio.get_running_loop().call_later(within_s, self._late)

    def _answered(self) -> None:
        self.overdue = False
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _late(self) -> None:
        """Hint at once, or as soon as the pause since the last hint is over."""
        self.overdue = True
        now_s = asyncio.get_running_loop().time()
        if now_s < self._not_before_s:
            self._expect(self._not_before_s - now_s)
            return
        self._stop_waiting()
        self._not_before_s = now_s + HINT_PAUSE_S
        try:
            self._on_silent()
        except Exception:  # a listener's error must not end the heartbeat
            log.exception("a silent gateway could not be reported")


class _Line(asyncio.Protocol):
    """One connection, with one request at a time on it."""

    def __init__(self, on_answer: Callable[[], None], on_request: Callable[[], None]) -> None:
        self._on_answer = on_answer
        self._on_request = on_request
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._next: asyncio.TimerHandle | None = None
        """Sends the next request, or ends a connection whose answer does not come."""
        self._asking = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def certificate(self) -> bytes | None:
        """Return the server's certificate."""
        shown = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return None if shown is None else shown.getpeercert(binary_form=True)

    def ask(self) -> None:
        """Send a request."""
        if self._transport is None or self._transport.is_closing():
            return
        self._asking = True
        self._next = self._loop.call_later(GIVE_UP_S, self.end)
        self._on_request()
        self._transport.write(_REQUEST)

    def end(self) -> None:
        """Close the connection at once."""
        if self._next is not None:
            self._next.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close the connection at once, and return when its socket is released."""
        self.end()
        if self._transport is not None:
            await self.lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, _data: bytes) -> None:
        """Take any part of an answer as the answer: the gateway lives."""
        if not self._asking:
            return
        self._asking = False
        if self._next is not None:
            self._next.cancel()
        self._on_answer()
        self._next = self._loop.call_later(INTERVAL_S, self.ask)

    def connection_lost(self, _error: Exception | None) -> None:
        """Let the one who waits know."""
        self.end()
        if not self.lost.done():
            self.lost.set_result(None)
