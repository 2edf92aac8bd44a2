"""The front of an isolated gateway: whom it lets in, where the gateway can go, and that bytes come through whole.

In the gateway's place is a small server that says what it sees from inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from front_rig import BOUND_S, CARD, Isolated, end_sending, everything
from other_user import as_user
from rig import free_port, wait_for

from gwctl.gateway.isolated import front_program, program, why_not
from gwctl.isolation.front import PORT_TAKEN
from gwctl.isolation.namespaces import CARD_ADDRESS, NOT_POSSIBLE

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user is root's to do")


@contextlib.contextmanager
def upstream_at(port: int) -> Iterator[int]:
    """Serve one line to each connection at a port of this machine's loopback."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"upstream got " + connection.recv(100))

    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(0.05)

        def run() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    serve(listener.accept()[0])

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            thread.join()


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[Isolated]:
    """Yield a server in its network, with an upstream that nobody serves yet."""
    made = Isolated(tmp_path, ("127.0.0.1", free_port()))
    try:
        yield made
    finally:
        made.end()


def test_bytes_come_through_whole(isolated: Isolated) -> None:
    """What a client sends comes back unchanged, while it still sends."""
    isolated.ask("echo")
    sent = os.urandom(5_000_000)

    async def exchange() -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", isolated.port, ssl=isolated.tls, server_hostname="localhost"
        )
        writer.write(b"echo\r\n\r\n" + sent)
        try:
            _, got = await asyncio.gather(writer.drain(), reader.readexactly(len(sent)))
        finally:
            writer.close()
        return got

    assert asyncio.run(asyncio.wait_for(exchange(), 3 * BOUND_S)) == sent


def test_a_client_that_ends_gets_the_rest(isolated: Isolated) -> None:
    """A client says that it sends no more, and the answer comes to its end."""
    with isolated.connect("echo") as connection:
        connection.sendall(b"x" * 100_000)
        end_sending(connection)
        assert everything(connection) == b"x" * 100_000


def test_a_client_that_never_speaks_tls_is_sent_away(isolated: Isolated) -> None:
    """A connection without a handshake holds a place, and one in the gateway, for ten seconds and no longer."""
    isolated.ask("echo")
    with socket.create_connection(("127.0.0.1", isolated.port), 3 * BOUND_S) as connection:
        began_s = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began_s < 2 * BOUND_S


def test_many_clients_at_the_same_time(isolated: Isolated) -> None:
    """Sixty connections are open at once, and each gets its own answer."""
    isolated.ask("echo")
    connections = [isolated.connect("echo") for _ in range(60)]
    for number, connection in enumerate(connections):
        connection.sendall(b"%d" % number)
    for number, connection in enumerate(connections):
        end_sending(connection)
        assert everything(connection) == b"%d" % number
        connection.close()


def test_a_slow_reader_costs_no_memory(isolated: Isolated) -> None:
    """A client that does not read holds its sender up; the front keeps little, and nothing is lost."""
    count = 100_000_000
    with isolated.connect(f"flood {count}") as connection:
        connection.recv(1)
        process = psutil.Process(isolated.front.pid)
        before = process.cpu_times()
        assert process.memory_info().rss < 40_000_000
        time.sleep(1.0)  # the time in which its work is counted: while nobody reads, it has nothing to do
        now = process.cpu_times()
        assert now.user + now.system - before.user - before.system < 0.5
        assert 1 + len(everything(connection)) == count
        assert process.memory_info().rss < 40_000_000


def test_a_client_that_leaves_is_forgotten(isolated: Isolated) -> None:
    """Connections that end in any way leave no open file behind."""
    isolated.ask("echo")
    process = psutil.Process(isolated.front.pid)
    before = process.num_fds()
    for number in range(200):
        connection = isolated.connect("drain")
        connection.sendall(b"x" * 1000)
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    wait_for(lambda: process.num_fds() <= before, BOUND_S, "every file is closed")


@as_root
def test_another_user_gets_nothing(isolated: Isolated) -> None:
    """A connection of another user is reset before a byte goes either way, and the log says whose it was."""
    isolated.ask("echo")

    def intrude() -> str:
        try:
            with socket.create_connection(("127.0.0.1", isolated.port), BOUND_S) as connection:
                connection.sendall(b"status\n")
                return connection.recv(100).decode()
        except OSError as error:
            return type(error).__name__

    assert as_user(intrude) in {"ConnectionResetError", "BrokenPipeError", ""}
    wait_for(lambda: "refused connections: 1 of uid 65534" in isolated.log.read_text(), BOUND_S, "it is said")
    assert isolated.ask("echo") == ""


@as_root
def test_users_that_are_allowed_get_in(tmp_path: Path) -> None:
    """allow_users opens the front for one more user, and for nobody else."""
    isolated = Isolated(tmp_path, ("127.0.0.1", free_port()), uids=(65534,))
    try:
        assert "CapEff" in as_user(lambda: isolated.ask("status"))
        with pytest.raises(AssertionError, match="Connection"):
            as_user(isolated.secured, 65533)
    finally:
        isolated.end()


def test_a_client_that_is_gone_is_nobody(isolated: Isolated) -> None:
    """The kernel gives a closed socket to root: whoever left before being looked at is not let in."""
    isolated.ask("echo")
    os.kill(isolated.front.pid, signal.SIGSTOP)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", isolated.port), BOUND_S) as connection:
            connection.sendall(b"status\n")
    os.kill(isolated.front.pid, signal.SIGCONT)
    assert isolated.ask("echo") == ""
    assert "of programs that were gone" in isolated.log.read_text()


