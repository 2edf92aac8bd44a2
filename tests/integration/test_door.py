"""The door before a sandbox's gateway: real TLS, real WebSockets, real processes."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_fakes import a_home, wait_for
from door_rig import BOUND_S, DoorClient, Doorway, a_doorway, signed_for_a_client
from rig import free_port
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gwctl.door.guests import MOST_OF_ONE_ADDRESS
from gwctl.door.passing import LARGEST_BODY_BYTES, MOST_WEBSOCKETS
from gwctl.door.rules import MOST_A_SECOND
from gwctl.gateway.keystore import ensure_leaf
from gwctl.paths import Paths
from gwctl.state_file import make_private_dir

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": f"{22 * 'A'}==",
}


@pytest.fixture(scope="module")
def doorway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doorway]:
    """Return a door that lets everything through that the rules let."""
    yield from a_doorway(tmp_path_factory.mktemp("door"))


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doorway]:
    """Return a door that lets only reading requests through."""
    yield from a_doorway(tmp_path_factory.mktemp("read-only"), GWCTL_DOOR_READ_ONLY="yes")


def test_a_client_with_the_token_gets_what_the_gateway_answers(doorway: Doorway) -> None:
    """Status, body, query and content type pass both ways, as Bearer and as a password."""
    status, said = doorway.client.ask("GET", "/v1/api/tickle")
    assert (status, said["iserver"]["authStatus"]["authenticated"]) == (200, True)
    assert doorway.client.ask("POST", "/v1/api/iserver/auth/status", b"{}", Content_Type="application/json")[0] == 200
    assert doorway.client.ask("GET", "/v1/api/no/such/path?x=%41")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/v1/api/tickle", {"Authorization": "Bearer wrong"}, 401),
        ("GET", "/clear", {}, 404),
        ("GET", "/sso/Dispatcher?forwardTo=22", {}, 404),
        ("HEAD", "/v1/api/tickle", {}, 405),
        ("GET", "/v1/api/tickle", {"Host": "evil.example"}, 421),
        ("GET", "/v1/api/tickle", {"Origin": "https://evil.example"}, 403),
        ("GET", "/v1/api/logout", {"Upgrade": "websocket", "Connection": "Upgrade"}, 400),
        ("GET", "/v1/api/logout", WEBSOCKET, 404),
    ],
)
def test_what_does_not_pass_gets_its_status(
    doorway: Doorway, method: str, path: str, fields: dict[str, str], status: int
) -> None:
    """The rules' answers reach the client, and the session goes on."""
    assert doorway.client.ask(method, path, None, **fields)[0] == status
    assert doorway.home.status()["ready"]


def test_a_large_body_is_refused(doorway: Doorway) -> None:
    """It is not collected."""
    assert doorway.client.ask("POST", "/v1/api/tickle", b"x" * (LARGEST_BODY_BYTES + 1))[0] == 413


def test_a_caller_that_is_too_fast_gets_429_in_place_of_a_block(doorway: Doorway) -> None:
    """IBKR would refuse the address for a quarter of an hour; the door's own limit passes after a second."""
    answers: list[int] = []
    callers = [
        threading.Thread(target=lambda: answers.append(doorway.client.ask_once("GET", "/v1/api/tickle")[0]))
        for _ in range(3 * MOST_A_SECOND)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert set(answers) == {200, 429}
    assert len(answers) == 3 * MOST_A_SECOND
    wait_for(lambda: doorway.client.ask_once("GET", "/v1/api/tickle")[0] == 200, BOUND_S, "it passes again")


async def first_message(client: DoorClient, path: str = "/v1/api/ws", say: str | None = None) -> str:
    """Open a WebSocket, say something, and return the first message."""
    async with await client.listen(path) as there:
        if say is not None:
            await there.send(say)
        return str(await asyncio.wait_for(there.recv(), BOUND_S))


def test_a_websocket_passes_both_ways(doorway: Doorway) -> None:
    """What the gateway pushes arrives, for a client with the token; others learn in the handshake why it does not."""
    assert "topic" in asyncio.run(first_message(doorway.client))
    with pytest.raises(InvalidStatus, match="401"):
        asyncio.run(first_message(DoorClient(doorway.port, doorway.ca_file, "wrong")))
    with pytest.raises(InvalidStatus, match="404"):
        asyncio.run(first_message(doorway.client, "/v1/api/logout"))


def test_websockets_are_counted(doorway: Doorway) -> None:
    """IBKR allows five a session, and gwctl needs its own; one that ends makes room."""

    async def crowd() -> None:
        opened = [await doorway.client.listen() for _ in range(MOST_WEBSOCKETS)]
        with pytest.raises(InvalidStatus, match="503"):
            await doorway.client.listen()
        await opened[0].close()
        deadline_s = time.monotonic() + BOUND_S
        while True:
            try:
                opened[0] = await doorway.client.listen()
                break
            except InvalidStatus:
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.05)
        for one in opened:
            await one.close()

    asyncio.run(crowd())


