"""Run a command to its end with our terminal and its signals."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def run_through(argv: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Run ``argv`` with our stdin, stdout and stderr and return its exit code, 128 + N if signal N ended it.

    TERM, HUP and INT that reach us are passed on and waited for; a Ctrl-C of our terminal reaches the command by the
    terminal itself, and twice would be once too often. What we ignore, as under nohup, the command ignores, too. Raises
    FileNotFoundError or PermissionError if it cannot be started.
    """
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if not started:
            early.append(number)
        elif number != signal.SIGINT or not _has_terminal():
            started[0].send_signal(number)

    heard = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        with subprocess.Popen(list(argv), env=dict(env)) as popen:
            started.append(popen)
            for number in early:
                popen.send_signal(number)
            code = popen.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _has_terminal() -> bool:
    """Say whether we stand in the foreground of a terminal, whose Ctrl-C goes to all who stand there."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
