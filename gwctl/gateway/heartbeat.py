"""A request every 1.3 s to the gateway itself, on one kept connection: it tells when the gateway stops answering.

``GET /`` never reaches IBKR (gateway-facts.md, HTTP surface). What it tells is a hint: a check decides.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gwctl.gateway.tls_connection import TlsConnection
from gwctl.http_requests import USER_AGENT, trust_only

log = logging.getLogger("gwctl.gateway")

BEAT_S: Final = 1.3
"""From a request to the look for its answer, with which the next request goes out: an answer wakes nobody."""
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


class Heartbeat:
    """Ask one gateway whether it answers, and call ``on_silent`` when it does not.

    While an answer is overdue, nothing more is sent.
    """

    def __init__(self, on_silent: Callable[[], None]) -> None:
        self._on_silent = on_silent
        self._task: asyncio.Task[None] | None = None
        self._line: TlsConnection | None = None
        self._asked_s: float | None = None
        """When the request without an answer was sent."""
        self._waiting: asyncio.TimerHandle | None = None
        """Calls ``_late``."""
        self._not_before_s = 0.0
        self._doubted = False

    @property
    def overdue(self) -> bool:
        """Whether the gateway owes an answer, for longer than one that is well takes."""
        return self.owes_s > ANSWER_S or self._doubted

    @property
    def owes_s(self) -> float:
        """For how long the gateway has not answered the last request on an open connection; 0 without one."""
        self._look()
        return 0.0 if self._asked_s is None else asyncio.get_running_loop().time() - self._asked_s

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
        self._hang_up()
        self._answered()
        return leaving

    async def _run(self, port: int, trust: ssl.SSLContext, leaf_der: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        while True:
            try:
                await self._use_connection(port, trust, leaf_der)
            except OSError as error:  # a timeout and a stranger's certificate are OSErrors
                log.debug("no heartbeat: %s", type(error).__name__)
            except Exception:  # the supervisor works without hints too
                log.exception("the heartbeat failed")
            self._late()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _use_connection(self, port: int, trust: ssl.SSLContext, leaf_der: bytes) -> None:
        """Ask on one connection until it ends; raise OSError. Sends nothing to a stranger."""
        if not self._doubted:
            self._expect(CONNECT_S)
        async with asyncio.timeout(GIVE_UP_S):
            self._line = line = await TlsConnection.open(port, trust, leaf_der)
        try:
            if not self._doubted:
                self._stop_waiting()
            while True:
                self._beat(line)
                await asyncio.sleep(BEAT_S)
        finally:
            self._hang_up()

    def _beat(self, line: TlsConnection) -> None:
        """Look for the answer to the last request, and send the next one; raise OSError at the connection's end."""
        self._read(line)
        now_s = asyncio.get_running_loop().time()
        if self._asked_s is None:
            line.send_now(_REQUEST)
            self._asked_s = now_s
        elif now_s - self._asked_s >= GIVE_UP_S:
            raise TimeoutError
        else:
            self._late()

    def _read(self, line: TlsConnection) -> None:
        """Take any part of an answer as the answer: the gateway lives. Raise OSError at the connection's end."""
        content = line.receive_now()
        if content == b"":
            raise ConnectionResetError
        if content and self._asked_s is not None:
            self._answered()

    def _look(self) -> None:
        if self._line is not None and self._asked_s is not None:
            try:
                self._read(self._line)
            except OSError as error:  # the next beat finds it, too
                log.debug("the heartbeat's connection ended: %s", type(error).__name__)

    def _hang_up(self) -> None:
        line, self._line, self._asked_s = self._line, None, None
        if line is not None:
            line.close()

    def _expect(self, within_s: float) -> None:
        self._stop_waiting()
        self._waiting = asyncio.get_running_loop().call_later(within_s, self._late)

    def _answered(self) -> None:
        self._asked_s, self._doubted = None, False
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _late(self) -> None:
        """Hint at once, or, unless an answer comes, as soon as the pause since the last hint is over."""
        self._stop_waiting()
        if self._asked_s is not None and self.owes_s == 0.0:
            return
        self._doubted = True
        now_s = asyncio.get_running_loop().time()
        if now_s < self._not_before_s:
            self._expect(self._not_before_s - now_s)
            return
        self._not_before_s = now_s + HINT_PAUSE_S
        try:
            self._on_silent()
        except Exception:  # a listener's error must not end the heartbeat
            log.exception("a silent gateway could not be reported")
