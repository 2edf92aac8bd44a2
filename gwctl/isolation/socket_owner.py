"""Ask Linux which user owns the other end of a connection on this machine.

A server on loopback cannot tell its clients apart by their address, but the kernel knows who created their sockets
(``man 7 sock_diag``). The standard library only: the front imports this file without the rest of gwctl.
"""

from __future__ import annotations

import socket
import struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ANY_COOKIE = b"\xff" * 8
_TCP_LISTEN = 10
_REQUEST = struct.Struct("=IHHIIBBBxI2s2s16s16sI8s")
_HEADER = struct.Struct("=IHHII")
_ANSWER = struct.Struct("=BBxx2s2s16s16sI8sIIIII")
_WAIT_S = 1.0


class SocketOwners:
    """A connection to the kernel. It sees user IDs as the process did that opened it, also after it changes its own.

    Raises OSError where the system has no such service.
    """

    def __init__(self) -> None:
        family = getattr(socket, "AF_NETLINK", socket.AF_UNSPEC)
        self._kernel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        self._kernel.settimeout(_WAIT_S)
        self._number = 0

    def close(self) -> None:
        """Close the connection to the kernel."""
        self._kernel.close()

    def of_peer(self, connection: socket.socket) -> int | None:
        """Return the uid of the other end of a TCP connection; None if it is closed or not on this machine."""
        try:
            ours, theirs = connection.getsockname(), connection.getpeername()
            owner = self._of(connection.family, theirs[:2], ours[:2])
            connection.getpeername()  # fails if it was reset meanwhile: then another user may have its port by now
        except OSError:
            return None
        return owner

    def _of(self, family: int, local: tuple[str, int], remote: tuple[str, int]) -> int | None:
        """Return the uid of the socket that is connected from ``local`` to ``remote``."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        addresses = [socket.inet_pton(family, host.partition("%")[0]).ljust(16, b"\0") for host, _ in (local, remote)]
        ports = [struct.pack("!H", port) for _, port in (local, remote)]
        asked = (family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF, *ports, *addresses, 0, _ANY_COOKIE)
        self._kernel.sendto(
            _REQUEST.pack(_REQUEST.size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._number, 0, *asked), (0, 0)
        )
        while True:
            said = self._kernel.recv(8192)
            _, kind, _, number, _ = _HEADER.unpack_from(said)
            if number == self._number:
                break  # otherwise the late answer to a question that was given up
        if kind != _SOCK_DIAG_BY_FAMILY:
            return None
        _, state, *found = _ANSWER.unpack_from(said, _HEADER.size)
        uid, inode = found[-2:]
        # A closed socket that is still sending belongs to nobody and would count as root's; a listener of the same
        # port is no end of this connection.
        is_end = state != _TCP_LISTEN and found[:2] == ports and inode != 0
        is_end = is_end and all(_is_same(*pair) for pair in zip(found[2:4], addresses, strict=True))
        return int(uid) if is_end else None


def can_tell_owners() -> bool:
    """Return whether the system can tell who owns a socket."""
    owners = owners_or_none()
    if owners is not None:
        owners.close()
    return owners is not None


def owners_or_none() -> SocketOwners | None:
    """Return a connection to the kernel, None where the system cannot tell who owns a socket."""
    try:
        return SocketOwners()
    except OSError:
        return None


def _is_same(found: bytes, wanted: bytes) -> bool:
    # A program may reach an IPv4 address by an IPv6 socket, as Java's do.
    return found in {wanted, b"\0" * 10 + b"\xff\xff" + wanted[:4]}
