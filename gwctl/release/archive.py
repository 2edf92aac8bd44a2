"""A release's archive: check its content, and unpack it safely."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gwctl.errors import ReleaseBroken
from gwctl.release.partial_download import disk_trouble, sync_dir, write_all

Kind = Literal["standard", "standin"]

# A release with this file at its top is the sandbox's; it contains {"version": "…"} and notes for people.
STANDIN_MARKER = "gwctl-standin.json"

_REQUIRED = ("bin/run.sh", "root/conf.yaml", "root/logback.xml", "root/webapps/demo/index.html")
_MANIFEST_LIMIT_BYTES = 65_536


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
    built = re.search(r"^When-Built:\s*(\d{4})-(\d\d)-(\d\d)", unfolded, re.MULTILINE)
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
    for jar in sorted((top / "dist").glob("*.jar")):
        build = build_of(_manifest(jar))
        if build is not None:
            return build
    return sha256[:12]


def _marker_version(marker: Path) -> str | None:
    try:
        said = json.loads(marker.read_bytes()[:_MANIFEST_LIMIT_BYTES])
    except (OSError, ValueError):
        return None
    version = said.get("version") if isinstance(said, dict) else None
    if isinstance(version, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", version):
        return version
    return None


def _manifest(jar: Path) -> str:
    try:
        with zipfile.ZipFile(jar) as archive, archive.open("META-INF/MANIFEST.MF") as file:
            return file.read(_MANIFEST_LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, struct.error, zlib.error, zipfile.BadZipFile):
        return ""


_CHUNK_BYTES = 1 << 18
_END_RECORD = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_FLAG_ENCRYPTED = 0x1
_RUNNABLE = frozenset({"bin/run.sh"})


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """The largest archive that can still be a release; the real one has 42 files and 15 MB unpacked."""

    entries: int = 5_000
    total_bytes: int = 500_000_000
    ratio: int = 200
    # Small files may have any compression ratio: they cannot fill a disk.
    ratio_from_bytes: int = 1_000_000


@dataclass(frozen=True, slots=True)
class UnpackedFile:
    """One unpacked file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write: relative names with ``/``, and the entries they come from."""

    members: tuple[tuple[str, zipfile.ZipInfo], ...]
    kind: Kind


def broken(name: str, what: str) -> ReleaseBroken:
    """Return the error for an archive called ``name``."""
    return ReleaseBroken(
        f"{name} is not a valid Standard Release: {what}",
        hint="download it again with a browser and run `gwctl release install FILE`; nothing was installed",
    )


@contextlib.contextmanager
def opened(path: Path, name: str, limits: ArchiveLimits) -> Iterator[zipfile.ZipFile]:
    """Open the zip ``path``, called ``name`` in errors; raise ReleaseBroken if it is no zip or its index is huge."""
    with disk_trouble("read", path), path.open("rb") as file:
        head = file.read(512)
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(0, size_bytes - 65_557))
        tail = file.read()
    _check_index(head, tail, name, limits)
    with _reading(name):
        archive = zipfile.ZipFile(path)
    with archive:
        yield archive


def planned(archive: zipfile.ZipFile, name: str, limits: ArchiveLimits) -> Plan:
    """Check every entry of ``archive`` and return what to write; raise ReleaseBroken, writing nothing.

    The archive may have one top folder of any name; files that macOS adds to archives are left out.
    """
    entries = archive.infolist()
    if len(entries) > limits.entries:
        raise broken(name, f"it has more than {limits.entries} entries")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > limits.total_bytes:
        raise broken(name, f"it unpacks to more than {limits.total_bytes // 1_000_000} MB")
    members: list[tuple[str, zipfile.ZipInfo]] = []
    for entry in entries:
        fault = name_fault(entry.orig_filename) or _entry_fault(entry, limits)
        if fault is not None:
            raise broken(name, f"its entry {_quoted(entry.orig_filename)} {fault}")
        parts = entry.filename.rstrip("/").split("/")
        if parts[0] != "__MACOSX" and parts[-1] != ".DS_Store":
            members.append(("/".join(parts), entry))
    _check_clashes(members, name)
    files = _without_top_folder([(path, entry) for path, entry in members if not entry.is_dir()])
    names = {path for path, _ in files}
    missing = missing_from(names)
    if missing:
        raise broken(name, f"it is missing {', '.join(missing)}")
    return Plan(tuple(sorted(files, key=lambda member: member[0])), kind_of(names))


def unpack(
    archive: zipfile.ZipFile, plan: Plan, top: Path, name: str, limits: ArchiveLimits
) -> dict[str, UnpackedFile]:
    """Write the plan's files below ``top``, which must be new, sync them to disk, and return what was written.

    Raises ReleaseBroken if the content does not match the index, and DiskTrouble; then the caller must remove ``top``,
    which is incomplete.
    """
    written: dict[str, UnpackedFile] = {}
    left_bytes = limits.total_bytes
    with disk_trouble("create", top):
        top.mkdir(mode=0o755)
    for path, entry in plan.members:
        target = top.joinpath(*path.split("/"))
        with disk_trouble("create", target.parent):
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # 0644, not 0444: a copy in a profile's folder keeps the mode, and gwctl must be able to rewrite it.
        mode = 0o755 if path in _RUNNABLE else 0o644
        with disk_trouble("write", target):
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(handle, "wb", buffering=0), disk_trouble("write", target):
            written[path] = _copy_out(archive, entry, handle, name, min(left_bytes, entry.file_size))
            os.fchmod(handle, mode)
            os.fsync(handle)
        left_bytes -= written[path].size_bytes
    for folder, _, _ in os.walk(top, topdown=False):
        with disk_trouble("write", Path(folder)):
            Path(folder).chmod(0o755)
            sync_dir(Path(folder))
    return written


def name_fault(name: str) -> str | None:
    """Say what is wrong with an entry's name, or None: only plain relative paths with ``/`` are allowed."""
    parts = name.removesuffix("/").split("/")
    faults = {
        "has a backslash in its name": "\\" in name,
        "has a colon in its name": ":" in name,
        "has control characters in its name": any(unicodedata.category(each) in {"Cc", "Cs"} for each in name),
        "is an absolute path": name.startswith("/"),
        "leads out of its folder": ".." in parts,
        "has an empty part in its name": not {"", "."}.isdisjoint(parts),
        "has a name too long for a file": len(name) > 500
        or any(len(part.encode(errors="replace")) > 200 for part in parts),
    }
    return next((fault for fault, found in faults.items() if found), None)


