"""Raw bytes to the supervisor's server: it goes on answering, whoever sends what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from corpus.raw_requests import INPUTS, get, post
from corpus.state_files import INPUTS as STATE_INPUTS
from fuzzing import about, bounded, fuzzed, torn, values, without_complaints
from hypothesis import given
from hypothesis import strategies as st

from gwctl.http_requests import Incoming
from gwctl.paths import Paths
from gwctl.supervisor import health
from gwctl.supervisor.control import NoSupervisor, _read_object
from gwctl.supervisor.health import HealthServer, Routes
from gwctl.supervisor.registration import bind_control_socket

ANSWERS_WITHIN_S = 2.0


class Supervisor:
    """A supervisor's server with routes that are never at fault, and how to send raw bytes to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended = asyncio.Event()
        self.place: dict[str, int | Path] = {}

    async def serve(self) -> HealthServer:
        """Open the socket and the port."""
        server = HealthServer(self._routes(), "a token", "0123")
        bound, self.place["socket"] = bind_control_socket(Paths.for_profile("default", self._folder))
        await server.open_control(bound)
        self.place["port"] = await server.start(0)
        return server

    def _routes(self) -> Routes:
        outline = {"ready": True, "phase": "ready", "reason": "because"}
        return Routes(lambda: outline, lambda: outline, lambda: True, self._control, self._events)

    async def _control(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"verb": verb, "body": body}

    async def _events(self, since: int) -> AsyncIterator[dict[str, Any]]:
        yield {"n": since + 1}

    async def send(self, place: str, raw: bytes) -> bytes:
        """Send bytes, say that there are no more, and return what comes until the other side hangs up."""
        at = self.place[place]
        open_it = asyncio.open_unix_connection(at) if isinstance(at, Path) else asyncio.open_connection("127.0.0.1", at)
        reader, writer = await open_it
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(raw)
                await writer.drain()
                writer.write_eof()
                return await reader.read()
            return b""
        finally:
            writer.transport.abort()

    async def play(self, raw: bytes) -> None:
        """Send ``raw`` to both; after that, each must answer a good request in time."""
        for place in self.place:
            with about(raw[:2000]), bounded(cpu_s=1.0):
                async with asyncio.timeout(10):
                    said = await self.send(place, raw)
                assert said[:9] in {b"", b"HTTP/1.1 "}
                assert b" 500 " not in said[:20]
                async with asyncio.timeout(ANSWERS_WITHIN_S):
                    good = await self.send(place, get(b"/livez"))
                assert good.startswith(b"HTTP/1.1 200 ")


def with_server(folder: Path, story: Callable[[Supervisor], Awaitable[None]]) -> None:
    """Run a story with a server; no task of it and no log line may tell of an error."""

    async def run() -> None:
        hear_loop()
        supervisor = Supervisor(folder)
        server = await supervisor.serve()
        await story(supervisor)
        await server.stop()

    with without_complaints(health.log) as hear_loop:
        asyncio.run(run())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path is short enough to connect to a socket in it by its name."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_request_stops_nothing(case: str, folder: Path) -> None:
    """After every request that was ever interesting, the server answers the next one."""
    with_server(folder, lambda supervisor: supervisor.play(INPUTS[case]))


def test_any_answer_of_a_supervisor_is_an_object_or_none() -> None:
    """A caller takes an object for an answer, and for anything else says that there is no supervisor."""

    class Said:
        def __init__(self, raw: bytes) -> None:
            self.read = lambda: raw

    for raw in STATE_INPUTS.values():
        with about(raw[:200]), contextlib.suppress(NoSupervisor):
            assert isinstance(_read_object(cast("Incoming", Said(raw))), dict)


def test_no_request_stops_it(folder: Path) -> None:
    """Whatever is sent to the socket and to the port, the server answers the next request."""
    path = st.sampled_from(
        (b"/livez", b"/status", b"/metrics", b"/events?since=5", b"/control/hold", b"/", b"*", b"/\xff")
    )
    body = values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
    header = st.sampled_from(
        (
            *(
                b"Content-Length: 5",
                b"Content-Length: -5",
                b"Transfer-Encoding: chunked",
                b"Expect: 100-continue",
                b"Host: x",
            ),
            *(
                b"Authorization: Bearer \xff",
                b"Authorization: Bearer",
                b"Connection: close",
                b"Upgrade: x",
                b": x",
                b" x",
                b"\0",
            ),
        )
    )
    made = st.builds(lambda at, one, lines: post(at, one, *lines), path, body, st.lists(header, max_size=3))
    asked = st.builds(lambda at, lines: get(at, *lines), path, st.lists(header, max_size=3))
    raw = made | asked | made.flatmap(torn) | asked.flatmap(torn) | st.binary(max_size=60)
    with asyncio.Runner() as runner:
        supervisor = Supervisor(folder)
        server = runner.run(supervisor.serve())

        @fuzzed(60)
        @given(raw)
        def check(one: bytes) -> None:
            runner.run(supervisor.play(one))

        check()
        runner.run(server.stop())
