"""The profile, held by one supervisor: a lock that notices when its file is taken away."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from gwctl.state_file import make_private_dir


def stand_on(folder: Path) -> None:
    """Work in ``folder`` if the working directory was deleted: law 3 knows us by it, and children need one."""
    try:
        Path.cwd()
    except FileNotFoundError:
        os.chdir(folder)


class Hold:
    """An exclusive lock on ``file``, let go by the system whenever its holder ends: a stale one blocks nobody.

    Somebody may delete the folder under a living supervisor. The lock on a deleted file keeps nobody out, so its
    holder has to look, and to take the new file's.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock: FileLock | None = None
        self._inode: tuple[int, int] | None = None

    def take(self) -> bool:
        """Take the lock without waiting, letting go of one on a deleted file; return whether it is ours.

        Raises DiskTrouble or OSError if the file cannot be made.
        """
        make_private_dir(self.file.parent)
        # Taken in one thread and let go in another: a disk that hangs may hold up any of them.
        lock = FileLock(self.file, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self.release()
        self._lock, self._inode = lock, self._inode_of_file()
        return True

    def is_intact(self) -> bool:
        """Return whether the file that is locked is still the one that others would lock."""
        return self._inode is not None and self._inode_of_file() == self._inode

    def release(self) -> None:
        """Let go. Safe when nothing is held."""
        if self._lock is not None:
            self._lock.release()
        self._lock, self._inode = None, None

    def _inode_of_file(self) -> tuple[int, int] | None:
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
