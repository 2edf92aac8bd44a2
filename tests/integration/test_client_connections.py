"""The connections of the gateway's client: kept from check to check, and replaced when the gateway closes one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from push_fakes import FakeGateway, Visit, make_leaf, until

from gwctl.core.policy import Policy
from gwctl.gateway import http_client
from gwctl.gateway.client import GatewayClient
from gwctl.gateway.http_client import KEPT_S
from gwctl.gateway.responses import NO_ANSWER
from gwctl.session_status import Verdict

BODY = b'{"authenticated": true, "connected": true, "competing": false}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.mark.parametrize("closes", [False, True])
def test_a_connection_is_used_again_unless_the_gateway_closed_it(*, closes: bool, tmp_path: Path) -> None:
    """A closed one costs no check its answer."""
    ca_file, leaf = make_leaf(tmp_path)

    idle = asyncio.Event()

    async def behave(visit: Visit) -> None:
        while True:
            await visit.reader.readuntil(b"\r\n\r\n")
            visit.send(ANSWER)
            if closes:
                await idle.wait()
                return

    async def run() -> int:
        gateway = FakeGateway(behave)
        async with gateway.serve(leaf, tmp_path) as port, GatewayClient(port, ca_file, leaf.der) as client:
            for _ in range(5):
                idle.clear()
                assert (await client.auth_status()).verdict is Verdict.READY
                idle.set()
                await until(lambda: not closes or not gateway.open_now)
            return len(gateway.visits)

    assert asyncio.run(run()) == (5 if closes else 1)


def test_a_connection_lasts_for_two_checks_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that takes no new clients goes on answering on a connection that it has: each is soon replaced."""
    assert Policy().check_interval_s < KEPT_S < 2 * Policy().check_interval_s
    ca_file, leaf = make_leaf(tmp_path)

    async def behave(visit: Visit) -> None:
        while True:
            await visit.reader.readuntil(b"\r\n\r\n")
            visit.send(ANSWER)

    async def run() -> tuple[Verdict, Verdict]:
        gateway = FakeGateway(behave)
        async with gateway.serve(leaf, tmp_path) as port, GatewayClient(port, ca_file, leaf.der) as client:
            assert (await client.auth_status()).verdict is Verdict.READY
            gateway.stop_listening()
            kept = (await client.auth_status()).verdict
            monkeypatch.setattr(http_client, "KEPT_S", 0.0)
            return kept, (await client.auth_status()).verdict

    assert asyncio.run(run()) == (Verdict.READY, NO_ANSWER.verdict)
