"""Do something whole: Ctrl-C, SIGTERM, SIGHUP or a cancellation wait until it is done, or do nothing to it.

Signals reach the main thread alone. What another thread does is cancelled by a ``Cancellation``.
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
    """What this thread does was cancelled from another one; unwinds like Ctrl-C so that clean-up runs."""


class Cancellation:
    """Cancels what one thread does: at its next ``checkpoint``, and out of a wait that is ``woken``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakers: set[Callable[[], None]] = set()
        self.is_asked = False

    def cancel(self) -> None:
        """Ask for it, from any thread, and wake whatever waits."""
        with self._lock:
            self.is_asked = True
            for wake in self._wakers:
                with contextlib.suppress(OSError):
                    wake()

    def add(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when it is asked for; at once if it was."""
        with self._lock:
            self._wakers.add(wake)
            if self.is_asked:
                with contextlib.suppress(OSError):
                    wake()

    def remove(self, wake: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._wakers.discard(wake)


class _Local(threading.local):
    cancellation: Cancellation | None = None


_local = _Local()


@contextmanager
def cancelled_by(cancellation: Cancellation | None) -> Iterator[None]:
    """Have what this thread does in a ``with`` cancelled by ``cancellation``; by nobody if that is None."""
    before, _local.cancellation = _local.cancellation, cancellation
    try:
        yield
    finally:
        _local.cancellation = before


def checkpoint() -> None:
    """Raise Cancelled where this thread was asked to stop; call it in every loop that waits."""
    if _local.cancellation is not None and _local.cancellation.is_asked:
        raise Cancelled


@contextmanager
def woken(wake: Callable[[], None]) -> Iterator[None]:
    """Have ``wake`` called, from another thread, if this one is cancelled while it waits in a ``with``."""
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
    """Keep SIGINT, SIGTERM and SIGHUP until the end of a ``with``: what is done in it is done whole.

    They are then answered as they would have been before, so that what they raise leaves the ``with``, also in place of
    an error of what was done, which somebody may expect and go on after. A signal that is ignored stays so, also for a
    child that is started meanwhile. Signals are the main thread's: in another one there is nothing to keep.
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
                # Not raised again: a loop's own handler has been told already, by its wakeup descriptor.
                handler(number, frame)
            else:
                signal.raise_signal(number)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM, SIGHUP and a cancellation in a ``with``; what is done in it has its own deadlines."""
    with _answered_by(signal.SIG_IGN), cancelled_by(None):
        yield


@contextmanager
def _answered_by(handler: _Handler) -> Iterator[dict[int, _Handler]]:
    """Have another handler answer them, and yield who answered before; who is ignored, or not Python's, is left out."""
    before: dict[int, _Handler] = {}
    with ExitStack() as stack:  # each gets its own back, also where another one tears us out of giving it back
        if threading.current_thread() is threading.main_thread():
            for number in _INTERRUPTIONS:
                answered = signal.getsignal(number)
                if answered is not None and answered is not signal.SIG_IGN:
                    before[number] = answered
                    stack.callback(signal.signal, number, answered)
                    signal.signal(number, handler)
        yield before


async def whole(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do ``work`` in a thread, because a disk may hang; a cancellation waits for its end, and a second one does not.

    What comes after a cancellation, such as tidying up, finds the work done and not under way.
    """
    import asyncio

    doing = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise


class Terminated(BaseException):
    """SIGTERM arrived, or SIGHUP where that is told apart; unwinds like Ctrl-C so that clean-up runs."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number
