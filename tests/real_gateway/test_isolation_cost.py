"""What the isolation of the real gateway costs: time for each request on a kept-alive connection, and memory."""

from __future__ import annotations

import re
import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import RealHome, a_real_home
from processes import words_of

from gwctl.http_requests import trust_only

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(300)]
MOST_TIMES = 1.4
MOST_BYTES = 16_000_000
REQUESTS = 1000
ROUNDS = 20


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Iterator[dict[str, RealHome]]:
    """Return a home whose gateway is isolated, and one whose is not."""
    folder = tmp_path_factory.mktemp("cost")
    with a_real_home(folder / "a", real_release_zip) as isolated, a_real_home(folder / "b", real_release_zip) as direct:
        made = {"required": isolated, "off": direct}
        for kind, home in made.items():
            home.variables |= {"GWCTL_PASSWORD": home.account.password, "GWCTL_ISOLATION": kind}
            home.gwctl("up").check(0)
        yield made


def connected(home: RealHome) -> ssl.SSLSocket:
    """Return a connection to a home's gateway."""
    tls = trust_only(home.home / "ca" / "ca.pem")
    plain = socket.create_connection(("127.0.0.1", home.port), 10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.wrap_socket(plain, server_hostname="localhost")


def median_ms(connection: ssl.SSLSocket, port: int) -> float:
    """Return how long a GET that the gateway answers by itself takes."""
    request, took_ms = f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode(), []
    for _ in range(REQUESTS):
        began_s, answer = time.perf_counter(), b""
        connection.sendall(request)
        while not answer.endswith(b"0\r\n\r\n"):
            part = connection.recv(65_536)
            assert part, answer
            answer += part
        took_ms.append(1000 * (time.perf_counter() - began_s))
    return statistics.median(took_ms)


def test_a_request_takes_at_most_that_much_longer(homes: dict[str, RealHome]) -> None:
    """In turn, so that what else runs on the machine slows both; the quickest of each counts."""
    found: dict[str, list[float]] = {kind: [] for kind in homes}
    connections = {kind: connected(home) for kind, home in homes.items()}
    for _ in range(ROUNDS):
        for kind, home in homes.items():
            found[kind].append(median_ms(connections[kind], home.port))
        isolated_ms, direct_ms = min(found["required"]), min(found["off"])
        if len(found["off"]) >= 3 and isolated_ms <= MOST_TIMES * direct_ms:
            break
    for connection in connections.values():
        connection.close()
    assert isolated_ms <= MOST_TIMES * direct_ms, (isolated_ms, direct_ms)


def test_the_front_takes_at_most_that_much_memory(homes: dict[str, RealHome]) -> None:
    """What it adds to the machine: pages of libraries that other processes use, too, count by their share."""
    home = homes["required"]
    (front,) = [one.pid for one in home.processes() if "import front" in words_of(one)]
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{front}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    assert 1024 * int(found[1]) <= MOST_BYTES
