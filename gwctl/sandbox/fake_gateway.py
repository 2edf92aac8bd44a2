"""The fake gateway: a small program that behaves as the real Client Portal Gateway was seen to.

``bin/run.sh`` of the sandbox release runs it. It connects only to loopback, even if its configuration says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gwctl.errors import Configuration
from gwctl.sandbox.gateway_conf import AddressRules, Conf, read_conf
from gwctl.sandbox.gateway_upstream import USER_AGENT, Answer, CookieJar, GatewayLog, Handshake, Upstream, UpstreamGone
from gwctl.sandbox.listening import bound_socket
from gwctl.sandbox.serving import QuietServer, quiet_server, serve_until_terminated


async def relay(
    upstream: Upstream,
    jar: CookieJar,
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Accept the client, connect upstream, and pass messages both ways until either side ends."""
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import WebSocketException

    async def down(remote: ClientConnection) -> None:
        async for message in remote:
            # The real gateway writes every message as a binary frame [seen].
            await send({"type": "websocket.send", "bytes": message.encode() if isinstance(message, str) else message})

    async def up(remote: ClientConnection) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            await remote.send(text if text is not None else message.get("bytes", b"").decode("utf-8", "replace"))

    await receive()
    await send({"type": "websocket.accept"})
    path: str = scope["path"]
    with contextlib.suppress(OSError, WebSocketException, UpstreamGone):
        async with connect(
            upstream.web_socket_base + path,
            host=await upstream.address(),
            port=upstream.port,
            additional_headers={"Cookie": jar.header_for(path)},
            user_agent_header=USER_AGENT,
            proxy=None,
        ) as remote:
            tasks = {asyncio.create_task(down(remote)), asyncio.create_task(up(remote))}
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(RuntimeError):
        await send({"type": "websocket.close", "code": 1000})


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[str, str]]

MEDIA_TYPES = {".html": "text/html;charset=UTF-8", ".js": "application/javascript", ".css": "text/css"}
NOT_PASSED_BACK = {"content-length", "content-security-policy", "transfer-encoding", "connection"}


