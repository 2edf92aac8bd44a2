"""The WebSocket at ``/v1/api/ws``: heartbeats, and ``sts`` at every change of the brokerage session."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gwctl.sandbox.api_routes import Api
from gwctl.sandbox.standin import StandIn


def push_routes(stand_in: StandIn) -> list[BaseRoute]:
    """Return the WebSocket routes under both of the API's names."""
    api = Api(stand_in)

    async def stream(socket: WebSocket) -> None:
        if stand_in.session_of(socket.cookies) is None:
            await socket.close(code=1008)
            return
        await socket.accept()
        account = stand_in.config.account
        greeting: dict[str, Any] = {"topic": "system", "success": account.username, "isFT": False}
        await socket.send_text(json.dumps({**greeting, "isPaper": account.mode == "paper"}))
        changed = asyncio.Event()
        changed.set()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            # Tests change the session from a thread of their own, which alone would not wake the loop.
            loop.call_soon_threadsafe(changed.set)

        stop_listening = stand_in.sessions.listen(wake)
        reader = asyncio.create_task(_answer_tics(socket))
        try:
            await _push(socket, stand_in, api, changed, reader)
        finally:
            stop_listening()
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    return [WebSocketRoute(f"{prefix}/ws", stream) for prefix in ("/v1/api", "/v1/portal")]


async def _push(
    socket: WebSocket, stand_in: StandIn, api: Api, changed: asyncio.Event, reader: asyncio.Task[None]
) -> None:
    while not reader.done():
        if changed.is_set():
            changed.clear()
            status = api.auth_status()
            args = {key: status[key] for key in ("authenticated", "competing", "connected", "message")}
            message: dict[str, Any] = {"topic": "sts", "args": args}
        else:
            message = {"topic": "system", "hb": int(stand_in.wall_clock() * 1000)}
        try:
            await socket.send_text(json.dumps(message))
        except (WebSocketDisconnect, RuntimeError):
            return
        waiter = asyncio.create_task(changed.wait())
        await asyncio.wait({waiter, reader}, timeout=stand_in.config.heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()


async def _answer_tics(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            text = await socket.receive_text()
            if text == "tic":
                await socket.send_text(json.dumps({"topic": "tic", "alive": True}))
