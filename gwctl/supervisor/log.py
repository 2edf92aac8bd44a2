"""The supervisor's log: private, capped, and never the libraries' own, which may hold cookies."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
from io import FileIO, TextIOWrapper

from gwctl.errors import GwctlError
from gwctl.paths import Paths
from gwctl.state_file import make_private_dir

MAX_BYTES = 2_000_000
KEPT = 3


class _PrivateLog(logging.handlers.RotatingFileHandler):
    """A rotating log that only its owner may read. A full disk loses lines, never the loop."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return TextIOWrapper(FileIO(handle, "a"), encoding="utf-8", line_buffering=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Drop the line: what is printed instead would go where the gateway's lines go, with a traceback each."""

    def reopen(self) -> None:
        """Write to the file that now has the log's name."""
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def set_up_log(paths: Paths, *, verbose: bool) -> None:
    """Write the supervisor's log, capped; raise DiskTrouble if its folder cannot be made."""
    make_private_dir(paths.logs_dir)
    handler = _PrivateLog(paths.supervisor_log, maxBytes=MAX_BYTES, backupCount=KEPT)
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
