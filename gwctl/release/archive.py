"""A release's archive: check its content, and unpack it safely."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from msgspec import Struct

from gwctl.errors import ReleaseBroken

Kind = Literal["standard", "standin"]

# A release with this file at its top is the sandbox's; it contains {"version": "…"} and notes for people.
STANDIN_MARKER = "gwctl-standin.json"

# The largest archive that can still be a release; the real one has 42 files and 15 MB unpacked.
MAX_ENTRIES = 5_000
MAX_BYTES = 500_000_000

_REQUIRED = ("bin/run.sh", "root/conf.yaml", "root/logback.xml", "root/webapps/demo/index.html")
_RUNNABLE = "bin/run.sh"
_TEXT_LIMIT_BYTES = 65_536
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, OverflowError, RuntimeError, ValueError)
"""Every error that ``zipfile`` raises for bad bytes, except an OSError for an impossible position in the file."""


_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""What Java reads. bzip2 and LZMA raise errors of their own here, and LZMA takes the memory that a file asks for."""
_INDEX_LIMIT_BYTES = 2_000_000
"""Of ``MAX_ENTRIES`` with names of the longest that ``is_safe`` lets through."""


class _SmallPieces:
    """A file for ``zipfile``, which would read an index of any size at once and keep all of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; raise BadZipFile for a piece that only an index of too many entries has."""
        if size > _INDEX_LIMIT_BYTES:
            raise zipfile.BadZipFile("its index is too large")
        return self._file.read(size)


class UnpackedFile(Struct, frozen=True):
    """One unpacked file."""

    sha256: str
    size_bytes: int


def kind_of(files: Collection[str]) -> Kind:
    """Return whether the files (relative, with ``/``) are a real release or the sandbox's."""
    return "standin" if STANDIN_MARKER in files else "standard"


def missing_from(files: Collection[str]) -> list[str]:
    """Return in words what a release needs and ``files`` lack; empty when it is complete."""
    missing = [name for name in _REQUIRED if name not in files]
    if not any(re.fullmatch(r"dist/[^/]+\.jar", name) for name in files):
        missing.append("dist/*.jar")
    runtime = any(re.fullmatch(r"build/lib/runtime/[^/]+\.jar", name) for name in files)
    if not runtime and kind_of(files) == "standard":
        missing.append("build/lib/runtime/*.jar")
    return missing


def build_of(manifest: str) -> str | None:
    """Return ``YYYYMMDD-COMMIT`` from a jar's manifest, or the part of it that the manifest has.

    The release of April 2023 says ``When-Built: 2023-04-24T15:42:44-0400`` and ``Git-Commit: a27ed421…`` (seen in the
    real jar), which gives ``20230424-a27ed421``. A manifest continues a long line on the next line, after one space.
    """
    unfolded = re.sub(r"\r?\n ", "", manifest)
    built = re.search(r"^When-Built:\s*(\d{4})-(\d\d)-(\d\d)", unfolded, re.MULTILINE | re.ASCII)
    commit = re.search(r"^Git-Commit:\s*([0-9a-f]{8})", unfolded, re.MULTILINE)
    named = ["".join(built.groups())] if built else []
    named += [commit.group(1)] if commit else []
    return "-".join(named) or None


def version_of(top: Path, sha256: str) -> str:
    """Return a readable version for the unpacked release at ``top``; its archive has the checksum ``sha256``.

    It is the build in the jar's manifest, or the version in the sandbox's marker, otherwise the start of the checksum.
    """
    if (top / STANDIN_MARKER).is_file():
        return f"standin-{_marker_version(top / STANDIN_MARKER) or sha256[:8]}"
    builds = [build_of(_manifest(jar)) for jar in sorted((top / "dist").glob("*.jar"))]
    return next((build for build in builds if build is not None), sha256[:12])


