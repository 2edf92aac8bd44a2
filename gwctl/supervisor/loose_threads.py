"""Threads for work that may never come back: the end waits for them a while, and then leaves them behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S = 5.0


class LooseThreads(ThreadPoolExecutor):
    """An executor for ``asyncio.to_thread`` with a daemon thread for each call.

    The standard one's threads are waited for without end, by the loop and again by the interpreter: one that hangs in
    a read of a dead disk would keep a supervisor from ending that has nothing left to do.
    """

    def __init__(self, wait_s: float = WAIT_S) -> None:
        super().__init__(max_workers=1)
        self._wait_s = wait_s
        self._under_way: set[threading.Thread] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have ``fn`` called in a thread of its own."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(error)
            finally:
                self._under_way.discard(threading.current_thread())

        thread = threading.Thread(target=work, name=f"gwctl-{getattr(fn, '__name__', 'work')}", daemon=True)
        self._under_way.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base's
        """Wait for what is under way, for a while."""
        deadline_s = time.monotonic() + self._wait_s
        for thread in list(self._under_way) if wait else []:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        super().shutdown(wait=False, cancel_futures=cancel_futures)
