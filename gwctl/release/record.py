"""What is known of an installed release, as it is kept beside its files."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwctl.release.archive import UnpackedFile
from gwctl.release.shape import Kind

RECORD_NAME = "release.json"
TREE_NAME = "clientportal.gw"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Release:
    """One installed release.

    ``path`` is its top (the folder of ``bin`` and ``root``), ``sha256`` that of the archive it came from, ``source``
    the address or file without secrets, ``installed_at`` ISO 8601 in UTC, ``size_bytes`` the sum of its files.
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
    """What differs between a release's files and what was recorded when it was installed; names are relative."""

    version: str
    checked: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every file is the one that was installed and there is no other."""
        return not (self.changed or self.missing or self.extra)


@dataclass(frozen=True, slots=True)
class Record:
    """A release and what only the store needs: the key of its source and every file's checksum."""

    release: Release
    source_key: str
    files: Mapping[str, UnpackedFile]


def encoded(record: Record) -> bytes:
    """Return the record as the bytes of its file."""
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
    """Return the record of the installed release in the folder ``entry``, or None if it is none or damaged."""
    try:
        value = json.loads((entry / RECORD_NAME).read_bytes())
        record = _decoded(value, entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if record.release.version != entry.name or not record.release.path.is_dir():
        return None
    return record


def compared(record: Record) -> VerifyReport:
    """Read every file of the release and return how it differs from ``record``; an unreadable one is changed."""
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
