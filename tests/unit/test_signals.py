"""Postponed signals wait for the end of the work; ignored ones do nothing."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from gwctl.signals import postponed, undisturbed


class Torn(BaseException):
    """Raised by the tested handler."""


def tear(_number: int, _frame: object) -> None:
    """Answer a signal as gwctl answers SIGTERM."""
    raise Torn


@pytest.fixture(autouse=True)
def torn_by_sighup() -> Iterator[None]:
    """Make SIGHUP raise during a test."""
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
    """What the handler raises leaves the ``with`` after all of it is done; then everything is as before."""
    done: list[str] = []
    with pytest.raises(Torn):
        do_whole(done)
    assert done == ["all"]
    assert signal.getsignal(signal.SIGHUP) is tear


def test_each_postponed_signal_is_answered() -> None:
    """Also after an earlier signal had no effect."""
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
    """A caller that expects the error, such as a missing program, continues after it and would lose the signal."""
    with pytest.raises(Torn) as told:
        do_whole([], ValueError("its own"))
    assert isinstance(told.value.__context__, ValueError)
    assert signal.getsignal(signal.SIGHUP) is tear


def test_an_error_alone_stays_what_it_is() -> None:
    """Without a signal, the error is unchanged, and everything is as before."""

    def fails() -> None:
        with postponed():
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        fails()
    assert signal.getsignal(signal.SIGHUP) is tear


def test_an_inner_one_waits_for_the_outer_one() -> None:
    """They can be nested; the outermost end counts."""
    done: list[str] = []

    def nested() -> None:
        with postponed():
            do_whole(done)
            done.append("outer")

    with pytest.raises(Torn):
        nested()
    assert done == ["all", "outer"]


def test_what_is_ignored_stays_ignored_for_children_too() -> None:
    """Under nohup, a child started meanwhile ignores SIGHUP, as it would without us."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with postponed():
        says = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True)
    assert int(says.stdout.split()[1], 16) & 1


def test_an_undisturbed_stretch_hears_nothing() -> None:
    """The signal is lost on purpose."""
    with undisturbed():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is tear


def test_another_thread_has_no_signals_to_keep() -> None:
    """Only the main thread is interrupted, and only it may set handlers."""
    seen: list[object] = []

    def elsewhere() -> None:
        with postponed():
            seen.append(signal.getsignal(signal.SIGHUP))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [tear]


def test_a_loop_is_told_once() -> None:
    """A loop gets a signal once, by its wakeup descriptor: a supervisor is asked to end once."""

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
