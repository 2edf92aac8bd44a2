"""What happened, one JSON object a line; bounded, appended, never holding a secret."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gwctl.errors import DiskTrouble
from gwctl.state_file import make_private_dir

MAX_BYTES = 4_000_000


class Journal:
    """The journal file and the last entries in memory for whoever follows."""

    def __init__(self, file: Path, *, remembered: int = 500) -> None:
        self.file = file
        self.recent: deque[dict[str, Any]] = deque(maxlen=remembered)
        self.count = 0
        self.on_entry: Callable[[], None] | None = None

    def write(self, kind: str, **fields: object) -> dict[str, Any]:
        """Append one event and return it. A full disk loses the line, never the loop."""
        now_s = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s)) + f".{int(now_s % 1 * 1000):03d}Z"
        self.count += 1
        entry = {"n": self.count, "at": stamp, "kind": kind, **fields}
        self.recent.append(entry)
        with contextlib.suppress(OSError, DiskTrouble):
            self._append(json.dumps(entry, separators=(",", ":")) + "\n")
        if self.on_entry is not None:
            with contextlib.suppress(Exception):  # a follower's trouble is not the loop's
                self.on_entry()
        return entry

    def _append(self, line: str) -> None:
        make_private_dir(self.file.parent)
        with contextlib.suppress(FileNotFoundError):
            if self.file.stat().st_size > MAX_BYTES:
                self.file.replace(self.file.with_name(self.file.name + ".1"))
        handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def since(self, n: int) -> list[dict[str, Any]]:
        """Return the remembered entries after number ``n``."""
        return [entry for entry in self.recent if entry["n"] > n]
