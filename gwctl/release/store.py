"""The installed Standard Releases, side by side: install, list, choose, verify, remove."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from msgspec import Struct
from msgspec.structs import asdict

from gwctl import state_file
from gwctl.errors import ReleaseBroken, ReleaseMissing, TimedOut, Usage
from gwctl.known_words import suggestion
from gwctl.ownership import require_ours_below
from gwctl.release import archive
from gwctl.release.download import Download, DownloadPolicy, DownloadProgress, Source, disk_trouble, parse
from gwctl.setting_values import parse_sha256

Outcome = Literal["installed", "already_installed", "new_bytes"]

_RECORD = "release.json"
_TREE = "clientportal.gw"
_CHOICE = "current.json"
_STAGING = ".staging-"
_FORMAT = 1
_NAMED = 5
"""How many changed files a message names."""
# Longer than a download may take, so that a process waiting for another's download gets its result.
_INSTALL_DEADLINE_S = 2_000.0


class Release(Struct, frozen=True):
    """One installed release.

    ``path`` is its top (the folder of ``bin`` and ``root``), ``sha256`` the checksum of its archive, ``source`` the
    address or file without secrets, ``installed_at`` ISO 8601 in UTC, ``size_bytes`` the total size of its files.
    """

    version: str
    path: Path
    sha256: str
    source: str
    installed_at: str
    kind: archive.Kind
    size_bytes: int


Releases = list[Release]  # Inside the store's class, `list` is a method.


class VerifyReport(Struct, frozen=True):
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


class InstallResult(Struct, frozen=True):
    """The result of an installation.

    ``previous`` is set if the outcome is ``new_bytes``: the release that the same source gave before, still installed.
    """

    release: Release
    outcome: Outcome
    previous: Release | None


class _Record(Struct, frozen=True):
    """A release and what only the store needs: the key of its source and every file's checksum."""

    release: Release
    source_key: str
    files: Mapping[str, archive.UnpackedFile]

    def encoded(self) -> bytes:
        """Return the content of the record's file."""
        value = {**asdict(self.release), "format": _FORMAT, "source_key": self.source_key}
        del value["path"]
        value["files"] = {name: asdict(file) for name, file in self.files.items()}
        return state_file.encoded(value)

    @classmethod
    def read(cls, entry: Path) -> _Record | None:
        """Return the record of the release in the folder ``entry``; None if it is missing or damaged."""
        try:
            value = state_file.look_at_json(entry / _RECORD)[0] or {}
            files = {name: archive.UnpackedFile(**one) for name, one in value.pop("files").items()}
            form, source_key = value.pop("format"), str(value.pop("source_key"))
            release = Release(path=entry / _TREE, **value)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        sound = form == _FORMAT and release.kind in ("standard", "standin") and isinstance(release.installed_at, str)
        sound = sound and release.version == entry.name and release.path.is_dir()
        return cls(release, source_key, files) if sound else None

    def require_unchanged(self) -> None:
        """Raise ReleaseBroken that names what changed, Untrusted if another user could change it meanwhile."""
        top = self.release.path
        require_ours_below(top)
        report = self.compared()
        wrong = [*report.changed, *(f"{name} (missing)" for name in report.missing)]
        wrong += [f"{name} (added)" for name in report.extra]
        if wrong:
            named = ", ".join(wrong[:_NAMED]) + (f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else "")
            version, source = self.release.version, shlex.quote(self.release.source)
            raise ReleaseBroken(
                f"release {version} has changed since it was installed, and does not start: {named}",
                hint=f"gwctl release verify {version}; gwctl release install {source} restores it",
            )

    def compared(self) -> VerifyReport:
        """Read every file of the release and compare it with the record; an unreadable file counts as changed."""
        top = self.release.path
        found = {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_symlink() or not path.is_dir()}
        # A look at the folder with macOS's Finder leaves this file, which Java reads as little as the archive has it.
        found = {name for name in found if PurePosixPath(name).name != ".DS_Store"}
        found |= {link.name for link in (top, top.parent) if link.is_symlink()}
        known = self.files.keys()
        return VerifyReport(
            version=self.release.version,
            checked=len(known),
            changed=tuple(name for name in sorted(found & known) if not _is_same(top / name, self.files[name])),
            missing=tuple(sorted(known - found)),
            extra=tuple(sorted(found - known)),
        )


