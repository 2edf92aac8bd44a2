"""Work that may block for ever (a pipe without a writer, a dead mount), in a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from gwctl.errors import Unavailable

T = TypeVar("T")

FRESH_S = 60.0
"""How long a result is kept that came after nobody waited for it any more: what was typed or piped comes only once."""


class Errand(Generic[T]):
    """One piece of work at a time, called ``name``; a second one waits for the first, so that no threads pile up.

    The thread is a daemon: neither the loop's end nor the process's waits for it.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._under_way: Future[tuple[T, float]] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, or what an earlier one does that is still at it or has just come to its end.

        Raises what it raises, or Unavailable after ``timeout_s``; then it goes on, and the next call waits for it.
        """
        future = self._under_way
        if future is None or _is_stale(future):
            future = self._under_way = self._begin(work)
        try:
            async with asyncio.timeout(self.timeout_s):
                result, _ = await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            if future.done():
                self._under_way = None
                raise  # it is the work's own
            text = f"{self.name} took longer than {self.timeout_s:g} s and is still waited for"
            raise Unavailable(text) from None
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._under_way = None
            raise
        self._under_way = None
        return result

    def _begin(self, work: Callable[[], T]) -> Future[tuple[T, float]]:
        future: Future[tuple[T, float]] = Future()

        def do() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(error)
            else:
                future.set_result((result, time.monotonic()))

        threading.Thread(target=do, name=f"gwctl {self.name}", daemon=True).start()
        return future


def _is_stale(future: Future[tuple[T, float]]) -> bool:
    """Say whether a result that nobody fetched is too old, or is a failure, so that the work is done again."""
    if not future.done():
        return False
    return future.exception() is not None or time.monotonic() - future.result()[1] > FRESH_S
