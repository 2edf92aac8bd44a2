"""A file lock with a deadline, for what several processes may make at the same moment."""

from __future__ import annotations

from pathlib import Path

from gwctl import state_file
from gwctl.errors import DiskTrouble

_LOCK_TIMEOUT_S = 30.0


class locked:  # noqa: N801 - reads as the verb it is in a with statement
    """Hold a file lock, with a deadline; filelock is loaded only where something is made."""

    def __init__(self, path: Path) -> None:
        import filelock

        state_file.make_private_dir(path.parent)
        self._lock = filelock.FileLock(path, timeout=_LOCK_TIMEOUT_S, mode=0o600)

    def __enter__(self) -> None:
        import filelock

        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise DiskTrouble(
                f"{self._lock.lock_file} stayed locked for {_LOCK_TIMEOUT_S:g} s",
                hint="see which gwctl hangs: `gwctl profile list`",
            ) from None

    def __exit__(self, *_: object) -> None:
        self._lock.release()
