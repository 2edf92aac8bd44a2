"""The installed Standard Releases, side by side: install, list, choose, verify, remove."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gwctl import state_file
from gwctl.errors import ReleaseBroken, ReleaseMissing, Usage
from gwctl.release import archive
from gwctl.release import archive as shape
from gwctl.release import repository as record
from gwctl.release.partial_download import Part, disk_trouble, write_all
from gwctl.release.repository import Record, Release, Shelf, VerifyReport
from gwctl.release.source import OFFICIAL_URL, Source, parse

if TYPE_CHECKING:
    from gwctl.release.download import Downloader, DownloadProgress

__all__ = ["OFFICIAL_URL", "InstallResult", "Release", "ReleaseStore", "VerifyReport"]

Outcome = Literal["installed", "already_installed", "new_bytes"]
Releases = list[Release]  # Inside the class, `list` is a method.

# Longer than a download may take, so that a process waiting for another's download gets its result.
_INSTALL_DEADLINE_S = 2_000.0
_TREE_DEADLINE_S = 60.0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class InstallResult:
    """The result of an installation.

    ``previous`` is set if the outcome is ``new_bytes``: the release that the same source gave before, still installed.
    """

    release: Release
    outcome: Outcome
    previous: Release | None


class ReleaseStore:
    """The releases below ``releases_dir``; ``cache_dir`` holds downloads until they are complete.

    Reading creates nothing. ``limits`` and ``downloader`` default to those of their modules.
    """

    def __init__(
        self,
        releases_dir: Path,
        cache_dir: Path,
        *,
        limits: archive.ArchiveLimits | None = None,
        downloader: Downloader | None = None,
    ) -> None:
        self._shelf = Shelf(releases_dir)
        self._cache_dir = cache_dir
        self._limits = limits or archive.ArchiveLimits()
        self._downloader = downloader

    def list(self) -> Releases:
        """Return the valid releases, the last installed first, without leftovers and damaged entries."""
        return [one.release for one in self._shelf.records()]

    def current(self) -> Release | None:
        """Return the chosen release, otherwise the newest standard one, otherwise None."""
        releases = self.list()
        chosen = self._shelf.chosen_version()
        for release in releases:
            if release.version == chosen:
                return release
        return next((release for release in releases if release.kind == "standard"), None)

    def get(self, version: str) -> Release:
        """Return the release ``version``; raise ReleaseMissing."""
        return self._record(version).release

    def use(self, version: str) -> Release:
        """Choose ``version`` for every later start, and return it; raise ReleaseMissing."""
        self.get(version)
        with self._shelf.locked("tree", _TREE_DEADLINE_S):
            release = self.get(version)
            self._shelf.choose(version)
        return release

    def verify(self, version: str) -> VerifyReport:
        """Compare every file of ``version`` with the record of its installation; raise ReleaseMissing."""
        return record.compared(self._record(version))

    def prune(self, keep: set[str]) -> Releases:
        """Remove all releases except the current one and ``keep``, and leftovers of crashes and interrupted downloads.

        Returns the removed releases. Waits for a running installation; raises TimedOut and DiskTrouble.
        """
        shelf = self._shelf
        with shelf.locked("install", _INSTALL_DEADLINE_S), shelf.locked("tree", _TREE_DEADLINE_S):
            current = self.current()
            kept = keep | ({current.version} if current else set())
            removed = [release for release in self.list() if release.version not in kept]
            for release in removed:
                shelf.discard(release.path.parent)
            for entry in shelf.broken_entries():
                if entry.name not in kept:
                    shelf.discard(entry)
            shelf.remove_leftovers()
            for half in [*self._cache_dir.glob("*.part"), *self._cache_dir.glob("*.part.json")]:
                with disk_trouble("remove", half):
                    half.unlink(missing_ok=True)
        return removed

    def install(
        self,
        source: str,
        *,
        sha256: str | None = None,
        progress: Callable[[DownloadProgress], None] | None = None,
        select: bool = True,
    ) -> InstallResult:
        """Install the release at the address or in the zip ``source``; with ``select``, make it the current one.

        The same bytes again are ``already_installed``, and nothing is written unless files were damaged: then they are
        replaced. ``sha256`` pins the archive. Raises Usage, ReleaseMissing (no such file), DownloadFailed,
        ReleaseBroken, DiskTrouble, TimedOut (another gwctl is installing). After an error, the installed releases are
        unchanged, and the next call resumes an interrupted download.
        """
        place = parse(source)
        pinned = _checked_pin(sha256)
        asked_at = _utc_now()
        with self._shelf.locked("install", _INSTALL_DEADLINE_S):
            known = self._known_without_bytes(place, pinned, asked_at)
            if known is not None:
                return self._finished(known, "already_installed", None, select=select)
            self._shelf.remove_leftovers()
            with self._archive_of(place, progress) as zip_file:
                return self._install_file(place, zip_file, pinned, select=select)

    def _install_file(self, place: Source, zip_file: Path, pinned: str | None, *, select: bool) -> InstallResult:
        with disk_trouble("read", zip_file), zip_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if pinned is not None and digest != pinned:
            raise ReleaseBroken(
                f"{place.shown} has the SHA-256 {digest}, not the pinned {pinned}; nothing was installed",
                hint=f"if you meant to install the new bytes: gwctl release install {place.shown} --sha256 {digest}",
            )
        records = self._shelf.records()
        same = next((one for one in records if one.release.sha256 == digest), None)
        if same is not None and record.compared(same).ok:
            return self._finished(same.release, "already_installed", None, select=select)
        before = next((one.release for one in records if one.source_key == place.key), None)
        staging = self._shelf.staging_folder()
        try:
            release = self._staged(place, zip_file, digest, staging, same)
            with self._shelf.locked("tree", _TREE_DEADLINE_S):
                self._shelf.put(staging, release.version)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        if same is not None or before is None:
            return self._finished(release, "installed", None, select=select)
        return self._finished(release, "new_bytes", before, select=select)

    def _staged(self, place: Source, zip_file: Path, digest: str, staging: Path, same: Record | None) -> Release:
        """Unpack into ``staging``, write the record, and return the release with its final path."""
        top = staging / record.TREE_NAME
        with archive.opened(zip_file, place.name, self._limits) as opened:
            plan = archive.planned(opened, place.name, self._limits)
            files = archive.unpack(opened, plan, top, place.name, self._limits)
        version = same.release.version if same else self._shelf.free_version(shape.version_of(top, digest), digest)
        release = Release(
            version=version,
            path=self._shelf.folder / version / record.TREE_NAME,
            sha256=digest,
            source=place.shown,
            installed_at=_utc_now(),
            kind=plan.kind,
            size_bytes=sum(file.size_bytes for file in files.values()),
        )
        encoded = record.encoded(Record(release, place.key, files))
        state_file.write_bytes(staging / record.RECORD_NAME, encoded, mode=0o644)
        return release

    def _finished(self, release: Release, outcome: Outcome, previous: Release | None, *, select: bool) -> InstallResult:
        if select and release.version != self._shelf.chosen_version():
            with self._shelf.locked("tree", _TREE_DEADLINE_S):
                self._shelf.choose(release.version)
        return InstallResult(release, outcome, previous)

    def _known_without_bytes(self, place: Source, pinned: str | None, asked_at: str) -> Release | None:
        """Return the valid release that needs no download: the pinned one, or one another gwctl just installed."""
        for one in self._shelf.records():
            just_installed = pinned is None and one.source_key == place.key and one.release.installed_at >= asked_at
            if (one.release.sha256 == pinned or just_installed) and record.compared(one).ok:
                return one.release
        return None

    @contextlib.contextmanager
    def _archive_of(self, place: Source, progress: Callable[[DownloadProgress], None] | None) -> Iterator[Path]:
        """Yield the complete archive as a file that nobody else changes, and remove it afterwards.

        If the block fails with anything but ReleaseBroken, the download stays for the next call.
        """
        from gwctl.release.download import Downloader

        state_file.make_private_dir(self._cache_dir)
        downloader = self._downloader or Downloader()
        if isinstance(place.where, Path):
            with self._copied_in(place.where, place.name, downloader.policy.size_limit_bytes) as copy:
                yield copy
            return
        part = Part(self._cache_dir / f"{place.key[:12]}-{place.name}.part")
        downloader.fetch(place.where, part, progress)
        try:
            yield part.path
        except ReleaseBroken:
            part.discard()
            raise
        part.discard()

    @contextlib.contextmanager
    def _copied_in(self, original: Path, name: str, limit_bytes: int) -> Iterator[Path]:
        for left_by_a_crash in self._cache_dir.glob("copy-*.part"):
            left_by_a_crash.unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            with disk_trouble("read", original):
                opened = stack.enter_context(original.open("rb"))
            with disk_trouble("write", self._cache_dir):
                copied = stack.enter_context(
                    tempfile.NamedTemporaryFile(dir=self._cache_dir, prefix="copy-", suffix=".part", buffering=0)
                )
            while chunk := opened.read(_CHUNK_BYTES):
                if copied.tell() + len(chunk) > limit_bytes:
                    raise archive.broken(name, f"it is larger than {limit_bytes // 1_000_000} MB")
                with disk_trouble("write", Path(copied.name)):
                    write_all(copied.fileno(), chunk)
            yield Path(copied.name)

    def _record(self, version: str) -> Record:
        records = self._shelf.records()
        for one in records:
            if one.release.version == version:
                return one
        hint = "gwctl release list" if records else "gwctl release install"
        raise ReleaseMissing(f"the release {version!r} is not installed", hint=hint)


def _checked_pin(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    pinned = sha256.strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", pinned):
        raise Usage(
            "a SHA-256 is 64 hexadecimal digits", hint="gwctl release install FILE --sha256 $(sha256sum < FILE)"
        )
    return pinned


def _utc_now() -> str:
    """Return the current time as a text; such texts sort by time."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
