"""A tiny release and a server that fails as servers do; contains no tests."""

from __future__ import annotations

import contextlib
import io
import ssl
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = b"Manifest-Version: 1.0\r\nWhen-Built: 2023-04-24T15:42:44-0400\r\nGit-Commit: a27ed42161ad96c5\r\n"


def jar(manifest: bytes = MANIFEST) -> bytes:
    return packed({"META-INF/MANIFEST.MF": manifest})


def release_files(**changed: bytes) -> dict[str, bytes]:
    """Return the files of a tiny release; `conf=…` gives it another configuration."""
    return {
        "bin/run.sh": b"#!/bin/bash\n",
        "build/lib/runtime/vertx-core-3.5.0.jar": jar(),
        "dist/clientportal.gw.jar": jar(),
        "root/conf.yaml": changed.get("conf", b"listenPort: 5000\n"),
        "root/logback.xml": b"<configuration/>\n",
        "root/webapps/demo/index.html": b"<html></html>\n",
    }


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2023, 4, 24, 0, 0, 0)), content, compression)
    return buffer.getvalue()


def release_zip(**changed: bytes) -> bytes:
    return packed(release_files(**changed))


Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: FaultyServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers.items()))
        self.close_connection = True
        with self.server.turn:
            answer = self.server.answers.pop(0) if self.server.answers else whole
        with contextlib.suppress(ConnectionError):
            answer(self)

    def do_HEAD(self) -> None:
        self.server.asked.append(dict(self.headers.items()))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing on stderr."""

    def head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()


class FaultyServer(ThreadingHTTPServer):
    """Serves `body`; each request takes the next of `answers`, then `whole`."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.etag: str | None = '"one"'
        self.answers: list[Answer] = []
        self.last_modified: str | None = None
        self.requests: list[dict[str, str]] = []
        self.asked: list[dict[str, str]] = []
        """The headers of each request for no bytes."""
        self.turn = threading.Lock()
        self.released = threading.Event()

    def url(self, path: str = "/portal/clientportal.gw.zip") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: a client that goes away is normal here."""


@contextlib.contextmanager
def serving(body: bytes) -> Iterator[FaultyServer]:
    with FaultyServer(body) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join(10)


def whole(handler: Handler) -> None:
    """Answer as a good server does, with a range only if If-Range matches."""
    server = handler.server
    validators = {"ETag": server.etag} if server.etag else {}
    validators |= {"Last-Modified": server.last_modified} if server.last_modified else {}
    wanted = handler.headers.get("Range")
    if wanted and handler.headers.get("If-Range") == server.etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(server.body):
            handler.head(416, Content_Range=f"bytes */{len(server.body)}", Content_Length="0")
            return
        rest = server.body[start:]
        shown = f"bytes {start}-{len(server.body) - 1}/{len(server.body)}"
        handler.head(206, Content_Length=str(len(rest)), Content_Range=shown, **validators)
        handler.wfile.write(rest)
        return
    handler.head(200, Content_Length=str(len(server.body)), **validators)
    if handler.command != "HEAD":
        handler.wfile.write(server.body)


def ignores_range(handler: Handler) -> None:
    """Send everything for any request."""
    validators = {"ETag": handler.server.etag} if handler.server.etag else {}
    handler.head(200, Content_Length=str(len(handler.server.body)), **validators)
    handler.wfile.write(handler.server.body)


def drops_after(size_bytes: int) -> Answer:
    def answer(handler: Handler) -> None:
        validators = {"ETag": handler.server.etag} if handler.server.etag else {}
        handler.head(200, Content_Length=str(len(handler.server.body)), **validators)
        handler.wfile.write(handler.server.body[:size_bytes])

    return answer


def says(status: int, **headers: str) -> Answer:
    return lambda handler: handler.head(status, Content_Length="0", **headers)


def wrong_range(handler: Handler) -> None:
    """Send the file's start as if it were the requested range."""
    size = len(handler.server.body)
    handler.head(206, Content_Length=str(size), Content_Range=f"bytes 0-{size - 1}/{size}", ETag='"one"')
    handler.wfile.write(handler.server.body)


def huge(handler: Handler) -> None:
    """Announce more bytes than any release has."""
    handler.head(200, Content_Length="999000000000")


def endless(handler: Handler) -> None:
    """Announce nothing and send without end."""
    handler.head(200)
    while not handler.server.released.is_set():
        handler.wfile.write(b"x" * 65_536)


def silent(handler: Handler) -> None:
    """Accept the request and never answer."""
    handler.server.released.wait(60)


def trickles(handler: Handler) -> None:
    """Send a byte now and then, so that no single read times out."""
    handler.head(200)
    while not handler.server.released.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


class TlsServer(FaultyServer):
    """The faulty server behind TLS; counts connections."""

    def __init__(self, body: bytes, certificate: tuple[Path, Path]) -> None:
        super().__init__(body)
        self.connections = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)

    def get_request(self) -> tuple[ssl.SSLSocket, tuple[str, int]]:
        plain, address = super().get_request()
        self.connections += 1
        try:
            return self.context.wrap_socket(plain, server_side=True), address
        except OSError:
            plain.close()
            raise


@contextlib.contextmanager
def serving_tls(body: bytes, certificate: tuple[Path, Path]) -> Iterator[TlsServer]:
    with TlsServer(body, certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def certificate_for_nobody(folder: Path) -> tuple[Path, Path]:
    """Create a certificate for 127.0.0.1 that no authority signed."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "leaf.pem", folder / "leaf.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, key_pem
