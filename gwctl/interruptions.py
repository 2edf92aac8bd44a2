"""Do something whole: Ctrl-C, SIGTERM, SIGHUP or a cancellation wait until it is done, or do nothing to it."""

from __future__ import annotations

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
    """Ignore SIGINT, SIGTERM and SIGHUP for the length of a ``with``; what is done in it has its own deadlines."""
    with _answered_by(signal.SIG_IGN):
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
