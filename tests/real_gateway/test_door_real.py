"""The door before the real gateway, from another machine: a network namespace behind a link, with IPv4 and IPv6."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import RealHome, a_real_home, wait_for
from container_rig import Bridge, a_bridge
from rig import free_port

pytestmark = [
    pytest.mark.real_gateway,
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="another machine is root's to be"),
]
NAME = "gateway.test"
LISTEN = """
import asyncio, ssl, sys
from websockets.asyncio.client import connect
name, port, ca_file, token, address = sys.argv[1:]
async def main():
    context = ssl.create_default_context(cafile=ca_file)
    fields = {"Authorization": f"Bearer {token}"}
    how = dict(ssl=context, additional_headers=fields, proxy=None, host=address, port=int(port), server_hostname=name)
    async with connect(f"wss://{name}:{port}/v1/api/ws", **how) as there:
        print(await asyncio.wait_for(there.recv(), 20))
try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    """Yield another machine."""
    with a_bridge() as bridge:
        yield bridge


@pytest.fixture(scope="module", params=["auto", "off"])
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path
) -> Iterator[RealHome]:
    """Return a home with a session and an open door, its gateway isolated or not."""
    with a_real_home(tmp_path_factory.mktemp("door"), real_release_zip) as home:
        home.variables |= {
            "GWCTL_PASSWORD": home.account.password,
            "GWCTL_ISOLATION": request.param,
            "GWCTL_CERTIFICATE_NAMES": NAME,
            "GWCTL_DOOR": f"[::]:{free_port()}",
        }
        home.gwctl("up").check(0)
        wait_for(lambda: home.status()["door"]["problem"] is None, 20, "the door is open")
        yield home


def told(home: RealHome) -> tuple[str, str, str]:
    """Return the door's port, the authority's file and the token."""
    token = (home.profile_dir / "door.token").read_text().strip()
    return home.variables["GWCTL_DOOR"].rpartition(":")[2], str(home.home / "ca" / "ca.pem"), token


def asked(bridge: Bridge, home: RealHome, address: str, path: str, *options: str, token: str = "") -> tuple[int, str]:
    """Ask from the other machine, verified by the certificate's name, and return the status and the body."""
    port, ca_file, own = told(home)
    literal = f"[{address}]" if ":" in address else address
    argv = [*bridge.prefix, "curl", "-s", "-m", "20", "-w", "\n%{http_code}", "--cacert", ca_file]
    argv += ["--connect-to", f"::{literal}:{port}", "-H", f"Authorization: Bearer {token or own}", *options]
    done = subprocess.run([*argv, f"https://{NAME}:{port}{path}"], capture_output=True, text=True, check=False)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_another_machine_with_the_token(real: RealHome, bridge: Bridge) -> None:
    """By IPv4 and IPv6, by HTTP and WebSocket, verified: what the gateway answers its own user."""
    for address in (bridge.host, bridge.host6):
        status, body = asked(bridge, real, address, "/v1/api/tickle")
        assert (status, json.loads(body)["iserver"]["authStatus"]["authenticated"]) == (200, True)
        port, ca_file, token = told(real)
        argv = [*bridge.prefix, sys.executable, "-c", LISTEN, NAME, port, ca_file, token, address]
        assert "topic" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_another_machine_without_it(real: RealHome, bridge: Bridge) -> None:
    """No token, no session: by HTTP, by WebSocket, and by an upgrade on another path."""
    fields = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {22 * 'A'}==",
    )
    upgrade = ["--http1.1", *(word for one in fields for word in ("-H", one))]
    for address in (bridge.host, bridge.host6):
        assert asked(bridge, real, address, "/v1/api/tickle", token="wrong")[0] == 401
        assert asked(bridge, real, address, "/v1/api/logout", *upgrade)[0] == 404
        assert asked(bridge, real, address, "/clear")[0] == 404
        assert asked(bridge, real, address, "/sso/Login?forwardTo=22")[0] == 404
        port, ca_file, _ = told(real)
        argv = [*bridge.prefix, sys.executable, "-c", LISTEN, NAME, port, ca_file, "wrong", address]
        assert "InvalidStatus" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert real.status()["ready"]
    assert real.submits() == 1


def test_the_door_survives_a_restart_of_the_gateway(real: RealHome, bridge: Bridge) -> None:
    """While the gateway is away the door says so; afterwards the same token gets through."""
    real.gwctl("restart").check(0)
    wait_for(lambda: asked(bridge, real, bridge.host, "/v1/api/tickle")[0] == 200, 60, "it answers again")