def _marker_version(marker: Path) -> str | None:
    try:
        said = json.loads(marker.read_bytes()[:_TEXT_LIMIT_BYTES])
    except (ValueError, RecursionError):
        return None
    version = said.get("version") if isinstance(said, dict) else None
    fits = isinstance(version, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", version)
    return version if fits else None


def _manifest(jar: Path) -> str:
    try:
        with jar.open("rb") as packed, zipfile.ZipFile(_SmallPieces(packed)) as archive:
            entry = archive.getinfo("META-INF/MANIFEST.MF")
            if entry.compress_type not in _METHODS:
                return ""
            with archive.open(entry) as file:
                return file.read(_TEXT_LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, *_BAD_ZIP):
        return ""


def broken(name: str, what: str) -> ReleaseBroken:
    """Return the error for an archive called ``name``."""
    return ReleaseBroken(
        f"{name} is not a valid Standard Release: {what}",
        hint="download it again with a browser and run `gwctl release install FILE`; nothing was installed",
    )


def unpack(file: BinaryIO, name: str, top: Path) -> dict[str, UnpackedFile]:
    """Unpack the open zip ``file``, called ``name`` in errors, below ``top``; return what was written.

    The archive may have one top folder of any name; files that macOS adds to archives are left out. Raises
    ReleaseBroken and OSError; then the caller must remove ``top``, which is incomplete.
    """
    file.seek(0)
    if file.read(512).lstrip().startswith(b"<"):
        raise broken(name, "it is a web page saved as a zip")
    try:
        with zipfile.ZipFile(_SmallPieces(file)) as archive:
            members = _members(archive, name)
            return {path: _copy_out(archive, entry, top, path) for path, entry in sorted(members.items())}
    except _BAD_ZIP as error:
        raise broken(name, f"it is no zip, or damaged, or cut short ({error or type(error).__name__})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise broken(name, "it is damaged: its index leads out of the file") from error


def _members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """Check every entry and return the files to write, by their paths; raise ReleaseBroken."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise broken(name, f"it has more than {MAX_ENTRIES} entries")
    # zipfile never reads more of a file than the index says.
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise broken(name, f"it unpacks to more than {MAX_BYTES / 1e6:g} MB")
    for entry in entries:
        if not is_safe(entry.filename.removesuffix("/")):
            raise broken(name, f"its entry {entry.filename[:60]!a} has an unsafe name")
        if stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG}:
            raise broken(name, f"its entry {entry.filename[:60]!a} is a link or another special file")
        if entry.compress_type not in _METHODS:
            raise broken(name, f"its entry {entry.filename[:60]!a} is packed in a way that Java does not read")
    files = [PurePosixPath(entry.filename) for entry in entries if not entry.is_dir()]
    kept = {path for path in files if path.parts[0] != "__MACOSX" and path.name != ".DS_Store"}
    taken = {str(path).casefold() for path in files}
    if len(taken) < len(files) or any(str(folder).casefold() in taken for path in files for folder in path.parents):
        raise broken(name, "two of its entries have the same name")
    top_folders = 1 if len({path.parts[0] for path in kept}) == 1 else 0
    members = {"/".join(path.parts[top_folders:]): archive.getinfo(str(path)) for path in kept}
    if missing := missing_from(members):
        raise broken(name, f"it is missing {', '.join(missing)}")
    return members


def is_safe(name: str) -> bool:
    """Say whether an entry's name is a plain relative path with ``/``, fit for every file system and terminal."""
    plain = name.isprintable() and not {"\\", ":"} & {*name} and len(name.encode()) <= 200
    return plain and not {"", ".", ".."} & {*name.split("/")}


def _copy_out(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, top: Path, path: str) -> UnpackedFile:
    target = top / path
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with archive.open(entry) as packed, target.open("x+b") as file:
        shutil.copyfileobj(packed, file)
        file.flush()
        # 0644, not 0444: a copy in a profile's folder keeps the mode, and gwctl must be able to rewrite it.
        os.fchmod(file.fileno(), 0o755 if path == _RUNNABLE else 0o644)
        os.fsync(file.fileno())
        size_bytes = file.tell()
        file.seek(0)
        return UnpackedFile(hashlib.file_digest(file, "sha256").hexdigest(), size_bytes)
