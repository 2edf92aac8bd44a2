"""Writing outside the loop: nothing waits for it, the order stays, and dropped lines are reported."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from gwctl.background_writer import BackgroundStream, BackgroundWriter, write_whole

QUICKLY_S = 0.2
"""The most a caller may take for all calls of a test; the work itself is stuck meanwhile."""


@pytest.fixture
def full() -> Iterator[tuple[int, int]]:
    """Yield a full pipe: its reader's end and its writer's."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def _drain(reader: int, until: bytes) -> bytes:
    seen = b""
    while until not in seen:
        seen += os.read(reader, 65_536)
    return seen.lstrip(b"x")


def test_work_is_done_in_order_and_trouble_ends_nothing() -> None:
    """Only work that raises is lost; ``flush`` returns after the last one."""
    scribe, done = BackgroundWriter("test"), list[int]()

    def fail() -> None:
        raise OSError(28, "No space left on device")

    for number in range(100):
        scribe.do(lambda number=number: done.append(number))  # type: ignore[misc] # mypy does not see the default
        scribe.do(fail)
    assert scribe.flush(10)
    assert done == list(range(100))


def test_a_stopped_terminal_holds_nobody_up_and_what_is_missing_is_said(full: tuple[int, int]) -> None:
    """Dropped lines leave a note in their place; the rest arrives in order once the reader continues."""
    reader, writer = full
    scribe = BackgroundWriter("test", room=3)
    scribe.on_left_out = lambda count: write_whole(writer, f"[{count} missing]\n".encode())
    with open(writer, "w", encoding="utf-8", closefd=False) as replaced:
        stream = BackgroundStream(replaced, scribe)
        began_s = time.monotonic()
        for number in range(10):
            stream.write(f"{number}\n")
            stream.flush()
        assert time.monotonic() - began_s < QUICKLY_S
        assert not scribe.flush(0.05)
        said = _drain(reader, b"missing]\n")
        assert scribe.flush(10)
        stream.write("last\n")
        lines = (said + _drain(reader, b"last\n")).decode().split("\n")
        assert lines[-2:] == ["last", ""]
        following, missing = 0, 0
        for line in lines[:-2]:
            if found := re.fullmatch(r"\[(\d+) missing\]", line):
                missing += int(found[1])
                following += int(found[1])
            else:
                assert line == str(following)
                following += 1
        assert (following, missing > 0) == (10, True)


def test_leaving_waits_but_not_for_ever(full: tuple[int, int]) -> None:
    """The last lines are waited for; a terminal that stays stopped delays the end only for a limited time."""
    reader, writer = full
    scribe = BackgroundWriter("test")
    with open(writer, "w", encoding="utf-8", closefd=False) as replaced:
        stream = BackgroundStream(replaced, scribe)
        stream.write("word\n")
        began_s = time.monotonic()
        stream.flush()
        assert time.monotonic() - began_s < QUICKLY_S
        stream.leave(0.3)
        for _ in range(3):
            stream.flush()
        assert 0.25 < time.monotonic() - began_s < 2
        assert _drain(reader, b"word\n") == b"word\n"
        assert scribe.flush(5)
