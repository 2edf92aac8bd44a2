"""Find ports for the gateway: free ones that browsers do not block."""

from __future__ import annotations

import errno
import socket

BROWSERS_REFUSE = frozenset(
    {
        1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
        110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
        531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045,
        5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6697, 10080,
    }
)  # fmt: skip
"""Chromium's restricted ports: a browser cannot open the login page there."""
_TRIED = 100


def port_is_free(port: int) -> bool:
    """Return whether the JVM can listen on 0.0.0.0 there and no other process would get connections to localhost."""
    everywhere = "0.0.0.0"  # noqa: S104 - where the gateway itself listens; this socket is closed at once
    places = ((socket.AF_INET, everywhere), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
    return all(_can_listen(family, address, port) for family, address in places)


def next_free(port: int) -> int | None:
    """Return the first free port above ``port`` that browsers open; None if there is none nearby."""
    candidates = range(max(port + 1, 1024), min(max(port, 1023) + _TRIED, 65536))
    return next((one for one in candidates if one not in BROWSERS_REFUSE and port_is_free(one)), None)


def _can_listen(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # The JVM sets this option on Unix, so a connection in TIME_WAIT does not make a port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Bound only: a child that another thread starts has a copy of this socket until it runs its program, and a
            # copy that listens would make the next address look taken.
            probe.bind((address, port))
    except OSError as error:
        return error.errno not in {errno.EADDRINUSE, errno.EACCES}
    return True
