"""What every fuzzed surface shares: how many inputs, what each may cost, and hostile values; contains no tests.

``corpus/`` keeps the inputs that are always played. The random ones are few in CI and the same each time; with
``GWCTL_FUZZ_EXAMPLES`` set, as ``scripts/soak fuzz`` does, there are that many for each surface.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("GWCTL_FUZZ_EXAMPLES") or 0)
MEMORY_BYTES = 64 * 1024 * 1024
CPU_S = 2.0
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def fuzzed(examples: int, *, share: int = 1) -> settings:
    """Return the settings of a fuzz test that plays ``examples`` inputs in CI; ``share`` tests are of one surface."""
    return settings(
        max_examples=EXAMPLES // share or examples,
        deadline=None,  # ``bounded`` limits the CPU time instead: other tests run beside
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """Yield a folder in memory, if there is memory that is a disk: the surfaces are files, and not disks."""
    shm = Path("/dev/shm")  # noqa: S108 - the folder in it is private, as the library makes it
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None, ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextlib.contextmanager
def without_complaints(*loggers: logging.Logger) -> Iterator[Callable[[], None]]:
    """Fail if a logger tells of an error inside the ``with``; what it yields, called in a loop, hears the loop, too."""
    complaints: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(self.format(record))

    def hear_loop() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(str(context)))

    ear = Ear(logging.ERROR)
    for logger in loggers:
        logger.addHandler(ear)
    try:
        yield hear_loop
    finally:
        for logger in loggers:
            logger.removeHandler(ear)
    assert complaints == []


class Hung(BaseException):
    """An input took too long; no `except Exception` may hide it."""


@contextlib.contextmanager
def bounded(*, cpu_s: float = CPU_S, memory_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    """Fail if the work inside takes more CPU time or, at any moment, more additional memory."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"more than {cpu_s:g} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    began_bytes = _reset_peak()
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
    took_bytes = _memory()["VmHWM"] - began_bytes
    assert took_bytes <= memory_bytes, f"{took_bytes / 1e6:.0f} MB more memory"


@contextlib.contextmanager
def about(given: object) -> Iterator[None]:
    """Name the input in the report of what it breaks."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"the input: {repr(given)[:2000]}")
        raise


def _reset_peak() -> int:
    with contextlib.suppress(OSError):
        _RESET.write_text("5")  # the peak becomes the present size (man 5 proc)
    return _memory()["VmHWM"]


def _memory() -> Mapping[str, int]:
    """Return this process's sizes in bytes, zeros where the system does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return {"VmHWM": 0}
    return {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest
    }


# Values.

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 5000, 65_536, 2**31, 2**63, 2**64, 10**18, -(10**18), 10**400, -(10**400)),
    *(0.5, 1e18, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), True, False),
)
TEXTS = (
    *("", " ", "\0", "a\0b", "\0abstract", "\ud800", "\udcff", "\x1b[2J", "\u202e", "é", "İ", "ß", "\u2028", "\x85"),
    *(
        "/",
        "..",
        "../..",
        "/dev/zero",
        "/proc/self/mem",
        "x" * 300,
        "x" * 5000,
        "0" * 5000,
        "nan",
        "2026-11-29T00:00:00Z",
    ),
    *("9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00Z", "[" * 300, "00", "zz", "ready", "success", "refused"),
    *("https://api.ibkr.com:99999999", "http://[", "²", "root", "-1", "\ufeff", "\N{FULLWIDTH DIGIT ONE}"),
)
_DEEP = re.compile(r'"@deep-([\[{])(\d{1,6})"')
_NUMBER_TEXTS = (b"1" * 4301, b"1e999", b"-1e999", b"1" * 60_000)

seeds = st.integers(0, 2**64 - 1)
"""One draw for an input: drawing each part of it takes Hypothesis ten times as long as most inputs take us."""


def scalar(of: Random) -> Any:
    """Return a value that has no others in it; some stand for a nesting that ``encoded`` writes."""
    match of.randrange(8):
        case 0:
            return of.choice((None, True, False, of.randint(-5, 100), of.uniform(-1e6, 1e6)))
        case 1:
            return of.randint(-(10**30), 10**30)
        case 2:
            depth = of.choice((of.randint(1, 50), of.randint(50, 1100), 100_000))
            return f"@deep-{of.choice('[{')}{depth}"
        case 3 | 4:
            return of.choice(NUMBERS)
        case 5:
            return "".join(
                chr(of.choice((of.randrange(128), of.randrange(0x500), of.randrange(0x11_0000))))
                for _ in range(of.randrange(12))
            )
        case _:
            return of.choice(TEXTS)


