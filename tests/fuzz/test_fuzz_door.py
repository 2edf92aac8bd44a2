"""What strangers send to the door, and pages to the front: judged without an error, and the door goes on answering."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from urllib.parse import unquote

from corpus.raw_requests import INPUTS
from fuzzing import TEXTS, about, bounded, fuzzed, seeds, torn, without_complaints
from hypothesis import given
from hypothesis import strategies as st
from rig import free_port

from gwctl.door.order import Order
from gwctl.door.rules import API, METHODS, Rules, digest_of, names_of
from gwctl.door.server import serve
from gwctl.gateway.keystore import ensure_leaf
from gwctl.http_requests import trust_only
from gwctl.isolation.page_guard import HEAD_BYTES, WEBSOCKET, Guard, Refused
from gwctl.paths import Paths
from gwctl.state_file import make_private_dir

TOKEN = "a-token-of-this-test-only"
ANSWERS_WITHIN_S = 2.0
PARTS = (
    *(
        "v1",
        "api",
        "tickle",
        "ws",
        "clear",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "\\",
        "",
        ";x",
        "a;b",
        "%",
        "%zz",
    ),
    *("%00", "%0d%0a", "%25", "%252e", "?", "#", "*", "~", "é", "%c3%a9", "%ff", "@", ":", "iserver", "DU1234567"),
)
FIELDS = ("host", "authorization", "origin", "referer", "upgrade", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")
WORDS = (
    *(
        *TEXTS,
        f"Bearer {TOKEN}",
        "Basic ",
        "Basic ====",
        "localhost",
        "localhost:5443",
        "[::1]",
        "https://localhost:5443",
    ),
    *("null", "none", "cross-site", "same-origin", "navigate", "document", "websocket", "h2c", "https://evil.example"),
)


def head_of(of: Random) -> tuple[str, str, dict[str, str]]:
    """Return a method, a path and fields, mostly near those that pass."""
    method = of.choice((*METHODS, "HEAD", "get", "", "\0"))
    path = of.choice(("/v1/api/", "/", "", "https://x/")) + "/".join(of.choice(PARTS) for _ in range(of.randrange(5)))
    fields = {"host": "localhost:5443", "authorization": f"Bearer {TOKEN}"}
    for _ in range(of.randrange(4)):
        fields[of.choice(FIELDS)] = of.choice(WORDS)
    return method, path, fields


def test_what_passes_the_rules_is_what_it_seems() -> None:
    """A request that passes is below /v1/api/ however often it is decoded and normalised, and brought the token."""
    rules = Rules(digest_of(TOKEN), names_of(()))

    @fuzzed(2000)
    @given(seeds)
    def check(seed: int) -> None:
        method, path, fields = head_of(Random(seed))
        is_websocket = method == "GET" and fields.get("upgrade") == "websocket"
        with about((method, path, fields)), bounded():
            refusal = rules.judge(method, path, fields, is_websocket=is_websocket)
            if refusal is None:
                assert method in METHODS
                assert TOKEN in fields["authorization"]
                for read in (path, unquote(path), unquote(unquote(path))):
                    assert posixpath.normpath(read).startswith(API)
                assert ("upgrade" in fields) == (path == WEBSOCKET)
            else:
                assert 400 <= refusal.status < 500

    check()


def test_the_guard_of_pages_passes_or_refuses() -> None:
    """Whatever a client sends, in whatever pieces, it passes in its order or is refused, and little is kept."""
    good = b"POST /sso/Authenticator HTTP/1.1\r\nHost: localhost:5000\r\nOrigin: https://localhost:5000\r\n"
    good += b"Sec-Fetch-Site: same-origin\r\nContent-Length: 3\r\n\r\nabc"
    kept = st.sampled_from([*INPUTS.values()])

    @fuzzed(600)
    @given(torn(good * 2) | kept | st.binary(max_size=400), st.integers(1, 70_000))
    def check(raw: bytes, size: int) -> None:
        guard, passed, given_bytes = Guard(), bytearray(), 0
        with about(raw[:2000]), bounded(), contextlib.suppress(Refused):
            for at in range(0, min(len(raw), 2 * HEAD_BYTES), size):
                given_bytes += len(raw[at : at + size])
                passed += guard.feed(raw[at : at + size])
                assert given_bytes - len(passed) < HEAD_BYTES
        assert raw.startswith(bytes(passed))

    check()


class OpenDoor:
    """A door in this process, whose gateway does not answer, and how to send raw bytes to it."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths.for_profile("default", folder)
        make_private_dir(self.paths.gateway_dir / "root")
        ensure_leaf(self.paths)
        self.port = free_port()
        self.tls = trust_only(self.paths.ca_file)
        self.order = Order(
            listen=f"127.0.0.1:{self.port}",
            gateway_port=free_port(),
            ca_file=str(self.paths.ca_file),
            certificate_file=str(self.paths.leaf_file),
            key_file=str(self.paths.leaf_key_file),
            log_file="",
            token=TOKEN,
        )

    async def send(self, raw: bytes, wait_s: float = ANSWERS_WITHIN_S) -> bytes:
        """Send bytes through TLS, and return what comes within ``wait_s``."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname="localhost"
        )
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                writer.write(raw)
                await writer.drain()
                async with asyncio.timeout(wait_s):
                    return await reader.read(65_536)
            return b""
        finally:
            writer.transport.abort()

    async def play(self, raw: bytes) -> None:
        """Send ``raw``; after that, a good request must be answered in time."""
        with about(raw[:2000]), bounded():
            said = await self.send(raw, 0.1)  # to half a request, no answer comes
            assert said[:9] in {b"", b"HTTP/1.1 "}
            assert b" 500 " not in said[:20]
            good = await self.send(b"GET /clear HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n")
            assert good.startswith(b"HTTP/1.1 401 ")


@contextlib.contextmanager
def a_door() -> Iterator[Callable[[bytes], None]]:
    """Yield what plays an input against an open door; nothing in it may tell of an error that nobody expected."""
    loggers = [logging.getLogger(name) for name in ("asyncio", "gwctl.door")]  # uvicorn tells of a client's faults, too
    with (
        without_complaints(*loggers) as hear_loop,
        tempfile.TemporaryDirectory() as made,
        asyncio.Runner() as runner,
    ):
        door = OpenDoor(Path(made))
        over = asyncio.Event()

        async def begin() -> asyncio.Task[None]:
            hear_loop()
            opened = asyncio.Event()
            serving = asyncio.create_task(serve(door.order, over.wait, opened.set))
            await opened.wait()
            return serving

        async def end(serving: asyncio.Task[None]) -> None:
            over.set()
            await serving

        serving = runner.run(begin())
        try:
            yield lambda raw: runner.run(door.play(raw))
        finally:
            runner.run(end(serving))


def test_kept_requests_stop_no_door() -> None:
    """After every request that was ever interesting, the door answers the next one."""
    with a_door() as play:
        for raw in INPUTS.values():
            play(raw)


def test_no_request_stops_the_door() -> None:
    """Whatever is sent inside TLS, the door answers the next request."""
    good = b"GET /v1/api/tickle HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n"
    with a_door() as play:

        @fuzzed(60, share=20)
        @given(torn(good) | st.binary(max_size=200))
        def check(raw: bytes) -> None:
            play(raw)

        check()
