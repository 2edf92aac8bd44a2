"""Serve the door: end TLS, ask the rules, pass requests and WebSockets on to the gateway, keep an access log."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import secrets
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gwctl.door.order import Order
from gwctl.door.passing import LARGEST_BODY_BYTES, Door, log
from gwctl.door.rules import Rules, digest_of, names_of
from gwctl.setting_values import network_of

CANNOT_SERVE = 69
"""The exit code if the address cannot be listened on, or a file cannot be read."""
HANDSHAKE_TIMEOUT_S = 5.0
HEAD_TIMEOUT_S = 5.0
MOST_CONNECTIONS = 128
MOST_OF_ONE_ADDRESS = 32
LOG_BYTES = 5_000_000
LOG_KEEP = 3


class _Protocol(H11Protocol):
    """One client's connection, closed at once if its address is not admitted or has too many."""

    admits: Callable[[str], bool]
    open_of: Counter[str]
    _address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base does
        address = str((transport.get_extra_info("peername") or ("?",))[0])
        full = self.open_of[address] >= MOST_OF_ONE_ADDRESS or self.open_of.total() >= MOST_CONNECTIONS
        if full or not self.admits(address):
            transport.abort()
            return
        self._address = address
        self.open_of[address] += 1
        super().connection_made(transport)
        self.loop.call_later(HEAD_TIMEOUT_S, self._expect_a_head)

    def _expect_a_head(self) -> None:
        request: object = self.cycle
        if request is None and self._address is not None:
            self.transport.abort()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)  # from here on, another object has the connection
        if self._address is not None:
            self.open_of[self._address] -= 1
            self._address = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None:
            self.open_of[self._address] -= 1
            self._address = None
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._address is not None:
            super().data_received(data)


def _quieten() -> None:
    """Keep the libraries' lines about requests, which may hold what was sent, out of every log."""
    for name in (
        "uvicorn.error",
        "uvicorn.asgi",
        "websockets.server",
        "websockets.client",
        "httpx",
        "httpcore",
        "asyncio",
    ):
        logging.getLogger(name).disabled = True


def _protocols(door: Door, admits: Callable[[str], bool]) -> Callable[[], asyncio.Protocol]:
    config = uvicorn.Config(
        door,
        http=_Protocol,
        ws="websockets-sansio",
        ws_max_size=LARGEST_BODY_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
    config.load()
    state, open_of = ServerState(), Counter[str]()

    def protocol() -> asyncio.Protocol:
        made = _Protocol(config=config, server_state=state, app_state={})
        made.admits, made.open_of = admits, open_of
        return made

    return protocol


def _context(order: Order) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(order.certificate_file, order.key_file)
    context.set_alpn_protocols(["http/1.1"])
    if order.client_ca:
        context.load_verify_locations(order.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _listener(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    address = host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((address, int(port)), family=family, backlog=128, dualstack_ipv6=both)


async def serve(order: Order, until: Callable[[], Awaitable[object]], announce: Callable[[], None]) -> None:
    """Serve until ``until`` returns or SIGTERM or SIGINT comes; raise OSError if it cannot listen or read its files."""
    # Without a token, nobody has one: the empty text must not be one.
    digest = None if order.client_ca else digest_of(order.token or secrets.token_hex(32))
    rules = Rules(digest, names_of(order.names), tuple(map(network_of, order.addresses)), order.read_only)
    door = Door(rules, order.gateway_port, Path(order.ca_file))
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    listener = _listener(order.listen)
    server = await loop.create_server(
        _protocols(door, rules.admits),
        sock=listener,
        ssl=_context(order),
        ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
    )
    announce()
    waits = [asyncio.ensure_future(ended.wait()), asyncio.ensure_future(until())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
    server.close()
    await door.close()


def keep_log(log_file: Path) -> None:
    """Write the access log to a file of bounded size."""
    handler = logging.handlers.RotatingFileHandler(log_file, maxBytes=LOG_BYTES, backupCount=LOG_KEEP)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    _quieten()


async def _stdin_ended() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def _tell(line: str) -> None:
    """Write a line that the supervisor reads."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Serve the order on stdin until stdin ends: with the supervisor that keeps this process."""
    order = Order.from_json(sys.stdin.readline())
    keep_log(Path(order.log_file))
    try:
        asyncio.run(serve(order, _stdin_ended, lambda: _tell("ready")))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # ssl's have a text of their own
        _tell(f"the door cannot serve {order.listen}: {why}")
        return CANNOT_SERVE
    return 0


if __name__ == "__main__":
    sys.exit(main())
