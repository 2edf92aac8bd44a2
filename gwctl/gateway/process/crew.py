"""Calls of our own program, several at a time: started, waited for together, their answers collected."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_KILLED_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class CrewAnswer:
    """What one call came to; ``exit_code`` is negative where a signal ended it."""

    name: str
    exit_code: int
    stdout: bytes
    took_s: float


@dataclass(slots=True)
class _Member:
    name: str
    popen: subprocess.Popen[bytes]
    deadline_s: float
    began_s: float = field(default_factory=time.monotonic)
    told: list[bytes] = field(default_factory=list)
    over: bool = False


class Crew:
    """Children whose stdout is ours to read and whose stderr is our own; each ends when its stdout does.

    Each is in a session of its own: a Ctrl-C at the terminal reaches us alone, and we pass on what is to be passed on,
    once. ``wait`` may be interrupted at any moment without losing an answer; ``start`` and ``collect`` may not.
    """

    def __init__(self) -> None:
        self._members: dict[int, _Member] = {}
        self._selector = selectors.DefaultSelector()

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._members)

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str], *, timeout_s: float) -> None:
        """Start one; it is killed after ``timeout_s``. Raises OSError."""
        popen = subprocess.Popen(
            list(argv), env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        if popen.stdout is None:
            raise OSError("no pipe")
        descriptor = popen.stdout.fileno()
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_READ)
        self._members[descriptor] = _Member(name, popen, time.monotonic() + timeout_s)

    def wait(self) -> None:
        """Return when ``collect`` has something to do; at once if nobody is under way."""
        if self._members:
            first_s = min(member.deadline_s for member in self._members.values())
            self._selector.select(max(0.0, first_s - time.monotonic()))

    def collect(self) -> list[CrewAnswer]:
        """Return who has ended; whoever is over the deadline is killed."""
        for key, _ in self._selector.select(0):
            self._read(key.fd)
        done: list[CrewAnswer] = []
        for descriptor, member in list(self._members.items()):
            if not member.over and time.monotonic() > member.deadline_s:
                member.popen.kill()
                member.deadline_s = time.monotonic() + _KILLED_WITHIN_S
            if member.over or member.popen.poll() is not None:
                self._read(descriptor)
                done.append(self._leave(descriptor, member))
        return done

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on to whoever is under way."""
        for member in self._members.values():
            member.popen.send_signal(number)

    def _read(self, descriptor: int) -> None:
        member = self._members[descriptor]
        with contextlib.suppress(BlockingIOError):
            while not member.over:
                told = os.read(descriptor, 65_536)
                member.told.append(told)
                member.over = not told

    def _leave(self, descriptor: int, member: _Member) -> CrewAnswer:
        self._selector.unregister(descriptor)
        del self._members[descriptor]
        if member.popen.stdout is not None:
            member.popen.stdout.close()
        try:
            code = member.popen.wait(_KILLED_WITHIN_S)
        except subprocess.TimeoutExpired:
            member.popen.kill()
            code = member.popen.wait()
        return CrewAnswer(member.name, code, b"".join(member.told), time.monotonic() - member.began_s)
