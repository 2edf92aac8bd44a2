"""Write in a background thread, so that a hanging disk or a stopped terminal never blocks the loop."""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TextIO

ROOM = 5_000
FLUSH_S = 2.0
"""How long a flush waits, at most, for pending writes."""

Work = Callable[[], None]


class Scribe:
    """Run pieces of work one after the other in a background thread; raise nothing.

    The queue holds ``room`` pieces. Work that arrives while it is full is dropped, and the thread calls ``on_left_out``
    at that point in the queue with the number of dropped pieces.
    """

    on_left_out: Callable[[int], None] | None = None

    def __init__(self, name: str, *, room: int = ROOM) -> None:
        self._name = name
        self._room = room
        self._waiting: deque[Work] = deque()
        self._left_out = 0
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def do(self, work: Work) -> None:
        """Queue ``work`` and return at once."""
        with self._changed:
            if self._thread is None:
                # A daemon thread: work that hangs must not keep the process from ending.
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            if len(self._waiting) >= self._room:
                self._left_out += 1
                return
            self._note_left_out()
            self._waiting.append(work)
            self._changed.notify_all()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until the queue is empty, at most ``timeout_s``, and return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def _note_left_out(self) -> None:
        if self._left_out:
            if self.on_left_out is not None:
                self._waiting.append(partial(self.on_left_out, self._left_out))
            self._left_out = 0

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                if not self._waiting:
                    self._note_left_out()
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                work = self._waiting.popleft()
                self._busy = True
            with contextlib.suppress(Exception):  # a full disk or a closed reader loses the line, nothing more
                work()


class ScribeStream(io.TextIOBase):
    """A text stream that writes to a descriptor through a scribe; ``flush`` waits only after ``leave`` was called."""

    def __init__(self, stream: TextIO, scribe: Scribe) -> None:
        self._stream = stream
        self._scribe = scribe
        self._leave_by_s: float | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed says writable; the base class is read-only
        """The replaced stream's encoding."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override] # the same
        """How the replaced stream handles characters that it cannot encode."""
        return self._stream.errors

    def writable(self) -> bool:
        """Return True: the stream is writable."""
        return True

    def isatty(self) -> bool:
        """Return whether the replaced stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the replaced stream's descriptor."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Queue ``text`` for writing and return at once; raise UnicodeEncodeError."""
        content = text.encode(self.encoding, self.errors or "strict")
        self._scribe.do(partial(write_whole, self.fileno(), content))
        return len(text)

    def flush(self) -> None:
        """Return at once; after ``leave``, wait until everything is written or the time is up."""
        if self._leave_by_s is not None:
            self._scribe.flush(max(0.0, self._leave_by_s - time.monotonic()))

    def leave(self, within_s: float = FLUSH_S) -> None:
        """Let later ``flush`` calls wait, together at most ``within_s``: the process is about to end."""
        self._leave_by_s = time.monotonic() + within_s


def write_whole(descriptor: int, content: bytes) -> None:
    """Write all of ``content``, also to a non-blocking descriptor; raise OSError."""
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
