"""An event loop whose clock jumps to the next timer: hours of waiting take moments, and no machine is too slow."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION_S = 1e-6
"""Added to each jump, so that what is due at a time is due after the jump to it, whatever is lost in rounding."""


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: lets the time pass that it was to wait."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is there now."""
        if timeout is None:
            raise AssertionError("everything waits, and nothing will come")
        if timeout > 0.0:
            self.now_s += timeout + RESOLUTION_S
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; for code that waits for nothing outside it."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time."""
        return self._jumping.now_s

    def jump(self, by_s: float) -> None:
        """Let time pass in which nothing runs: the process was stopped, or the machine slept."""
        self._jumping.now_s += by_s


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
