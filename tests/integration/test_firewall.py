"""The firewall of a gateway's port: whom it lets in, and what it leaves alone, in networks that the tests make.

In the gateway's place is an echo server that listens as the gateway does, at every address.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_rig import Bridge, a_bridge
from doctor_rig import a_process
from other_user import STRANGER, as_user
from own_network import an_own_network
from rig import wait_for

from gwctl.config import Settings, load
from gwctl.environment import Environment
from gwctl.errors import Configuration
from gwctl.gateway.firewalled import (
    is_loaded,
    load_firewall,
    record_firewall,
    recorded_firewall,
    unload_firewall,
    why_no_firewall,
)
from gwctl.gateway.isolated import choose_isolation
from gwctl.isolation.firewall import Firewall
from gwctl.paths import Paths

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a network and its rules are root's"),
    pytest.mark.needs("nft"),
]
PORT = 5000
ALLOWED = 4321
OURS = Firewall(PORT, (os.geteuid(), ALLOWED))
LOOPBACK = ("127.0.0.1", "::1")
REFUSED = "ConnectionRefusedError"
BOUND_S = 10.0
MPTCP = getattr(socket, "IPPROTO_MPTCP", 262)
LOADS = 20
BIG = 4_000_000
ECHO = f"""
import socket
listener = socket.create_server(("0.0.0.0", {PORT}))
print(flush=True)
connection = listener.accept()[0]
connection.sendall(connection.recv(10))
"""
OVER_A_LINK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"


@pytest.fixture(autouse=True)
def _network() -> Iterator[None]:
    with an_own_network():
        yield


@pytest.fixture
def server() -> Iterator[list[int]]:
    """Yield how many bytes each ended connection brought to the echo server."""
    counts: list[int] = []

    def echo(connection: socket.socket) -> None:
        count = 0
        with connection, contextlib.suppress(OSError):
            while part := connection.recv(65_536):
                count += len(part)
                if part.startswith(b"echo"):
                    connection.sendall(part)
        counts.append(count)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield counts
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(BOUND_S)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return a profile's paths."""
    return Paths.for_profile("default", tmp_path)


def settings_with(folder: Path, **chosen: str) -> Settings:
    """Return a profile's settings, as variables set them."""
    variables = {f"GWCTL_{name}": value for name, value in chosen.items()}
    return load("default", environment=Environment({"GWCTL_HOME": str(folder), **variables}))


def reached(host: str, protocol: int = 0) -> str:
    """Return what the server echoes, or the name of the error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM, protocol) as connection:
            connection.settimeout(BOUND_S)
            connection.connect((host, PORT))
            return echoed(connection)
    except OSError as error:
        return type(error).__name__


def by(uid: int, host: str = "127.0.0.1") -> str:
    """Return what a user of this machine gets."""
    return str(as_user(lambda: reached(host), uid))


def connection_of(uid: int) -> socket.socket:
    """Return a connection to the server that a program of ``uid`` opened, as the kernel sees it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def hand_over() -> int:
            with socket.create_connection(("127.0.0.1", PORT), BOUND_S) as connection:
                return socket.send_fds(theirs, [b"!"], [connection.fileno()])

        as_user(hand_over, uid)
        given = socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0])
    given.settimeout(BOUND_S)
    return given


def echoed(connection: socket.socket) -> str:
    """Return what the server echoes on a connection, or the name of the error."""
    try:
        connection.sendall(b"echo")
        return connection.recv(10).decode()
    except OSError as error:
        return type(error).__name__


