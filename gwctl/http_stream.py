"""One HTTP/1.1 request and its answer on a connected, blocking socket, by h11."""

from __future__ import annotations

import socket
import time
from functools import partial

import h11

from gwctl.http_requests import left_s
from gwctl.signals import woken

_LONGEST_BYTES = 16_000_000
"""Of an answer, and of a line of one that has no end. IBKR's are far below 1 MB."""
_LONGEST_HEAD_BYTES = 102_400
"""As httpx allows; the library's own limit, 16 kB, is less than the cookies of some servers."""
_PIECE_BYTES = 65_536


class InvalidRequest(ValueError):
    """The request cannot be sent; nothing was."""


class MalformedAnswer(ValueError):
    """The answer is not HTTP/1.1, too long, or cut off."""


class Stream:
    """The exchange; all waits end at a deadline, and when this thread is cancelled. Raises also OSError.

    It reads 16 MB at most, whatever the answer says of its own length.
    """

    def __init__(self, connection: socket.socket, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._left_bytes = _LONGEST_BYTES
        self._connection = connection
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD_BYTES)

    def go_on(self, within_s: float) -> None:
        """Begin the deadline and the limit anew, for an answer without an end."""
        self._deadline_s = time.monotonic() + within_s
        self._left_bytes = _LONGEST_BYTES

    def send(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send a whole request; raise InvalidRequest."""
        try:
            begin = h11.Request(method=method, target=target, headers=headers)
            sent = b"".join(self._http.send(event) or b"" for event in (begin, h11.Data(body), h11.EndOfMessage()))
        except h11.LocalProtocolError as error:
            raise InvalidRequest(str(error)) from None
        self._connection.settimeout(left_s(self._deadline_s))
        self._connection.sendall(sent)

    def head(self) -> tuple[int, dict[str, str]]:
        """Return the answer's status and headers, whose names are in lower case; raise MalformedAnswer."""
        event = self._next()
        while isinstance(event, h11.InformationalResponse):
            event = self._next()
        if isinstance(event, h11.Response):
            return event.status_code, {name.decode(): value.decode("latin-1") for name, value in event.headers}
        raise MalformedAnswer("no answer")

    def data(self) -> bytes | None:
        """Return the next part of the body, None at its end; raise MalformedAnswer."""
        event = self._next()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return None
        raise MalformedAnswer("cut off")

    def _next(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._connection.settimeout(left_s(self._deadline_s))
                with woken(partial(self._connection.shutdown, socket.SHUT_RDWR)):
                    received = self._connection.recv(_PIECE_BYTES)
                self._left_bytes -= len(received)
                if self._left_bytes < 0:
                    raise MalformedAnswer("too long")
                self._http.receive_data(received)
        except h11.RemoteProtocolError as error:
            raise MalformedAnswer(str(error)) from None
        return event
