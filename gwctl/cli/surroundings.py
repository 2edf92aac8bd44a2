"""Make do with what cron, ``env -i`` or a unit gives a process: no home, no path, closed streams, any umask."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_OWNERS_BITS = 0o700


def settle_in() -> None:
    """Complete what this process was started with, for it and for every process that it starts."""
    _open_closed_streams()
    _complete_variables()
    # A umask may keep others from what we write, not ourselves.
    os.umask(os.umask(0o077) & ~_OWNERS_BITS)


def _open_closed_streams() -> None:
    """Put /dev/null where a standard stream is closed, before a file or a socket gets its number."""
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays


def _complete_variables() -> None:
    """Set HOME from the user database where it names no place, and PATH to the system's own where there is none."""
    if not os.environ.get("HOME", "").startswith("/"):
        import pwd

        try:
            os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            # An account without an entry, as in containers: whoever needs a home says so then.
            os.environ.pop("HOME", None)
    if not os.environ.get("PATH"):
        os.environ["PATH"] = os.defpath