def reached_from(bridge: Bridge, host: str) -> bool:
    """Say whether another machine connects."""
    argv = [*bridge.prefix, sys.executable, "-I", "-c", OVER_A_LINK, host, str(PORT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 or REFUSED in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.usefixtures("server")
def test_who_is_let_in_on_this_machine(paths: Paths) -> None:
    """Loaded, our user and an allowed one get through by IPv4 and IPv6, another is reset; removed, all get through."""
    users = (os.geteuid(), ALLOWED, STRANGER, ALLOWED + 1)
    assert [by(uid, host) for uid in users for host in LOOPBACK] == ["echo"] * 8
    assert load_firewall(OURS) is None
    assert [by(uid, host) for uid in users for host in LOOPBACK] == ["echo"] * 4 + [REFUSED] * 4
    record_firewall(paths, OURS)
    unload_firewall(paths)
    assert [by(uid, host) for uid in users for host in LOOPBACK] == ["echo"] * 8


@pytest.mark.usefixtures("server")
def test_root_is_let_in_only_if_it_is_ours() -> None:
    """Root's programs do not get through where root is not named; a table that is loaded next replaces the first."""
    for uids, answers in (((ALLOWED,), [REFUSED, "echo"]), ((0,), ["echo", REFUSED])):
        assert load_firewall(Firewall(PORT, uids)) is None
        assert [by(uid) for uid in (0, ALLOWED)] == answers


@pytest.mark.usefixtures("server")
def test_other_machines_reach_nothing() -> None:
    """From another machine, IPv4 and IPv6, nothing of the port is reached; without the table, it is."""
    with a_bridge() as bridge:
        places = (bridge.host, bridge.neighbour, bridge.host6)
        assert [reached_from(bridge, host) for host in places] == [True] * 3
        assert load_firewall(OURS) is None
        assert [reached_from(bridge, host) for host in places] == [False] * 3
        assert [reached(host) for host in places] == ["echo"] * 3  # our own address, from here
        assert [by(STRANGER, host) for host in places] == [REFUSED] * 3


@pytest.mark.usefixtures("server")
def test_other_ports_are_left_alone() -> None:
    """Another user reaches other ports here, and the same port of another machine."""
    assert load_firewall(Firewall(PORT + 1, (0,))) is None
    assert by(STRANGER) == "echo"
    assert load_firewall(OURS) is None
    with a_bridge() as bridge, a_process([*bridge.prefix, sys.executable, "-I", "-c", ECHO], Path("/")):
        assert by(STRANGER, bridge.inside) == "echo"


@pytest.mark.usefixtures("server")
def test_a_socket_within_a_socket_is_no_way_in() -> None:
    """Another user is refused, too, by sockets that have one of the kernel's within."""

    def through() -> str:
        return reached("127.0.0.1", MPTCP)

    assert through() == "echo"
    assert load_firewall(OURS) is None
    assert as_user(through) == REFUSED


@pytest.mark.usefixtures("server")
def test_a_connection_from_before_is_cut_unless_it_is_ours() -> None:
    """Loading the table over an open port ends another user's connection, and not ours."""
    with connection_of(os.geteuid()) as ours, connection_of(ALLOWED) as allowed, connection_of(STRANGER) as strange:
        assert [echoed(one) for one in (ours, allowed, strange)] == ["echo"] * 3
        assert load_firewall(OURS) is None
        assert [echoed(one) for one in (ours, allowed, strange)] == ["echo", "echo", "ConnectionResetError"]


@pytest.mark.usefixtures("server")
def test_loading_again_opens_and_cuts_nothing() -> None:
    """While the table is replaced again and again, our connection goes on and another user never gets in."""
    assert load_firewall(OURS) is None
    loads: list[str | None] = []

    def replace() -> None:
        while len(loads) < LOADS:
            loads.append(load_firewall(OURS))

    thread = threading.Thread(target=replace)
    answers: set[str] = set()
    with connection_of(os.geteuid()) as ours:
        thread.start()
        while thread.is_alive():
            answers.update(as_user(lambda: [reached(host) for _ in range(50) for host in LOOPBACK]))
            assert echoed(ours) == "echo"
    assert answers == {REFUSED}
    assert loads == [None] * LOADS


def test_what_we_sent_before_we_closed_arrives(server: list[int]) -> None:
    """The last packets of a closed connection have no owner any more, and pass: all bytes arrive."""
    assert load_firewall(OURS) is None
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", PORT), BOUND_S) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * BIG)
            connection.sendall(bytes(BIG))
    wait_for(lambda: len(server) == 5, BOUND_S, "all have arrived")
    assert server == [BIG] * 5


def test_what_is_removed(paths: Paths) -> None:
    """Removing takes the recorded table and its record, no other table, and is safe to repeat."""
    other = Firewall(PORT + 1, (0,))
    assert load_firewall(other) is None
    unload_firewall(paths)
    for _ in range(2):
        record_firewall(paths, OURS)
        assert load_firewall(OURS) is None
    assert is_loaded(OURS)
    assert recorded_firewall(paths) == OURS
    assert paths.firewall_file.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        unload_firewall(paths)
        assert (is_loaded(OURS), is_loaded(other)) == (False, True)
        assert recorded_firewall(paths) is None
    record_firewall(paths, OURS)
    unload_firewall(paths)
    assert recorded_firewall(paths) is None


@pytest.mark.parametrize(("profile", "stays"), [("default", True), ("two", False)])
def test_a_gateway_that_listens_keeps_its_table(paths: Paths, profile: str, *, stays: bool) -> None:
    """A table that a gateway listens behind stays; if another profile's gateway does, it is that profile's table."""
    folder = paths.profiles_dir / profile / "gateway"
    folder.mkdir(parents=True, mode=0o700)
    record_firewall(paths, OURS)
    assert load_firewall(OURS) is None
    with a_process([sys.executable, "-I", "-c", ECHO], folder):
        unload_firewall(paths)
        assert is_loaded(OURS)
    assert (recorded_firewall(paths) is not None) is stays


@pytest.mark.parametrize("form", ["shown", "loaded"])
@pytest.mark.parametrize("uids", [(0,), (1000, 0, 65534), (4294967294,)])
def test_nft_reads_what_is_printed(form: str, uids: tuple[int, ...]) -> None:
    """The text, as printed and as loaded, is nft's language for any port and users; a check of it loads nothing."""
    for port in (1, 5000, 65535):
        firewall = Firewall(port, uids)
        text = firewall.shown("nft") if form == "shown" else firewall.nft()
        subprocess.run(["nft", "-c", "-f", "-"], input=text, text=True, check=True, timeout=BOUND_S)
        assert why_no_firewall(firewall) is None
        assert not is_loaded(firewall)


def test_where_it_is_not_possible(tmp_path: Path) -> None:
    """Without root, or without root's rights over the network, nothing starts: exit 78, the reason, what to type."""
    wanted = settings_with(tmp_path, ISOLATION="firewall")

    def refused() -> list[object]:
        with pytest.raises(Configuration) as caught:
            choose_isolation(wanted, "https://api.ibkr.com", {})
        return [caught.value.exit_code, caught.value.message, caught.value.hint]

    code, message, hint = as_user(refused)
    assert (code, message) == (78, f"{_COULD_NOT}: only root can load a firewall")
    assert "gwctl profile set default isolation=namespace" in hint
    assert "gwctl --profile default service show --firewall" in hint
    auto = settings_with(tmp_path, ISOLATION="auto")
    described = as_user(lambda: choose_isolation(auto, "https://[::1]:1", {}).describe())
    assert (described["kind"], described["reason"]) == ("off", "the upstream is an IPv6 address")
    script = "from gwctl.gateway.firewalled import *; print(why_no_firewall(Firewall(5000, (0,))))"
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"]
    done = subprocess.run([*drop, sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert "Operation not permitted" in done.stdout


_COULD_NOT = "isolation = 'firewall' ($GWCTL_ISOLATION) is not possible"


def test_what_is_chosen(tmp_path: Path) -> None:
    """`auto` takes the firewall where a network of its own is not possible, `firewall` takes it anyway."""
    for isolation, reason in (("auto", "the upstream is an IPv6 address"), ("firewall", None)):
        settings = settings_with(tmp_path, ISOLATION=isolation, ALLOW_USERS=str(ALLOWED))
        chosen = choose_isolation(settings, "https://[::1]:1", {"PATH": os.environ["PATH"]})
        assert chosen.describe() == {"kind": "firewall", "open_to": [], "reason": reason}
        assert chosen.firewall == OURS
    settings = settings_with(tmp_path, ISOLATION="auto")
    assert choose_isolation(settings, "https://api.ibkr.com", os.environ).describe()["kind"] == "namespace"
