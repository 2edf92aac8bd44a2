"""Virtual time: a heap of events."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

TICKS_A_SECOND = 1024
"""Times are whole ticks of a power of two, so that adding seconds to them never rounds and a skip is exact."""


def to_tick(at: float) -> float:
    """Return the first tick at or after a time, in seconds."""
    return math.ceil(at * TICKS_A_SECOND) / TICKS_A_SECOND


class Timeline:
    """The future events, in order; ``now`` is seconds since the beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[..., None], *args: object) -> None:
        """Schedule ``call`` at a time, at once if it has passed."""
        self._count += 1
        heapq.heappush(self._heap, (to_tick(max(when, self.now)), self._count, call, args))

    def after(self, in_s: float, call: Callable[..., None], *args: object) -> None:
        """Schedule ``call`` in a number of seconds."""
        self.at(self.now + in_s, call, *args)

    @property
    def next_at(self) -> float:
        """The time of the next event."""
        return self._heap[0][0] if self._heap else math.inf

    def advance(self) -> None:
        """Run the next event."""
        self.now, _, call, args = heapq.heappop(self._heap)
        call(*args)
