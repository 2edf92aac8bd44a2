"""Clean up without being torn out of it: a second Ctrl-C must not leave behind what the first one was to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """SIGTERM arrived, or SIGHUP where that is told apart; unwinds like Ctrl-C so that clean-up runs."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def postponed() -> Iterator[None]:
    """Keep SIGINT, SIGTERM and SIGHUP until the end of a ``with``: what is done in it is done whole."""
    seen: list[int] = []
    before = {number: signal.signal(number, lambda arrived, _frame: seen.append(arrived)) for number in _DEFERRED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen:
        signal.raise_signal(seen[0])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP for the length of a ``with``; what is done in it has its own deadlines."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _DEFERRED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
