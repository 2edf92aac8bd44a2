"""The fake gateway's calls to IBKR: its cookie jar, and its hand-shake after a login with the log of it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import secrets
import socket
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import h11
from msgspec import Struct

from gwctl.sandbox.gateway_conf import Conf

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


class Answer(Struct, frozen=True):
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


class GatewayLog:
    """Append lines to the day's log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, level: str, source: str, message: str, thrown: str | None = None) -> None:
        """Append one line, followed by the exception; a log that cannot be written is not worth an error."""
        now = dt.datetime.now().astimezone()
        stamp = now.strftime("%H:%M:%S.") + f"{now.microsecond // 1000:03d}"
        line = f"{stamp} {level:<5} vert.x-eventloop-thread-0 {source:<20} : {message}\n"
        if thrown is not None:
            line += f"io.vertx.core.impl.NoStackTraceThrowable: {thrown}\n"
        try:
            self._folder.mkdir(exist_ok=True)
            with (self._folder / f"gw.{now:%Y-%m-%d}.log").open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError:
            return


RETRIES: Final = 5
RETRY_PAUSE_S: Final = 3.0
TICKLE_INTERVAL_S: Final = 30.0


class Handshake:
    """The gateway's work for its session: validate, key exchange, brokerage session, tickles."""

    def __init__(self, conf: Conf, upstream: Upstream, log: GatewayLog) -> None:
        self._conf = conf
        self._upstream = upstream
        self._log = log
        self._base = f"/{conf.environment}/{'api' if 'api' in conf.remote_host else 'portal'}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._tickler: asyncio.Task[None] | None = None
        self._attempts = 0
        self._reason = ""
        self.logged_in = False

    def begin(self) -> None:
        """Start after a login."""
        self.logged_in = True
        self.repeat()

    def repeat(self) -> None:
        """Start again, as ``reauthenticate`` does."""
        task = asyncio.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        user = await self._validated()
        if user is None:
            return
        await self._get("/one/user")
        begun = await self._get("/ssodh/init")
        key = await self._get("/ssodh/st") if begun is not None and begun.get("success") is not None else None
        if key is None or not isinstance(key.get("st"), str):
            self._log.write("ERROR", "GatewayHttpProxy", "ssodh failed, retry with /iserver/reauthenticate")
            return
        self._log.write("DEBUG", "GatewayHttpProxy", f"delaying authentication for {self._conf.auth_delay_ms}")
        await asyncio.sleep(self._conf.auth_delay_ms / 1000)
        status = await self._get("/iserver/auth/status")
        if status is None:
            self._log.write("ERROR", "ClientPortalService", "status failed")
            return
        await self._bring_up(status, str(user.get("USER_NAME", "")))

    async def _validated(self) -> dict[str, Any] | None:
        for attempt in range(1, RETRIES + 1):
            user = await self._get("/sso/validate?gw=1")
            if user is not None:
                self._log.write("INFO", "GatewayHttpProxy", "authenticated to cp")
                return user
            self._log.write("ERROR", "GatewayHttpProxy", f"authentication to cp failed, retry {attempt}", self._reason)
            if attempt < RETRIES:
                await asyncio.sleep(RETRY_PAUSE_S)
        self._log.write("ERROR", "GatewayHttpProxy", "giving up ...")
        return None

    async def _bring_up(self, status: dict[str, Any], username: str) -> None:
        wish = {"username": username, "machineId": secrets.token_hex(4), "compete": True}
        while not (status.get("authenticated") and not status.get("competing")):
            opened = await self._post("/iserver/auth/ssodh/init", wish)
            if opened is None or "error" in opened:
                self._log.write("ERROR", "ClientPortalService", "SSODH init failed")
                return
            if opened.get("authenticated"):
                self._attempts += 1
                if not opened.get("competing"):
                    break
                # It does no more by itself: each reauthenticate is one attempt [seen].
                failed = self._attempts > RETRIES
                said = "Reauthentication failed 5 times, stopping" if failed else "chanllenge already sent true"
                self._log.write("WARN" if failed else "INFO", "ClientPortalService", said)
                return
            answered = await self._post("/iserver/auth/ssodh/response", {"response": secrets.token_hex(20)})
            if answered is None:
                self._log.write("ERROR", "ClientPortalService", "sso sh response failed")
                return
            status = answered
        self._attempts = 0
        await self._get("/iserver/accounts")
        if self._tickler is None or self._tickler.done():
            self._tickler = asyncio.create_task(self._tickle())

    async def _tickle(self) -> None:
        while True:
            await asyncio.sleep(TICKLE_INTERVAL_S)
            answer = await self._get("/tickle")
            if answer is None:
                self._log.write("ERROR", "ClientPortalService", "tickle cp session failed")
                return
            status = (answer.get("iserver") or {}).get("authStatus") or {}
            if status.get("connected") and not status.get("authenticated", True):
                await self._get("/logout")

    async def _get(self, path: str) -> dict[str, Any] | None:
        return await self._call("GET", path, b"")

    async def _post(self, path: str, value: dict[str, Any]) -> dict[str, Any] | None:
        return await self._call("POST", path, json.dumps(value).encode())

    async def _call(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        headers = [("Content-Type", "application/json")] if body else []
        try:
            answer: Answer = await self._upstream.call(method, self._base + path, headers, body)
        except UpstreamGone:
            self._log.write("WARN", "HttpProxy", f"failed {path} | reason no connection")
            self._reason = "Connection refused"
            return None
        if answer.status != 200:
            reason = "Access Denied" if answer.status == 401 else f"{answer.status}"
            self._log.write("WARN", "HttpProxy", f"failed {path} | reason {reason}")
            self._reason = reason
            return None
        return answer.object()