class GatewayApp:
    """Answer the gateway's clients."""

    def __init__(self, conf: Conf, jar: CookieJar, upstream: Upstream, handshake: Handshake, web_apps: Path) -> None:
        self._conf = conf
        self._jar = jar
        self._upstream = upstream
        self._handshake = handshake
        self._web_apps = web_apps
        self._rules = AddressRules(conf.allow, conf.deny)
        environment = re.escape(conf.environment)
        self._forwarded = re.compile(rf"/(sso|{environment}/(portal|api))/.+")
        self._reauthenticate = re.compile(rf"/{environment}/(portal|api)/iserver/reauthenticate")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; some never get an answer."""
        if scope["type"] == "websocket":
            # The allow list does not apply to it [seen].
            await relay(self._upstream, self._jar, scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        if not self._rules.allows(scope["client"][0]):
            await exchange.answer(404, b"Access Denied")
            return
        if not await self._passes_cors(exchange):
            return
        await self._route(exchange)

    async def _passes_cors(self, exchange: Exchange) -> bool:
        origin = exchange.header("origin")
        allowed = self._conf.cors_origin
        if origin is None or allowed is None:
            return True
        if allowed != "*" and not re.fullmatch(allowed, origin):
            await exchange.answer(403, b"")
            return False
        exchange.extra.append(("Access-Control-Allow-Origin", "*" if allowed == "*" else origin))
        if exchange.method == "OPTIONS" and exchange.header("access-control-request-method") is not None:
            exchange.extra.append(("Access-Control-Allow-Methods", "POST,GET,OPTIONS,DELETE,PUT"))
            exchange.extra.append(("Access-Control-Allow-Headers", "Content-Type,portal,Cookie"))
            await exchange.answer(204, b"")
            return False
        return True

    async def _route(self, exchange: Exchange) -> None:
        path = exchange.path
        if path == "/":
            await exchange.redirect(f"/sso/Login?forwardTo=22&RL=1&ip2loc={self._conf.ip2loc}")
        elif path.rstrip("/") == "/status":
            await exchange.never_answer()
        elif path.rstrip("/") == "/clear":
            self._jar.clear()
            await exchange.answer(200, b"cleared")
        elif self._reauthenticate.fullmatch(path):
            await self._answer_reauthenticate(exchange)
        elif (file := self._static(path)) is not None:
            media = MEDIA_TYPES.get(file.suffix, "application/octet-stream")
            await exchange.answer(200, file.read_bytes(), [("Content-Type", media)])
        elif self._forwarded.fullmatch(path):
            await self._forward(exchange)
        else:
            await exchange.redirect(self._conf.remote_host + path)

    async def _answer_reauthenticate(self, exchange: Exchange) -> None:
        media = [("Content-Type", "application/json; charset=utf-8")]
        if not self._handshake.logged_in:
            await exchange.answer(200, b'{"error":"not logged in"}', media)
            return
        self._handshake.repeat()
        await exchange.answer(200, b'{"message":"triggered"}', media)

    def _static(self, path: str) -> Path | None:
        for app in self._conf.web_apps:
            if path != f"/{app.name}" and not path.startswith(f"/{app.name}/"):
                continue
            folder = (self._web_apps / app.name).resolve()
            file = (folder / (path[len(app.name) + 1 :].strip("/") or app.index)).resolve()
            if file.is_relative_to(folder) and file.is_file():
                return file
        return None

    async def _forward(self, exchange: Exchange) -> None:
        body = await exchange.body()
        on_sso = exchange.path.startswith("/sso")
        if on_sso:
            self._jar.capture_request(exchange.header("cookie") or "")
        target = exchange.target.replace(f"/{self._conf.environment}/portal", f"/{self._conf.environment}/api", 1)
        call = asyncio.create_task(self._upstream.call(exchange.method, target, exchange.headers(), body))
        gone = asyncio.create_task(exchange.disconnected())
        await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            call.cancel()
            return
        try:
            answer = call.result()
        except UpstreamGone:
            await gone
            return
        gone.cancel()
        if on_sso:
            self._jar.capture_response(value for name, value in answer.headers if name.lower() == "set-cookie")
        await self._pass_back(exchange, answer)

    async def _pass_back(self, exchange: Exchange, answer: Answer) -> None:
        # The gateway's own headers (CORS) are lost on forwarded answers [seen].
        exchange.extra.clear()
        headers = [(name, value) for name, value in answer.headers if name.lower() not in NOT_PASSED_BACK]
        if answer.status == 302 and exchange.target.startswith("/sso/Dispatcher"):
            await exchange.answer(200, b"Client login succeeds", headers, sized=False)
            self._handshake.begin()
            return
        await exchange.answer(answer.status, answer.body, headers, sized=False)


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        query: bytes = scope["query_string"]
        raw_path: bytes = scope.get("raw_path") or self.path.encode()
        self.target = raw_path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        self.extra: Headers = []

    def headers(self) -> Headers:
        """Return the request's headers."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._scope["headers"]]

    def header(self, name: str) -> str | None:
        """Return one request header, or None."""
        return next((value for key, value in self.headers() if key.lower() == name), None)

    async def body(self) -> bytes:
        """Return the request's complete body."""
        chunks: list[bytes] = []
        while True:
            message = await self._receive()
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def disconnected(self) -> None:
        """Return when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def never_answer(self) -> None:
        """Keep the client waiting until it disconnects."""
        await self.disconnected()

    async def redirect(self, location: str) -> None:
        """Answer 302."""
        await self.answer(302, b"", [("Location", location)], sized=False)

    async def answer(self, status: int, body: bytes, headers: Headers | None = None, *, sized: bool = True) -> None:
        """Answer; without ``sized``, send the body in chunks, as the gateway does."""
        own = list(headers or []) + self.extra
        if sized:
            own.append(("Content-Length", str(len(body))))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in own]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        await self._send({"type": "http.response.body", "body": body})


EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - the real gateway listens there and users must see the same
TERMINATED = 143
REFUSED_ITS_CONF = 1
"""How the real gateway exits on a value that it cannot read: nothing else keeps its JVM alive [seen]."""
OUT_OF_MEMORY = 3
"""The exit of a JVM with ``-XX:+ExitOnOutOfMemoryError``."""
BANNER = """\
 -> mount demo on /demo
