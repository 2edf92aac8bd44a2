"""The folder that the releases stand in, and everything that changes it.

::

    VERSION/release.json         what it is, with the checksum of every file
    VERSION/clientportal.gw/     the release itself: bin build dist root
    current.json                 the version that was chosen
    .staging-*, .trash-*         what is being built or removed; left over only by a crash
    .install.lock, .tree.lock    held during an installation; held while a name is given, taken or chosen

A folder gets the name VERSION by one rename, when everything in it is on the disk.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from gwctl import state_file
from gwctl.errors import TimedOut
from gwctl.release import record
from gwctl.release.disk import disk_trouble, sync_dir
from gwctl.release.record import Record

_STAGING = ".staging-"
_TRASH = ".trash-"
_CHOICE = "current.json"


class Shelf:
    """The entries below ``folder``. Looking creates nothing and repairs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def records(self) -> list[Record]:
        """Return the records of the sound entries, the one installed last first."""
        found = [one for one in map(record.read, self._entries()) if one is not None]
        return sorted(found, key=lambda one: (one.release.installed_at, one.release.version), reverse=True)

    def broken_entries(self) -> list[Path]:
        """Return the entries that carry a record of ours which is not sound. A folder without one may be a person's."""
        return [
            entry for entry in self._entries() if (entry / record.RECORD_NAME).exists() and record.read(entry) is None
        ]

    def chosen_version(self) -> str | None:
        """Return the version written by ``choose``, which need not be there any more, or None."""
        try:
            value = json.loads((self.folder / _CHOICE).read_bytes())
        except (OSError, ValueError):
            return None
        version = value.get("version") if isinstance(value, dict) else None
        return version if isinstance(version, str) else None

    def choose(self, version: str) -> None:
        """Write the choice down; raise DiskTrouble, leaving the one before."""
        state_file.write_json(self.folder / _CHOICE, {"version": version})

    @contextlib.contextmanager
    def locked(self, name: Literal["install", "tree"], deadline_s: float) -> Iterator[None]:
        """Hold one of the folder's locks, which one process at a time has; raise TimedOut after ``deadline_s``."""
        import filelock

        state_file.make_private_dir(self.folder)
        lock = filelock.FileLock(self.folder / f".{name}.lock", timeout=deadline_s, mode=0o600)
        try:
            with disk_trouble("lock", self.folder):
                try:
                    lock.acquire()
                except filelock.Timeout as error:  # An OSError, too: it must not pass for a disk's fault.
                    raise TimedOut(
                        f"another gwctl has been installing a release for {deadline_s:.0f} s",
                        hint="wait for it, then type the same command again",
                    ) from error
            yield
        finally:
            lock.release()

    def free_version(self, wanted: str, sha256: str) -> str:
        """Return ``wanted``, or ``wanted`` with as much of the checksum as makes it a name that nothing has yet."""
        names = [wanted, *(f"{wanted}-{sha256[:length]}" for length in (8, 16, 64))]
        return next((name for name in names if not (self.folder / name).exists()), names[-1])

    def staging_folder(self) -> Path:
        """Create an empty folder to build an entry in, on the same disk."""
        state_file.make_private_dir(self.folder)
        with disk_trouble("write", self.folder):
            return Path(tempfile.mkdtemp(dir=self.folder, prefix=_STAGING))

    def put(self, staging: Path, version: str) -> None:
        """Give the finished ``staging`` its name, in place of a broken entry of that name if there is one."""
        entry = self.folder / version
        with disk_trouble("write", staging):
            staging.chmod(0o755)
            sync_dir(staging)
        if entry.exists():
            self.discard(entry)
        with disk_trouble("write", entry):
            staging.rename(entry)
            sync_dir(self.folder)

    def discard(self, entry: Path) -> None:
        """Take ``entry`` off the shelf at once, then remove its files; raise DiskTrouble."""
        with disk_trouble("remove", entry):
            trash = Path(tempfile.mkdtemp(dir=self.folder, prefix=_TRASH))
            entry.rename(trash / entry.name)
        shutil.rmtree(trash, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Remove what crashes left. Only for a holder of the install lock: nothing is being built then."""
        for prefix in (_STAGING, _TRASH):
            for folder in self.folder.glob(f"{prefix}*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _entries(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
        except OSError:
            return []
