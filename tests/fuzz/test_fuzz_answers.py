"""What IBKR, the gateway or a stranger at a port answers: judged or reported missing, on real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from corpus.answers import BODIES, INPUTS, answer, chunked
from fuzzing import about, bounded, damaged, fuzzed, swept, torn
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict
from push_fakes import make_leaf, server_context

from gwctl.gateway import responses
from gwctl.gateway.client import GatewayClient
from gwctl.gateway.keystore import Leaf
from gwctl.gateway.responses import SessionAnswer
from gwctl.http_requests import RequestFailed, request
from gwctl.session_status import Verdict
from gwctl.supervisor.probe import Probe
from gwctl.supervisor.request_pace import Pace

TICKLE = {
    "session": "9fe1", "ssoExpires": 444936, "collission": False, "userId": 132329622, "hmds": {"error": "no bridge"},
    "iserver": {"authStatus": {"authenticated": True, "competing": False, "connected": True, "message": "",
                               "serverInfo": {"serverName": "JifZ", "serverVersion": "Build"}}},
}  # fmt: skip
VALIDATE = {"USER_ID": 1, "USER_NAME": "wren", "LOGIN_TYPE": 2, "CLIENT_APP": "x", "EXPIRES": 444936, "RESULT": True}
FLAT = {
    "authenticated": False,
    "connected": True,
    "competing": False,
    "message": "m",
    "error": "no session",
    "fail": "f",
}
ACCOUNTS = {"accounts": ["All", "DU1234567"], "isPaper": True, "selectedAccount": "DU1234567"}
SHAPES = (TICKLE, VALIDATE, FLAT, ACCOUNTS)
STATUSES = (200, 201, 204, 301, 400, 401, 403, 404, 405, 429, 500, 503, 599, 0, 999)
ANSWER_S = 2.0


def judge(status: int, body: bytes) -> None:
    """Judge a body in every way; what comes of it must be fit for the status, the journal and a terminal."""
    judges = (responses.judge_tickle, responses.judge_auth_status, responses.judge_opening)
    with bounded():
        for one in judges:
            said = one(status, body)
            assert isinstance(said, SessionAnswer)
            for text in (said.message, said.server_name, said.text):
                assert text is None or (text.isprintable() and 0 < len(text) <= responses.LONGEST_CHARS)
            assert said.verdict is not Verdict.READY or status == 200
            json.dumps({**asdict(said), "verdict": str(said.verdict)}, allow_nan=False)
        facts = responses.judge_validate(status, body)
        if facts is not None:
            json.dumps({**asdict(facts), "kind": facts.kind}, allow_nan=False)
        responses.judge_accounts(status, body)
        responses.judge_resume(status, body)
        responses.refuses_method(status, body)


@pytest.mark.parametrize("case", BODIES)
def test_a_kept_body_is_judged(case: str) -> None:
    """Every body that was ever interesting is judged with every status."""
    for status in STATUSES:
        judge(status, BODIES[case])


@pytest.mark.parametrize("shape", SHAPES, ids=["tickle", "validate", "flat", "accounts"])
def test_a_wrong_value_in_any_field_is_judged(shape: dict[str, Any]) -> None:
    """Every field of every answer gets each value that is wrong in some way, and is left out."""
    for body in swept(shape):
        with about(body):
            judge(200, body)


def test_any_body_is_judged() -> None:
    """Whatever a body is, it is judged without an error."""

    @fuzzed(150)
    @given(
        st.sampled_from(STATUSES),
        st.sampled_from(SHAPES).flatmap(damaged)
        | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")),
    )
    def check(status: int, body: bytes) -> None:
        judge(status, body)

    check()


# Raw answers of a real server.

HEADERS = st.lists(
    st.sampled_from(
        (
            *(
                b"Content-Length: 5",
                b"Content-Length: -5",
                b"Content-Length: 99999999999999999999",
                b"Content-Length: ",
                b"X",
            ),
            *(
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: x",
                b"Connection: keep-alive",
                b"Content-Encoding: gzip",
            ),
            *(
                b"Content-Encoding: deflate",
                b"Content-Encoding: br",
                b"Content-Encoding: zstd",
                b"Location: /\xff",
                b": ",
                b"\0: a",
            ),
            *(b"Content-Type: text/html; charset=\xff", b" x", b"Set-Cookie: a=b; Max-Age=9999999999999999999999"),
        )
    ),
    max_size=4,
).map(b"\r\n".join)
STATUS_LINES = st.sampled_from(
    (
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200",
        b"HTTP/1.1 500 x",
        b"HTTP/1.1 100 x",
        b"HTTP/1.1 304 x",
        b"HTTP/1.1 \xff",
        b"HTTP",
    )
)
RAW: st.SearchStrategy[bytes] = (
    st.sampled_from([one for one in INPUTS.values() if len(one) < 5000]).flatmap(torn)
    | st.builds(lambda *parts: b"\r\n".join(parts), STATUS_LINES, HEADERS, st.just(b""), st.binary(max_size=60))
    | st.lists(st.binary(max_size=20), max_size=4).flatmap(lambda chunks: torn(chunked(*chunks)))
    | st.binary(max_size=60)
)


class RawServer:
    """Answers every request on a port with ``raw`` and hangs up."""

    def __init__(self) -> None:
        self.raw = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                connection.sendall(self.raw)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(1.0)
                while connection.recv(65_536):
                    pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    running = RawServer()
    yield running
    running.close()


def call(server: RawServer, raw: bytes) -> None:
    """Get an answer with the standard library's client, as short calls do."""
    server.raw = raw
    began_s = time.monotonic()
    with bounded(), contextlib.suppress(RequestFailed):
        said = request("GET", f"http://127.0.0.1:{server.port}/", timeout_s=ANSWER_S)
        assert isinstance(said.body, bytes)
    assert time.monotonic() - began_s < ANSWER_S + 1.0


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_answer_comes_or_fails(case: str, server: RawServer) -> None:
    """Every answer that was ever interesting is returned, or is a RequestFailed, in time."""
    call(server, INPUTS[case])


