"""A partial download with the server's validator for it, and disk errors."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gwctl import state_file
from gwctl.errors import DiskTrouble

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def disk_trouble(verb: str, path: Path) -> Iterator[None]:
    """Turn an OSError in the block into DiskTrouble: ``cannot VERB PATH: …``, with a hint."""
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
    """Write all of ``chunk`` to the open file ``handle``, in as many writes as it takes; raise OSError."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


class Part:
    """One partial download; no method trusts the content of the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._beside = path.with_name(f"{path.name}.json")

    def size_bytes(self) -> int:
        """Return the number of bytes on disk."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def validator(self) -> str | None:
        """Return the If-Range value for these bytes, or None if they cannot be resumed."""
        try:
            value = json.loads(self._beside.read_bytes())
        except (OSError, ValueError):
            return None
        text = value.get("validator") if isinstance(value, dict) else None
        return text if isinstance(text, str) and text.isascii() and text.isprintable() else None

    def begin(self, validator: str | None) -> None:
        """Start over with no bytes, and save the ``validator`` of the next ones; raise DiskTrouble."""
        self.discard()
        state_file.write_json(self._beside, {"validator": validator})

    def opened(self, start: int) -> BinaryIO:
        """Open for writing from byte ``start``; raise DiskTrouble."""
        with disk_trouble("write", self.path):
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            file = os.fdopen(handle, "wb", buffering=0)
            file.seek(start)
            return file

    def write(self, file: BinaryIO, chunk: bytes) -> None:
        """Write all of ``chunk``; raise DiskTrouble."""
        with disk_trouble("write", self.path):
            write_all(file.fileno(), chunk)

    def discard(self) -> None:
        """Remove it; raise DiskTrouble."""
        with disk_trouble("remove", self.path):
            # The bytes first: if a crash comes in between, the download starts over.
            self.path.unlink(missing_ok=True)
            self._beside.unlink(missing_ok=True)
