"""Wait for what may hang, such as a name server or a disk of the network, no longer than one wants to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(timeout_s: float, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises; raise TimeoutError after ``timeout_s``.

    What hangs goes on in a thread that keeps no program from ending.
    """
    done: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failure.append(error)

    thread = threading.Thread(target=run, name="doctor-within", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failure:
        raise failure[0]
    if not done:
        raise TimeoutError
    return done[0]
