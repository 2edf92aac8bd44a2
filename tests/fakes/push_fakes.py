"""Gateways with a misbehaving WebSocket, and helpers to listen to a real or a fake one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request, TextMessage

from gwctl.gateway.client import GatewayClient
from gwctl.gateway.keystore import Leaf, ensure_leaf
from gwctl.gateway.launch import RunningGateway, Runtime, launch
from gwctl.gateway.websocket import PushListener
from gwctl.gateway.work_folder import GatewaySettings, prepare_home
from gwctl.paths import Paths
from gwctl.sandbox.ibkr import RunningStandIn

DEADLINE_S = 20.0


@dataclass
class Ears:
    """A listener's reports, with their times; ``until`` waits for a fact about them."""

    told: list[bool | None] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    _new: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, ready: bool | None) -> None:  # noqa: FBT001 - the shape of on_change
        self.told.append(ready)
        self.at_s.append(time.monotonic())
        self._new.set()

    async def until(self, count: int) -> None:
        """Return after this many reports; fail after a deadline."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.told) < count:
                self._new.clear()
                await self._new.wait()


async def until(fact: Callable[[], object]) -> None:
    """Return when the fact is true; fail after a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not fact():  # noqa: ASYNC110 - facts of other threads and processes
            await asyncio.sleep(0.005)


@dataclass
class Visit:
    """One connection that a fake gateway got."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    server: WSConnection = field(default_factory=lambda: WSConnection(ConnectionType.SERVER))
    heard: bytes = b""
    texts: list[str] = field(default_factory=list)

    async def upgrade(self) -> None:
        """Accept the upgrade."""
        while True:
            await self._read()
            if any(isinstance(event, Request) for event in self.server.events()):
                return self.send(self.server.send(AcceptConnection()))

    async def refuse(self, status: int) -> None:
        """Answer the upgrade with a status."""
        await self._read()
        assert list(self.server.events())
        self.send(self.server.send(RejectConnection(status_code=status)))

    def push(self, text: str) -> None:
        """Send a message."""
        self.send(self.server.send(TextMessage(text)))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    async def listen(self) -> None:
        """Record the messages until the other side goes."""
        while True:
            await self._read()
            self.texts += [event.data for event in self.server.events() if isinstance(event, TextMessage)]

    async def _read(self) -> None:
        data = await self.reader.read(4096)
        if not data:
            raise ConnectionResetError
        self.heard += data
        self.server.receive_data(data)


class FakeGateway:
    """A TLS server with a gateway's certificate that treats each connection as ``behave`` says."""

    def __init__(self, behave: Callable[[Visit], Awaitable[None]]) -> None:
        self._behave = behave
        self.visits: list[Visit] = []
        self.came_s: list[float] = []
        self.open_now = 0
        self.open_at_most = 0
        self.stop_listening: Callable[[], None] = lambda: None
        """Takes no new connection from now on; those that there are stay."""

    @contextlib.asynccontextmanager
    async def serve(self, leaf: Leaf, folder: Path) -> AsyncIterator[int]:
        """Serve on a free port for the length of the block."""
        server = await asyncio.start_server(self._visit, "127.0.0.1", 0, ssl=server_context(leaf, folder))
        self.stop_listening = server.close
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for visit in self.visits:
                visit.writer.transport.abort()
            await until(lambda: not self.open_now)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer, len(self.visits) + 1)
        self.visits.append(visit)
        self.came_s.append(time.monotonic())
        self.open_now += 1
        self.open_at_most = max(self.open_at_most, self.open_now)
        try:
            await self._behave(visit)
        except OSError:
            pass
        finally:
            self.open_now -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def server_context(leaf: Leaf, folder: Path) -> ssl.SSLContext:
    """Return a server's context with the key of ``leaf``."""
    key, certificate, chain = pkcs12.load_key_and_certificates(leaf.keystore_file.read_bytes(), leaf.password.encode())
    assert key is not None
    assert certificate is not None
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem += b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (certificate, *chain))
    file = folder / "server.pem"
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@dataclass
class PushRig:
    """A gateway process in front of a fake IBKR, a client of it, and a listener with its record."""

    paths: Paths
    leaf: Leaf
    port: int
    gateway: RunningGateway
    client: GatewayClient
    ibkr: RunningStandIn
    ears: Ears
    listener: PushListener

    def listen(self) -> None:
        """Start the listener."""
        self.listener.start(self.port, self.paths.ca_file, self.leaf.der)

    async def log_in(self) -> None:
        """Begin a session as the login page and the Dispatcher do, and return when it is ready."""
        token = self.ibkr.state.sessions.begin().token
        assert await self.client.resume({"XYZAB": token, "XYZAB_AM.LOGIN": token})
        await until(lambda: self.ibkr.state.sessions.brokerage == "authenticated")

    @property
    def heard_by(self) -> int:
        """The number of connections that IBKR serves."""
        return int(self.ibkr.state.sessions.summary()["listeners"])


@contextlib.asynccontextmanager
async def push_rig(paths: Paths, runtime: Runtime, ibkr: RunningStandIn, port: int) -> AsyncIterator[PushRig]:
    """Run a gateway for the length of the block; the listener and the gateway are stopped afterwards."""
    settings = GatewaySettings(port, ibkr.url, auth_delay_ms=1)  # the real gateway fails at 0 [seen]
    prepared = prepare_home(paths, runtime.release_path, settings)
    gateway = await launch(paths, prepared, runtime)
    ears = Ears()
    listener = PushListener(ears)
    try:
        async with GatewayClient(port, paths.ca_file, prepared.leaf.der) as client:
            yield PushRig(paths, prepared.leaf, port, gateway, client, ibkr, ears, listener)
    finally:
        await listener.close()
        await gateway.stop(5)


def make_leaf(home: Path) -> tuple[Path, Leaf]:
    """Return an authority's file and a leaf of it."""
    paths = Paths.for_profile("one", home)
    leaf = ensure_leaf(paths)
    return paths.ca_file, leaf


def listen_to(
    behave: Callable[[Visit], Awaitable[None]],
    identity: tuple[Path, Leaf],
    folder: Path,
    script: Callable[[FakeGateway, PushListener, Ears], Awaitable[None]],
) -> FakeGateway:
    """Run ``script`` while a listener listens to a gateway that behaves in this way."""
    ca_file, leaf = identity
    gateway = FakeGateway(behave)

    async def run() -> None:
        ears = Ears()
        listener = PushListener(ears)
        async with gateway.serve(leaf, folder) as port:
            listener.start(port, ca_file, leaf.der)
            try:
                await script(gateway, listener, ears)
            finally:
                await listener.close()

    asyncio.run(run())
    return gateway
