"""The supervisor's log: private, capped, and never the libraries' own, which may hold cookies."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
from copy import copy
from functools import partial
from io import FileIO, TextIOWrapper
from pathlib import Path

from gwctl.background_writer import Scribe
from gwctl.errors import GwctlError
from gwctl.paths import Paths
from gwctl.state_file import make_private_dir

MAX_BYTES = 2_000_000
KEPT = 3


class _PrivateLog(logging.handlers.RotatingFileHandler):
    """A rotating log that only its owner may read. A full disk loses lines, a hung one delays them, never the loop."""

    def __init__(self, file: Path) -> None:
        self._scribe = Scribe("gwctl-log")
        self._scribe.on_left_out = self._miss
        super().__init__(file, maxBytes=MAX_BYTES, backupCount=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Have the line written; what it says is settled now."""
        settled = copy(record)
        settled.msg, settled.args = record.getMessage(), None
        if record.exc_info:
            settled.exc_text, settled.exc_info = logging.Formatter().formatException(record.exc_info), None
        self._scribe.do(partial(super().emit, settled))

    def _miss(self, count: int) -> None:
        text = f"{count} lines are missing here: the disk did not keep up"
        super().emit(logging.LogRecord("gwctl", logging.WARNING, "", 0, text, None, None))

    def flush(self) -> None:
        """Do nothing: each line is written whole, by the scribe."""

    def close(self) -> None:
        """Close the file once all is written; one that hangs is left to the system."""
        if self._scribe.flush():
            super().close()

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return TextIOWrapper(FileIO(handle, "a"), encoding="utf-8", line_buffering=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Drop the line: what is printed instead would go where the gateway's lines go, with a traceback each."""

    def reopen(self) -> None:
        """Write to the file that now has the log's name."""
        self._scribe.do(self._reopen)

    def _reopen(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def set_up_log(paths: Paths, *, verbose: bool) -> None:
    """Write the supervisor's log, capped; raise DiskTrouble if its folder cannot be made."""
    make_private_dir(paths.logs_dir)
    handler = _PrivateLog(paths.supervisor_log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("gwctl")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False


def reopen_log(paths: Paths) -> None:
    """Go on in a new file after the log's folder was deleted."""
    with contextlib.suppress(GwctlError):
        make_private_dir(paths.logs_dir)
    for handler in logging.getLogger("gwctl").handlers:
        if isinstance(handler, _PrivateLog):
            handler.reopen()
