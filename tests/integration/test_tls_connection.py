"""A connection straight on the socket: to whom, how much at once, and what is left when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import psutil
import pytest
from push_fakes import FakeGateway, Visit, make_leaf, until

from gwctl.gateway.client import GatewayClient, PortCheck, knock
from gwctl.gateway.keystore import Leaf
from gwctl.gateway.tls_connection import TlsConnection
from gwctl.http_requests import trust_only

LONG_BYTES = 20_000_000
"""More than the system holds for a reader that is slow."""


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Leaf]:
    return make_leaf(tmp_path_factory.mktemp("identity"))


async def be_silent(visit: Visit) -> None:
    """Read, and answer nothing."""
    while await visit.reader.read(65_536):
        pass


def test_what_does_not_fit_at_once_is_sent_whole(identity: tuple[Path, Leaf], tmp_path: Path) -> None:
    """Both ways: the other side reads late, and answers with as much."""
    ca_file, leaf = identity
    sent = bytes(range(250)) * (LONG_BYTES // 250)
    may_read = asyncio.Event()

    async def echo(visit: Visit) -> None:
        await may_read.wait()
        visit.heard = await visit.reader.readexactly(LONG_BYTES)
        visit.send(visit.heard)
        await visit.writer.drain()
        await be_silent(visit)

    async def run() -> None:
        gateway = FakeGateway(echo)
        async with gateway.serve(leaf, tmp_path) as port:
            line = await TlsConnection.open(port, trust_only(ca_file), leaf.der)
            sending = asyncio.ensure_future(line.send(sent))
            done, _ = await asyncio.wait([sending], timeout=0.2)
            assert not done, "the test's content is too short"
            may_read.set()
            await sending
            received = bytearray()
            while len(received) < LONG_BYTES:
                received += await line.receive()
            line.close()
            assert gateway.visits[0].heard == bytes(received) == sent

    asyncio.run(run())


def test_a_stranger_is_not_asked(
    identity: tuple[Path, Leaf], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither one whom our authority has certified under another key, nor one whom it has not."""
    ca_file, leaf = identity
    other_ca_file, other = make_leaf(tmp_path_factory.mktemp("other"))

    async def run() -> None:
        gateway = FakeGateway(be_silent)
        async with gateway.serve(leaf, tmp_path) as port:
            for trust, der in ((ca_file, other.der), (other_ca_file, leaf.der)):
                with pytest.raises(ssl.SSLError):
                    await TlsConnection.open(port, trust_only(trust), der)
                assert await knock(port, trust_only(trust), der, timeout_s=5) is PortCheck.STRANGER

    asyncio.run(run())


def test_one_that_hangs_up_during_the_handshake_is_no_stranger(identity: tuple[Path, Leaf]) -> None:
    """The front does so while the gateway behind it takes nobody: the gateway is silent then."""
    ca_file, leaf = identity

    left = asyncio.Event()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async def run() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await knock(port, trust_only(ca_file), leaf.der, timeout_s=5) is PortCheck.SILENT
        await left.wait()
        server.close()

    asyncio.run(run())


def test_who_waits_for_a_connection_that_is_closed_gets_an_error(identity: tuple[Path, Leaf], tmp_path: Path) -> None:
    """And does not stop watching what has the same number by then."""
    ca_file, leaf = identity

    async def run() -> None:
        gateway, loop = FakeGateway(be_silent), asyncio.get_running_loop()
        async with gateway.serve(leaf, tmp_path) as port:
            line = await TlsConnection.open(port, trust_only(ca_file), leaf.der)
            number = line._socket.fileno()
            waiting = asyncio.ensure_future(line.receive())
            await asyncio.sleep(0)
            line.close()
            line.close()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                assert number in {ours.fileno(), theirs.fileno()}, "the number was not given again"
                loop.add_reader(number, lambda: None)
                with pytest.raises(ConnectionAbortedError):
                    await waiting
                assert loop.remove_reader(number)

    asyncio.run(run())


@pytest.mark.parametrize("moment", ["shaking hands", "receiving"])
def test_nothing_is_left_of_a_cancelled_request(identity: tuple[Path, Leaf], tmp_path: Path, moment: str) -> None:
    """No open file: a check that is cancelled again and again must not use them up."""
    ca_file, leaf = identity
    came: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)

    async def run() -> None:
        gateway = FakeGateway(be_silent)
        mute = await asyncio.start_server(hold, "127.0.0.1", 0)
        async with gateway.serve(leaf, tmp_path) as port:
            files = psutil.Process().num_fds()
            there = mute.sockets[0].getsockname()[1] if moment == "shaking hands" else port
            async with GatewayClient(there, ca_file, leaf.der) as client:
                asking = asyncio.ensure_future(client.auth_status())
                await until(lambda: came or gateway.visits)
                asking.cancel()
                await asyncio.wait([asking])
            for writer in came:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await until(lambda: not gateway.open_now)
            await until(lambda: psutil.Process().num_fds() <= files)
        mute.close()

    asyncio.run(run())
