from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from other_user import as_user

from gwctl.errors import DiskTrouble, TimedOut
from gwctl.http_requests import address_of
from gwctl.paths import Paths
from gwctl.state_file import write_json
from gwctl.supervisor.control import (
    NoSupervisor,
    SupervisorClient,
    SupervisorHangs,
    SupervisorRecord,
    SupervisorTrouble,
)
from gwctl.supervisor.health import MAX_BODY_BYTES, HealthServer, Routes
from gwctl.supervisor.registration import Registration, bind_control_socket

T = TypeVar("T")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user is root's to do")
TOKEN = "a token of the test"
INSTANCE = "0123456789abcdef"


class World:
    """The answers of a supervisor."""

    def __init__(self) -> None:
        self.ready = True
        self.live = True
        self.broken = False
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.more = asyncio.Event()
        self.finished = asyncio.Event()
        self.folder = tempfile.TemporaryDirectory()
        self.socket, self.socket_file = bind_control_socket(Paths.for_profile("default", Path(self.folder.name)))

    def status(self) -> dict[str, Any]:
        if self.broken:
            raise DiskTrouble("cannot read the ledger")
        return {**self.outline(), "session": {"user_id": 4711}}

    def outline(self) -> dict[str, Any]:
        return {"ready": self.ready, "phase": "ready" if self.ready else "starting", "reason": "because"}

    def routes(self) -> Routes:
        return Routes(self.status, self.outline, lambda: self.live, self.control, self.events)

    async def control(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        self.commands.append((verb, body))
        return {"ok": True, "n": 7}

    async def events(self, since: int) -> AsyncIterator[dict[str, Any]]:
        yield {"n": since + 1, "kind": "phase"}
        await self.finished.wait()
        yield {"n": 0, "kind": "finish", "exit_code": 0}

    async def serve(self) -> tuple[HealthServer, int]:
        server = HealthServer(self.routes(), TOKEN, INSTANCE)
        await server.open_control(self.socket)
        return server, await server.start(0)


W = TypeVar("W", bound=World)


async def connect(place: int | Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port of loopback or to a Unix socket."""
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(place)
    return await asyncio.open_connection("127.0.0.1", place)


async def say(place: int | Path, raw: bytes, *, end: bool = False) -> bytes:
    """Send bytes and return the answer until the other side closes."""
    reader, writer = await connect(place)
    try:
        writer.write(raw)
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def ask(
    place: int | Path,
    target: str,
    *,
    method: str = "GET",
    token: str | None = None,
    host: str = "127.0.0.1:1",
    body: bytes = b"",
) -> tuple[int, str]:
    """Make one request and return status and body."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    if token is not None:
        head += f"Authorization: Bearer {token}\r\n"
    raw = await say(place, head.encode() + b"\r\n" + body)
    top, _, rest = raw.partition(b"\r\n\r\n")
    # Only our own user is told which supervisor this is.
    assert (f"x-gwctl-instance: {INSTANCE}".encode() in top) is isinstance(place, Path)
    return int(top.split()[1]), rest.decode()


def go(story: Callable[[W, int], Awaitable[T]], world: W | None = None, *, within_s: float = 30.0) -> T:
    """Run a story against a new server, which must not hang; asyncio must not complain."""
    complaints: list[dict[str, Any]] = []

    async def run() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        here = world or World()
        server, port = await here.serve()
        try:
            async with asyncio.timeout(within_s):
                return await story(cast("W", here), port)
        finally:
            here.finished.set()
            await server.drain(1.0)
            await server.stop()
            here.folder.cleanup()

    value = asyncio.run(run())
    assert complaints == []
    return value


def test_probes_tell_live_from_ready() -> None:
    """A supervisor that is not ready is alive: no container is restarted for it."""

    async def story(world: World, port: int) -> None:
        assert await ask(port, "/livez") == (200, "ok\n")
        assert await ask(port, "/readyz") == (200, "ready\n")
        world.ready = False
        assert await ask(port, "/livez") == (200, "ok\n")
        assert await ask(port, "/readyz") == (503, "starting: because\n")
        world.live = False
        assert (await ask(port, "/livez"))[0] == 503
        status, body = await ask(port, "/status")
        assert (status, json.loads(body)["phase"]) == (200, "starting")

    go(story)


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("GET", "/control/stop"), ("POST", "/"), ("PUT", "/control/stop")]
)
def test_what_is_not_there_is_404(method: str, target: str) -> None:
    """Only documented paths answer."""

    async def story(world: World, port: int) -> None:
        assert (await ask(port, target, method=method, token=TOKEN))[0] == 404
        assert world.commands == []

    go(story)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN, TOKEN + "x", "ä"])
