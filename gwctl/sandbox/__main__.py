"""The fake IBKR as a child process of the supervisor, on loopback only.

It reads its configuration, one JSON object, from its standard input, prints ``{"port": P}`` as soon as the port
listens, and outlives its parent; SIGTERM or SIGINT stops it. It prints nothing else. The server's libraries are
imported after that line: what connects in between waits for its answer, while the supervisor starts the gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from gwctl.errors import GwctlError
from gwctl.sandbox.listening import LOOPBACK, bound_socket
from gwctl.sandbox.settings import StandInConfig


def main() -> int:
    """Serve until a signal; return 0, or an error's exit code with one line on standard error."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    try:
        config = StandInConfig.from_json(_first_line())
        listener = bound_socket(LOOPBACK, config.port)
    except GwctlError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"the sandbox cannot listen: {error.strerror}\n")
        return 69
    port: int = listener.getsockname()[1]
    _announce(port)

    from gwctl.sandbox.fake_ibkr import StandIn
    from gwctl.sandbox.ibkr import server_of
    from gwctl.sandbox.serving import serve_until_terminated

    asyncio.run(serve_until_terminated(server_of(StandIn(config), port), listener))
    return 0


def _first_line() -> object:
    """Return whatever JSON it is, None for something else."""
    try:
        value: object = json.loads(sys.stdin.readline())
    except ValueError:
        return None
    return value


def _announce(port: int) -> None:
    """Print the one line, then close the parent's pipes: the child may outlive it."""
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
