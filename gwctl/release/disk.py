"""What can go wrong with a disk, said in one line."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from gwctl.errors import DiskTrouble

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def disk_trouble(verb: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the block into DiskTrouble: ``cannot VERB PATH: …``, with what to do about it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = f"check the owner of {path.parent}, or set GWCTL_HOME to a folder you can write to"
        if error.errno in _FULL:
            hint = "free some space (`gwctl release prune` removes old releases), or set GWCTL_HOME to a larger disk"
        raise DiskTrouble(f"cannot {verb} {path}: {reason}", hint=hint) from error


def sync_dir(path: Path) -> None:
    """Make the names in the folder ``path`` durable; raise OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, chunk: bytes) -> None:
    """Write all of ``chunk`` to the open file ``handle``, however little the system takes at a time; raise OSError."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]
