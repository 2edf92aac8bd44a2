"""The protocol of one WebSocket connection, without I/O; the only user of wsproto, which it imports on first use.

wsproto over asyncio's streams uses the least memory of the candidates: 0.24 MB for its import once httpx and h11 are
loaded; websockets' sans-I/O protocol takes 0.57 MB, its asyncio client 0.72 MB.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from gwctl.http_requests import USER_AGENT

if TYPE_CHECKING:
    from wsproto.events import Event

PATH: Final = "/v1/api/ws"
MAX_MESSAGE_BYTES: Final = 65_536


class ConnectionEnded(Exception):
    """The other side refused, closed, or did not speak WebSocket; the text contains nothing that it sent."""


class Wire:
    """The protocol of one connection, without I/O; ``to_send`` holds the bytes to send."""

    def __init__(self, port: int) -> None:
        from wsproto import ConnectionType, WSConnection
        from wsproto.events import Request

        self._protocol = WSConnection(ConnectionType.CLIENT)
        headers = [(b"User-Agent", USER_AGENT.encode())]
        self.to_send = self._protocol.send(Request(host=f"localhost:{port}", target=PATH, extra_headers=headers))
        self.accepted = False
        self.over: ConnectionEnded | None = None
        """Why the connection is over; None while it is open."""
        self._parts: list[bytes | str] = []
        self._size_bytes = 0

    def receive(self, data: bytes) -> list[bytes | str]:
        """Return the messages that ``data`` completes, except those that are too long.

        Raises ConnectionEnded when the connection is over and all earlier messages have been returned.
        """
        messages = [] if self.over is not None else self._feed(data)
        if self.over is not None and not messages:
            raise self.over
        return messages

    def _feed(self, data: bytes) -> list[bytes | str]:
        from wsproto.utilities import ProtocolError

        messages: list[bytes | str] = []
        try:
            if not data:
                raise ConnectionEnded("closed")  # noqa: TRY301 - one of several ways to end
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                message = self._take(event)
                if message is not None:
                    messages.append(message)
        except ConnectionEnded as ended:
            self.over = ended
        except (ProtocolError, ValueError, AssertionError) as error:
            self.over = ConnectionEnded(type(error).__name__)  # its text may contain what was sent
        return messages

    def say(self, text: str) -> None:
        """Add a message to ``to_send``."""
        from wsproto.events import TextMessage

        self.to_send += self._protocol.send(TextMessage(data=text))

    def say_goodbye(self) -> None:
        """Add a close frame to ``to_send`` unless the other side has sent one."""
        from wsproto.events import CloseConnection
        from wsproto.utilities import LocalProtocolError

        with contextlib.suppress(LocalProtocolError):
            self.to_send += self._protocol.send(CloseConnection(code=1000))

    def _take(self, event: Event) -> bytes | str | None:
        from wsproto import events

        if isinstance(event, events.AcceptConnection):
            self.accepted = True
        elif isinstance(event, events.RejectConnection):
            raise ConnectionEnded(f"HTTP {event.status_code}")
        elif isinstance(event, events.CloseConnection):
            raise ConnectionEnded(f"closed with {int(event.code)}")
        elif isinstance(event, events.Ping):
            self.to_send += self._protocol.send(event.response())
        elif isinstance(event, events.TextMessage | events.BytesMessage):
            return self._collect(event.data, whole=event.message_finished)
        return None

    def _collect(self, data: bytes | bytearray | str, *, whole: bool) -> bytes | str | None:
        self._size_bytes += len(data)
        if self._size_bytes > MAX_MESSAGE_BYTES:
            self._parts.clear()
        else:
            self._parts.append(data if isinstance(data, str) else bytes(data))
        if not whole:
            return None
        parts, self._parts = self._parts, []
        fits, self._size_bytes = self._size_bytes <= MAX_MESSAGE_BYTES, 0
        if not fits:
            return None
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if texts else b"".join(part for part in parts if isinstance(part, bytes))