def test_no_command_and_no_event_goes_over_a_port(token: str | None) -> None:
    """Another local user can neither stop the session nor read its journal, not even with the token."""

    async def story(world: World, port: int) -> None:
        for method in ("POST", "GET", "PUT"):
            assert (await ask(port, "/control/stop", method=method, token=token))[0] == 404
        assert (await ask(port, "/events?since=0", token=token))[0] == 404
        assert world.commands == []

    go(story)


@as_root
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN])
def test_details_over_a_port_are_for_our_user_or_want_the_token(token: str | None) -> None:
    """Another local user sees phase, reason and ready; with the token, and for our own user, there is everything."""

    async def story(world: World, port: int) -> None:
        def look() -> str:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                sent = "" if token is None else f"Authorization: Bearer {token}\r\n"
                connection.sendall(f"GET /status HTTP/1.1\r\nHost: localhost\r\n{sent}\r\n".encode())
                return connection.makefile("rb").read().decode()

        seen = json.loads((await asyncio.to_thread(as_user, look)).partition("\r\n\r\n")[2])
        assert seen == (world.status() if token == TOKEN else world.outline())
        assert json.loads((await ask(port, "/status", token=token))[1]) == world.status()
        assert json.loads((await ask(world.socket_file, "/status", token=token))[1]) == world.status()

    go(story)


def test_where_the_system_cannot_tell_users_apart_the_token_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the kernel's word, our own user is one of many on a port."""
    monkeypatch.setattr("gwctl.supervisor.health.owners_or_none", lambda: None)

    async def story(world: World, port: int) -> None:
        assert json.loads((await ask(port, "/status"))[1]) == world.outline()
        assert json.loads((await ask(port, "/status", token="ä"))[1]) == world.outline()
        assert json.loads((await ask(port, "/status", token=TOKEN))[1]) == world.status()

    go(story)


def test_socket_is_for_its_user_alone() -> None:
    """The socket and its folder give other users no access."""

    async def story(world: World, _port: int) -> None:
        assert world.socket_file.stat().st_mode & 0o077 == 0
        assert world.socket_file.parent.stat().st_mode & 0o077 == 0

    go(story)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "192.168.0.1:1"])
def test_foreign_hosts_are_turned_away(host: str) -> None:
    """A web page whose name resolves to loopback gets nothing, with or without the token."""

    async def story(world: World, port: int) -> None:
        assert (await ask(port, "/status", host=host))[0] == 421
        assert (await ask(port, "/control/stop", method="POST", token=TOKEN, host=host))[0] == 421
        assert world.commands == []

    go(story)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]", "[::1]:99"])
def test_loopback_by_any_of_its_names(host: str) -> None:
    """Every name of loopback is accepted."""

    async def story(_world: World, port: int) -> None:
        assert (await ask(port, "/livez", host=host))[0] == 200

    go(story)


def test_command_reaches_the_supervisor() -> None:
    """A command's body arrives as it was sent."""

    async def story(world: World, _port: int) -> None:
        assert (await ask(world.socket_file, "/control/stop", method="POST", body=b'{"keep_session": true}'))[0] == 200
        assert (await ask(world.socket_file, "/control/restart", method="POST"))[0] == 200
        assert world.commands == [("stop", {"keep_session": True}), ("restart", {})]

    go(story)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"stop"', b"\xff"])
def test_bodies_that_are_no_object_are_400(body: bytes) -> None:
    """An invalid body is refused and reaches no handler."""

    async def story(world: World, _port: int) -> None:
        assert (await ask(world.socket_file, "/control/stop", method="POST", body=body))[0] == 400
        assert world.commands == []

    go(story)


def test_oversized_body_is_413() -> None:
    """A body longer than any command is not read to its end."""

    async def story(world: World, _port: int) -> None:
        body = b"x" * (MAX_BODY_BYTES + 1)
        assert (await ask(world.socket_file, "/control/stop", method="POST", body=body))[0] == 413
        assert world.commands == []

    go(story)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x00" * 70_000,
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab",
        "GET /ü HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    ],
)
def test_garbage_does_not_disturb_the_server(raw: bytes) -> None:
    """Bytes that are not a request end their own connection and nothing else."""

    async def story(_world: World, port: int) -> None:
        answer = await say(port, raw, end=True)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        assert await ask(port, "/livez") == (200, "ok\n")

    go(story)


