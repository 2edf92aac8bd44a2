"""The front of an isolated gateway: the only way in, for one user's programs, and the only way out, to one host.

It listens on loopback in place of the gateway, with the gateway's certificate; the gateway itself needs no TLS in its
own network. It is a process of its own, so that a client keeps its connection when a supervisor ends. The standard
library only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import socket
import ssl
import struct
import sys
import threading
import time

from gwctl.isolation import namespaces
from gwctl.isolation.page_guard import Guard
from gwctl.isolation.relay import ClientEnd, End, Relay
from gwctl.isolation.socket_owner import SocketOwners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PORT_TAKEN = 98
"""The exit code if another program has the port."""
BACKLOG = 1024
MOST_PAIRS = 1000
MOST_FILES = 4096
OUT_PAIRS = 100
"""How many more pairs the gateway may have with IBKR, whatever its clients do."""
FEWEST_PAIRS = 20
SPARE_FILES = 200
"""Open files besides the pairs': connections that are being made, and the front's own."""
CONNECT_TIMEOUT_S = 10.0
MOST_CONNECTING = 64
JOIN_TIMEOUT_S = 10.0
JOIN_PAUSE_S = 0.001
SAY_EVERY_S = 60.0
_RESET = struct.pack("ii", 1, 0)


class Front:
    """The way in and the way out of one gateway."""

    def __init__(
        self,
        pid: int,
        port: int,
        upstream: tuple[str, int],
        uids: frozenset[int],
        end_of: Callable[[socket.socket], End],
    ) -> None:
        self._pid = pid
        self._end_of = end_of
        self._port = port
        self._upstream = upstream
        # Outside the initial user namespace, this number also stands for every user that is unknown here.
        self._uids = uids if namespaces.knows_all_users() else uids - {namespaces.UNKNOWN_UID}
        self._relay = Relay()
        self._owners = SocketOwners()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._out: socket.socket | None = None
        self._wanted: queue.SimpleQueue[End | str] = queue.SimpleQueue()
        """What the main thread is to do: connect an end to IBKR, or say something."""
        self._connected: queue.SimpleQueue[tuple[End, socket.socket | None]] = queue.SimpleQueue()
        self._connecting = 0
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most_pairs = max(FEWEST_PAIRS, min(MOST_PAIRS, (files - SPARE_FILES) // 2 - OUT_PAIRS))
        self._refused: dict[int | None, int] = {}
        self._said_s = 0.0
        self._problem = ""

    def run(self) -> None:
        """Serve until the gateway ends. Raise OSError if its network cannot be joined."""
        ended = os.pidfd_open(self._pid)
        deadline_s = time.monotonic() + JOIN_TIMEOUT_S
        while not namespaces.is_inside(self._pid):
            if time.monotonic() > deadline_s:
                raise OSError(0, "the gateway has no network of its own")
            time.sleep(JOIN_PAUSE_S)  # until the program that starts the gateway has entered it
        namespaces.join_user(self._pid)
        self._relay.watch(ended, lambda _events: os._exit(0))
        joined: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(joined,), daemon=True).start()
        problem = joined.get()
        if problem is not None:
            raise problem
        os.write(1, b"ready\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever waits for this reads to the end
        while True:
            # Threads that are started here are in this thread's network, which has a way out.
            wanted = self._wanted.get()
            if isinstance(wanted, str):
                _say(wanted)
                continue
            try:
                threading.Thread(target=self._connect, args=(wanted,), daemon=True).start()
            except RuntimeError:  # no more threads
                self._answer(wanted, None)

    def _serve(self, joined: queue.SimpleQueue[OSError | None]) -> None:
        """Join the gateway's network, and relay in it: the sockets of this thread are inside."""
        try:
            namespaces.join_network(self._pid)
            namespaces.set_up_loopback()
            self._out = socket.create_server(("", self._upstream[1]), backlog=BACKLOG)
            self._out.setblocking(False)
        except OSError as error:
            joined.put(error)
            return
        self._relay.watch(self._listener.fileno(), self._let_in)
        self._relay.watch(self._out.fileno(), self._let_out)
        self._relay.watch(self._bell, self._pair)
        joined.put(None)
        try:
            self._relay.run()
        finally:
            os._exit(1)

    # The way in.

    def _let_in(self, _events: int) -> None:
        client = _accepted(self._listener)
        owner = self._owners.of_peer(client)
        if owner not in self._uids:
            self._refuse(client, owner)
            return
        if self._relay.pairs >= self._most_pairs:
            client.close()
            self._say_sometimes(f"refused a connection: {self._most_pairs} are open")
            return
        try:
            gateway = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            client.close()
            raise
        gateway.setblocking(False)
        gateway.connect_ex(("127.0.0.1", self._port))
        self._relay.join(self._end_of(client), End(gateway, ready=False))

    def _refuse(self, client: socket.socket, owner: int | None) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()
        self._refused[owner] = self._refused.get(owner, 0) + 1
        counts = [
            f"{count} of {'programs that were gone' if uid is None else f'uid {uid}'}"
            for uid, count in self._refused.items()
        ]
        if self._say_sometimes(f"refused connections: {', '.join(counts)}; allow_users lets users in"):
            self._refused.clear()

    def _say_sometimes(self, text: str) -> bool:
        """Say something once a minute at most, in the other thread: a disk may hang. Return whether it is said."""
        now_s = time.monotonic()
        if self._said_s and now_s - self._said_s < SAY_EVERY_S:
            return False
        self._said_s = now_s
        self._wanted.put(text)
        return True

    # The way out.

    def _let_out(self, _events: int) -> None:
        if self._out is None:
            return
        connection = _accepted(self._out)
        if self._connecting >= MOST_CONNECTING or self._relay.pairs >= self._most_pairs + OUT_PAIRS:
            connection.close()
            return
        self._connecting += 1
        self._wanted.put(End(connection, ready=True))

    def _connect(self, end: End) -> None:
        """Connect to IBKR; if that fails, the gateway sees its connection fail, as it would without us."""
        connection = None
        try:
            connection = _connection_to(*self._upstream)
        except (OSError, UnicodeError) as error:
            self._say_unreachable(str(error))
        finally:
            self._answer(end, connection)

    def _say_unreachable(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._wanted.put(f"cannot connect to {self._upstream[0]}:{self._upstream[1]}: {problem}")

    def _answer(self, end: End, connection: socket.socket | None) -> None:
        self._connected.put((end, connection))
        os.eventfd_write(self._bell, 1)

    def _pair(self, _events: int) -> None:
        os.eventfd_read(self._bell)
        while True:
            try:
                end, connection = self._connected.get_nowait()
            except queue.Empty:
                return
            self._connecting -= 1
            if connection is None:
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.socket.close()
                continue
            self._problem = ""
            connection.setblocking(False)
            self._relay.join(end, End(connection, ready=True))


def _accepted(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.setblocking(False)
    return connection


def _connection_to(host: str, port: int) -> socket.socket:
    """Return a connection; over IPv4 where the host has an address, as the gateway itself would. Raise OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    fallback = OSError("no address")
    for family, kind, protocol, _, address in sorted(found, key=lambda one: one[0] != socket.AF_INET):
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            fallback = error
        else:
            return connection
    raise fallback


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk
        os.write(2, f"{time.strftime('%Y-%m-%d %H:%M:%S')} front: {text}\n".encode())


def _ends(certificate: str, key: str) -> Callable[[socket.socket], End]:
    """Return what makes a client's connection an end that speaks TLS and is guarded; raise OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # A client that only closes TCP gets no alert for it; OpenSSL 1.1 sends none, and has no such option.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.set_alpn_protocols(["http/1.1"])

    def end_of(client: socket.socket) -> End:
        secured = context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return ClientEnd(secured, Guard())

    return end_of


def main(arguments: list[str]) -> None:
    """Serve: the gateway's pid and port, its upstream's host and port, the certificate and its key, user IDs."""
    pid, port, host, upstream_port, certificate, key, *uids = arguments
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MOST_FILES, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        end_of = _ends(certificate, key)
    except OSError as error:
        _say(f"cannot use the gateway's certificate: {error.strerror}")
        sys.exit(1)
    allowed = frozenset(int(uid) for uid in uids)
    try:
        front = Front(int(pid), int(port), (host, int(upstream_port)), allowed, end_of)
    except OSError as error:
        _say(f"cannot listen on 127.0.0.1:{port}: {error.strerror}")
        sys.exit(PORT_TAKEN)
    try:
        front.run()
    except OSError as error:
        _say(f"cannot join the gateway's network: {error.strerror}")
        sys.exit(namespaces.NOT_POSSIBLE)
