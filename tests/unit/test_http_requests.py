"""The requests of short calls: one deadline each, typed failures, nothing of ours in clear over a network."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gwctl.http_requests import NoConnection, RequestFailed, TlsFailed, exchange, request
from gwctl.signals import Cancellation, Cancelled, cancelled_by

BOUND_S = 10.0
DRIP_S = 0.05


@contextmanager
def serving(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Serve one connection in a thread and yield the port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                serve(connection, over)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            thread.join(BOUND_S)


def silent(_connection: socket.socket, over: threading.Event) -> None:
    over.wait(BOUND_S)


def dripping(start: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Return a server that sends ``start`` and then one byte after another."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        try:
            connection.sendall(start)
            while not over.wait(DRIP_S):
                connection.sendall(b"x")
        except OSError:
            pass  # the client has left

    return serve


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"], ids=["head", "body"]
)
def test_a_server_that_sends_a_byte_at_a_time_does_not_extend_the_deadline(start: bytes) -> None:
    """The deadline is that of the whole request, not that of each byte."""
    began_s = time.monotonic()
    with serving(dripping(start)) as port, pytest.raises(RequestFailed) as failed:
        request("GET", f"http://127.0.0.1:{port}/", timeout_s=0.4)
    assert failed.value.late
    assert time.monotonic() - began_s < BOUND_S / 2


def test_a_free_port_is_no_connection() -> None:
    """Nobody listens: known at once, and not for being late."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    with pytest.raises(NoConnection) as failed:
        request("GET", f"http://127.0.0.1:{port}/", timeout_s=5)
    assert not failed.value.late


def test_a_server_without_tls_is_told_from_one_that_is_not_there() -> None:
    """A connection without TLS is a failure of TLS; also where it stays silent until the deadline."""
    with serving(silent) as port, pytest.raises(TlsFailed) as failed:
        request("GET", f"https://localhost:{port}/", timeout_s=0.3, trust=ssl.create_default_context())
    assert failed.value.late
    with serving(lambda connection, _: connection.sendall(b"220 mail\r\n")) as port, pytest.raises(TlsFailed):
        request("GET", f"https://localhost:{port}/", timeout_s=5, trust=ssl.create_default_context())


@pytest.mark.parametrize(
    ("url", "headers", "body"),
    [
        ("http://192.0.2.1/", {"Authorization": "Bearer t"}, None),
        ("http://192.0.2.1/", None, b"secret"),
        ("https://localhost:5000/", None, None),
    ],
)
def test_nothing_of_ours_goes_out_unverified(url: str, headers: dict[str, str] | None, body: bytes | None) -> None:
    """Law 8: https without a named authority, and our token or body in clear to another machine, are refused."""
    with pytest.raises(ValueError, match="authority"):
        request("POST", url, timeout_s=0.1, headers=headers, body=body)


def test_a_wait_for_an_answer_ends_when_its_thread_is_cancelled() -> None:
    """`async with gwctl.async_session()` that is cancelled does not wait for a silent server's deadline."""
    cancellation = Cancellation()
    ended: list[BaseException] = []

    def ask(port: int) -> None:
        try:
            with cancelled_by(cancellation):
                request("GET", f"http://127.0.0.1:{port}/", timeout_s=600)
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            ended.append(error)

    asked = threading.Event()

    def serve(_connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        over.wait(BOUND_S)

    with serving(serve) as port:
        thread = threading.Thread(target=ask, args=(port,))
        thread.start()
        assert asked.wait(BOUND_S)
        cancellation.cancel()
        thread.join(BOUND_S)
        assert not thread.is_alive()
    assert isinstance(ended[0], Cancelled)


def test_lines_wait_for_each_line_anew() -> None:
    """A stream lives longer than its request's deadline as long as lines come; half a line is none."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for number in range(4):
            over.wait(0.2)
            connection.sendall(b"%d\n" % number)
        connection.sendall(b"half")

    with (
        serving(serve) as port,
        exchange("GET", f"http://127.0.0.1:{port}/", timeout_s=0.5) as answer,
    ):
        assert list(answer.lines(idle_s=BOUND_S)) == [b"0\n", b"1\n", b"2\n", b"3\n"]


def test_a_long_line_in_many_pieces_takes_no_longer_than_its_bytes() -> None:
    """Each piece is looked at once, not with all that came before it."""
    pieces = 140_000

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"64\r\n%s\r\n" % (b"x" * 100) * pieces + b"1\r\n\n\r\n0\r\n\r\n")

    with serving(serve) as port, exchange("GET", f"http://127.0.0.1:{port}/", timeout_s=BOUND_S) as answer:
        began_s = time.process_time()
        assert [len(line) for line in answer.lines(idle_s=60.0)] == [100 * pieces + 1]
        assert time.process_time() - began_s < BOUND_S / 2


def test_a_head_may_be_as_long_as_servers_make_it() -> None:
    """Also where it comes in pieces; one without an end is no answer."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: %s" % (b"x" * 40_000))
        over.wait(DRIP_S)
        connection.sendall(b"\r\nContent-Length: 2\r\n\r\nhi")

    with serving(serve) as port:
        assert request("GET", f"http://127.0.0.1:{port}/", timeout_s=BOUND_S).body == b"hi"
    with serving(dripping(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000)) as port, pytest.raises(RequestFailed) as failed:
        request("GET", f"http://127.0.0.1:{port}/", timeout_s=BOUND_S)
    assert not failed.value.late


@pytest.mark.parametrize(("method", "lengths"), [("POST", 1), ("PUT", 1), ("PATCH", 1), ("GET", 0)])
def test_an_empty_body_has_a_length_where_servers_expect_one(method: str, lengths: int) -> None:
    """Some answer 411 without it."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(10_000))
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        request(method, f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=BOUND_S)
        thread.join(BOUND_S)
    assert seen[0].count(b"\r\nContent-Length: 0\r\n") == lengths


def test_a_path_is_sent_as_it_was_written_or_refused() -> None:
    """A query stays; a line break, which would begin another header, is refused before anything is sent."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(10_000))
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        port = int(listener.getsockname()[1])
        assert request("GET", f"http://127.0.0.1:{port}/a%20b?c=d&e", timeout_s=5).status == 204
        thread.join(BOUND_S)
    assert seen[0].startswith(b"GET /a%20b?c=d&e HTTP/1.1\r\n")
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(RequestFailed, match="InvalidRequest"):
        request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/a\r\nX: y", timeout_s=5)


def test_a_port_that_does_not_exist_is_a_failed_request() -> None:
    """A damaged state file may name one; it is no error in gwctl itself."""
    with pytest.raises(RequestFailed), exchange("GET", "http://127.0.0.1:70000/", timeout_s=1.0):
        pass
