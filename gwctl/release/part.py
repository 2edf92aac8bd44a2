"""A download that is not complete: its bytes in ``NAME.part``, what they are part of in ``NAME.part.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from gwctl import state_file
from gwctl.release.disk import disk_trouble, write_all


class Part:
    """One half download; none of its methods trusts what is on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._beside = path.with_name(f"{path.name}.json")

    def size_bytes(self) -> int:
        """Return how much is there."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def validator(self) -> str | None:
        """Return the text that If-Range may carry for these bytes, or None if they cannot be gone on from."""
        try:
            value = json.loads(self._beside.read_bytes())
        except (OSError, ValueError):
            return None
        text = value.get("validator") if isinstance(value, dict) else None
        return text if isinstance(text, str) and text.isascii() and text.isprintable() else None

    def begin(self, validator: str | None) -> None:
        """Start over with no bytes and keep the ``validator`` of what will come; raise DiskTrouble."""
        self.discard()
        state_file.write_json(self._beside, {"validator": validator})

    def opened(self, start: int) -> BinaryIO:
        """Open for writing from byte ``start`` on; raise DiskTrouble."""
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
            # The bytes first: what a crash in between leaves starts over.
            self.path.unlink(missing_ok=True)
            self._beside.unlink(missing_ok=True)
