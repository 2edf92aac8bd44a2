"""Who is connected to the door: how many from where, and who says nothing and is sent away."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

MOST_CONNECTIONS = 128
MOST_OF_ONE_ADDRESS = 32
IDLE_S = 5.0
"""How long a client may take for TLS, and for the head of its next request."""
SLOW_READER_S = 60.0
"""How long the last piece of an answer may take."""
LOOK_EVERY_S = 0.5
Address = tuple[str, int]


class Ends(NamedTuple):
    """A connection's two addresses: a client may use one port for several of ours."""

    theirs: Address
    ours: Address


class Guest(Struct):
    """One connection; it counts until its socket is closed, whatever protocol has it by then."""

    connection: socket.socket
    place: str
    idle_since_s: float
    transport: asyncio.Transport | None = None
    requests: int = 0
    """How many are under way; a WebSocket is one."""

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed."""
        return self.connection.fileno() < 0


class Guests:
    """The connections of a door. ``admits`` says which addresses may connect at all."""

    def __init__(self, admits: Callable[[str], bool]) -> None:
        self._admits = admits
        self._here: dict[Ends, Guest] = {}

    def comes(self, ends: Ends, connection: socket.socket) -> bool:
        """Count a new connection, and return whether it may stay."""
        self._forget_gone()
        address = ends.theirs[0]
        place = _place_of(address)
        beside = sum(one.place == place for one in self._here.values())
        is_full = beside >= MOST_OF_ONE_ADDRESS or len(self._here) >= MOST_CONNECTIONS
        if is_full or ends in self._here or not self._admits(address):
            return False
        self._here[ends] = Guest(connection, place, time.monotonic())
        return True

    def came_in(self, ends: Ends, transport: asyncio.Transport) -> None:
        """Note that a connection has TLS."""
        if (guest := self._here.get(ends)) is not None:
            guest.transport, guest.idle_since_s = transport, time.monotonic()
            transport.set_write_buffer_limits(high=1, low=0)  # an answer is over when the system has all of it

    def asks(self, ends: Ends) -> None:
        """Note that a request has begun."""
        if (guest := self._here.get(ends)) is not None:
            guest.requests += 1

    def answered(self, ends: Ends) -> None:
        """Note that a request is over."""
        if (guest := self._here.get(ends)) is not None:
            guest.requests -= 1
            guest.idle_since_s = time.monotonic()

    def send_away(self, ends: Ends) -> None:
        """Close a connection."""
        guest = self._here.get(ends)
        if guest is not None and guest.transport is not None:
            guest.transport.abort()

    async def watch(self) -> None:
        """Send those away that say nothing, without end."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._forget_gone()
            for guest in self._here.values():
                silent_s = time.monotonic() - guest.idle_since_s
                if guest.transport is None or guest.requests or silent_s <= IDLE_S:
                    continue
                # What is on its way to a slow reader gets its time, too.
                if not guest.transport.get_write_buffer_size() or silent_s > SLOW_READER_S:
                    guest.transport.abort()

    def leave(self) -> None:
        """Close every connection."""
        for guest in self._here.values():
            if guest.transport is not None:
                guest.transport.abort()

    def _forget_gone(self) -> None:
        self._here = {peer: guest for peer, guest in self._here.items() if not guest.is_gone}


def _place_of(address: str) -> str:
    """Return what counts as one address: an IPv6 client has a whole network of them."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
