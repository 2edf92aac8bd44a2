"""HTTP requests of short calls: the standard library's, so that a call starts fast; each has one deadline.

The supervisor talks to the gateway with ``gateway.client``; what may need a proxy uses ``httpx_import``.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from gwctl.signals import checkpoint, woken

if TYPE_CHECKING:
    import http.client
    import ssl

    from _typeshed import WriteableBuffer

USER_AGENT = "gwctl"
_FULL_QUEUE_PAUSE_S = 0.005
_LONGEST_ADDRESS = 100
"""Of a Unix socket, in bytes: Linux takes 107, macOS 103."""
_LONGEST_BYTES = 16_000_000
"""Of an answer, and of a line of one that has no end. IBKR's are far below 1 MB."""
_PIECE_BYTES = 65_536
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


class _TooLong(ValueError):
    """The other side sends more than any answer has."""


class _Reader(io.RawIOBase):
    """The receiving end of a connection; all waits end at ``deadline_s``, and when this thread is cancelled.

    It reads ``left_bytes`` at most, whatever the answer says of its own length.
    """

    def __init__(self, connection: socket.socket, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.left_bytes = _LONGEST_BYTES
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what ``http.client`` reads from; it asks a socket for this."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._connection.settimeout(_left_s(self.deadline_s))
        with woken(partial(self._connection.shutdown, socket.SHUT_RDWR)):
            got_bytes = self._connection.recv_into(buffer)
        self.left_bytes -= got_bytes
        if self.left_bytes < 0:
            raise _TooLong
        return got_bytes


class Incoming:
    """An answer whose body has not been read; ``took_s`` is the time from the request to its headers."""

    def __init__(self, response: http.client.HTTPResponse, reader: _Reader, took_s: float) -> None:
        self._response = response
        self._reader = reader
        self.status = response.status
        self.headers = response.headers
        self.took_s = took_s

    def read(self) -> bytes:
        """Return the whole body; raise RequestFailed."""
        import http.client

        pieces: list[bytes] = []
        with _as_request_failed():
            # Not all at once: for that, the library takes as much memory as the answer says.
            while piece := self._response.read(_PIECE_BYTES):
                pieces.append(piece)
            if self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
        return b"".join(pieces)

    def lines(self, *, idle_s: float) -> Iterator[bytes]:
        """Yield each complete line until the body ends; raise RequestFailed, late if none comes for ``idle_s``."""
        while True:
            self._reader.deadline_s = time.monotonic() + idle_s
            self._reader.left_bytes = _LONGEST_BYTES
            with _as_request_failed():
                line = self._response.readline()
            if not line.endswith(b"\n"):
                return
            yield line


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
    import http.client  # a fifth of what starting the command line imports, and not needed before the supervisor starts

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
            connection.settimeout(_left_s(deadline_s))
            if trust is None:
                sender = http.client.HTTPConnection(host, port)
            else:
                sender = http.client.HTTPSConnection(host, port, context=trust)
            sender.sock = connection
            target = url.partition("://")[2].partition("/")[2]  # as it is: urlsplit drops some characters
            sender.request(method, f"/{target}", body, {"User-Agent": USER_AGENT, **(headers or {})})
            reader = _Reader(connection, deadline_s)
            response = http.client.HTTPResponse(reader, method=method)  # type: ignore[arg-type] # it uses makefile only
            response.begin()
        with response:
            yield Incoming(response, reader, time.monotonic() - began_s)


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
        return RawAnswer(answer.status, answer.read(), answer.headers.get("Content-Type", ""))


def trust_only(ca_file: Path) -> ssl.SSLContext:
    """Return a client context that trusts only our authority."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    return context


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _connect(addresses: Sequence[str], port: int, deadline_s: float) -> socket.socket:
    failed = NoConnection("no address")
    for number, address in enumerate(addresses):
        try:
            share_s = _left_s(deadline_s) / (len(addresses) - number)
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
        connection.settimeout(_left_s(deadline_s))
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
        connection.settimeout(_left_s(deadline_s))
        return trust.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(error.verify_message) from None
    except (OSError, ValueError) as error:
        raise TlsFailed(type(error).__name__, late=isinstance(error, TimeoutError)) from None


@contextmanager
def _as_request_failed() -> Iterator[None]:
    import http.client

    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        checkpoint()  # a cancellation breaks the connection, too
        raise RequestFailed(type(error).__name__, late=isinstance(error, TimeoutError)) from None
