"""Run a command to its end on somebody's behalf: with our terminal and its signals, or unseen, to be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType

from gwctl.errors import TimedOut
from gwctl.gateway.process.spawning import CompletedShort
from gwctl.interruptions import postponed, undisturbed

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


def run_unseen(
    argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float, grace_s: float = 30.0
) -> CompletedShort:
    """Run ``argv`` to its end, out of the terminal's reach, and return what it said.

    Whatever tears us out of the wait, a Ctrl-C above all, interrupts it as well; it has ``grace_s`` to clean up. Raises
    OSError if it cannot be started and TimedOut.
    """
    popen = None
    try:
        with postponed():
            popen = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        stdout, stderr = popen.communicate(timeout=timeout_s)
    except BaseException as error:
        if popen is not None:
            _interrupt(popen, grace_s)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimedOut(f"{argv[0]} did not end within {timeout_s:g} s") from None
        raise
    return CompletedShort(popen.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def _interrupt(popen: subprocess.Popen[bytes], grace_s: float) -> None:
    """Interrupt it and wait for its end, which it gets after ``grace_s``; a second Ctrl-C does not leave it behind."""
    with undisturbed():
        popen.send_signal(signal.SIGINT)
        try:
            popen.communicate(timeout=grace_s)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.communicate()


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