def value(of: Random, depth: int = 3) -> Any:
    """Return any value that JSON can write, and some that it can only read."""
    kind = of.randrange(6) if depth else 5
    if kind == 0:
        return [value(of, depth - 1) for _ in range(of.randrange(4))]
    if kind == 1:
        return {of.choice(TEXTS): value(of, depth - 1) for _ in range(of.randrange(4))}
    return scalar(of)


values: st.SearchStrategy[Any] = seeds.map(lambda seed: value(Random(seed)))


def encoded(content: object) -> bytes:
    """Return a value of ours as JSON."""
    text = _DEEP.sub(lambda found: _nested(found[1], int(found[2])), json.dumps(content))
    return text.encode("utf-8", "surrogatepass")


def _nested(kind: str, depth: int) -> str:
    return "[" * depth + "]" * depth if kind == "[" else '{"a":' * depth + "0" + "}" * depth


Place = tuple[str | int, ...]
WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**18, 10**400, 1e308, -1e308, float("nan"), float("inf")),
    *(
        "",
        "\0",
        "a\0b",
        "\ud800",
        "é",
        "x" * 5000,
        "http://[",
        "²",
        "@deep-[450",
        "@deep-[940",
        "@deep-{470",
        [],
        {},
        [[]],
        [{}],
        {"a": []},
    ),
)
"""What every field gets once in the place of its own value."""


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Yield where something is in a JSON value, itself included."""
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*here, key))


def put(value: Any, place: Place, new: Any) -> Any:
    """Return ``value`` with ``new`` in a place, or without what is there if ``new`` is ``GONE``."""
    if not place:
        return None if new is GONE else new
    copy = value.copy()
    if len(place) > 1:
        copy[place[0]] = put(copy[place[0]], place[1:], new)
    elif new is GONE:
        del copy[place[0]]
    else:
        copy[place[0]] = new
    return copy


GONE = object()


def sampled(inputs: Iterator[bytes], *, one_in: int) -> Iterator[bytes]:
    """Yield every input, but one in so many where only a few are played: always the same ones."""
    return itertools.islice(inputs, 0, None, 1 if EXAMPLES else one_in)


def swept(good: Any) -> Iterator[bytes]:
    """Yield ``good`` with each wrong value in each place, and without each of its parts."""
    for place in places(good):
        for new in (*WRONG, GONE):
            yield encoded(put(good, place, new))


def changed(good: Any, of: Random) -> Any:
    """Return ``good`` with other values in one to four places, or without what is there."""
    for _ in range(of.randint(1, 4)):
        new = of.choice((of.choice(WRONG), GONE, value(of), value(of)))
        good = put(good, of.choice(list(places(good))), new)
    return good


def tear(good: bytes, of: Random) -> bytes:
    """Return ``good`` cut short, or with other bytes somewhere."""
    raw = bytearray(good)
    for _ in range(of.randint(1, 4)):
        at = of.randint(0, len(raw))
        end = min(len(raw), at + of.choice((0, 1, 1, 2, of.randrange(40))))
        match of.randrange(8):
            case 0:
                del raw[at:]
            case 1:
                del raw[at:end]
            case 2:
                raw[at:at] = raw[at:end] * of.choice((1, 2, 50))
            case 3:
                raw[at:end] = of.choice(_NUMBER_TEXTS)
            case 4:
                raw[at:end] = of.choice(
                    (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\n", b"\r\n", b" ", b"-1", b"{", b"[")
                )
            case 5 if at < len(raw):
                raw[at] ^= 1 << of.randrange(8)
            case _:
                raw[at:end] = of.randbytes(of.randrange(1, 9))
    return bytes(raw)


def torn(good: bytes) -> st.SearchStrategy[bytes]:
    """Draw ``good`` cut short, or with other bytes somewhere."""
    return seeds.map(lambda seed: tear(good, Random(seed)))


def damaged(good: Any) -> st.SearchStrategy[bytes]:
    """Draw what may be in a file that should hold ``good`` as JSON."""
    whole = encoded(good)

    def made(seed: int) -> bytes:
        of = Random(seed)
        match of.randrange(8):
            case 0:
                return encoded(value(of))
            case 1:
                return of.randbytes(of.randrange(60))
            case 2 | 3:
                return tear(whole, of)
            case _:
                return encoded(changed(good, of))

    return seeds.map(made)
