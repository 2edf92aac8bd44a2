"""The WebSocket relay: whatever the IBKR side pushes reaches the client, with the jar's cookies upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from gwctl.sandbox.gateway.jar import CookieJar
from gwctl.sandbox.gateway.upstream import USER_AGENT, Upstream, UpstreamGone


async def relay(
    upstream: Upstream,
    jar: CookieJar,
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Accept the client, connect upstream, and pass messages both ways until either side ends."""
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import WebSocketException

    async def down(remote: ClientConnection) -> None:
        async for message in remote:
            # The real gateway writes every message as a binary frame [seen].
            await send({"type": "websocket.send", "bytes": message.encode() if isinstance(message, str) else message})

    async def up(remote: ClientConnection) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            await remote.send(text if text is not None else message.get("bytes", b"").decode("utf-8", "replace"))

    await receive()
    await send({"type": "websocket.accept"})
    path: str = scope["path"]
    with contextlib.suppress(OSError, WebSocketException, UpstreamGone):
        async with connect(
            upstream.web_socket_base + path,
            host=await upstream.address(),
            port=upstream.port,
            additional_headers={"Cookie": jar.header_for(path)},
            user_agent_header=USER_AGENT,
            proxy=None,
        ) as remote:
            tasks = {asyncio.create_task(down(remote)), asyncio.create_task(up(remote))}
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(RuntimeError):
        await send({"type": "websocket.close", "code": 1000})