def test_a_client_that_speaks_ipv6(isolated: Isolated) -> None:
    """Java's clients reach 127.0.0.1 by an IPv6 socket."""
    isolated.ask("echo")
    with socket.socket(socket.AF_INET6) as connection:
        connection.connect(("::ffff:127.0.0.1", isolated.port))
        with isolated.tls.wrap_socket(connection, server_hostname="localhost") as secured:
            secured.sendall(b"status\r\n\r\n")
            assert b"CapEff" in everything(secured)


def test_the_gateway_has_no_privilege(isolated: Isolated) -> None:
    """What runs inside has no capability, cannot get one, and keeps its user ID."""
    fields = dict(line.split(":\t") for line in isolated.ask("status").splitlines() if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")} == {0}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split()[0] == str(os.geteuid())


def test_the_gateway_reaches_its_upstream_alone(isolated: Isolated, tmp_path: Path) -> None:
    """Whatever it connects to, it gets its upstream or nobody: no loopback of this machine, no other host, no name."""
    other = free_port()
    upstream = isolated.network.port
    with upstream_at(upstream), upstream_at(other), socket.create_server(("127.0.0.1", 0)) as listener:
        assert isolated.ask(f"reach 127.0.0.1 {upstream}") == "reached upstream got from inside\n"
        assert isolated.ask(f"reach 203.0.113.9 {upstream}") == "reached upstream got from inside\n"
        for port in (other, listener.getsockname()[1], 22, 53):
            assert isolated.ask(f"reach 127.0.0.1 {port}") == "ConnectionRefusedError"
        assert isolated.ask("reach 203.0.113.9 443") == "ConnectionRefusedError"
        assert isolated.ask(f"reach 2001:db8::1 {upstream}") == "OSError"
        assert isolated.ask(f"reach example.com {upstream}") == "gaierror"
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_upstreams_name_is_known_inside(tmp_path: Path) -> None:
    """The gateway finds its upstream's name, and no other, and the front finds it outside."""
    port = free_port()
    isolated = Isolated(tmp_path, ("upstream.test", port))
    try:
        assert isolated.ask("resolve upstream.test") == "127.0.0.1"
        assert isolated.ask("resolve localhost") == "127.0.0.1"
        assert isolated.ask("resolve example.com") == "gaierror"
    finally:
        isolated.end()
    isolated = Isolated(tmp_path, ("localhost", port))
    try:
        with upstream_at(port):
            assert isolated.ask(f"reach localhost {port}") == "reached upstream got from inside\n"
    finally:
        isolated.end()


def test_the_gateway_finds_its_card(isolated: Isolated) -> None:
    """Its machine's name leads to an address of a card with the hardware address that it was given."""
    address, card, hardware = isolated.ask("card").split()
    assert (address, card, hardware) == (CARD_ADDRESS, "eth0", CARD)


def test_an_upstream_that_is_away_and_comes_back(isolated: Isolated) -> None:
    """While nobody serves the upstream, the gateway's connections fail; the log says it once; then it gets through."""
    upstream = isolated.network.port
    for _ in range(3):
        assert isolated.ask(f"reach 127.0.0.1 {upstream}") in {"ConnectionResetError", "BrokenPipeError"}
    with upstream_at(upstream):
        assert isolated.ask(f"reach 127.0.0.1 {upstream}") == "reached upstream got from inside\n"
    said = isolated.log.read_text()
    assert said.count(f"cannot connect to 127.0.0.1:{upstream}: [Errno 111] Connection refused") == 1


def test_a_killed_front_is_replaced(isolated: Isolated) -> None:
    """Another front joins the same network and serves within half a second, with the old connections in TIME_WAIT."""
    with isolated.connect("drain"):
        isolated.front.kill()
        isolated.front.wait(BOUND_S)
        began_s = time.monotonic()
        isolated.front = isolated.start_front()
        assert "CapEff" in isolated.ask("status")
        assert time.monotonic() - began_s < 0.5


def test_a_port_that_is_taken_is_said(isolated: Isolated) -> None:
    """A front whose port another program has ends at once, with its own exit code."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = front_program(isolated.paths, isolated.server.pid, port, isolated.network)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert (done.returncode, done.stdout) == (PORT_TAKEN, "")
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


def test_a_gateway_that_ended_needs_no_front(isolated: Isolated) -> None:
    """A front for a process that has ended ends, too."""
    child = subprocess.Popen(["true"])
    child.wait()
    argv = front_program(isolated.paths, child.pid, free_port(), isolated.network)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode == NOT_POSSIBLE
    assert "cannot join" in done.stderr


def test_this_machine_is_tried() -> None:
    """Here a network of its own is possible."""
    assert why_not(os.environ) is None


@as_root
@pytest.mark.parametrize(
    ("way", "possible"),
    [
        ("exec {}", True),
        ("exec setpriv --bounding-set=-all --inh-caps=-all {}", False),
    ],
    ids=["root needs no user namespace", "no privilege and no user namespace"],
)
def test_where_the_system_forbids_user_namespaces(tmp_path: Path, *, way: str, possible: bool) -> None:
    """Root does without them; anybody else is told in one line, and nothing was started."""
    ran = tmp_path / "ran"
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    words = " ".join(
        f"'{word}'" if "'" not in word else f'"{word}"' for word in program("namespaces", hosts, "", "touch", ran)
    )
    script = f"echo 0 >/proc/sys/user/max_user_namespaces || exit 3; {way.format(words)}"
    done = subprocess.run(
        ["unshare", "-U", "-r", "sh", "-c", script], capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    assert done.returncode == (0 if possible else NOT_POSSIBLE), done.stderr
    assert ran.exists() is possible
    if not possible:
        assert done.stderr.startswith("no network of its own: ")
        assert len(done.stderr.splitlines()) == 1