def test_a_read_only_door(read_only: Doorway) -> None:
    """Reading passes; orders and logging out do not, by HTTP and by WebSocket."""
    assert read_only.client.ask("GET", "/v1/api/portfolio/accounts")[0] == 200
    assert read_only.client.ask("POST", "/v1/api/logout")[0] == 403
    assert read_only.client.ask("POST", "/v1/api/iserver/account/DU1/orders", b"{}")[0] == 403
    assert "topic" in asyncio.run(first_message(read_only.client, say="tic"))

    async def act() -> None:
        async with await read_only.client.listen() as there:
            await there.send('{"session":"x"}')
            while True:
                await asyncio.wait_for(there.recv(), BOUND_S)

    with pytest.raises(ConnectionClosed, match="read-only"):
        asyncio.run(act())
    assert read_only.home.status()["ready"]
    assert "read-only" in read_only.home.gwctl("status").check(0).stdout


def test_the_access_log_tells_who_and_what_and_no_secret(doorway: Doorway) -> None:
    """A line for each request: address, status, method, path; no token, no query, no account."""
    doorway.client.ask("GET", "/v1/api/portfolio/DU1234567/summary?secret=canaryquery")
    wait_for(lambda: "/v1/api/portfolio/ACCOUNT/summary" in doorway.log(), BOUND_S, "it is logged")
    log = doorway.log()
    assert "127.0.0.1 " in log
    for secret in (doorway.client.token, "canaryquery", "DU1234567", "Bearer"):
        assert secret not in log


def test_the_token_is_nobody_elses(doorway: Doorway) -> None:
    """It is in its file alone: not in arguments, environments, the journal, the record or another log."""
    token = doorway.client.token
    for process in doorway.home.processes():
        assert token not in " ".join(process.cmdline())
        assert token not in " ".join(process.environ().values())
    files = [one for one in doorway.home.home.rglob("*") if one.is_file() and not one.is_symlink()]
    assert [one.name for one in files if token.encode() in one.read_bytes()] == ["door.token"]
    assert (doorway.home.profile_dir / "door.token").stat().st_mode & 0o777 == 0o600


def test_a_new_token_replaces_the_old_one(doorway: Doorway) -> None:
    """The old one is refused, and the new one accepted, as soon as the verb has returned."""
    old = doorway.client
    done = doorway.home.gwctl("door", "--new-token").check(0)
    said = done.stdout
    assert f"https://localhost:{doorway.port}/v1/api" in said
    assert (old.token in said, done.stderr) == (False, "")
    assert doorway.client.ask("GET", "/v1/api/tickle")[0] == 200
    assert old.ask("GET", "/v1/api/tickle")[0] == 401
    assert doorway.client.token not in said


