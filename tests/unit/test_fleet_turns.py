"""How many profiles work at once, and what a step aside changes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gwctl.lifecycle.fleet import Turns, run_each
from gwctl.signals import checkpoint

NAMES = [f"p{number}" for number in range(7)]
WAIT_S = 20.0


class Crowd:
    """Counts who is at work, and who waits aside until all have begun."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._lock = threading.Lock()
        self._working = 0
        self._begun = 0
        self._all_begun = threading.Event()
        self.most = 0

    def work(self, name: str) -> str:
        """Work, then wait aside: with fewer places than names, it ends only if others begin meanwhile."""
        with self._lock:
            self._working += 1
            self._begun += 1
            self.most = max(self.most, self._working)
            if self._begun == len(NAMES):
                self._all_begun.set()
        with self._lock:
            self._working -= 1
        self._turns.step_aside(name)
        assert self._all_begun.wait(WAIT_S)
        return name.upper()


@pytest.mark.parametrize("at_once", [1, 2, 7, 50])
def test_no_more_than_the_turns_work_at_once(at_once: int) -> None:
    """All end, although each waits for the last one's beginning."""
    turns = Turns(at_once)
    crowd = Crowd(turns)
    assert run_each(NAMES, crowd.work, turns=turns) == {name: name.upper() for name in NAMES}
    assert crowd.most <= at_once


def test_without_a_step_aside_the_next_one_waits() -> None:
    """One at a time, in order."""
    order: list[str] = []

    def work(name: str) -> None:
        order.append(f"{name} begins")
        order.append(f"{name} ends")

    run_each(NAMES, work, turns=Turns(1))
    assert order == [f"{name} {what}" for name in NAMES for what in ("begins", "ends")]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
def test_an_interruption_reaches_those_aside(fault: type[BaseException]) -> None:
    """They are cancelled as those at work are, and nobody else begins."""
    turns = Turns(1)
    ended: list[str] = []

    def waits(name: str, until: Callable[[], None]) -> None:
        turns.step_aside(name)
        try:
            while True:
                until()
        finally:
            ended.append(name)

    def work(name: str) -> str:
        if name == NAMES[2]:
            return name
        waits(name, checkpoint)
        return name

    def on_result(_name: str) -> None:
        raise fault

    with pytest.raises(fault):
        run_each(NAMES[:3], work, turns=turns, on_result=on_result)
    assert sorted(ended) == NAMES[:2]
