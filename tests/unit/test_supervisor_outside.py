"""Probes and scrapers: their methods, and the listener for other machines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rig import free_port
from test_supervisor_http import INSTANCE, TOKEN, World, ask, go, say

from gwctl.errors import Unavailable
from gwctl.supervisor.connections import OPEN_CONNECTIONS
from gwctl.supervisor.health import HEAD_TIMEOUT_S, Answer, HealthServer, Routes

OPEN = ["/livez", "/readyz", "/metrics"]


class OpenWorld(World):
    """A supervisor with every kind of route, and an address for other machines."""

    def __init__(self) -> None:
        super().__init__()
        self.outside = free_port()
        self.accepted: list[str] = []
        self.metrics_text = "gwctl_ready 1\n"

    def metrics(self, accept: str) -> Answer:
        self.accepted.append(accept)
        return Answer(200, self.metrics_text)

    async def ticks(self, sees_all: bool) -> AsyncIterator[bytes]:  # noqa: FBT001 - the routes' shape
        yield b"data: all\n\n" if sees_all else b"data: outline\n\n"

    async def serve(self) -> tuple[HealthServer, int]:
        routes = Routes(
            self.status,
            self.outline,
            lambda: self.live,
            self.control,
            self.events,
            metrics=self.metrics,
            pages={"/": lambda: Answer(200, "a page")},
            streams={"/ticks": self.ticks},
        )
        server = HealthServer(routes, TOKEN, INSTANCE)
        await server.open_control(self.socket)
        return server, await server.open(0, f"127.0.0.1:{self.outside}")


def test_other_machines_are_told_three_things() -> None:
    """Under any host name, the second listener answers probes and scrapers."""

    async def story(world: OpenWorld, _port: int) -> None:
        host = "gateway-0.ibkr.svc.cluster.local:9464"
        assert await ask(world.outside, "/livez", host=host) == (200, "ok\n")
        assert await ask(world.outside, "/readyz", host=host) == (200, "ready\n")
        assert await ask(world.outside, "/metrics", host=host) == (200, "gwctl_ready 1\n")
        world.ready = False
        assert await ask(world.outside, "/readyz", host=host) == (503, "starting: because\n")

    go(story, OpenWorld())


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "target",
    ["/status", "/events?since=0", "/control/stop", "/", "/ticks", "/metrics/", "//metrics", "/livez/../status"],
)
def test_other_machines_are_told_nothing_else(method: str, target: str) -> None:
    """Status, page, events and commands are not available from outside, with or without the token."""

    async def story(world: OpenWorld, port: int) -> None:
        for token in (None, TOKEN):
            assert (await ask(world.outside, target, method=method, token=token))[0] == 404
        assert world.commands == []
        if method == "GET" and target in {"/status", "/", "/ticks"}:
            assert (await ask(port, target))[0] == 200  # on loopback it exists

    go(story, OpenWorld())


@pytest.mark.parametrize("target", [*OPEN, "/status", "/"])
def test_a_look_without_the_body(target: str) -> None:
    """HEAD, as `wget --spider` and uptime monitors use it, gets the answer of GET without the body."""

    async def story(world: OpenWorld, port: int) -> None:
        for ready in (True, False):
            world.ready = ready
            raw = await say(port, f"HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            top, _, body = raw.partition(b"\r\n\r\n")
            status, text = await ask(port, target)
            assert body == b""
            assert int(top.split()[1]) == status
            assert f"content-length: {len(text.encode())}".encode() in top

    go(story, OpenWorld())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_what_can_only_be_looked_at(method: str) -> None:
    """Other methods on read-only paths get an answer that names the allowed ones."""

    async def story(world: OpenWorld, port: int) -> None:
        for at, target in [*((port, target) for target in [*OPEN, "/status", "/"]), (world.outside, "/metrics")]:
            raw = await say(at, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert raw.startswith(b"HTTP/1.1 405 ")
            assert b"\r\nallow: GET, HEAD\r\n" in raw
        assert (world.commands, world.accepted) == ([], [])

    go(story, OpenWorld())


def test_a_scrape_says_what_it_can_read() -> None:
    """The scraper's Accept header reaches the renderer; a missing one is empty."""

    async def story(world: OpenWorld, port: int) -> None:
        accept = "application/openmetrics-text; version=1.0.0"
        await say(port, f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
        await ask(port, "/metrics")
        assert world.accepted == [accept, ""]

    go(story, OpenWorld())


def test_without_metrics_there_are_none() -> None:
    """A server without metrics has no such path."""

    async def story(_world: World, port: int) -> None:
        assert (await ask(port, "/metrics"))[0] == 404

    go(story)


def test_streams_show_everything_to_those_who_know_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is told whether its viewer may see everything."""
    monkeypatch.setattr("gwctl.supervisor.health.owners_or_none", lambda: None)

    async def story(world: OpenWorld, port: int) -> None:
        assert "data: outline" in (await ask(port, "/ticks"))[1]
        assert "data: all" in (await ask(port, "/ticks", token=TOKEN))[1]
        assert "data: all" in (await ask(world.socket_file, "/ticks"))[1]

    go(story, OpenWorld())


Crowd = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


async def crowd(port: int, count: int, said: bytes = b"") -> Crowd:
    """Open connections that send ``said`` and then nothing, and read nothing."""
    made = []
    for _ in range(count):
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(said)
            made.append((reader, writer))
    return made


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def disperse(people: Crowd) -> None:
    for _reader, writer in people:
        writer.transport.abort()


STALLED = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nHost: loc", STALLED], ids=["idle", "half", "unread"])
def test_a_crowd_does_not_keep_a_probe_out(said: bytes) -> None:
    """Idle, half-spoken and unread connections, from here and outside, leave probes their answer and files to open."""

    async def story(world: OpenWorld, port: int) -> None:
        before = open_files()
        for place in (port, world.outside):
            people = await crowd(place, 1_500 if place == port else 100, said)
            for _ in range(3):
                async with asyncio.timeout(2):
                    assert await ask(port, "/livez") == (200, "ok\n")
                    assert await ask(world.outside, "/readyz") == (200, "ready\n")
                    assert await ask(world.socket_file, "/livez") == (200, "ok\n")
            ours = open_files() - before - len(people)
            assert ours <= OPEN_CONNECTIONS + 20
            disperse(people)

    world = OpenWorld()
    world.metrics_text = "x" * 5_000_000
    go(story, world, within_s=100.0)  # 1,500 times that text are written on the way: seconds, or many on a busy machine


def test_a_crowd_that_keeps_coming_does_not_keep_a_probe_out() -> None:
    """While one client connects as fast as it can, a probe is answered."""

    async def story(world: OpenWorld, port: int) -> None:
        over = asyncio.Event()

        async def press(place: int) -> None:
            while not over.is_set():
                disperse(await crowd(place, 60))

        pressing = [asyncio.create_task(press(place)) for place in (port, port, world.outside)]
        for _ in range(20):
            async with asyncio.timeout(2):
                assert await ask(port, "/livez") == (200, "ok\n")
                assert await ask(world.outside, "/livez") == (200, "ok\n")
        over.set()
        await asyncio.gather(*pressing)

    go(story, OpenWorld())


def test_a_request_must_come_at_once() -> None:
    """A connection that sends no complete head within two seconds is closed."""

    async def story(_world: OpenWorld, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\n")
        async with asyncio.timeout(HEAD_TIMEOUT_S + 2):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.transport.abort()

    go(story, OpenWorld())


def test_an_address_that_is_taken_is_said() -> None:
    """A busy metrics_address ends the start with the setting to change, and nothing keeps listening."""

    async def story(world: OpenWorld, _port: int) -> None:
        other = HealthServer(world.routes(), TOKEN, INSTANCE)
        home = free_port()
        with pytest.raises(Unavailable, match=f"metrics_address 127.0.0.1:{world.outside} cannot be used") as caught:
            await other.open(home, f"127.0.0.1:{world.outside}")
        assert caught.value.hint is not None
        assert "each profile needs its own" in caught.value.hint
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", home)
        with pytest.raises(Unavailable, match="the health port") as caught:
            await other.open(world.outside, None)
        assert caught.value.hint == "set health_port to 0"

    go(story, OpenWorld())


def test_ipv6_is_an_address_like_any_other() -> None:
    """The brackets of an IPv6 address belong to the setting, not to the socket."""

    async def story(world: World, _port: int) -> None:
        server = HealthServer(world.routes(), TOKEN, INSTANCE)
        outside = free_port()
        await server.open(0, f"[::1]:{outside}")
        reader, writer = await asyncio.open_connection("::1", outside)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()
        await server.stop()

    go(story)
