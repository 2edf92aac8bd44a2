"""What is done whole: signals wait for its end, or do nothing to it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from gwctl.signals import postponed, undisturbed


class Torn(BaseException):
    """What the handler under test raises."""


def tear(_number: int, _frame: object) -> None:
    """Answer a signal as gwctl answers SIGTERM."""
    raise Torn


@pytest.fixture(autouse=True)
def torn_by_sighup() -> Iterator[None]:
    """Have SIGHUP raise for the length of a test."""
    before = signal.signal(signal.SIGHUP, tear)
    yield
    signal.signal(signal.SIGHUP, before)


def do_whole(done: list[str], error: Exception | None = None) -> None:
    """Do something while SIGHUP arrives, and fail with the error, if there is one."""
    with postponed():
        signal.raise_signal(signal.SIGHUP)
        done.append("all")
        if error is not None:
            raise error


def test_a_postponed_signal_is_answered_at_the_end() -> None:
    """What its handler raises leaves the ``with``, when all of it is done; afterwards everything is as before."""
    done: list[str] = []
    with pytest.raises(Torn):
        do_whole(done)
    assert done == ["all"]
    assert signal.getsignal(signal.SIGHUP) is tear


def test_each_postponed_signal_is_answered() -> None:
    """Also where an earlier one has been answered without ado."""
    heard: list[int] = []
    before = {number: signal.signal(number, lambda told, _: heard.append(told)) for number in (15, 1)}
    try:
        with postponed():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            assert heard == []
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == [signal.SIGTERM, signal.SIGHUP]


def test_a_signal_goes_before_an_error() -> None:
    """Whoever expects the error goes on after it, as where a program is missing: the signal would be lost."""
    with pytest.raises(Torn) as told:
        do_whole([], ValueError("its own"))
    assert isinstance(told.value.__context__, ValueError)
    assert signal.getsignal(signal.SIGHUP) is tear


def test_an_error_alone_stays_what_it_is() -> None:
    """Without a signal nothing is added to it, and everything is as before."""

    def fails() -> None:
        with postponed():
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        fails()
    assert signal.getsignal(signal.SIGHUP) is tear


def test_an_inner_one_waits_for_the_outer_one() -> None:
    """They may be nested; the outermost end is the moment."""
    done: list[str] = []

    def nested() -> None:
        with postponed():
            do_whole(done)
            done.append("outer")

    with pytest.raises(Torn):
        nested()
    assert done == ["all", "outer"]


def test_what_is_ignored_stays_ignored_for_children_too() -> None:
    """Under nohup a child started meanwhile ignores SIGHUP, as it would without us."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with postponed():
        says = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True)
    assert int(says.stdout.split()[1], 16) & 1


def test_an_undisturbed_stretch_hears_nothing() -> None:
    """A signal is lost, on purpose."""
    with undisturbed():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is tear


def test_another_thread_has_no_signals_to_keep() -> None:
    """Only the main thread is interrupted, and only it may say who answers."""
    seen: list[object] = []

    def elsewhere() -> None:
        with postponed():
            seen.append(signal.getsignal(signal.SIGHUP))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [tear]


def test_a_loop_is_told_once() -> None:
    """A loop hears of a signal by its wakeup descriptor, whoever answers it: a supervisor's end is asked for once."""

    async def story() -> int:
        told: list[int] = []
        heard = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hear() -> None:
            told.append(1)
            heard.set()

        loop.add_signal_handler(signal.SIGHUP, hear)
        with postponed():
            signal.raise_signal(signal.SIGHUP)
        await asyncio.wait_for(heard.wait(), 20)
        for _ in range(10):
            await asyncio.sleep(0)
        loop.remove_signal_handler(signal.SIGHUP)
        return len(told)

    assert asyncio.run(story()) == 1
