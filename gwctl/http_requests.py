"""HTTP requests of short calls, by h11 on a blocking socket; each has one deadline.

The standard library's client takes 12 ms to import, for mail and TLS, and h11 six. The supervisor talks to the gateway
with ``gateway.client``; what may need a proxy uses ``httpx_import``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from gwctl.signals import checkpoint

if TYPE_CHECKING:
    import ssl

    from gwctl.http_stream import Stream

USER_AGENT = "gwctl"
_FULL_QUEUE_PAUSE_S = 0.005
_LONGEST_ADDRESS = 100
"""Of a Unix socket, in bytes: Linux takes 107, macOS 103."""
_WITH_BODY = ("POST", "PUT", "PATCH")
"""The methods whose empty body has a length, too (RFC 9110, 8.6)."""
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class RequestFailed(Exception):
    """No complete answer came; ``late`` says that the deadline was the reason. Holds nothing that was sent."""

    def __init__(self, reason: str, *, late: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.late = late


class NoConnection(RequestFailed):
    """No server accepted the connection."""


class TlsFailed(RequestFailed):
    """A server accepted the connection, but there is no TLS with it."""


class Untrusted(TlsFailed):
    """The server's certificate is not verified."""


class RawAnswer(Struct, frozen=True):
    """An answer as received."""

    status: int
    body: bytes
    content_type: str = ""


class Incoming:
    """An answer whose body has not been read.

    ``headers`` has the names in lower case, ``took_s`` is the time from the request to them.
    """

    def __init__(self, stream: Stream, status: int, headers: Mapping[str, str], took_s: float) -> None:
        self._stream = stream
        self.status = status
        self.headers = headers
        self.took_s = took_s

    def read(self) -> bytes:
        """Return the whole body; raise RequestFailed."""
        with _as_request_failed():
            return b"".join(iter(self._stream.data, None))

    def lines(self, *, idle_s: float) -> Iterator[bytes]:
        """Yield each complete line until the body ends; raise RequestFailed, late if none comes for ``idle_s``."""
        kept = b""
        while True:
            self._stream.go_on(idle_s)
            pieces = [kept]  # joined once: a long line may come in many
            while b"\n" not in pieces[-1]:
                with _as_request_failed():
                    piece = self._stream.data()
                if piece is None:
                    return
                pieces.append(piece)
            *complete, kept = b"".join(pieces).split(b"\n")
            yield from (line + b"\n" for line in complete)


@contextmanager
def exchange(  # noqa: PLR0913 - a request has these parts
    method: str,
    url: str,
    *,
    timeout_s: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
    addresses: Sequence[str] = (),
    socket_file: Path | None = None,
) -> Iterator[Incoming]:
    """Send a request and yield the answer with any status, its body unread.

    ``https`` needs ``trust`` (``trust_only``); plain ``http`` carries our headers and bodies to this machine only.
    ``addresses`` are tried in turn in place of the URL's host; a ``socket_file`` is connected to in their place.
    ``timeout_s`` limits everything until the body has been read. Raises RequestFailed, by its class where it failed.
    """
    from gwctl.http_stream import Stream  # a tenth of what starting the command line imports

    with _as_request_failed():
        parts = urlsplit(url)
        named_port = parts.port  # a damaged state file may name one that does not exist
    host, secure = parts.hostname or "", parts.scheme == "https"
    if secure is (trust is None) or (not secure and host not in _THIS_MACHINE and (headers or body is not None)):
        raise ValueError("https needs a trusted authority, and http carries nothing of ours to another machine")
    deadline_s = time.monotonic() + timeout_s
    port = named_port or (443 if secure else 80)
    # The gateway listens on IPv4 only; connecting to localhost may first try ::1.
    places = addresses or ("127.0.0.1" if host == "localhost" else host,)
    with contextlib.ExitStack() as stack:
        if socket_file is not None:
            connection = stack.enter_context(_connect_file(socket_file, deadline_s))
        else:
            connection = stack.enter_context(_connect(places, port, deadline_s))
        if trust is not None:
            connection = stack.enter_context(_secured(connection, trust, host, deadline_s))
        began_s = time.monotonic()
        with _as_request_failed():
            stream = Stream(connection, deadline_s)
            target = url.partition("://")[2].partition("/")[2]  # as it is: urlsplit drops some characters
            fields = {
                "Host": parts.netloc.rpartition("@")[2],
                "Accept-Encoding": "identity",
                "User-Agent": USER_AGENT,
                **({"Content-Length": str(len(body or b""))} if body or method in _WITH_BODY else {}),
                **(headers or {}),
            }
            stream.send(method, f"/{target}", [*fields.items()], body or b"")
            status, said = stream.head()
        yield Incoming(stream, status, said, time.monotonic() - began_s)


