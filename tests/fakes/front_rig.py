"""A server in a network of its own, behind the front, in the gateway's place."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from rig import free_port

from gwctl.gateway.isolated import Network, front_program, program
from gwctl.gateway.keystore import ensure_leaf
from gwctl.http_requests import trust_only
from gwctl.paths import Paths
from gwctl.state_file import make_private_dir

INSIDE = Path(__file__).with_name("inside.py")
BOUND_S = 10.0
CARD = "02:00:5e:10:00:01"


class Isolated:
    """A server in a network of its own, and the front before it."""

    def __init__(self, folder: Path, upstream: tuple[str, int], *, uids: tuple[int, ...] = (), host: str = "") -> None:
        self.port = free_port()
        self.folder = folder
        self.log = folder / "front.log"
        self.network = Network(host or upstream[0], upstream[1], (os.geteuid(), *uids))
        self.paths = Paths.for_profile("default", folder / "home")
        make_private_dir(self.paths.gateway_dir / "root")
        ensure_leaf(self.paths)
        self.tls = trust_only(self.paths.ca_file)
        hosts = folder / "hosts"
        hosts.write_bytes(self.network.hosts())
        self.server = subprocess.Popen(
            program("namespaces", hosts, CARD, sys.executable, "-I", INSIDE, self.port),
            cwd=folder,
            start_new_session=True,
        )
        self.front = self.start_front()

    def start_front(self) -> subprocess.Popen[bytes]:
        """Start a front and return once it lets programs in."""
        argv = front_program(self.paths, self.server.pid, self.port, self.network)
        with self.log.open("ab") as log:
            front = subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=log)
        assert front.stdout is not None
        with front.stdout as said:
            assert said.read() == b"ready\n", self.log.read_text()
        return front

    def connect(self, request: str) -> ssl.SSLSocket:
        """Connect through the front, once the server answers, and make a request."""
        deadline_s = time.monotonic() + BOUND_S
        while True:
            with contextlib.suppress(OSError), self.secured() as connection:
                connection.sendall(b"echo\r\n\r\n.")
                if connection.recv(1) == b".":
                    break
            assert time.monotonic() < deadline_s
        connection = self.secured()
        connection.sendall(f"{request}\r\n\r\n".encode())
        return connection

    def secured(self) -> ssl.SSLSocket:
        """Connect through the front."""
        connection = socket.create_connection(("127.0.0.1", self.port), BOUND_S)
        return self.tls.wrap_socket(connection, server_hostname="localhost")

    def ask(self, request: str) -> str:
        """Return the whole answer to a request."""
        with self.connect(request) as connection:
            end_sending(connection)
            return everything(connection).decode()

    def end(self) -> None:
        """End the server; its front ends with it."""
        self.server.kill()
        self.server.wait(BOUND_S)
        assert self.front.wait(BOUND_S) == 0


def end_sending(connection: socket.socket) -> None:
    """Say that nothing more comes, and keep listening."""
    socket.socket.shutdown(connection, socket.SHUT_WR)


def everything(connection: socket.socket) -> bytes:
    """Return what arrives until the other side ends."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)
