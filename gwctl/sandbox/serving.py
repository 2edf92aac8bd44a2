"""Serve an ASGI application with TLS or without, and refuse connections while that is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Generator
from typing import Any

import uvicorn

from gwctl.sandbox.fake_ibkr import StandIn


class QuietServer(uvicorn.Server):
    """A server that leaves signals alone and ends at once, also with requests it will never answer."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take no signal: whoever runs the loop decides about them."""
        yield

    def end(self) -> None:
        """Stop serving; open connections are closed, unanswered requests dropped."""
        self.should_exit = True
        self.force_exit = True


def quiet_server(app: Any, tls: ssl.SSLContext | None = None) -> QuietServer:  # noqa: ANN401 - any ASGI application
    """Return a server for ``app`` with ``quiet_config``."""
    return QuietServer(quiet_config(app, tls))


def quiet_config(app: Any, tls: ssl.SSLContext | None = None) -> uvicorn.Config:  # noqa: ANN401 - as above
    """Return a configuration for ``app``: loop asyncio, h11, no access log, no proxy headers, no lifespan."""
    # Whatever uvicorn would say about a request could hold a cookie or a query.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "websockets", "websockets.server"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.disabled = True
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=0,
        ws_ping_interval=None,
        ssl_context_factory=None if tls is None else (lambda _config, _default: tls),
    )


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise OSError if the address is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def serve_until_terminated(
    server: QuietServer, listener: socket.socket, announce: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGTERM or SIGINT, a hang-up is ignored; ``announce`` is called once signals are in hand."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    announce()
    await server.serve(sockets=[listener])


class RefusingServer(QuietServer):
    """Listens whenever the stand-in does not refuse; looks at it with every tick, each 0.1 s."""

    def __init__(self, config: uvicorn.Config, stand_in: StandIn, address: tuple[str, int]) -> None:
        super().__init__(config)
        self._stand_in = stand_in
        self._address = address
        self._listening = True

    async def on_tick(self, counter: int) -> bool:
        """Close or open the door, then do what a server does at a tick."""
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
            return  # somebody has the port for a moment; the next tick tries again
        await self.startup(sockets=[listener])
        self._listening = True
