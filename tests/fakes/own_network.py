"""A network of its own for what the test's thread, the threads and processes it starts do: nothing of it is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from warm_calls import call

NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"


@contextlib.contextmanager
def an_own_network() -> Iterator[None]:
    """Run the block in a new network whose loopback is up; needs root."""
    call(("--version",), os.environ, Path.cwd(), "", 60)  # the process behind later tests' calls stays outside
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open(_HERE, os.O_RDONLY)
    before = Path(_HERE).readlink()
    try:
        assert libc.unshare(NEWNET) == 0, os.strerror(ctypes.get_errno())
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        assert libc.setns(outside, NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(outside)
        assert Path(_HERE).readlink() == before
