"""Limit the open connections of the supervisor's HTTP server, so that idle ones cannot keep probes out."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from enum import Enum, auto

OPEN_CONNECTIONS = 256
"""How many connections of one listener may be open. More than asyncio accepts at once (100): a probe that arrives in a
flood has sent its request before the flood can push it out."""
FROM_ONE_ADDRESS = 32
"""How many of them may come from one address of another machine."""


class Access(Enum):
    """Where a connection comes from, which decides what it may ask for."""

    CONTROL = auto()
    """Our Unix socket: our own user, who may do everything."""
    LOOPBACK = auto()
    """The port on loopback: everybody on this machine."""
    OUTSIDE = auto()
    """``metrics_address``: other machines."""


@dataclass(eq=False, slots=True)
class Connection:
    """An open connection; ``heard`` is set once its whole request has arrived."""

    access: Access
    address: str
    task: asyncio.Task[None]
    socket: socket.socket
    heard: bool = False


class Connections:
    """The open connections of a server. There is always room for a new one: the one that matters least is closed."""

    def __init__(self) -> None:
        self._open: dict[Connection, None] = {}  # in the order of their arrival

    def tasks(self, access: Access | None = None) -> list[asyncio.Task[None]]:
        """Return the tasks that serve them, all or those with one kind of access."""
        return [one.task for one in self._open if access in {None, one.access}]

    def add(self, new: Connection) -> None:
        """Add a connection, and close the oldest that sent no request, else the oldest, if there are too many.

        Of too many from one address, one of that address is closed. Our own user's are never closed.
        """
        beside = [one for one in self._open if one.access is new.access]
        same = [one for one in beside if one.address == new.address]
        if new.access is Access.OUTSIDE and len(same) >= FROM_ONE_ADDRESS:
            self._close_one_of(same)
        elif new.access is not Access.CONTROL and len(beside) >= OPEN_CONNECTIONS:
            self._close_one_of(beside)
        self._open[new] = None

    def _close_one_of(self, candidates: list[Connection]) -> None:
        victim = next((one for one in candidates if not one.heard), candidates[0])
        self.remove(victim)
        victim.task.cancel()

    def remove(self, old: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.pop(old, None)