def test_any_answer_comes_or_fails(server: RawServer) -> None:
    """Whatever a server answers, it is returned, or is a RequestFailed."""

    @fuzzed(80)
    @given(RAW)
    def check(raw: bytes) -> None:
        call(server, raw)

    check()


class Upstream:
    """A gateway's certificate and port with any answer behind it, and the supervisor's way to ask it."""

    def __init__(self, leaf: Leaf, ca_file: Path, folder: Path) -> None:
        self.raw = b""
        self._leaf, self._ca_file = leaf, ca_file
        self._context = server_context(leaf, folder)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            raw = b"HTTP/1.1 302 Found\r\n\r\n" if head.startswith(b"GET / ") else self.raw
            for at in range(0, len(raw), 65_536):  # all at once, it would take memory several times
                writer.write(raw[at : at + 65_536])
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def play(self, story: Callable[[Probe], Awaitable[None]]) -> None:
        """Run a story with a probe of this upstream."""

        async def run() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
            port = server.sockets[0].getsockname()[1]
            async with GatewayClient(port, self._ca_file, self._leaf.der, timeout_s=ANSWER_S) as client:
                probe = Probe(Pace(at_once=10**9), wanted_kind="paper")
                probe.client = client
                await story(probe)
                await probe.settle()
            server.close()
            await asyncio.wait_for(server.wait_closed(), 5.0)
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

        asyncio.run(run())


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    folder = tmp_path_factory.mktemp("upstream")
    ca_file, leaf = make_leaf(folder)
    return Upstream(leaf, ca_file, folder)


async def ask(probe: Probe) -> None:
    """Make every call that the supervisor makes; each returns, whatever comes."""
    for tickle in (True, False):
        said = await probe.check(tickle=tickle)
        assert said.text
        assert said.text.isprintable()
    await probe.reauthenticate(compete=False)
    probe.cookies = (("a", "b"),)
    await probe.resume()
    assert probe.client is not None
    await probe.client.validate()


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_answer_is_an_observation(case: str, upstream: Upstream) -> None:
    """Every answer that was ever interesting gives the probe an observation, with the gateway's own certificate."""
    upstream.raw = INPUTS[case]
    with bounded(cpu_s=10.0):
        upstream.play(ask)


def test_any_answer_is_an_observation(upstream: Upstream) -> None:
    """Whatever comes through the gateway, each check of the session ends with an observation."""
    body = st.sampled_from(SHAPES).flatmap(damaged).map(answer)

    @fuzzed(15, share=50)
    @given(RAW | body)
    def check(raw: bytes) -> None:
        upstream.raw = raw
        with bounded(cpu_s=10.0):
            upstream.play(ask)

    check()
