"""Send each small answer in one piece that the real gateway also reads in one.

The gateway takes each piece of a body that it reads for the whole body. IBKR's own answers reach it in TLS records,
which it reads whole, but without TLS it reads as many bytes as the last answers on that connection had: at first 1,024,
and after shorter ones fewer, down to 64 (Netty 4.1's AdaptiveRecvByteBufAllocator, seen in the release of 2023). After
some dozen short answers it took ``sso/validate``'s body for two, failed, and opened the session 3 to 20 s later.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

SMALLEST_BYTES = 560
"""An answer of more than 512 bytes leaves the gateway's next read at 1,024 or above."""
LINES_BYTES = 60
"""What the status line and the headers take that uvicorn adds; at least."""
FILLER = b"x-filler"


class Filled:
    """An application whose short answers get a header that makes them ``SMALLEST_BYTES`` long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def fill(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ())]
                said = sum(len(name) + len(value) + len(b": \r\n") for name, value in headers)
                body = next((int(value) for name, value in headers if name == b"content-length"), SMALLEST_BYTES)
                missing = SMALLEST_BYTES - LINES_BYTES - said - body
                if missing > 0:
                    message = {**message, "headers": [*headers, (FILLER, b"-" * missing)]}
            await send(message)

        await self._app(scope, receive, fill if scope["type"] == "http" else send)


class _Gathering:
    """A transport that sends at once what is written without a pause; what it does not have is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._gathered:
            self._loop.call_soon(self._send)
        self._gathered.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered and not self._transport.is_closing():
            self._transport.write(b"".join(gathered))


class WholeAnswers(H11Protocol):
    """uvicorn's protocol, which writes headers and body separately, on a transport that sends them together."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve a connection."""
        gathering = _Gathering(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", gathering))