def request(  # noqa: PLR0913 - a request has these parts
    method: str,
    url: str,
    *,
    timeout_s: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
) -> RawAnswer:
    """Return the whole answer with any status, as ``exchange`` does; raise RequestFailed."""
    with exchange(method, url, timeout_s=timeout_s, body=body, headers=headers, trust=trust) as answer:
        return RawAnswer(answer.status, answer.read(), answer.headers.get("content-type", ""))


def trust_only(ca_file: Path) -> ssl.SSLContext:
    """Return a client context that trusts only our authority."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    return context


def left_s(deadline_s: float) -> float:
    """Return the seconds until a monotonic moment; raise TimeoutError if there are none."""
    seconds = deadline_s - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _connect(addresses: Sequence[str], port: int, deadline_s: float) -> socket.socket:
    failed = NoConnection("no address")
    for number, address in enumerate(addresses):
        try:
            share_s = left_s(deadline_s) / (len(addresses) - number)
            return socket.create_connection((address, port), timeout=share_s)
        except TimeoutError:
            failed = NoConnection("no answer", late=True)
        except (OSError, ValueError) as error:
            failed = NoConnection(getattr(error, "strerror", None) or type(error).__name__)
    checkpoint()
    raise failed


def _connect_file(file: Path, deadline_s: float) -> socket.socket:
    """Connect to a Unix socket of a process of ours or of root; raise NoConnection for any other's."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _join_queue(connection, file, deadline_s)
        if peer_uid(connection) in {os.getuid(), 0}:
            return connection
        failed = NoConnection("another user's server")
    except TimeoutError:
        failed = NoConnection("no answer", late=True)
    except OSError as error:
        failed = NoConnection(error.strerror or type(error).__name__)
    connection.close()
    checkpoint()
    raise failed


def _join_queue(connection: socket.socket, file: Path, deadline_s: float) -> None:
    while True:
        connection.settimeout(left_s(deadline_s))
        try:
            with address_of(file) as address:
                connection.connect(address)
        except BlockingIOError:  # the queue is full, and the kernel does not wait for a place in it
            checkpoint()
            time.sleep(_FULL_QUEUE_PAUSE_S)
        else:
            return


@contextmanager
def address_of(file: Path) -> Iterator[str]:
    """Yield how to name a Unix socket to the system: its path or, if that is too long for it, by its open folder."""
    if len(os.fsencode(file)) <= _LONGEST_ADDRESS or sys.platform != "linux":
        yield str(file)
        return
    folder = os.open(file.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)


def peer_uid(connection: socket.socket) -> int:
    """Return the user who runs the other end of a Unix socket; for a server, the one who began to listen."""
    if sys.platform == "darwin":
        # struct xucred of <sys/ucred.h>: a version, the uid, and groups.
        return int(struct.unpack_from("=II", connection.getsockopt(0, 1, 76))[1])
    return int(struct.unpack("=3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def _secured(connection: socket.socket, trust: ssl.SSLContext, host: str, deadline_s: float) -> ssl.SSLSocket:
    import ssl

    try:
        connection.settimeout(left_s(deadline_s))
        return trust.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(error.verify_message) from None
    except (OSError, ValueError) as error:
        raise TlsFailed(type(error).__name__, late=isinstance(error, TimeoutError)) from None


@contextmanager
def _as_request_failed() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        checkpoint()  # a cancellation breaks the connection, too
        raise RequestFailed(type(error).__name__, late=isinstance(error, TimeoutError)) from None