def _entry_fault(entry: zipfile.ZipInfo, limits: ArchiveLimits) -> str | None:
    file_type = stat.S_IFMT(entry.external_attr >> 16)
    packed_bytes = max(entry.compress_size, 1)
    faults = {
        "is a link": file_type == stat.S_IFLNK,
        "is not a regular file": file_type not in {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK},
        "is a folder by its mode but a file by its name": file_type == stat.S_IFDIR and not entry.is_dir(),
        "is a folder with content": entry.is_dir() and entry.file_size > 0,
        "is encrypted": bool(entry.flag_bits & _FLAG_ENCRYPTED),
        "uses a compression method that no release uses": entry.compress_type
        not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED},
        f"is compressed more than {limits.ratio} times": entry.file_size >= limits.ratio_from_bytes
        and entry.file_size > limits.ratio * packed_bytes,
    }
    return next((fault for fault, found in faults.items() if found), None)


def _check_clashes(members: list[tuple[str, zipfile.ZipInfo]], name: str) -> None:
    """Refuse two entries that are one file on a file system that ignores case."""
    files: set[str] = set()
    folders: dict[str, str] = {}
    for path, entry in members:
        parts = path.split("/")
        count = len(parts) + 1 if entry.is_dir() else len(parts)
        for end in range(1, count):
            folder = "/".join(parts[:end])
            if folders.setdefault(_folded(folder), folder) != folder:
                raise broken(name, f"its entry {_quoted(path)} differs from another only by case")
        if not entry.is_dir():
            if _folded(path) in files:
                raise broken(name, f"its entry {_quoted(path)} appears twice, or differs from another only by case")
            files.add(_folded(path))
    both = files & folders.keys()
    if both:
        raise broken(name, f"its entry {_quoted(min(both))} is both a file and a folder")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _without_top_folder(files: list[tuple[str, zipfile.ZipInfo]]) -> list[tuple[str, zipfile.ZipInfo]]:
    tops = {path.split("/", 1)[0] for path, _ in files}
    if len(tops) != 1 or any("/" not in path for path, _ in files):
        return files
    return [(path.split("/", 1)[1], entry) for path, entry in files]


def _copy_out(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, handle: int, name: str, limit_bytes: int
) -> UnpackedFile:
    """Write one entry to ``handle``; raise ReleaseBroken for a bad archive, OSError for a disk error."""
    digest = hashlib.sha256()
    size_bytes = 0
    with contextlib.ExitStack() as stack:
        with _reading(name):
            packed = stack.enter_context(archive.open(entry))
        while True:
            with _reading(name):
                chunk = packed.read(_CHUNK_BYTES)
            if not chunk:
                return UnpackedFile(digest.hexdigest(), size_bytes)
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise broken(name, f"its entry {_quoted(entry.filename)} is larger than the index says")
            digest.update(chunk)
            write_all(handle, chunk)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn every error that ``zipfile`` raises for bad bytes into ReleaseBroken."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        KeyError,
        OSError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        raise broken(name, f"it is damaged or cut short ({error or type(error).__name__})") from error


def _check_index(head: bytes, tail: bytes, name: str, limits: ArchiveLimits) -> None:
    """Refuse a file that is no zip, or has an index large enough to fill the memory."""
    if not head:
        raise broken(name, "it is empty")
    if head.lstrip()[:1] == b"<":
        raise broken(name, "it is a web page saved as a zip")
    position = tail.rfind(_END_SIGNATURE)
    if position < 0 or position + _END_RECORD.size > len(tail):
        raise broken(name, "it is cut short" if head.startswith(b"PK\x03\x04") else "it is not a zip")
    _, _, _, _, count, index_bytes, _, _ = _END_RECORD.unpack_from(tail, position)
    # An index of more than 65 534 entries needs a zip64 locator; a release never does.
    if tail[max(0, position - 20) : position].startswith(_ZIP64_LOCATOR) or count > limits.entries:
        raise broken(name, f"it has more than {limits.entries} entries")
    if index_bytes > limits.entries * 512:
        raise broken(name, "its index is larger than a release's could be")


def _quoted(name: str) -> str:
    """Return an entry's name fit for a terminal: plain ASCII, in quotes, at most one line."""
    return ascii(name if len(name) <= 60 else name[:57] + "...")
