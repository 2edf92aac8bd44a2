"""Do the same for several profiles in threads; an interruption of the main thread reaches each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gwctl.signals import Cancellation, Cancelled, cancelled_by, postponed, undisturbed

R = TypeVar("R")


def run_each(
    names: Sequence[str],
    work: Callable[[str], R],
    *,
    at_once: int,
    on_result: Callable[[R], None] = lambda _result: None,
) -> dict[str, R]:
    """Return what ``work`` returned for each name, ``at_once`` at a time; ``on_result`` hears of each as it comes.

    Interrupted, those under way are cancelled and waited for. What one of them raises is raised here, when all have
    ended.
    """
    pool = _Pool(work)
    waiting = list(names)
    try:
        while waiting or pool.running:
            with postponed():
                while waiting and len(pool.running) < at_once:
                    pool.start(waiting.pop(0))
            pool.changed.wait()
            with postponed():
                for result in pool.collect():
                    on_result(result)
    except BaseException:
        with undisturbed():
            pool.cancel()
            while pool.running:
                pool.changed.wait()
                pool.collect()
        raise
    for error in pool.failed:
        raise error
    return pool.results


class _Pool(Generic[R]):
    """The threads that are under way; each tells of its end by ``changed``."""

    def __init__(self, work: Callable[[str], R]) -> None:
        self._work = work
        self._ended: list[tuple[str, R | None, BaseException | None]] = []
        self.running: dict[str, Cancellation] = {}
        self.results: dict[str, R] = {}
        self.failed: list[BaseException] = []
        self.changed = threading.Event()

    def start(self, name: str) -> None:
        """Begin with one; a daemon, so that one which hangs for ever does not keep the program from ending."""
        self.running[name] = cancellation = Cancellation()
        threading.Thread(target=self._do, args=(name, cancellation), name=f"gwctl-{name}", daemon=True).start()

    def _do(self, name: str, cancellation: Cancellation) -> None:
        try:
            with cancelled_by(cancellation):
                self._ended.append((name, self._work(name), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the main thread
            self._ended.append((name, None, error))
        self.changed.set()

    def collect(self) -> list[R]:
        """Take down who has ended since, and return what they returned."""
        self.changed.clear()
        new: list[R] = []
        while self._ended:
            name, result, error = self._ended.pop(0)
            del self.running[name]
            if error is None:
                self.results[name] = result  # type: ignore[assignment] # without an error it is what `work` returned
                new.append(self.results[name])
            elif not isinstance(error, Cancelled):
                self.failed.append(error)
        return new

    def cancel(self) -> None:
        """Have all of them stop."""
        for cancellation in self.running.values():
            cancellation.cancel()
