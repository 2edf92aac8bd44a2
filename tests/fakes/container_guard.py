"""Run a program under what a container engine forbids: ``python container_guard.py docker|podman PROGRAM ARG…``.

``docker``: no new user namespaces (its default seccomp profile). ``podman``: they may be made, but nothing in them may
change its root, as where all capabilities are dropped. Root here, it is another user for the program, whose files it
still owns: Chromium never uses its sandbox as root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_CLONE_NEWUSER = 0x1000_0000
_NUMBERS = {
    "x86_64": {"clone": 56, "clone3": 435, "unshare": 272, "setns": 308, "chroot": 161},
    "aarch64": {"clone": 220, "clone3": 435, "unshare": 97, "setns": 268, "chroot": 51},
}
_FORBIDDEN = {"docker": ("unshare", "setns", "chroot"), "podman": ("chroot",)}
_LOAD, _EQUALS, _HAS_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_OFFSET_NR, _OFFSET_FIRST_ARGUMENT = 0, 16


def _instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)


def _program(engine: str) -> bytes:
    numbers = _NUMBERS[platform.machine()]
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    program = [_instruction(_LOAD, _OFFSET_NR)]
    for name in _FORBIDDEN[engine]:
        program += [_instruction(_EQUALS, numbers[name], 0, 1), refuse]
    # The flags of clone3 are out of a filter's reach, so engines say that there is no such call; libc then uses clone.
    program += [_instruction(_EQUALS, numbers["clone3"], 0, 1), _instruction(_RETURN, _ERRNO | errno.ENOSYS)]
    if engine == "docker":
        program += [
            _instruction(_EQUALS, numbers["clone"], 0, 3),
            _instruction(_LOAD, _OFFSET_FIRST_ARGUMENT),
            _instruction(_HAS_BITS, _CLONE_NEWUSER, 0, 1),
            refuse,
        ]
    return b"".join([*program, _instruction(_RETURN, _ALLOW)])


def forbid(engine: str) -> None:
    """Put this process and all it starts under the engine's rules, for good; raises OSError."""

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    program = _program(engine)
    libc = ctypes.CDLL(None, use_errno=True)
    loaded = Filter(len(program) // 8, program)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER, ctypes.byref(loaded), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {arguments[0]} was refused")


def as_another_user(program: list[str]) -> list[str]:
    """Return the command line that runs ``program`` as somebody who is not root, here where root runs the tests."""
    return program if os.geteuid() != 0 else ["unshare", "--user", "--map-user=10001", "--map-group=10001", *program]


if __name__ == "__main__":
    if os.geteuid() == 0:
        os.execvp("unshare", as_another_user([sys.executable, __file__, *sys.argv[1:]]))  # noqa: S606 - no shell
    if sys.argv[1] != "none":
        forbid(sys.argv[1])
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell
