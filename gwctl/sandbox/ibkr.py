"""The fake IBKR: loopback only, plain HTTP; a child process of the supervisor, or a thread in tests.

As a child it reads its configuration, one JSON object, from its standard input, prints ``{"port": P}`` once it listens,
and outlives its parent; SIGTERM or SIGINT stops it. It prints nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from gwctl.errors import GwctlError, TimedOut
from gwctl.sandbox.admin_routes import Faults, admin_routes, page_text, sso_routes
from gwctl.sandbox.api_routes import api_routes, push_routes
from gwctl.sandbox.fake_ibkr import StandIn
from gwctl.sandbox.serving import RefusingServer, bound_socket, quiet_config, serve_until_terminated
from gwctl.sandbox.settings import StandInConfig

LOOPBACK = "127.0.0.1"
THREAD_DEADLINE_S = 10.0


def build_app(stand_in: StandIn) -> ASGIApp:
    """Return the whole fake IBKR as an ASGI application."""
    routes = [*admin_routes(stand_in), *sso_routes(stand_in), *push_routes(stand_in), *api_routes(stand_in)]
    return Faults(Starlette(routes=routes), stand_in)


def server_of(stand_in: StandIn, port: int) -> RefusingServer:
    """Return the fake IBKR's server; ``serve`` gets the socket that it listens on first."""
    return RefusingServer(quiet_config(build_app(stand_in)), stand_in, (LOOPBACK, port))


@dataclass(frozen=True, slots=True)
class RunningStandIn:
    """A fake IBKR that runs in this process; ``state`` is its live state."""

    port: int
    admin_token: str
    state: StandIn

    @property
    def url(self) -> str:
        """The address for a gateway's ``proxyRemoteHost``."""
        return f"http://{LOOPBACK}:{self.port}"


@contextlib.contextmanager
def serve_in_thread(config: StandInConfig, *, wall_clock: Callable[[], float] = time.time) -> Iterator[RunningStandIn]:
    """Run a fake IBKR in a thread for the length of a ``with``; raise OSError if its port is taken.

    ``wall_clock`` is IBKR's clock, in seconds since 1970.
    """
    stand_in = StandIn(config, wall_clock=wall_clock)
    listener = bound_socket(LOOPBACK, config.port)
    port: int = listener.getsockname()[1]
    server = server_of(stand_in, port)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), name="gwctl-stand-in", daemon=True
    )
    thread.start()
    try:
        yield RunningStandIn(port, config.admin_token, stand_in)
    finally:
        server.end()
        thread.join(THREAD_DEADLINE_S)
        listener.close()
        if thread.is_alive():
            raise TimedOut(f"the sandbox's thread did not end within {THREAD_DEADLINE_S:.0f} s")


def main() -> int:
    """Run as a child process; return 0 after a signal, or an error's exit code with one line on standard error."""
    try:
        config = StandInConfig.from_json(_first_line())
        page_text(config.page.variant)
        listener = bound_socket(LOOPBACK, config.port)
    except GwctlError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - this is a program
        return error.exit_code
    except OSError as error:
        print(f"the sandbox cannot listen: {error.strerror}", file=sys.stderr)  # noqa: T201 - as above
        return 69
    port: int = listener.getsockname()[1]
    server = server_of(StandIn(config), port)
    asyncio.run(serve_until_terminated(server, listener, lambda: _announce(port)))
    return 0


def _first_line() -> Any:  # noqa: ANN401 - any JSON; from_json checks it
    try:
        return json.loads(sys.stdin.readline())
    except ValueError:
        return None


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
