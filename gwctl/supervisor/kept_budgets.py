"""The budgets on disk: counts of recovery steps survive the process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gwctl.background_writer import Work
from gwctl.core.kept import remember
from gwctl.core.messages import CountsRecalled
from gwctl.core.tables import Snapshot
from gwctl.errors import GwctlError
from gwctl.state_file import read_json, write_json


class KeptBudgets:
    """``budgets.json`` of one profile, written in the background; the sandbox has none: attempts there cost nothing."""

    def __init__(self, file: Path, write_later: Callable[[Work], None]) -> None:
        self._file = file
        self._write_later = write_later
        self._kept: tuple[object, ...] = ()

    def keep(self, snapshot: Snapshot) -> None:
        """Save the counts if they changed, which needs no thread to see; on a full disk, they still hold in memory."""
        spent = (
            snapshot.spent.times,
            snapshot.failed_logins,
            snapshot.login_not_before,
            snapshot.blocked,
            snapshot.often,
            snapshot.take_overs,
            snapshot.took_over_at,
            snapshot.logged_in_at,
        )
        if spent == self._kept:
            return
        self._kept = spent
        self._write_later(partial(self._save, snapshot))

    def _save(self, snapshot: Snapshot) -> None:
        with contextlib.suppress(GwctlError):
            now = time.monotonic()
            write_json(self._file, remember(snapshot, time.time() - now, now))

    def recall(self) -> CountsRecalled:
        """Return the saved counts of an earlier process; raise DiskTrouble if they cannot be read."""
        kept, _ = read_json(self._file)
        return CountsRecalled(kept=kept or {}, wall_minus_monotonic_s=time.time() - time.monotonic())

    def lose(self) -> None:
        """Note that the file is gone, so that the next ``keep`` writes it even without a change."""
        self._kept = ()

    def forget(self) -> None:
        """Delete the file: a person who stopped the session may start it again at once."""
        self._write_later(self._delete)

    def _delete(self) -> None:
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
