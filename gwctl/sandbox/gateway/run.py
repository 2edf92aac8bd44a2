"""Run the fake gateway the way the real one runs."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import ssl
import sys
import tempfile
from pathlib import Path

from gwctl.errors import Configuration
from gwctl.sandbox.gateway.conf_yaml import Conf, read_conf
from gwctl.sandbox.gateway.handshake import GatewayLog, Handshake
from gwctl.sandbox.gateway.proxy import GatewayApp
from gwctl.sandbox.gateway.upstream import CookieJar, Upstream
from gwctl.sandbox.serving import QuietServer, bound_socket, quiet_server, serve_until_terminated

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


def _prepare(conf: Conf) -> tuple[Conf, ssl.SSLContext, socket.socket] | None:
    """Return what serving needs, or None after reporting the error as the gateway does."""
    try:
        tls = _tls(conf)
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


async def _serve(conf: Conf, tls: ssl.SSLContext, listener: socket.socket, log: GatewayLog) -> None:
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
