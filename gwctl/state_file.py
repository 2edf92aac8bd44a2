"""Write state files completely or not at all, private, locked with a deadline; set damaged files aside."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gwctl.errors import DiskTrouble
from gwctl.ownership import open_ours, require_owned


def make_private_dir(path: Path) -> None:
    """Create ``path`` and its missing parents as folders of mode 0700; raise DiskTrouble if that fails."""
    make_missing(path)
    with _folder_trouble(path):
        status = path.stat()
        # A sticky folder, such as /tmp, belongs to everybody: leave its mode unchanged.
        if status.st_mode & 0o077 and status.st_uid == os.getuid() and not status.st_mode & stat.S_ISVTX:
            path.chmod(0o700)


def make_missing(path: Path) -> None:
    """Create the missing parts of a folder, all 0700; what exists may be a person's and stays unchanged.

    Raise DiskTrouble, or Untrusted if another user was faster.
    """
    with _folder_trouble(path):
        for folder in [*reversed(path.parents), path]:
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
                require_owned(folder)
        require_owned(path)


@contextlib.contextmanager
def _folder_trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskTrouble(
            f"cannot create the folder {path}: {error.strerror}",
            hint="set GWCTL_HOME to a folder you can write to",
        ) from error


def write_bytes(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``content`` atomically; keep the old file on any failure; raise DiskTrouble."""
    import tempfile

    make_missing(path.parent)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
        _sync_dir(path.parent)
    except OSError as error:
        raise DiskTrouble(
            f"cannot write {path}: {error.strerror}",
            hint=f"check the free space and the owner of {path.parent}",
        ) from error
    finally:  # also after Ctrl-C: it may hold a secret
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def _sync_dir(path: Path) -> None:
    """Flush the rename to disk, if the file system supports it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object with ``write_bytes``, 0600."""
    write_bytes(path, encoded(value))


def encoded(value: dict[str, Any]) -> bytes:
    """Return the content of a JSON object's file."""
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that a person can inspect it, and return its new name."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
    with contextlib.suppress(OSError):
        path.rename(aside)
    return aside


def look_at_json(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """Return the object in ``path`` and whether the file is damaged, without changing it; raise OSError.

    A missing file is ``(None, False)``. Use this only to look; code that acts on the file uses ``read_json``.
    """
    try:
        value = _object_in(path)
    except (FileNotFoundError, NotADirectoryError):
        return None, False
    return value, value is None


def read_json(path: Path) -> tuple[dict[str, Any] | None, Path | None]:
    """Return the object in ``path`` and, if it was damaged, where it was set aside.

    A missing file is ``(None, None)``; a damaged one is ``(None, aside)``. Raise DiskTrouble if the file cannot be
    read.
    """
    try:
        value = _object_in(path)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise DiskTrouble(f"cannot read {path}: {error.strerror}", hint=f"check the owner of {path}") from error
    return (None, set_aside(path)) if value is None else (value, None)


MAX_JSON_BYTES = 2_000_000
"""A larger state file is damaged: its content could take more memory than the machine has. Ours are below 100 KB."""


def _object_in(path: Path) -> dict[str, Any] | None:
    """Return the object in a file, None if it is damaged; raise OSError."""
    with os.fdopen(open_ours(path), "rb") as file:
        raw = file.read() if os.fstat(file.fileno()).st_size <= MAX_JSON_BYTES else b""
    try:
        value = json.loads(raw, parse_int=_whole, parse_float=_real, parse_constant=_real)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_LARGEST = 2**53
"""Larger than every time and size; larger numbers overflow where they are used."""


def _whole(digits: str) -> int:
    if abs(value := int(digits)) > _LARGEST:
        raise ValueError("too large")
    return value


def _real(digits: str) -> float:
    if not abs(value := float(digits)) <= _LARGEST:
        raise ValueError("too large, or not a number")
    return value


_LOCK_TIMEOUT_S = 30.0


class locked:  # noqa: N801 - reads as a verb in a with statement
    """Hold a file lock, with a deadline; filelock is imported only here, where it is needed."""

    def __init__(self, path: Path) -> None:
        import filelock

        make_private_dir(path.parent)
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
