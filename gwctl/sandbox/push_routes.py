"""The fake IBKR's WebSocket: the session's state, heartbeats, and the topics that a client subscribes to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gwctl.sandbox.fake_ibkr import SsoSession, StandIn
from gwctl.sandbox.market.feed import LOOK_S, Feed

AuthStatus = Callable[[SsoSession], dict[str, Any]]
NO_SESSION = {"message": "waiting for session"}
"""What IBKR sends for a topic while there is no brokerage session (as ibind expects it)."""


def push_routes(stand_in: StandIn, auth_status: AuthStatus) -> list[BaseRoute]:
    """Return the WebSocket routes under both of the API's names."""

    async def stream(socket: WebSocket) -> None:
        session = stand_in.session_of(socket.cookies)
        if session is None:
            await socket.close(code=1008)
            return
        await socket.accept()
        account = stand_in.config.account
        greeting: dict[str, Any] = {"topic": "system", "success": account.username, "isFT": False}
        await socket.send_text(json.dumps({**greeting, "isPaper": account.mode == "paper"}))
        pushes = _Pushes(socket, stand_in, partial(auth_status, session), session)
        stop_listening = stand_in.sessions.listen(pushes.session_changed)
        reader = asyncio.create_task(pushes.read())
        try:
            await pushes.write(reader)
        finally:
            stop_listening()
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    return [WebSocketRoute(f"{prefix}/ws", stream) for prefix in ("/v1/api", "/v1/portal")]


class _Pushes:
    """What one WebSocket gets: only ``write`` sends, so that no two messages mix."""

    def __init__(
        self, socket: WebSocket, stand_in: StandIn, auth_status: Callable[[], dict[str, Any]], session: SsoSession
    ) -> None:
        self._socket = socket
        self._stand_in = stand_in
        self._auth_status = auth_status
        self._session = session
        self._feed = Feed(lambda: stand_in.market, stand_in.config.account.username)
        self._answers: deque[dict[str, Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._status_is_new = True

    def session_changed(self) -> None:
        """Send the session's state; tests change it from another thread, which would not wake the loop by itself."""

        def wake() -> None:
            self._status_is_new = True
            self._woken.set()

        self._loop.call_soon_threadsafe(wake)

    async def read(self) -> None:
        """Take the client's messages until it goes."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while (message := await self._socket.receive())["type"] == "websocket.receive":
                text = message.get("text")
                said = (message.get("bytes") or b"").decode("utf-8", "replace") if text is None else text
                self._answers.extend(self._hear(said))
                self._woken.set()

    def _hear(self, text: str) -> list[dict[str, Any]]:
        if text.strip() != "tic" and not self._stand_in.sessions.has_brokerage(self._session):
            return [NO_SESSION]
        return self._feed.hear(text, self._stand_in.wall_clock())

    async def write(self, reader: asyncio.Task[None]) -> None:
        """Send what is new until the client goes."""
        beat_at_s = self._loop.time() + self._stand_in.config.heartbeat_s
        while not reader.done():
            if self._loop.time() >= beat_at_s:
                beat_at_s = self._loop.time() + self._stand_in.config.heartbeat_s
                self._answers.append({"topic": "system", "hb": int(self._stand_in.wall_clock() * 1000)})
            try:
                for message in self._news():
                    await self._socket.send_text(json.dumps(message))
            except (WebSocketDisconnect, RuntimeError):
                return
            wait_s = beat_at_s - self._loop.time()
            waiter = asyncio.create_task(self._woken.wait())
            await asyncio.wait(
                {waiter, reader},
                timeout=max(0.0, min(wait_s, LOOK_S) if self._feed.is_active else wait_s),
                return_when=asyncio.FIRST_COMPLETED,
            )
            waiter.cancel()

    def _news(self) -> list[dict[str, Any]]:
        self._woken.clear()
        messages: list[dict[str, Any]] = []
        if self._status_is_new:
            self._status_is_new = False
            status = self._auth_status()
            args = {key: status[key] for key in ("authenticated", "competing", "connected", "message")}
            messages.append({"topic": "sts", "args": args})
        while self._answers:
            messages.append(self._answers.popleft())
        if self._feed.is_active and self._stand_in.sessions.has_brokerage(self._session):
            messages.extend(self._feed.news(self._stand_in.wall_clock()))
        return messages
