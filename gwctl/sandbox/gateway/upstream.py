"""The fake gateway's connections to IBKR, with its cookie jar."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import h11

# Both lists are the gateway's own [seen in its code].
FROM_UPSTREAM: Final = frozenset(
    {
        *("URL_PARAM", "RL", "JSESSIONID", "USERID", "XYZAB", "REGION", "XYZAB_AM.LOGIN", "web"),
        *("cp", "cp.qa", "cp.alpha", "cp.beta", "api", "api.nn", "api.alpha", "portal"),
    }
)
FROM_CLIENT: Final = frozenset({"XYZAB", "XYZAB_AM.LOGIN"})
START: Final = {
    ("JSESSIONID", "/sso"): "",
    ("JSESSIONID", "/AccountManagement"): "",
    ("REGION", "/"): "",
    ("USERID", "/"): "",
    ("VERSION", "/sso/Login"): "1.0.0",
}


class CookieJar:
    """Cookies by name and path: those that a client sends to ``/sso`` and those that IBKR sets there."""

    def __init__(self) -> None:
        self._cookies = dict(START)

    def clear(self) -> None:
        """Forget every cookie."""
        self._cookies = dict(START)

    def capture_request(self, header: str) -> None:
        """Store the session cookies from a client's ``Cookie`` header."""
        for part in header.split(";"):
            name, equals, value = part.strip().partition("=")
            if equals and value and name in FROM_CLIENT:
                self._cookies[name, "/"] = value

    def capture_response(self, headers: Iterable[str]) -> None:
        """Store the known cookies from ``Set-Cookie`` headers; an empty value changes nothing."""
        for header in headers:
            first, *attributes = (part.strip() for part in header.split(";"))
            name, equals, value = first.partition("=")
            paths = [item[5:] for item in attributes if item.lower().startswith("path=") and len(item) > 5]
            if equals and value and name in FROM_UPSTREAM:
                self._cookies[name, paths[-1] if paths else "/"] = value

    def header_for(self, path: str) -> str:
        """Return the ``Cookie`` header of an upstream call to ``path``."""
        return ";".join(f"{name}={value}" for (name, below), value in self._cookies.items() if below in path)


USER_AGENT: Final = "ClientPortalGW/1"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost"})
LOOPBACK_NAMES: Final = ".localhost"
"""Reserved for loopback (RFC 6761); the address is still checked before each connection."""
CHUNK_BYTES: Final = 65536


class UpstreamGone(Exception):
    """The IBKR side cannot be reached; the gateway's clients wait without end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete upstream answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def object(self) -> dict[str, Any] | None:
        """Return the JSON object in the body, or None."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


class Upstream:
    """Calls to the IBKR side, always with the jar's cookies."""

    def __init__(self, remote_host: str, jar: CookieJar) -> None:
        self.remote_host = remote_host
        self._jar = jar
        parts = urllib.parse.urlsplit(remote_host)
        self._host = parts.hostname or ""
        self.port = parts.port or 80
        self.reachable = parts.scheme == "http" and (self._host in LOOPBACK or self._host.endswith(LOOPBACK_NAMES))

    @property
    def web_socket_base(self) -> str:
        """The base URL of the IBKR side's WebSockets; ``address`` and ``port`` say where to connect."""
        return f"ws://{self._host}:{self.port}"

    async def address(self) -> str:
        """Return the IBKR side's address, on loopback; raise UpstreamGone if its name leads elsewhere or nowhere.

        It resolves the name each time, so that a failing resolver has an effect.
        """
        if not self.reachable:
            raise UpstreamGone
        if self._host in LOOPBACK:
            return self._host
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host, self.port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
        except OSError as error:
            raise UpstreamGone from error
        address = str(found[0][4][0]) if found else ""
        if not address.startswith("127."):
            raise UpstreamGone
        return address

    async def call(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Answer:
        """Return the answer to one request; raise UpstreamGone if no server answers or the connection breaks."""
        address = await self.address()
        writer = None
        try:
            reader, writer = await asyncio.open_connection(address, self.port)
            return await self._exchange(reader, writer, self._request(method, target, headers, body), body)
        except (OSError, h11.ProtocolError) as error:
            raise UpstreamGone from error
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def _request(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> h11.Request:
        own = [
            ("Host", f"{self._host}:{self.port}"),
            ("Cookie", self._jar.header_for(target.partition("?")[0])),
            ("Connection", "close"),
            ("Content-Length", str(len(body))),
        ]
        replaced = {name.lower() for name, _ in own} | {"accept-encoding", "transfer-encoding", "upgrade"}
        passed = [(name, value) for name, value in headers if name.lower() not in replaced]
        if not any(name.lower() == "user-agent" for name, _ in passed):
            passed.append(("User-Agent", USER_AGENT))
        return h11.Request(method=method, target=target, headers=own + passed)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes
    ) -> Answer:
        connection = h11.Connection(h11.CLIENT)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        status, headers, chunks = 0, [], []
        while True:
            received = connection.next_event()
            if received is h11.NEED_DATA:
                connection.receive_data(await reader.read(CHUNK_BYTES))
            elif isinstance(received, h11.Response):
                status = received.status_code
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in received.headers]
            elif isinstance(received, h11.Data):
                chunks.append(bytes(received.data))
            elif isinstance(received, h11.EndOfMessage):
                return Answer(status, headers, b"".join(chunks))
            elif not isinstance(received, h11.InformationalResponse):
                raise UpstreamGone
