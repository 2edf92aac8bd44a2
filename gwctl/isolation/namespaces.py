"""Start a program in a network without a way out, and join such a network; the standard library only.

The network has a loopback interface, to which every address leads: whatever address the gateway connects to, only the
front can answer. ``man 7 namespaces``, ``man 7 user_namespaces``, ``man 7 network_namespaces``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys

NEWNS, NEWUSER, NEWNET = 0x00020000, 0x10000000, 0x40000000
UNKNOWN_UID = 65534
NOT_POSSIBLE = 97
"""The exit code of ``enter`` where the system does not allow it."""
HOSTS = "/etc/hosts"
CARD, CARD_ADDRESS = b"eth0", "192.0.2.1"
"""The network card's name and address, which is of RFC 5737's and nobody's."""
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_MOST_CAPABILITIES = 64
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _NLM_F_REQUEST_ACK_CREATE = 16, 20, 24, 0x405
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 1, 3, 18, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RT_TABLE_LOCAL, _RTPROT_BOOT, _RT_SCOPE_HOST, _RTN_LOCAL, _RTA_OIF = 255, 3, 254, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter(hosts: str, mac: str, command: list[str]) -> None:
    """Replace this process by ``command``, in a new network and without any privilege; without one, only move there.

    ``hosts`` is what it sees as /etc/hosts, ``mac`` the hardware address of its network card, if not empty. Raise
    OSError if the system does not allow the new network.
    """
    _leave_network()
    _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
    _call("mount", os.fsencode(hosts), HOSTS.encode(), None, _MS_BIND, None)
    set_up_loopback()
    if mac:
        with contextlib.suppress(OSError):  # without it, the gateway names no hardware to IBKR
            _add_card(bytes.fromhex(mac.replace(":", "")))
    _drop_privileges()
    if command:
        os.execvp(command[0], command)  # noqa: S606 - without a shell is what is wanted


def _leave_network() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", NEWUSER | NEWNET | NEWNS)
    except OSError:
        if uid != 0:
            raise
        _call("unshare", NEWNET | NEWNS)  # root needs no user namespace for it
        return
    for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
            file.write(content)


def set_up_loopback() -> None:
    """Bring the loopback interface of this network up and lead every IPv4 address to it. Safe to repeat."""
    _set_up(b"lo")
    # ip route add local 0.0.0.0/0 dev lo
    route = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, 0, 0, 0, _RT_TABLE_LOCAL, _RTPROT_BOOT, _RT_SCOPE_HOST, _RTN_LOCAL, 0
    )
    route += _attribute(_RTA_OIF, struct.pack("=I", socket.if_nametoindex("lo")))
    _ask_kernel(_RTM_NEWROUTE, route)


def _add_card(mac: bytes) -> None:
    """Give this network a card with a hardware address, which leads nowhere; raise OSError.

    The gateway looks up its machine's name, the card with that address, and the card's hardware address, which it
    sends to IBKR with the brokerage session's beginning; without one, it fails there (seen in its code and its log).
    """
    kind = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"veth"))
    card = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    _ask_kernel(_RTM_NEWLINK, card + _attribute(_IFLA_IFNAME, CARD) + _attribute(_IFLA_ADDRESS, mac) + kind)
    address = socket.inet_aton(CARD_ADDRESS)
    own = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, socket.if_nametoindex(CARD.decode()))
    _ask_kernel(_RTM_NEWADDR, own + _attribute(_IFA_LOCAL, address) + _attribute(_IFA_ADDRESS, address))
    _set_up(CARD)


def _set_up(name: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sH22x", name, 0)
        (flags,) = struct.unpack_from("16xH", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def _ask_kernel(kind: int, body: bytes) -> None:
    """Let the kernel make a link, an address or a route, if there is none yet; raise OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(body), kind, _NLM_F_REQUEST_ACK_CREATE, 1, 0) + body)
        (code,) = struct.unpack_from("=16xi", kernel.recv(4096))
    if code not in {0, -errno.EEXIST}:
        raise OSError(-code, f"no network: {os.strerror(-code)}")


def _drop_privileges() -> None:
    for number in range(_MOST_CAPABILITIES):
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # the kernel has no more of them
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Version 3 of the interface: two sets of three words, all empty.
    _call("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24))


def knows_all_users() -> bool:
    """Return whether this process is in the initial user namespace, in which no user has another one's number."""
    with open("/proc/self/uid_map", encoding="ascii") as file:  # noqa: PTH123 - as above
        return file.read().split() == ["0", "0", "4294967295"]


def is_inside(pid: int) -> bool:
    """Return whether a process has another network than this one; raise OSError if it has ended."""
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")  # noqa: PTH115 - as above


def join_user(pid: int) -> None:
    """Become privileged in the namespaces of a process, before this one has a second thread; raise OSError."""
    if os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user"):  # noqa: PTH115 - as above
        _set_ns(pid, "user", NEWUSER)


def join_network(pid: int) -> None:
    """Move the calling thread alone to the network of a process; raise OSError.

    A socket stays in the network of the thread that created it.
    """
    _set_ns(pid, "net", NEWNET)


def _set_ns(pid: int, name: str, kind: int) -> None:
    handle = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", handle, kind)
    finally:
        os.close(handle)


def main(arguments: list[str]) -> None:
    """Do what ``enter`` does, for the hosts file, the hardware address and the command in ``arguments``."""
    hosts, mac, *command = arguments
    try:
        enter(hosts, mac, command)
    except OSError as error:
        sys.stderr.write(f"no network of its own: {error.strerror}\n")
        sys.exit(NOT_POSSIBLE)
