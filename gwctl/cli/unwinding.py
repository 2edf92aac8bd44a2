"""Clean up without being torn out of it: a second Ctrl-C must not leave behind what the first one was to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(BaseException):
    """SIGTERM arrived; unwinds like Ctrl-C so that clean-up runs."""


@contextmanager
def postponed() -> Iterator[None]:
    """Keep SIGINT and SIGTERM until the end of a ``with``: what is done in it is done whole."""
    seen: list[int] = []
    before = {
        number: signal.signal(number, lambda arrived, _frame: seen.append(arrived))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen:
        signal.raise_signal(seen[0])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM for the length of a ``with``; what is done in it has its own deadlines."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
