"""The fake IBKR's answers reach the real gateway whole, whatever it has read before."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest
from rig import Rig, wait_for

from gwctl.sandbox.ibkr import serve_in_thread
from gwctl.sandbox.settings import StandInConfig

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]

SHORT_ANSWERS = 100
SEEN_S = 60.0


def test_the_handshake_after_many_short_answers(rig: Rig) -> None:
    """A client's requests make the gateway read in small pieces; its handshake succeeds at once all the same."""
    rig.gwctl("up").check(0)
    trust = ssl.create_default_context(cafile=rig.status()["gateway"]["ca_file"])
    with httpx.Client(verify=trust, trust_env=False) as client:
        for _ in range(SHORT_ANSWERS):
            assert client.get(f"https://localhost:{rig.port}/v1/api/iserver/auth/status").json()["authenticated"]
    rig.stand_in.state.act("drop_session", {})
    wait_for(lambda: rig.status()["ready"] and rig.submits() > 1, SEEN_S, "the session is back")
    logs = [one.read_text("utf-8") for one in rig.profile_dir.rglob("gw.*.log")]
    assert any("authenticated to cp" in one for one in logs)
    assert not [line for one in logs for line in one.splitlines() if "authentication to cp failed" in line]


@pytest.mark.parametrize("path", ["/v1/api/iserver/auth/status", "/v1/api/tickle", "/v1/portal/sso/validate", "/none"])
def test_no_answer_is_short(path: str) -> None:
    """An answer of 512 bytes or less would make the next read smaller; one above 1,024 bytes may be read in two."""
    with (
        serve_in_thread(StandInConfig(admin_token="t")) as stand_in,
        socket.create_connection(("127.0.0.1", stand_in.port)) as asked,
    ):
        asked.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: asked.recv(65536), b""))
    assert 512 < len(answer) <= 1024
