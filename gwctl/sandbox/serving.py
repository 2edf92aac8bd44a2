"""Serve an ASGI application with or without TLS, and refuse connections on demand."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Generator
from typing import Any

import uvicorn

from gwctl.quiet_config import quiet_config
from gwctl.sandbox.fake_ibkr import StandIn
from gwctl.sandbox.listening import bound_socket


class QuietServer(uvicorn.Server):
    """A server that handles no signals and ends at once, even with unanswered requests."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle no signal: the owner of the loop decides about them."""
        yield

    def end(self) -> None:
        """Stop serving; open connections are closed, unanswered requests dropped."""
        self.should_exit = True
        self.force_exit = True


def quiet_server(app: Any, tls: ssl.SSLContext | None = None) -> QuietServer:  # noqa: ANN401 - any ASGI application
    """Return a server for ``app`` with ``server_config``."""
    return QuietServer(server_config(app, tls))


def server_config(app: Any, tls: ssl.SSLContext | None = None) -> uvicorn.Config:  # noqa: ANN401 - as above
    """Return a quiet configuration for ``app`` that waits for no request at its end."""
    return quiet_config(
        app,
        timeout_graceful_shutdown=0,
        ws_ping_interval=None,
        # Longer than anything waits here: a request must not meet the end of a connection that the gateway has kept.
        timeout_keep_alive=600,
        ssl_context_factory=None if tls is None else (lambda _config, _default: tls),
    )


async def serve_until_terminated(server: QuietServer, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; ignore SIGHUP."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    await server.serve(sockets=[listener])


class RefusingServer(QuietServer):
    """Listens unless the fake IBKR refuses connections; checks that at every tick, each 0.1 s."""

    def __init__(self, config: uvicorn.Config, stand_in: StandIn, address: tuple[str, int]) -> None:
        super().__init__(config)
        self._stand_in = stand_in
        self._address = address
        self._listening = True

    async def on_tick(self, counter: int) -> bool:
        """Close or open the port, then do what a server does at a tick."""
        if self._stand_in.refuses and self._listening:
            self._close()
        elif not self._stand_in.refuses and not self._listening:
            await self._open()
        return await super().on_tick(counter)

    def _close(self) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        self._listening = False

    async def _open(self) -> None:
        try:
            listener = bound_socket(*self._address)
        except OSError:
            return  # another program has the port for a moment; the next tick tries again
        await self.startup(sockets=[listener])
        self._listening = True
