"""Pass bytes between pairs of connections, in one thread; the standard library only."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from functools import partial

from gwctl.isolation.page_guard import Guard, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 65_536
HELD_BYTES = 131_072
"""How much of one direction may wait for a reader that is slow."""
EXHAUSTED_PAUSE_S = 0.01
READY_TIMEOUT_S = 10.0
"""How long a client may take for TLS, and the gateway to accept."""
LOOK_EVERY_S = 1.0
IN, OUT = select.EPOLLIN, select.EPOLLOUT


class End:
    """One end of a pair of connections: what it receives goes to ``other``."""

    __slots__ = ("closed", "ended", "held", "mask", "other", "ready", "said_end", "socket", "waits_for")

    def __init__(self, connection: socket.socket, *, ready: bool) -> None:
        self.socket = connection
        self.other = self
        self.held = bytearray()
        """What is still to be sent to this end."""
        self.ready = ready
        """Whether it is connected."""
        self.waits_for = OUT
        """What it waits for until it is ready."""
        self.ended = False
        """Whether it will send no more."""
        self.said_end = False
        """Whether it was told that the other will send no more."""
        self.mask = 0
        self.closed = False

    def get_ready(self) -> None:
        """Become ready if the connection is there; raise OSError."""
        problem = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, "no connection")
        self.ready = True

    def receive(self) -> bytes:
        """Return what there is for the other end, perhaps nothing; note the end. Raise OSError."""
        content = self.socket.recv(CHUNK_BYTES)
        if not content:
            self.ended = True
        return content

    def send(self, content: bytes | bytearray) -> int:
        """Return how much could be sent; raise OSError."""
        try:
            return self.socket.send(content)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0

    def say_end(self) -> None:
        """Tell this end that nothing more comes; it may still send. Raise OSError."""
        self.said_end = True
        self.socket.shutdown(socket.SHUT_WR)


class ClientEnd(End):
    """The end of a client, which speaks TLS and may be a browser."""

    __slots__ = ("guard", "tls")

    def __init__(self, connection: ssl.SSLSocket, guard: Guard) -> None:
        super().__init__(connection, ready=False)
        self.tls = connection
        self.guard = guard
        self.waits_for = IN

    def get_ready(self) -> None:
        """Go on with the handshake; raise OSError."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.waits_for = IN
        except ssl.SSLWantWriteError:
            self.waits_for = OUT
        else:
            self.ready = True

    def receive(self) -> bytes:
        """Return what the guard lets pass; raise OSError, also after a refusal, which the client has been told."""
        try:
            content = self.tls.recv(CHUNK_BYTES)  # whole records: nothing stays behind that the system cannot see
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        if not content:
            self.ended = True
            return content
        if self.guard.passes_all:
            return content
        try:
            return self.guard.feed(content)
        except Refused as error:
            self.send(error.answer)
            with contextlib.suppress(OSError):
                self.say_end()
            raise ConnectionAbortedError(str(error)) from None

    def say_end(self) -> None:
        """Send TLS's own end, then TCP's; raise OSError."""
        self.said_end = True
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.tls.unwrap()  # sends ours; theirs may not have come yet
        socket.socket.shutdown(self.tls, socket.SHUT_WR)


class Relay:
    """Passes bytes between pairs of connections, in one thread."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self._acts: dict[int, Callable[[int], None]] = {}
        self._unready: dict[End, float] = {}
        """The ends that are not ready, and until when they have time."""
        self.pairs = 0

    def watch(self, file: int, act: Callable[[int], None]) -> None:
        """Call ``act`` whenever ``file`` is readable."""
        self._acts[file] = act
        self.poll.register(file, IN)

    def run(self) -> None:
        """Pass bytes on without end."""
        while True:
            for file, events in self.poll.poll(LOOK_EVERY_S if self._unready else None):
                try:
                    if (act := self._acts.get(file)) is not None:
                        act(events)
                except BlockingIOError:
                    pass  # who was there has left
                except OSError:  # no more files: without a pause, it would be reported again and again
                    time.sleep(EXHAUSTED_PAUSE_S)
            if self._unready:
                self._close_late()

    def join(self, one: End, two: End) -> None:
        """Begin to pass on what two ends send."""
        one.other, two.other = two, one
        self.pairs += 1
        try:
            for end in (one, two):
                if not end.ready:
                    self._unready[end] = time.monotonic() + READY_TIMEOUT_S
                end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._acts[end.socket.fileno()] = partial(self._act, end)
            self._settle(one)
        except OSError:
            self.close(one)

    def _close_late(self) -> None:
        now_s = time.monotonic()
        for end, until_s in list(self._unready.items()):
            if end.ready:
                del self._unready[end]
            elif until_s < now_s:
                self.close(end)

    def close(self, end: End) -> None:
        """Close both ends. Safe to repeat."""
        if end.closed:
            return
        self.pairs -= 1
        for one in (end, end.other):
            one.closed = True
            self._unready.pop(one, None)
            self._acts.pop(one.socket.fileno(), None)
            if one.mask:
                self.poll.unregister(one.socket.fileno())
            one.socket.close()

    def _act(self, end: End, events: int) -> None:
        try:
            try:
                if events == IN and end.ready and end.other.ready and not end.other.held:
                    if self._pass_on(end):
                        return
                elif not end.ready:
                    end.get_ready()
                elif events & ~OUT:
                    self._receive(end)
            except BlockingIOError:
                pass
            if end.held and end.ready:
                self._send(end)
            self._settle(end)
        except OSError:
            self.close(end)

    def _pass_on(self, end: End) -> bool:
        """Pass on what has arrived; return whether that is all, as it is nearly always."""
        content = end.receive()
        if content:
            sent = end.other.send(content)
            end.other.held += content[sent:]
        return not end.ended and not end.other.held

    def _receive(self, end: End) -> None:
        end.other.held += end.receive()
        if end.other.ready and end.other.held:
            self._send(end.other)

    def _send(self, end: End) -> None:
        del end.held[: end.send(end.held)]

    def _settle(self, end: End) -> None:
        """Pass an end of sending on, close what is over, and watch for what can be done now."""
        for one in (end, end.other):
            if one.other.ended and not one.held and not one.said_end and one.ready:
                one.say_end()
        if end.said_end and end.other.said_end:
            self.close(end)
            return
        for one in (end, end.other):
            reads = one.ready and one.other.ready and not one.ended and len(one.other.held) < HELD_BYTES
            mask = (IN if reads else 0) | (0 if one.ready else one.waits_for) | (OUT if one.held and one.ready else 0)
            if mask == one.mask:
                continue
            # A socket that waits for nothing is not watched: the kernel reports a broken one again and again.
            file = one.socket.fileno()
            if not mask:
                self.poll.unregister(file)
            elif one.mask:
                self.poll.modify(file, mask)
            else:
                self.poll.register(file, mask)
            one.mask = mask