def test_the_address_is_printed_when_the_door_is_open(tmp_path: Path) -> None:
    """A client may connect at once; for a door that stays closed, the verb says why and does not wait."""
    with a_home(tmp_path, GWCTL_DOOR=f"127.0.0.1:{free_port()}") as home:
        closed = home.gwctl("door", "--json").check(0).envelope["data"]
        assert (closed["open"], closed["problem"]) == (False, None)
        assert "the door is closed: it opens with the gateway: gwctl up\n" in home.gwctl("door").check(0).stderr
        home.gwctl("up", "--sandbox", "--fast").check(0)
        done = home.gwctl("door").check(0)
        assert done.stderr == ""
        assert Doorway(home).client.ask("GET", "/v1/api/tickle")[0] == 200


def test_idle_and_slow_clients_keep_nobody_out(doorway: Doorway) -> None:
    """One address gets so many connections; those that say nothing are closed; a client from elsewhere is served."""
    idle = [socket.create_connection(("127.0.0.1", doorway.port), BOUND_S) for _ in range(40)]
    context = doorway.client.tls()
    secured = []
    for _ in range(MOST_OF_ONE_ADDRESS + 5):
        try:
            connection = socket.create_connection(("127.0.0.1", doorway.port), BOUND_S)
            secured.append(context.wrap_socket(connection, server_hostname="localhost"))
            secured[-1].sendall(b"GET /v1/api/ti")
        except OSError:
            connection.close()
    with socket.socket() as elsewhere:
        elsewhere.settimeout(BOUND_S)
        elsewhere.bind(("127.0.0.9", 0))
        elsewhere.connect(("127.0.0.1", doorway.port))
        with context.wrap_socket(elsewhere, server_hostname="localhost") as served:
            served.sendall(b"GET /v1/api/tickle HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert served.recv(100).startswith(b"HTTP/1.1 401")
    wait_for(lambda: is_served(doorway), 2 * BOUND_S, "we are served again")
    for connection in (*idle, *secured):
        connection.close()


@pytest.mark.parametrize("extra", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_an_upgrade_that_nobody_understands_is_sent_away(doorway: Doorway, extra: str) -> None:
    """Two libraries read it in two ways; without a token it must not hold its connection."""
    lines = ["GET /v1/api/ws HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", extra, "", ""]
    plain = socket.create_connection(("127.0.0.1", doorway.port), 3 * BOUND_S)
    with doorway.client.tls().wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall("\r\n".join(lines).encode())
        with contextlib.suppress(ConnectionError):
            while connection.recv(1000):
                pass
    assert is_served(doorway)


def test_a_changed_token_of_ones_own_is_in_force_soon(tmp_path: Path) -> None:
    """A token file that is replaced, and an authority: the door looks at them, and nobody needs to restart it."""
    file = tmp_path / "token"
    file.write_text("the-first-token-of-this-test")
    for doorway in a_doorway(tmp_path, GWCTL_DOOR_TOKEN_FILE=str(file)):
        pid = doorway.wait_open()
        assert doorway.home.gwctl("door", "--new-token").check(78).stderr.count(str(file)) == 1
        file.write_text("another-token-of-this-test")
        doorway.wait_open(other_than=pid, timeout_s=3 * BOUND_S)
        there = DoorClient(doorway.port, doorway.ca_file, "another-token-of-this-test")
        assert there.ask("GET", "/v1/api/tickle")[0] == 200
        assert (
            DoorClient(doorway.port, doorway.ca_file, "the-first-token-of-this-test").ask("GET", "/v1/api/x")[0] == 401
        )
        file.unlink()
        pid = doorway.wait_open()
        doorway.home.gwctl("door").check(0)
        assert there.ask("GET", "/v1/api/tickle")[0] == 200
        assert doorway.pid() == pid, "what cannot be read has not changed"


def is_served(doorway: Doorway) -> bool:
    """Return whether a client of ours gets through."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return doorway.client.ask("GET", "/v1/api/tickle")[0] == 200
    return False


def test_a_door_that_ends_is_opened_again(doorway: Doorway) -> None:
    """The session is untouched, and the journal says it."""
    pid, gateway = doorway.wait_open(), doorway.home.status()["gateway"]["pid"]
    os.kill(pid, signal.SIGKILL)
    doorway.wait_open(other_than=pid)
    assert doorway.client.ask("GET", "/v1/api/tickle")[0] == 200
    assert doorway.home.status()["gateway"]["pid"] == gateway
    assert [one for one in doorway.home.journal() if one.get("code") == "door_failed"]


def test_a_door_does_not_outlive_its_supervisor(doorway: Doorway) -> None:
    """After kill -9 of the supervisor its port is free, and the next supervisor opens it with the same token."""
    pid, token = doorway.wait_open(), doorway.client.token
    os.kill(doorway.home.status()["supervisor"]["pid"], signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid), BOUND_S, "the door is closed")
    doorway.home.gwctl("up", "--sandbox").check(0)
    doorway.wait_open(other_than=pid)
    assert doorway.client.token == token
    assert doorway.client.ask("GET", "/v1/api/tickle")[0] == 200


def test_a_port_that_is_taken_is_said_and_costs_no_session(tmp_path: Path) -> None:
    """The session comes up without the door; status and doctor say why; it opens once the port is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with a_home(tmp_path, GWCTL_DOOR=f"127.0.0.1:{port}") as home:
            home.gwctl("up", "--sandbox").check(0)
            said = wait_for(lambda: home.status()["door"]["problem"], BOUND_S, "it is said")
            assert f"127.0.0.1:{port}" in said
            assert "Address already in use" in said
            assert f"door        closed: {said}" in home.gwctl("status").check(0).stdout
            findings = home.gwctl("doctor", "--json").envelope["data"]["findings"]
            assert [one["what"] for one in findings if one["check"] == "door"] == [said]
            assert f"the door is closed: {said}\n" in home.gwctl("door").check(0).stderr
            taken.close()
            wait_for(lambda: home.status()["door"]["problem"] is None, 3 * BOUND_S, "the door is open")


def test_client_certificates_in_place_of_a_token(tmp_path: Path) -> None:
    """With an authority for clients, a certificate of it opens the door, and without one TLS fails."""
    theirs = Paths.for_profile("default", tmp_path / "theirs")
    make_private_dir(theirs.gateway_dir / "root")
    ensure_leaf(theirs)
    key, certificate = signed_for_a_client(theirs, tmp_path)
    for doorway in a_doorway(tmp_path, GWCTL_DOOR_CLIENT_CA=str(theirs.ca_file)):
        there = DoorClient(doorway.port, doorway.ca_file, certificate=(certificate, key))
        assert there.ask("GET", "/v1/api/tickle")[0] == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            DoorClient(doorway.port, doorway.ca_file, "x" * 40).ask("GET", "/v1/api/tickle")
        assert "client certificates" in doorway.home.gwctl("status").check(0).stdout
        assert not (doorway.home.profile_dir / "door.token").exists()


@pytest.mark.parametrize("token", ["", "short", "two words of a token that is long", "x" * 19])
def test_a_token_that_is_weak_is_not_used(tmp_path: Path, token: str) -> None:
    """A token of one's own is one word of twenty characters at least; else the door stays closed and says why."""
    file = tmp_path / "token"
    file.write_text(token)
    with a_home(tmp_path, GWCTL_DOOR=f"127.0.0.1:{free_port()}", GWCTL_DOOR_TOKEN_FILE=str(file)) as home:
        home.gwctl("up", "--sandbox").check(0)
        said = wait_for(lambda: home.status()["door"]["problem"], BOUND_S, "it is said")
        assert "20 characters" in said
        assert token not in said or not token


def test_other_machines_need_the_door(tmp_path: Path) -> None:
    """allow_ips beyond this machine without a door: exit 78 and how to get one, before anything starts."""
    with a_home(tmp_path, GWCTL_ALLOW_IPS="127.0.0.1,192.168.1.0/24") as home:
        done = home.gwctl("up", "--sandbox").check(78)
        assert "192.168.1.0/24" in done.stderr
        assert "door=0.0.0.0:5443" in done.stderr
        assert home.left() == []
        assert "has no door" in home.gwctl("door").check(78).stderr
