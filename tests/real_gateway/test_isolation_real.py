"""Who reaches the real gateway: from this machine by another user, from another machine; as isolated, and as shipped.

The other machine is a network namespace behind a link, with IPv4 and IPv6.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from container_rig import Bridge, a_bridge
from other_user import as_user
from rig import Rig, wait_for
from warm_calls import PROGRAM

from gwctl import process
from gwctl.gateway.log_diagnosis import Cause, read_cause

pytestmark = [
    pytest.mark.real_gateway,
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="another user and another machine are root's to be"),
]
REQUEST = """
import socket, ssl, sys
host, port, path, upgrade = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
lines = ["GET " + path + " HTTP/1.1", "Host: localhost:" + port, "User-Agent: x"]
if upgrade == "yes":
    lines += ["Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + 22 * "A" + "=="]
try:
    with context.wrap_socket(socket.create_connection((host, int(port)), 5)) as connection:
        connection.sendall("\\r\\n".join([*lines, "", ""]).encode())
        print(connection.recv(4096).decode(errors="replace"))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    """Yield another machine."""
    with a_bridge() as bridge:
        yield bridge


def from_lan(bridge: Bridge, host: str, port: int, path: str, *, upgrade: bool = False) -> str:
    """Return the beginning of an answer to another machine, or the name of the error."""
    argv = [*bridge.prefix, sys.executable, "-I", "-c", REQUEST, host, str(port), path, "yes" if upgrade else "no"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def by_stranger(port: int, path: str) -> str:
    """Return the beginning of an answer to another user of this machine, or the name of the error."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # an attacker does not verify

    def act() -> str:
        try:
            with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5)) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: x\r\n\r\n".encode())
                return connection.recv(4096).decode(errors="replace")
        except OSError as error:
            return type(error).__name__

    return str(as_user(act))


def ended(answer: str) -> bool:
    """Say whether a connection ended without an answer."""
    return answer in {"", "ConnectionResetError", "SSLEOFError", "SSLZeroReturnError", "BrokenPipeError", "SSLError"}


def test_nobody_else_reaches_an_isolated_gateway(rig: Rig, bridge: Bridge) -> None:
    """Another user is cut off, another machine finds no port; our programs work, and the status says so."""
    status = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert status["isolation"] == {"kind": "namespace", "open_to": [], "reason": None}
    for path in ("/v1/api/tickle", "/v1/api/logout", "/clear", "/"):
        assert ended(by_stranger(rig.port, path))
        for host in (bridge.host, bridge.host6):
            assert from_lan(bridge, host, rig.port, path) == "ConnectionRefusedError"
            assert from_lan(bridge, host, rig.port, path, upgrade=True) == "ConnectionRefusedError"
    assert json.loads(rig.gwctl("api", "GET", "/tickle").check(0).stdout)["iserver"]["authStatus"]["authenticated"]
    assert "access      this user's programs only" in rig.gwctl("status").check(0).stdout
    assert rig.submits() == 1
    log = "".join(file.read_text() for file in (rig.profile_dir / "gateway" / "logs").glob("gw.*.log"))
    assert "authenticated to cp" in log
    assert "getMacAddress" not in log, "it found its hardware address, which it sends to IBKR"


def test_as_shipped_they_do(rig: Rig, bridge: Bridge) -> None:
    """The contrast: without isolation, a user reads the session, and a WebSocket opens to another machine."""
    status = rig.gwctl("up", "--json", GWCTL_ISOLATION="off").check(0).envelope["data"]
    assert status["isolation"]["open_to"] == ["other users of this machine", "other machines"]
    assert "access      OPEN to other users of this machine and other machines" in rig.gwctl("status").stdout
    assert '"authenticated":true' in by_stranger(rig.port, "/v1/api/tickle").replace(" ", "")
    assert "404" in from_lan(bridge, bridge.host, rig.port, "/v1/api/tickle").partition("\n")[0]
    assert "101" in from_lan(bridge, bridge.host, rig.port, "/v1/api/ws", upgrade=True).partition("\n")[0]


def processes(rig: Rig) -> dict[str, int]:
    """Return the pids of gateway, front and supervisor."""
    record = json.loads((rig.profile_dir / "gateway.json").read_text())
    supervisor = json.loads((rig.profile_dir / "supervisor.json").read_text())
    return {"java": record["java"]["pid"], "front": record["front"]["pid"], "supervisor": supervisor["pid"]}


BOUND_S = {"java": 8.0, "front": 4.0, "supervisor": 4.0}
"""The bounds of docs/faults.md, which add up."""
CALLS_S = 2.0
"""For the calls of gwctl that look, where one that only prints its version takes 0.2 s. That page has none of them."""
CALLS_STARTS = 10
"""The same in units of that call, made at the same time: the machine may be slow, or busy with other tests."""
SLOW_S = 8.0
"""Longer than it takes the supervisor to see, twice, that nobody answers."""
WITHOUT_COOKIES_S = 10.0
"""What that page adds where a killed supervisor has lost the login's cookies."""


@pytest.mark.parametrize(
    "killed",
    [
        ("front",),
        ("supervisor",),
        ("front", "supervisor"),
        ("java",),
        ("java", "front"),
        ("java", "front", "supervisor"),
    ],
    ids="+".join,
)
def test_whatever_is_killed_the_session_comes_back(rig: Rig, killed: tuple[str, ...]) -> None:
    """Gateway, front and supervisor, killed one by one and together: ready again without a second password."""
    before = rig.gwctl("up", "--json").check(0).envelope["data"]["gateway"]["pid"]
    pids = processes(rig)
    tickled = f"https://localhost:{rig.port}/v1/api/tickle"
    began_s = time.monotonic()
    subprocess.run([*PROGRAM, "--version"], capture_output=True, check=True)
    calls_s = max(CALLS_S, CALLS_STARTS * (time.monotonic() - began_s))
    began_s = time.monotonic()
    for name in killed:
        with contextlib.suppress(ProcessLookupError):  # a front ends by itself when its gateway does
            os.kill(pids[name], signal.SIGKILL)
    if "supervisor" in killed:
        wait_for(lambda: not psutil.pid_exists(pids["supervisor"]), 10, "the supervisor is gone")
        rig.gwctl("up").check(0)

    def answers() -> bool:
        done = rig.gwctl("api", "GET", "/tickle")
        return done.exit_code == 0 and '"authenticated":true' in done.stdout.replace(" ", "")

    wait_for(answers, 30, f"{tickled} answers")
    took_s = time.monotonic() - began_s
    needs_login = {"java", "supervisor"} <= set(killed)
    bound_s = calls_s + sum(BOUND_S[name] for name in killed) + (WITHOUT_COOKIES_S if needs_login else 0.0)
    assert took_s < bound_s, (killed, took_s)
    assert rig.submits() == (2 if needs_login else 1)
    now = processes(rig)
    assert all(now[name] != pids[name] for name in killed)
    assert (now["java"] == before) is ("java" not in killed)
    if "supervisor" not in killed and "java" not in killed:
        notes = [entry for entry in rig.journal() if entry["kind"] == "front"]
        assert [entry["pid"] for entry in notes] == [now["front"]]


def test_a_front_that_is_slow_to_return_costs_no_gateway(rig: Rig) -> None:
    """On a busy machine the next front takes seconds: until then, the gateway is not taken for a hung one."""
    before = rig.gwctl("up", "--json").check(0).envelope["data"]["gateway"]["pid"]
    pids = processes(rig)
    slow = pids["front"]
    while (slow := next_front(pids["supervisor"], slow)) in listeners(rig.port):  # until one is stopped in good time
        pass
    assert rig.gwctl("api", "GET", "/tickle").exit_code == 75
    time.sleep(SLOW_S)  # the fault itself: a start that takes this long
    os.kill(slow, signal.SIGCONT)
    wait_for(lambda: rig.gwctl("api", "GET", "/tickle").exit_code == 0, 30, "the gateway answers")
    now = processes(rig)
    assert (now["java"], now["front"]) == (before, slow)
    assert not [entry for entry in rig.journal() if entry["kind"] == "restart"]
    assert rig.submits() == 1


def next_front(supervisor: int, front: int) -> int:
    """Kill the front, and return the next one that the supervisor starts, stopped within a moment."""
    os.kill(front, signal.SIGKILL)
    deadline_s = time.monotonic() + 10.0
    while time.monotonic() < deadline_s:  # without a pause: it listens after 20 ms
        for child in psutil.Process(supervisor).children():
            with contextlib.suppress(psutil.Error):
                if child.pid != front and "gwctl.isolation import front" in " ".join(child.cmdline()):
                    child.suspend()
                    return child.pid
    raise AssertionError("no other front began")


def listeners(port: int) -> set[int | None]:
    """Return the pids of the programs that listen on a port of this machine."""
    found = process.find_listener(port)
    return set() if found is None else {found.pid}


def test_down_leaves_nothing_of_it(rig: Rig) -> None:
    """`down`, also after the supervisor was killed, ends gateway and front; `--keep-session` keeps both."""
    rig.gwctl("up").check(0)
    pids = processes(rig)
    rig.gwctl("down", "--keep-session").check(0)
    assert psutil.pid_exists(pids["front"])
    assert psutil.pid_exists(pids["java"])
    rig.gwctl("up").check(0)
    assert {name: pid for name, pid in processes(rig).items() if name != "supervisor"} == {
        "java": pids["java"],
        "front": pids["front"],
    }
    os.kill(processes(rig)["supervisor"], signal.SIGKILL)
    rig.gwctl("down").check(0)
    assert rig.processes_left() == []


def test_a_lost_record_loses_no_isolated_gateway(rig: Rig) -> None:
    """Law 1: with the record deleted and the front killed, too, the next start takes over the gateway that runs."""
    rig.gwctl("up").check(0)
    pids = processes(rig)
    for name in ("supervisor", "front"):
        os.kill(pids[name], signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pids["supervisor"]), 10, "the supervisor is gone")
    (rig.profile_dir / "gateway.json").unlink()
    (rig.profile_dir / "supervisor.json").unlink()
    rig.gwctl("up").check(0)
    assert processes(rig)["java"] == pids["java"]
    assert rig.submits() == 1


def test_an_upstream_that_is_away_has_its_name(rig: Rig) -> None:
    """Law 5: behind the front, too, IBKR out of reach is told from a gateway that is ill, and costs nothing."""
    before = rig.gwctl("up", "--json").check(0).envelope["data"]["gateway"]["pid"]
    since_s = time.time()
    rig.stand_in.state.act("refuse", {"for_s": 60})
    wait_for(lambda: rig.status()["phase"] == "degraded", 40, "it is seen")
    assert rig.status()["reason"] == "IBKR cannot be reached"
    assert read_cause(rig.profile_dir / "gateway", since_s=since_s) is Cause.UPSTREAM_UNREACHABLE
    rig.stand_in.state.act("refuse", {"for_s": 0})
    wait_for(lambda: rig.status()["ready"], 40, "it is back")
    assert (rig.status()["gateway"]["pid"], rig.submits()) == (before, 1)


def test_required_is_required(rig: Rig) -> None:
    """Where isolation is required and not possible, nothing starts: exit 78, the reason, the setting."""
    done = rig.gwctl("up", GWCTL_ISOLATION="required", GWCTL_UPSTREAM="https://[::1]:4430").check(78)
    assert "isolation = 'required' ($GWCTL_ISOLATION) is not possible: the upstream is an IPv6 address" in done.stderr
    assert rig.processes_left() == []
    assert rig.submits() == 0
