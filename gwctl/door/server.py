"""Serve the door: end TLS, ask the rules, pass requests and WebSockets on to the gateway, keep an access log."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import resource
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gwctl.door.guests import IDLE_S, Ends, Guests
from gwctl.door.order import Order
from gwctl.door.passing import LARGEST_BODY_BYTES, Door, log
from gwctl.door.rules import Rules, digest_of, names_of
from gwctl.quiet_config import quiet_config, silence
from gwctl.setting_values import network_of

CANNOT_SERVE = 69
"""The exit code if the address cannot be listened on, or a file cannot be read."""
GOODBYE_S = 10.0
"""How long a client may take to end TLS."""
EXHAUSTED_PAUSE_S = 0.1
MOST_FILES = 4096
LOG_BYTES = 5_000_000
LOG_KEEP = 3


def _protocols(door: Door) -> Callable[[], asyncio.Protocol]:
    # Guests sends the idle away, once they have their answer.
    config = quiet_config(door, ws_max_size=LARGEST_BODY_BYTES, timeout_keep_alive=3600)
    config.load()
    return partial(H11Protocol, config=config, server_state=ServerState(), app_state={})


def _context(order: Order) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(order.certificate_file, order.key_file)
    context.set_alpn_protocols(["http/1.1"])
    if order.client_ca:
        context.load_verify_locations(cadata=order.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _listener(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    address = host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::" and socket.has_dualstack_ipv6()
    listener = socket.create_server((address, int(port)), family=family, backlog=128, dualstack_ipv6=both)
    listener.setblocking(False)
    return listener


async def _welcome(listener: socket.socket, guests: Guests, door: Door, tls: ssl.SSLContext) -> None:
    """Accept connections without end; each that may stay gets TLS and HTTP in a task."""
    loop, factory = asyncio.get_running_loop(), _protocols(door)
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(connection: socket.socket, ends: Ends) -> None:
        try:
            transport, _ = await loop.connect_accepted_socket(
                factory,
                connection,
                ssl=tls,
                ssl_handshake_timeout=IDLE_S,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError:  # no TLS, or not in time
            connection.close()
        else:
            guests.came_in(ends, transport)

    while True:
        try:
            connection, address = await loop.sock_accept(listener)
            ours = connection.getsockname()
        except OSError:  # no more files: without a pause, it would be reported again and again
            await asyncio.sleep(EXHAUSTED_PAUSE_S)
            continue
        await asyncio.sleep(0)  # a crowd that is refused keeps nobody waiting
        ends = Ends((str(address[0]), int(address[1])), (str(ours[0]), int(ours[1])))
        if not guests.comes(ends, connection):
            connection.close()
            continue
        task = loop.create_task(serve_one(connection, ends))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def serve(order: Order, until: Callable[[], Awaitable[object]], announce: Callable[[], None]) -> None:
    """Serve until ``until`` returns or SIGTERM or SIGINT comes; raise OSError if it cannot listen or read its files."""
    # Without a token, nobody has one: the empty text must not be one.
    digest = None if order.client_ca else digest_of(order.token or secrets.token_hex(32))
    rules = Rules(digest, names_of(order.names), tuple(map(network_of, order.addresses)), order.read_only)
    guests = Guests(rules.admits)
    door = Door(rules, order.gateway_port, Path(order.ca_file), guests)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    tls = _context(order)
    with _listener(order.listen) as listener:
        announce()
        waits = [
            asyncio.ensure_future(one)
            for one in (ended.wait(), until(), _welcome(listener, guests, door, tls), guests.watch())
        ]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    guests.leave()
    await door.close()
    for one in done:
        one.result()


def keep_log(log_file: Path) -> None:
    """Write the access log to a file of bounded size."""
    handler = logging.handlers.RotatingFileHandler(log_file, maxBytes=LOG_BYTES, backupCount=LOG_KEEP)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    silence(("websockets.client", "httpx", "httpcore", "asyncio"))


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
    line = sys.stdin.readline()
    if not line:  # the supervisor was gone before it gave an order
        return 0
    order = Order.from_json(line)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MOST_FILES, hard), hard))
    try:
        keep_log(Path(order.log_file))
        asyncio.run(serve(order, _stdin_ended, lambda: _tell("ready")))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # ssl's have a text of their own
        _tell(f"the door cannot serve {order.listen}: {why}")
        return CANNOT_SERVE
    return 0


if __name__ == "__main__":
    sys.exit(main())
