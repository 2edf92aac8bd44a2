"""Single keys of a person at the terminal, for screens that are drawn again and again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from types import FrameType
from typing import Any, Self

QUIT = "q"
HELP = f"{QUIT} quit"
_READ_BYTES = 64


class Keyboard:
    """Reads keys inside ``with``: no Enter is needed, and nothing typed is shown.

    The terminal is as before after every way out, and while the job is stopped (Ctrl-Z). Without a terminal as stdin,
    or in the background, it reads nothing and changes nothing.
    """

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._before: list[Any] | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def is_there(self) -> bool:
        """Whether keys are read."""
        return self._before is not None

    def __enter__(self) -> Self:
        if self._fd is not None:
            for number, handler in ((signal.SIGTSTP, self._pause), (signal.SIGCONT, self._go_on)):
                self._handlers[number] = signal.signal(number, handler)
            self._take()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self._give_back()

    def wants_quit(self, within_s: float) -> bool:
        """Wait for up to ``within_s`` and return at once with whether a person pressed q."""
        deadline_s = time.monotonic() + within_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if QUIT in self._read(left_s).lower():
                return True
        return False

    def _read(self, within_s: float) -> str:
        if self._fd is None or not self.is_there:
            time.sleep(within_s)  # until the next drawing; a signal ends it
            return ""
        ready, _, _ = select.select([self._fd], [], [], within_s)
        if not ready or not self._is_in_front():
            return ""
        typed = b""
        with contextlib.suppress(OSError):
            typed = os.read(self._fd, _READ_BYTES)
        if not typed:
            self._fd = None  # the terminal is gone
        return typed.decode(errors="replace")

    def _is_in_front(self) -> bool:
        """Whether this job may change the terminal; one in the background would be stopped."""
        with contextlib.suppress(OSError):
            return self._fd is not None and os.tcgetpgrp(self._fd) == os.getpgrp()
        return False

    def _take(self) -> None:
        if self._fd is None or not self._is_in_front():
            return
        with contextlib.suppress(termios.error):
            before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd, termios.TCSANOW)
            self._before = self._before or before

    def _give_back(self) -> None:
        before, self._before = self._before, None
        if before is not None and self._fd is not None and self._is_in_front():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def _pause(self, _number: int, _frame: FrameType | None) -> None:
        """Stop as Ctrl-Z asks, with the terminal as it was."""
        self._give_back()
        sys.stdout.write(_SHOW_CURSOR)
        sys.stdout.flush()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._pause)

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        self._take()


_SHOW_CURSOR = "\x1b[?25h"
