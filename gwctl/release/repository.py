"""The installed releases: their folders, their records, and the chosen one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gwctl import state_file
from gwctl.errors import TimedOut
from gwctl.release.archive import Kind, UnpackedFile
from gwctl.release.partial_download import disk_trouble, sync_dir

RECORD_NAME = "release.json"
TREE_NAME = "clientportal.gw"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Release:
    """One installed release.

    ``path`` is its top (the folder of ``bin`` and ``root``), ``sha256`` the checksum of its archive, ``source`` the
    address or file without secrets, ``installed_at`` ISO 8601 in UTC, ``size_bytes`` the total size of its files.
    """

    version: str
    path: Path
    sha256: str
    source: str
    installed_at: str
    kind: Kind
    size_bytes: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The differences between a release's files and the record of its installation; names are relative."""

    version: str
    checked: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all files are unchanged and there are no others."""
        return not (self.changed or self.missing or self.extra)


@dataclass(frozen=True, slots=True)
class Record:
    """A release and what only the store needs: the key of its source and every file's checksum."""

    release: Release
    source_key: str
    files: Mapping[str, UnpackedFile]


def encoded(record: Record) -> bytes:
    """Return the record as the content of its file."""
    release = record.release
    value = {
        "format": _FORMAT,
        "version": release.version,
        "sha256": release.sha256,
        "source": release.source,
        "source_key": record.source_key,
        "installed_at": release.installed_at,
        "kind": release.kind,
        "size_bytes": release.size_bytes,
        "files": {name: {"sha256": file.sha256, "size_bytes": file.size_bytes} for name, file in record.files.items()},
    }
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def read(entry: Path) -> Record | None:
    """Return the record of the installed release in the folder ``entry``; None if it is missing or damaged."""
    try:
        value = json.loads((entry / RECORD_NAME).read_bytes())
        record = _decoded(value, entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if record.release.version != entry.name or not record.release.path.is_dir():
        return None
    return record


def compared(record: Record) -> VerifyReport:
    """Read every file of the release and compare it with ``record``; an unreadable file counts as changed."""
    top = record.release.path
    found = {
        Path(folder, name).relative_to(top).as_posix()
        for folder, folders, names in os.walk(top)
        for name in [*names, *(entry for entry in folders if Path(folder, entry).is_symlink())]
    }
    known = record.files.keys()
    changed = [name for name in sorted(found & known) if not _is_same(top / name, record.files[name])]
    return VerifyReport(
        version=record.release.version,
        checked=len(known),
        changed=tuple(changed),
        missing=tuple(sorted(known - found)),
        extra=tuple(sorted(found - known)),
    )


def _decoded(value: dict[str, Any], entry: Path) -> Record:
    if value["format"] != _FORMAT or value["kind"] not in {"standard", "standin"}:
        raise ValueError
    release = Release(
        version=str(value["version"]),
        path=entry / TREE_NAME,
        sha256=str(value["sha256"]),
        source=str(value["source"]),
        installed_at=str(value["installed_at"]),
        kind=value["kind"],
        size_bytes=int(value["size_bytes"]),
    )
    files = {name: UnpackedFile(str(one["sha256"]), int(one["size_bytes"])) for name, one in value["files"].items()}
    return Record(release, str(value["source_key"]), files)


def _is_same(path: Path, recorded: UnpackedFile) -> bool:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != recorded.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == recorded.sha256
    except OSError:
        return False


_STAGING = ".staging-"
_TRASH = ".trash-"
_CHOICE = "current.json"


class Shelf:
    """The entries below ``folder``. Reading creates nothing and repairs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def records(self) -> list[Record]:
        """Return the records of the valid entries, the last installed first."""
        found = [one for one in map(read, self._entries()) if one is not None]
        return sorted(found, key=lambda one: (one.release.installed_at, one.release.version), reverse=True)

    def broken_entries(self) -> list[Path]:
        """Return the entries whose record is damaged. A folder without a record may belong to a person."""
        return [entry for entry in self._entries() if (entry / RECORD_NAME).exists() and read(entry) is None]

    def chosen_version(self) -> str | None:
        """Return the version that ``choose`` saved, which may no longer be installed, or None."""
        try:
            value = json.loads((self.folder / _CHOICE).read_bytes())
        except (OSError, ValueError):
            return None
        version = value.get("version") if isinstance(value, dict) else None
        return version if isinstance(version, str) else None

    def choose(self, version: str) -> None:
        """Save the choice; raise DiskTrouble, which keeps the earlier choice."""
        state_file.write_json(self.folder / _CHOICE, {"version": version})

    @contextlib.contextmanager
    def locked(self, name: Literal["install", "tree"], deadline_s: float) -> Iterator[None]:
        """Hold one of the folder's locks, one process at a time; raise TimedOut after ``deadline_s``."""
        import filelock

        state_file.make_private_dir(self.folder)
        lock = filelock.FileLock(self.folder / f".{name}.lock", timeout=deadline_s, mode=0o600)
        try:
            with disk_trouble("lock", self.folder):
                try:
                    lock.acquire()
                except filelock.Timeout as error:  # It is an OSError, but not a disk error.
                    raise TimedOut(
                        f"another gwctl has been installing a release for {deadline_s:.0f} s",
                        hint="wait for it, then run the same command again",
                    ) from error
            yield
        finally:
            lock.release()

    def free_version(self, wanted: str, sha256: str) -> str:
        """Return ``wanted``, or ``wanted`` with enough of the checksum to make the name unique."""
        names = [wanted, *(f"{wanted}-{sha256[:length]}" for length in (8, 16, 64))]
        return next((name for name in names if not (self.folder / name).exists()), names[-1])

    def staging_folder(self) -> Path:
        """Create an empty folder to build an entry in, on the same disk."""
        state_file.make_private_dir(self.folder)
        with disk_trouble("write", self.folder):
            return Path(tempfile.mkdtemp(dir=self.folder, prefix=_STAGING))

    def put(self, staging: Path, version: str) -> None:
        """Rename the finished ``staging`` to its version, replacing a broken entry of that name if there is one."""
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
        """Remove ``entry`` from the repository in one step, then delete its files; raise DiskTrouble."""
        with disk_trouble("remove", entry):
            trash = Path(tempfile.mkdtemp(dir=self.folder, prefix=_TRASH))
            entry.rename(trash / entry.name)
        shutil.rmtree(trash, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Remove what crashes left. Call it only with the install lock: then nobody is building an entry."""
        for prefix in (_STAGING, _TRASH):
            for folder in self.folder.glob(f"{prefix}*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _entries(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
        except OSError:
            return []