class ReleaseStore:
    """The releases below ``releases_dir``; ``cache_dir`` holds downloads until they are complete.

    Reading creates nothing and repairs nothing.
    """

    def __init__(self, releases_dir: Path, cache_dir: Path, *, policy: DownloadPolicy | None = None) -> None:
        self._folder = releases_dir
        self._cache_dir = cache_dir
        self._policy = policy or DownloadPolicy()

    def list(self) -> Releases:
        """Return the valid releases, the last installed first, without leftovers and damaged entries."""
        return [one.release for one in self._records()]

    def current(self) -> Release | None:
        """Return the chosen release, otherwise the newest standard one, otherwise None."""
        releases = self.list()
        chosen = self._chosen_version()
        for release in releases:
            if release.version == chosen:
                return release
        return next((release for release in releases if release.kind == "standard"), None)

    def get(self, version: str) -> Release:
        """Return the release ``version``; raise ReleaseMissing."""
        return self._record(version).release

    def use(self, version: str) -> Release:
        """Choose ``version`` for every later start, and return it; raise ReleaseMissing and DiskTrouble."""
        release = self.get(version)
        state_file.write_json(self._folder / _CHOICE, {"version": version})
        return release

    def verify(self, version: str) -> VerifyReport:
        """Compare every file of ``version`` with the record of its installation; raise ReleaseMissing."""
        return self._record(version).compared()

    def require_unchanged(self, version: str) -> None:
        """Raise ReleaseBroken that names what changed in ``version`` since its installation; raise ReleaseMissing."""
        self._record(version).require_unchanged()

    def prune(self, keep: set[str]) -> Releases:
        """Remove all releases except the current one and ``keep``, and leftovers of crashes and interrupted downloads.

        Returns the removed releases. Waits for a running installation; raises TimedOut and DiskTrouble.
        """
        with self._locked(), disk_trouble(self._folder):
            current = self.current()
            kept = keep | ({current.version} if current else set())
            removed = [release for release in self.list() if release.version not in kept]
            # A folder without a record may belong to a person; one with a damaged record is ours.
            damaged = [entry for entry in self._entries() if (entry / _RECORD).exists() and not _Record.read(entry)]
            for entry in [*(release.path.parent for release in removed), *damaged]:
                if entry.name not in kept:
                    self._discard(entry)
            self._remove_leftovers()
            for half in self._cache_dir.glob("*.part*"):
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
        with self._locked(), disk_trouble(self._folder):
            known = self._known_without_bytes(place, pinned, asked_at)
            if known is not None:
                result = InstallResult(known, "already_installed", None)
            elif isinstance(place.where, Path):
                result = self._install_file(place, place.where, pinned)
            else:
                state_file.make_private_dir(self._cache_dir)
                part = self._cache_dir / f"{place.key[:12]}-{place.name}.part"
                download = Download(place.where, part, progress or (lambda _seen: None), self._policy)
                served = download.fetch()
                try:
                    result = self._install_file(place, part, pinned)
                except ReleaseBroken:
                    download.discard()
                    raise
                download.discard()
                if place.shown == place.where:  # without a query, which may be a secret
                    served.keep(result.release.path.parent)
            if select and result.release.version != self._chosen_version():
                self.use(result.release.version)
        return result

    def _known_without_bytes(self, place: Source, pinned: str | None, asked_at: str) -> Release | None:
        """Return the valid release that needs no download: the pinned one, or one another gwctl just installed."""
        for one in self._records():
            just_installed = pinned is None and one.source_key == place.key and one.release.installed_at >= asked_at
            if (one.release.sha256 == pinned or just_installed) and one.compared().ok:
                return one.release
        return None

    def _install_file(self, place: Source, zip_file: Path, pinned: str | None) -> InstallResult:
        """Unpack into a staging folder and rename that: whatever interrupts it, no half release is installed."""
        with zip_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if pinned is not None and digest != pinned:
                command = f"gwctl release install {place.shown} --sha256 {digest}"
                raise ReleaseBroken(
                    f"{place.shown} has the SHA-256 {digest}, not the pinned {pinned}; nothing was installed",
                    hint=f"if you meant to install the new bytes: {command}",
                )
            records = self._records()
            same = next((one for one in records if one.release.sha256 == digest), None)
            if same is not None and same.compared().ok:
                return InstallResult(same.release, "already_installed", None)
            self._remove_leftovers()
            staging = Path(tempfile.mkdtemp(dir=self._folder, prefix=_STAGING))
            try:
                files = archive.unpack(file, place.name, staging / _TREE)
                version = same.release.version if same else self._free_version(staging / _TREE, digest)
                entry = self._folder / version
                release = Release(
                    version=version,
                    path=entry / _TREE,
                    sha256=digest,
                    source=place.shown,
                    installed_at=_utc_now(),
                    kind=archive.kind_of(files),
                    size_bytes=sum(one.size_bytes for one in files.values()),
                )
                state_file.write_bytes(staging / _RECORD, _Record(release, place.key, files).encoded(), mode=0o644)
                if entry.exists():
                    self._discard(entry)
                staging.rename(entry)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        before = next((one.release for one in records if one.source_key == place.key), None)
        if same is not None or before is None:
            return InstallResult(release, "installed", None)
        return InstallResult(release, "new_bytes", before)

    def _free_version(self, top: Path, sha256: str) -> str:
        """Return the version of the release at ``top``, with some of its checksum if another has the same."""
        version = archive.version_of(top, sha256)
        return f"{version}-{sha256[:8]}" if (self._folder / version).exists() else version

    def _discard(self, entry: Path) -> None:
        """Remove ``entry`` from the releases in one step, then delete its files."""
        trash = Path(tempfile.mkdtemp(dir=self._folder, prefix=_STAGING))
        entry.rename(trash / entry.name)
        shutil.rmtree(trash, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove what crashes left. Call it only with the lock: then nobody is building an entry."""
        for folder in self._folder.glob(f"{_STAGING}*"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time install or remove; raise TimedOut."""
        import filelock

        state_file.make_private_dir(self._folder)
        lock = filelock.FileLock(self._folder / ".install.lock", timeout=_INSTALL_DEADLINE_S, mode=0o600)
        try:
            with disk_trouble(self._folder):
                try:
                    lock.acquire()
                except filelock.Timeout as error:  # It is an OSError, but not a disk error.
                    raise TimedOut(
                        f"another gwctl has been installing a release for {_INSTALL_DEADLINE_S:.0f} s",
                        hint="wait for it, then run the same command again",
                    ) from error
            yield
        finally:
            lock.release()

    def _entries(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (path for path in self._folder.iterdir() if path.name[0] != "." and path.is_dir())

    def _records(self) -> Sequence[_Record]:
        """Return the records of the valid entries, the last installed first."""
        found = [one for one in map(_Record.read, self._entries()) if one is not None]
        return sorted(found, key=lambda one: (one.release.installed_at, one.release.version), reverse=True)

    def _record(self, version: str) -> _Record:
        records = self._records()
        for one in records:
            if one.release.version == version:
                return one
        versions = [one.release.version for one in records]
        hint = suggestion(version, versions, what="installed") if records else "gwctl release install"
        raise ReleaseMissing(f"the release {version!r} is not installed", hint=hint)

    def _chosen_version(self) -> object:
        """Return the version that ``use`` saved, which may no longer be installed, or None."""
        with contextlib.suppress(OSError):
            chosen, _ = state_file.look_at_json(self._folder / _CHOICE)
            return (chosen or {}).get("version")
        return None


def _is_same(path: Path, recorded: archive.UnpackedFile) -> bool:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != recorded.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == recorded.sha256
    except OSError:
        return False


def _checked_pin(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    try:
        return parse_sha256(sha256)
    except ValueError:
        raise Usage(
            "a SHA-256 is 64 hexadecimal digits", hint="gwctl release install FILE --sha256 $(sha256sum < FILE)"
        ) from None


def _utc_now() -> str:
    """Return the current time as a text; such texts sort by time."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
