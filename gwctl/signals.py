"""Postpone or ignore Ctrl-C, SIGTERM, SIGHUP and cancellations while something must be done completely.

Only the main thread receives signals. A ``Cancellation`` stops the work of another thread.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Handler = Callable[[int, FrameType | None], object] | int
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Cancelled(BaseException):
    """Another thread cancelled the work of this one; unwinds like Ctrl-C so that clean-up runs."""


class Cancellation:
    """Cancels the work of one thread at its next ``checkpoint``, and wakes it from a wait inside ``woken``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakers: set[Callable[[], None]] = set()
        self.is_asked = False

    def cancel(self) -> None:
        """Request the cancellation, from any thread, and wake all waits."""
        with self._lock:
            self.is_asked = True
            for wake in self._wakers:
                with contextlib.suppress(OSError):
                    wake()

    def add(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` on cancellation; at once if it was already requested."""
        with self._lock:
            self._wakers.add(wake)
            if self.is_asked:
                with contextlib.suppress(OSError):
                    wake()

    def remove(self, wake: Callable[[], None]) -> None:
        """Stop calling ``wake``."""
        with self._lock:
            self._wakers.discard(wake)


class _Local(threading.local):
    cancellation: Cancellation | None = None


_local = _Local()


@contextmanager
def cancelled_by(cancellation: Cancellation | None) -> Iterator[None]:
    """Let ``cancellation`` cancel this thread's work inside a ``with``; None means that nothing cancels it."""
    before, _local.cancellation = _local.cancellation, cancellation
    try:
        yield
    finally:
        _local.cancellation = before


def checkpoint() -> None:
    """Raise Cancelled if this thread should stop; call it in every loop that waits."""
    if _local.cancellation is not None and _local.cancellation.is_asked:
        raise Cancelled


@contextmanager
def woken(wake: Callable[[], None]) -> Iterator[None]:
    """Call ``wake``, from another thread, if this thread is cancelled while it waits inside a ``with``."""
    cancellation = _local.cancellation
    if cancellation is None:
        yield
        return
    cancellation.add(wake)
    try:
        yield
    finally:
        cancellation.remove(wake)
    checkpoint()


@contextmanager
def postponed() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back until the end of a ``with``, so that its work is done completely.

    After that, the previous handlers run, and what they raise leaves the ``with``. It also replaces an error of the
    work, because a caller may expect that error and continue after it. Ignored signals stay ignored, also for a child
    started meanwhile. In a thread other than the main one this does nothing.
    """
    seen: list[tuple[int, FrameType | None]] = []
    before: dict[int, _Handler] = {}
    try:
        with _answered_by(lambda number, frame: seen.append((number, frame))) as before:
            yield
    finally:
        for number, frame in seen:
            handler = before[number]
            if callable(handler):
                # Not raised again: a loop's own handler already got it through its wakeup descriptor.
                handler(number, frame)
            else:
                signal.raise_signal(number)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM, SIGHUP and cancellations inside a ``with``; its work has its own deadlines."""
    with _answered_by(signal.SIG_IGN), cancelled_by(None):
        yield


@contextmanager
def _answered_by(handler: _Handler) -> Iterator[dict[int, _Handler]]:
    """Install another handler and yield the previous ones, except those ignored or not handled by Python."""
    before: dict[int, _Handler] = {}
    with ExitStack() as stack:  # restores each handler, even if another signal interrupts the restoring
        if threading.current_thread() is threading.main_thread():
            for number in _INTERRUPTIONS:
                answered = signal.getsignal(number)
                if answered is not None and answered is not signal.SIG_IGN:
                    before[number] = answered
                    stack.callback(signal.signal, number, answered)
                    signal.signal(number, handler)
        yield before


async def whole(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread, because a disk may hang; a cancellation waits for its end, a second one does not.

    Code that runs after the cancellation, such as clean-up, finds the work done and not in progress.
    """
    import asyncio

    doing = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise


class Terminated(BaseException):
    """SIGTERM arrived, or SIGHUP where the caller distinguishes it; unwinds like Ctrl-C so that clean-up runs."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number