****************************************************
version: gwctl sandbox, not the Client Portal Gateway
****************************************************
Open https://localhost:{port} to login
App demo is available after you login under: https://localhost:{port}/demo#/"""


def main(arguments: list[str]) -> int:
    """Run until a signal; return 143 as a JVM does after SIGTERM. docs/sandbox.md describes SIGUSR1 and 2."""
    log = GatewayLog(Path("logs"))
    conf = _conf(arguments, log)
    if conf is None:
        return REFUSED_ITS_CONF
    ready = _prepare(conf)
    if ready is None:
        asyncio.run(_stay())
    else:
        asyncio.run(_serve(*ready, log))
    return TERMINATED


def _conf(arguments: list[str], log: GatewayLog) -> Conf | None:
    """Return the settings, or None after reporting the error where the gateway reports it."""
    try:
        conf = read_conf(_conf_path(arguments))
    except Configuration as error:
        said = f"Failed to load configuration file: ../root/conf.yaml\n{error.message}"
        print(said, file=sys.stderr, flush=True)  # noqa: T201 - the gateway prints this
        log.write("ERROR", "GatewayStart", f"loading configuration file error:{error.message}")
        return None
    log.write("INFO", "GatewayStart", "config ../root/conf.yaml")
    return conf


def _prepare(conf: Conf) -> tuple[Conf, ssl.SSLContext | None, socket.socket] | None:
    """Return what serving needs, or None after reporting the error as the gateway does."""
    try:
        tls = _tls(conf) if conf.listen_ssl else None
    except (OSError, ValueError):
        # The real one reports nothing, anywhere [seen].
        return None
    print(BANNER.format(port=conf.listen_port), flush=True)  # noqa: T201 - as above
    try:
        return conf, tls, bound_socket(EVERY_ADDRESS, conf.listen_port)
    except OSError as error:
        print(f"Server listen failed {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201 - as above
        return None


def _conf_path(arguments: list[str]) -> Path:
    """Return the config's path: relative to its own folder on the class path, as run.sh passes it."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    return Path(os.path.normpath(Path(given.get("--base", "root")) / given.get("--conf", "../root/conf.yaml")))


def _tls(conf: Conf) -> ssl.SSLContext:
    """Return a context with the PKCS12 keystore; raise OSError or ValueError if it cannot be read.

    Python loads keys only from files: the key goes through a temporary file, encrypted under a one-time password.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    key, leaf, others = pkcs12.load_key_and_certificates(
        (conf.folder / conf.ssl_cert).read_bytes(), conf.ssl_pwd.encode()
    )
    if key is None or leaf is None:
        raise ValueError("keystore without key or certificate")
    password = secrets.token_bytes(32)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    pem += b"".join(item.public_bytes(serialization.Encoding.PEM) for item in (leaf, *others))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(prefix="gwctl-") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name, password=password)
    return context


async def _serve(conf: Conf, tls: ssl.SSLContext | None, listener: socket.socket, log: GatewayLog) -> None:
    jar = CookieJar()
    upstream = Upstream(conf.remote_host, jar)
    if not upstream.reachable:
        log.write("ERROR", "HttpProxy", "the sandbox gateway connects to loopback only; every call will hang")
    handshake = Handshake(conf, upstream, log)
    app = GatewayApp(conf, jar, upstream, handshake, Path("root/webapps"))
    server = quiet_server(app, tls)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _close_port, server)
    loop.add_signal_handler(signal.SIGUSR2, os._exit, OUT_OF_MEMORY)
    await serve_until_terminated(server, listener)


def _close_port(server: QuietServer) -> None:
    """Close the port but stay alive, as a JVM whose acceptor has died."""
    for one in server.servers:
        one.close()


async def _stay() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
