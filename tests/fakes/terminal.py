"""gwctl on a (pseudo) terminal."""

from __future__ import annotations

import pexpect
from cli_fakes import PROGRAM, QUICK, Home


def on_terminal(home: Home, *argv: str, **variables: str) -> pexpect.spawn[str]:
    """Start a call whose stdin, stdout and stderr are a terminal of 100 columns."""
    environment = home.environment(**{"TERM": "xterm-256color", "NO_COLOR": None, "CI": None, **QUICK, **variables})
    return pexpect.spawn(
        PROGRAM[0], [*PROGRAM[1:], *argv], env=environment, dimensions=(40, 100), timeout=60, encoding="utf-8"
    )


def interrupt_question(child: pexpect.spawn[str]) -> None:
    """Press Ctrl-C at a question until the call ends, and require exit 130.

    Python misses a signal that comes between the end of the question's text and its read of the keyboard, and then
    waits for the next key; no person is that fast, but this is (1 of 20 times on a busy machine, with `input` alone).
    """
    for _ in range(20):
        child.sendintr()
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=3) == 0:
            break
    child.close()
    assert child.exitstatus == 130, child.before
