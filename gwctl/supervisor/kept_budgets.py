"""The budgets on disk: what was spent on cures outlives the process that spent it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from gwctl.core.tables import Snapshot, recall, remember
from gwctl.errors import GwctlError
from gwctl.state_file import read_json, write_json


class KeptBudgets:
    """``budgets.json`` of one profile; the sandbox has none, because attempts there cost nobody anything."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._kept: tuple[object, ...] = ()

    def keep(self, snapshot: Snapshot) -> None:
        """Write down what has to outlive this process, if it changed; on a full disk the limits hold in memory."""
        spent = (
            snapshot.spent.times,
            snapshot.failed_logins,
            snapshot.login_not_before,
            snapshot.blocked,
            snapshot.often,
            snapshot.take_overs,
            snapshot.took_over_at,
        )
        if spent == self._kept:
            return
        self._kept = spent
        with contextlib.suppress(GwctlError):
            now = time.monotonic()
            write_json(self._file, remember(snapshot, time.time() - now, now))

    def recall(self, snapshot: Snapshot) -> Snapshot:
        """Return ``snapshot`` with what an earlier process wrote down; raise DiskTrouble if it cannot be read."""
        kept, _ = read_json(self._file)
        now = time.monotonic()
        return recall(snapshot, kept or {}, time.time() - now, now)

    def lose(self) -> None:
        """Know that the file is gone, so that the next ``keep`` writes it whatever has changed."""
        self._kept = ()

    def forget(self) -> None:
        """Delete it: a person stopped the session, who may start it again at once."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
