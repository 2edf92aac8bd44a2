"""The turn to submit a password for one account, which one process has at a time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock


class SubmitTurn:
    """A lock beside the ledger's file; the system ends it with its process.

    filelock is imported only for it: a call that looks at a ledger, such as ``status``, starts 20 ms sooner.
    """

    def __init__(self, ledger_file: Path) -> None:
        self._file = f"{ledger_file}.submit.lock"
        self._lock: FileLock | None = None

    @property
    def is_taken(self) -> bool:
        """Whether this process has the turn."""
        return self._lock is not None and self._lock.is_locked

    def take(self) -> bool:
        """Take the turn, if no other process has it; return whether it is ours. Raises OSError."""
        from filelock import FileLock, Timeout

        if self._lock is None:
            # Taken in one thread and released in another.
            self._lock = FileLock(self._file, timeout=0, mode=0o600, thread_local=False)
        if not self._lock.is_locked:
            with suppress(Timeout):
                self._lock.acquire()
        return self._lock.is_locked

    def end(self) -> None:
        """Let other processes have it. Safe when it is not ours."""
        if self._lock is not None:
            self._lock.release()
