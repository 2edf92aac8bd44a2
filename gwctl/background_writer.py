"""Work in background threads that may never return, such as writing to a hanging disk: it never blocks the loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import logging.handlers
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from functools import partial
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import Generic, ParamSpec, TextIO, TypeVar

from gwctl.errors import GwctlError, Unavailable
from gwctl.ownership import open_ours
from gwctl.paths import Paths
from gwctl.plain_text import many_lines, one_line
from gwctl.state_file import make_private_dir

ROOM = 5_000
FLUSH_S = 2.0
"""How long a flush waits, at most, for pending writes."""

Work = Callable[[], None]


class BackgroundWriter:
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


class BackgroundStream(io.TextIOBase):
    """A text stream that writes to a descriptor through a scribe; ``flush`` waits only after ``leave`` was called."""

    def __init__(self, stream: TextIO, scribe: BackgroundWriter) -> None:
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


P = ParamSpec("P")
T = TypeVar("T")

WAIT_S = 5.0
FRESH_S = 60.0
"""How long to keep a result that came after its caller had gone: typed or piped input comes only once."""


class LooseThreads(ThreadPoolExecutor):
    """An executor for ``asyncio.to_thread`` with a daemon thread for each call.

    The loop and the interpreter wait forever for the standard executor's threads: a thread that hangs in a read from a
    dead disk would keep a finished supervisor from exiting.
    """

    def __init__(self, wait_s: float = WAIT_S, *, name: str | None = None) -> None:
        super().__init__(max_workers=1)
        self._wait_s = wait_s
        self._name = name
        self._under_way: set[threading.Thread] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``fn`` in a new thread."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                future.set_exception(error)
            finally:
                self._under_way.discard(threading.current_thread())

        thread = threading.Thread(
            target=work, name=self._name or f"gwctl-{getattr(fn, '__name__', 'work')}", daemon=True
        )
        self._under_way.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base's
        """Wait for running threads, for a limited time."""
        deadline_s = time.monotonic() + self._wait_s
        for thread in list(self._under_way) if wait else []:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        super().shutdown(wait=False, cancel_futures=cancel_futures)


class DaemonCall(Generic[T]):
    """Runs one work at a time, called ``name``; a second call waits for the first, so that threads do not pile up."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._threads = LooseThreads(name=f"gwctl {name}")
        self._under_way: Future[tuple[T, float]] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, or of an earlier work that is still running or has just finished.

        Raises what the work raises, or Unavailable after ``timeout_s``; then the work goes on, and the next call waits
        for it.
        """
        future = self._under_way
        if future is None or _is_stale(future):
            future = self._under_way = self._threads.submit(lambda: (work(), time.monotonic()))
        try:
            async with asyncio.timeout(self.timeout_s):
                result, _ = await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            if future.done():
                self._under_way = None
                raise  # the work itself raised it
            text = f"{self.name} took longer than {self.timeout_s:g} s and is still running"
            raise Unavailable(text) from None
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._under_way = None
            raise
        self._under_way = None
        return result


def _is_stale(future: Future[tuple[T, float]]) -> bool:
    """Return whether an unused result is too old, or an error, so that the work runs again."""
    if not future.done():
        return False
    return future.exception() is not None or time.monotonic() - future.result()[1] > FRESH_S


MAX_BYTES = 2_000_000
KEPT = 3


class _PrivateLog(logging.handlers.RotatingFileHandler):
    """A rotating log that only its owner may read. A full disk loses lines, a hung one delays them; neither blocks."""

    def __init__(self, file: Path) -> None:
        self._scribe = BackgroundWriter("gwctl-log")
        self._scribe.on_left_out = self._miss
        super().__init__(file, maxBytes=MAX_BYTES, backupCount=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line in the background; its text is fixed now."""
        settled = copy(record)
        # One record, one line: a text from elsewhere cannot forge another.
        settled.msg, settled.args = one_line(record.getMessage()), None
        if record.exc_info:
            traceback = logging.Formatter().formatException(record.exc_info)
            settled.exc_text, settled.exc_info = many_lines(traceback), None
        self._scribe.do(partial(super().emit, settled))

    def _miss(self, count: int) -> None:
        text = f"{count} lines are missing here: the disk did not keep up"
        super().emit(logging.LogRecord("gwctl", logging.WARNING, "", 0, text, None, None))

    def flush(self) -> None:
        """Do nothing: the scribe writes each line whole."""

    def close(self) -> None:
        """Close the file after all lines are written; leave a hung one to the system."""
        if self._scribe.flush():
            super().close()

    def _open(self) -> TextIOWrapper:
        handle = open_ours(Path(self.baseFilename), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return TextIOWrapper(FileIO(handle, "a"), encoding="utf-8", line_buffering=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Drop the line: logging would print a traceback for each one into the gateway's output."""

    def reopen(self) -> None:
        """Continue in the file that now has the log's name."""
        self._scribe.do(self._reopen)

    def _reopen(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def set_up_log(paths: Paths, *, verbose: bool) -> None:
    """Set up the supervisor's size-limited log; raise DiskTrouble if its folder cannot be created."""
    make_private_dir(paths.logs_dir)
    handler = _PrivateLog(paths.supervisor_log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("gwctl")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False


def reopen_log(paths: Paths) -> None:
    """Continue in a new file after the log's folder was deleted."""
    with contextlib.suppress(GwctlError):
        make_private_dir(paths.logs_dir)
    for handler in logging.getLogger("gwctl").handlers:
        if isinstance(handler, _PrivateLog):
            handler.reopen()
