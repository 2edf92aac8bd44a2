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