def test_slow_clients_do_not_block_others() -> None:
    """A client that sends or reads nothing does not delay the others."""

    async def story(_world: World, port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _reader, writer in idle[:10]:
            writer.write(b"POST /control/stop HTTP/1.1\r\nHost: local")
        async with asyncio.timeout(5):
            for _ in range(20):
                assert (await ask(port, "/readyz"))[0] == 200
        for _reader, writer in idle:
            writer.transport.abort()

    go(story)


def test_status_that_fails_is_said_and_not_taken_for_stopped() -> None:
    """A supervisor that cannot answer still runs."""

    async def story(world: World, port: int) -> None:
        world.broken = True
        status, body = await ask(port, "/status", token=TOKEN)
        assert status == 500
        assert "cannot read the ledger" in body
        assert (await ask(port, "/livez"))[0] == 200

    go(story)


def test_events_stream_until_the_end() -> None:
    """A follower gets every entry as it happens, and the finish as the last one."""

    async def story(world: World, _port: int) -> None:
        reader, writer = await connect(world.socket_file)
        writer.write(b"GET /events?since=4 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = b""
        while b'"phase"' not in seen:
            seen += await reader.read(1000)
        assert b'{"n": 5, "kind": "phase"}' in seen
        world.finished.set()
        seen += await reader.read()
        assert b'"kind": "finish"' in seen
        writer.transport.abort()

    go(story)


def test_taken_port_is_an_error() -> None:
    """A busy health port is reported to the caller."""

    async def story(world: World, port: int) -> None:
        server = HealthServer(world.routes(), TOKEN, INSTANCE)
        with pytest.raises(OSError, match="address already in use"):
            await server.start(port)
        await server.stop()

    go(story)


# The client.


def record(file: Path | None, *, instance: str = INSTANCE) -> SupervisorRecord:
    return SupervisorRecord(1, 0.0, 1, instance, sandbox=False, token=TOKEN, control=file)


def in_thread(act: Callable[[SupervisorClient, World], T], **of_record: str) -> T:
    """Run the blocking client against a server."""

    async def story(world: World, _port: int) -> T:
        return await asyncio.to_thread(act, SupervisorClient(record(world.socket_file, **of_record)), world)

    return go(story)


def test_a_record_in_an_error_shows_no_token() -> None:
    """Whoever reads a traceback cannot use the health server."""
    shown = repr(record(None))
    assert INSTANCE in shown
    assert TOKEN not in shown


def test_client_reads_status_and_gives_commands() -> None:
    """Client and server understand each other."""

    def act(client: SupervisorClient, world: World) -> None:
        assert client.status()["phase"] == "ready"
        assert client.command("login", {"secrets": {}}) == {"ok": True, "n": 7}
        assert world.commands == [("login", {"secrets": {}})]

    in_thread(act)


def test_client_follows_events_and_stops_waiting() -> None:
    """A follower that gets nothing more is told so, after a deadline."""

    def act(client: SupervisorClient, _world: World) -> None:
        events = client.events(since=2, timeout_s=0.3)
        assert next(events) == {"n": 3, "kind": "phase"}
        with pytest.raises(TimedOut, match="sent nothing more"):
            next(events)

    in_thread(act)


def test_client_follows_events_to_the_end() -> None:
    """The stream ends by itself after the finish."""

    async def story(world: World, _port: int) -> list[dict[str, Any]]:
        world.finished.set()
        client = SupervisorClient(record(world.socket_file))
        return await asyncio.to_thread(lambda: list(client.events(since=0, timeout_s=5)))

    assert [entry["kind"] for entry in go(story)] == ["phase", "finish"]


def test_client_does_not_talk_to_another_instance() -> None:
    """Law 3 for sockets: the next supervisor at a socket is not the one that the record names."""

    def act(client: SupervisorClient, world: World) -> None:
        with pytest.raises(NoSupervisor):
            client.status()
        assert world.commands == []

    in_thread(act, instance="another")


def test_client_says_what_the_supervisor_could_not_do() -> None:
    """An error answer is neither a status nor a stopped profile."""

    def act(client: SupervisorClient, world: World) -> None:
        world.broken = True
        with pytest.raises(SupervisorTrouble, match="cannot read the ledger"):
            client.status()

    in_thread(act)


@contextmanager
def listening() -> Iterator[tuple[socket.socket, Path]]:
    """Listen on a Unix socket of ours."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        file = Path(folder) / "control.sock"
        listener.bind(str(file))
        listener.listen()
        yield listener, file


@contextmanager
def answering(raw: bytes | None) -> Iterator[Path]:
    """Accept one connection; answer ``raw`` and close, or stay silent until the end."""
    with listening() as (listener, file):
        over = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                if raw is None:
                    over.wait(10)
                else:
                    connection.sendall(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield file
        finally:
            over.set()
            thread.join(10)


def test_hung_supervisor_is_told_from_none() -> None:
    """A process that accepts and stays silent is a hung supervisor, not a stopped one."""
    with answering(None) as file, pytest.raises(SupervisorHangs, match="does not answer") as caught:
        SupervisorClient(record(file)).status(timeout_s=0.2)
    assert caught.value.hint


HEAD = f"HTTP/1.1 200 OK\r\nx-gwctl-instance: {INSTANCE}\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        f"{HEAD}Content-Length: 2\r\n\r\n[]".encode(),
        f"{HEAD}Content-Length: 2\r\n\r\n{{x".encode(),
        f"{HEAD}Content-Length: 50\r\n\r\n{{}}".encode(),
    ],
)
def test_others_at_the_socket_are_no_supervisor(raw: bytes) -> None:
    """A mail server, another web server or half an answer is not taken for a status."""
    with answering(raw) as file, pytest.raises(NoSupervisor):
        SupervisorClient(record(file)).status(timeout_s=5)


def test_answer_that_stops_halfway_is_a_hang() -> None:
    """Every wait has a deadline, including the wait for the rest of an answer."""

    def serve(listener: socket.socket, over: threading.Event) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(f"{HEAD}Content-Length: 50\r\n\r\n{{".encode())
            over.wait(10)

    over = threading.Event()
    with listening() as (listener, file):
        thread = threading.Thread(target=serve, args=(listener, over))
        thread.start()
        with pytest.raises(SupervisorHangs):
            SupervisorClient(record(file)).status(timeout_s=0.2)
        over.set()
        thread.join(10)


def test_event_stream_that_breaks_ends() -> None:
    """A supervisor that is killed in the middle of a line ends the stream, not the follower."""
    raw = f"{HEAD}\r\n".encode() + b'{"n": 1}\n{"n": 2'
    with answering(raw) as file:
        assert list(SupervisorClient(record(file)).events(since=0, timeout_s=5)) == [{"n": 1}]


def paths_of(tmp_path: Path) -> Paths:
    return Paths.for_profile("default", tmp_path)


def test_profile_without_a_record_has_no_supervisor(tmp_path: Path) -> None:
    """Without a record, there is no supervisor."""
    assert SupervisorClient.find(paths_of(tmp_path)) is None


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"pid": "x"}'])
def test_damaged_record_is_no_record(tmp_path: Path, content: bytes) -> None:
    """Law 9: a damaged file is not trusted, and is no obstacle."""
    paths = paths_of(tmp_path)
    paths.profile_dir.mkdir(parents=True)
    paths.supervisor_state_file.write_bytes(content)
    assert SupervisorClient.find(paths) is None


def written(paths: Paths, control: Path | None, *, pid: int = 1, sandbox: bool = False) -> None:
    """Write a supervisor's record."""
    value = {"pid": pid, "created_s": 1.0, "port": 1, "instance": INSTANCE, "sandbox": sandbox, "token": TOKEN}
    write_json(paths.supervisor_state_file, value if control is None else {**value, "control": str(control)})


def test_record_of_a_dead_supervisor_finds_none_and_shows_no_token(tmp_path: Path) -> None:
    """A record whose socket nobody answers is outdated; its repr holds no token (law 8)."""
    paths = paths_of(tmp_path)
    bound, file = bind_control_socket(paths)
    bound.close()
    written(paths, file)
    assert SupervisorClient.find(paths) is None
    file.unlink()
    assert SupervisorClient.find(paths) is None
    assert TOKEN not in repr(SupervisorRecord.load(paths))


def test_client_is_found_by_its_record() -> None:
    """The supervisor's record is enough to reach it."""

    async def story(world: World, _port: int) -> None:
        paths = paths_of(Path(world.folder.name))
        written(paths, world.socket_file, sandbox=True)
        client = await asyncio.to_thread(SupervisorClient.find, paths)
        assert client is not None
        assert client.record.sandbox

    go(story)


@as_root
def test_another_users_socket_gets_nothing(tmp_path: Path) -> None:
    """A socket that another user listens on is no supervisor, even if the record names it."""
    paths = paths_of(tmp_path)
    stranger, file = bind_control_socket(paths)
    written(paths, file)
    child = os.fork()
    if child == 0:  # the system notes who called listen()
        os.setresuid(65534, 65534, 65534)
        stranger.listen()
        stranger.accept()[0].recv(10_000)
        os._exit(0)
    try:
        heard: list[int] = []
        deadline = threading.Event()
        while not heard and not deadline.wait(0.01):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    with address_of(file) as name:  # a path may be longer than the system takes
                        probe.connect(name)
                except ConnectionRefusedError:
                    continue
                heard = [struct.unpack("=3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]]
        assert heard == [65534]
        assert SupervisorClient.find(paths) is None
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        stranger.close()


def test_supervisor_of_an_earlier_version_is_said(tmp_path: Path) -> None:
    """One that answers on a port only is neither asked there nor taken for stopped while it runs."""
    from gwctl import process

    paths = paths_of(tmp_path)
    written(paths, None)
    assert SupervisorClient.find(paths) is None
    me = process.identify(os.getpid())
    assert me is not None
    value = {"pid": me.pid, "created_s": me.created_s, "port": 1, "instance": "one", "sandbox": False, "token": "t"}
    write_json(paths.supervisor_state_file, value)
    with pytest.raises(SupervisorHangs, match="earlier version") as caught:
        SupervisorClient.find(paths)
    assert caught.value.hint == "gwctl down --keep-session, then gwctl up"


def test_a_full_queue_is_waited_for() -> None:
    """Many calls at the same moment are answered one after the other, not refused."""
    with listening() as (listener, file):
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            if one.connect_ex(str(file)) != 0:
                break  # the queue is full
        else:
            pytest.fail("the queue never filled")
        answers: list[bool] = []
        asking = threading.Thread(target=lambda: answers.append(SupervisorClient(record(file)).is_live(timeout_s=10)))
        asking.start()
        listener.settimeout(10)
        raw = f"{HEAD}Content-Length: 3\r\n\r\nok\n".encode()
        while asking.is_alive():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(0.2)
                try:
                    asked = connection.recv(10_000)
                except TimeoutError:
                    asked = b""
                if asked:
                    connection.sendall(raw)
                    asking.join(10)
        for one in waiting:
            one.close()
    assert answers == [True]


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_a_path_too_long_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """With a long path, the socket is where it always is on Linux, elsewhere in a private folder that goes with it."""
    monkeypatch.setattr("gwctl.http_requests.sys", SimpleNamespace(platform=system))
    monkeypatch.setattr("gwctl.http_requests.peer_uid", lambda _connection: os.geteuid())
    paths = paths_of(tmp_path / ("long" * 30))

    async def story() -> None:
        world = World()
        server = HealthServer(world.routes(), TOKEN, INSTANCE)
        registration = Registration(paths, server.open_control)
        registration.told = {"port": 1, "instance": INSTANCE, "sandbox": False, "token": TOKEN}
        await registration.write()
        kept = SupervisorRecord.load(paths)
        assert kept is not None
        assert kept.control is not None
        assert kept.control.parent.stat().st_mode & 0o077 == 0
        assert (kept.control == paths.control_socket) is (system == "linux")
        assert await asyncio.to_thread(SupervisorClient(kept).is_live)
        assert not registration.is_lost()
        kept.control.unlink()
        assert registration.is_lost()
        await registration.write()
        again = SupervisorRecord.load(paths)
        assert again is not None
        assert await asyncio.to_thread(SupervisorClient(again).is_live)
        registration.remove()
        assert again.control is not None
        assert not again.control.exists()
        assert again.control.parent.exists() is (system == "linux")
        assert kept.control.parent.exists() is (system == "linux")
        await server.stop()
        world.socket.close()
        world.folder.cleanup()

    asyncio.run(story())
