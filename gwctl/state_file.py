"""State on disk: written whole or not at all, private, locked with a deadline; damaged files are set aside."""

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


def make_private_dir(path: Path) -> None:
    """Make ``path`` a folder of mode 0700, and what is missing above it; raise DiskTrouble if that cannot be."""
    make_missing(path)
    with _folder_trouble(path):
        status = path.stat()
        # A sticky folder, as /tmp is root's, is everybody's: whatever led here, it stays so.
        if status.st_mode & 0o077 and status.st_uid == os.getuid() and not status.st_mode & stat.S_ISVTX:
            path.chmod(0o700)


def make_missing(path: Path) -> None:
    """Create what is missing of a folder, all of it 0700; what exists may be a person's and stays as it is."""
    with _folder_trouble(path):
        for folder in [*reversed(path.parents), path]:
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)


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
    """Replace ``path`` by ``content`` atomically, leaving the old file on any failure; raise DiskTrouble."""
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
        _sync_dir(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise DiskTrouble(
            f"cannot write {path}: {error.strerror}",
            hint=f"check the free space and the owner of {path.parent}",
        ) from error


def _sync_dir(path: Path) -> None:
    """Put the rename itself on disk, where the file system knows how."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write one JSON object as ``write_bytes`` does, 0600."""
    write_bytes(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it can be looked at, and return its new name."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
    with contextlib.suppress(OSError):
        path.rename(aside)
    return aside


def look_at_json(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """Return the object in ``path`` and whether the file is damaged, which it is left as; raise OSError.

    A missing file is ``(None, False)``. For those who only look: whoever acts on the file reads it by ``read_json``.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None, False
    except (ValueError, RecursionError):
        return None, True
    return (value, False) if isinstance(value, dict) else (None, True)


def read_json(path: Path) -> tuple[dict[str, Any] | None, Path | None]:
    """Return the object in ``path`` and, if it was damaged, where it was set aside.

    A missing file is ``(None, None)``; a damaged one ``(None, aside)``. A file that may not be read raises DiskTrouble.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise DiskTrouble(f"cannot read {path}: {error.strerror}", hint=f"check the owner of {path}") from error
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None, set_aside(path)
    if not isinstance(value, dict):
        return None, set_aside(path)
    return value, None


_LOCK_TIMEOUT_S = 30.0


class locked:  # noqa: N801 - reads as the verb it is in a with statement
    """Hold a file lock, with a deadline; filelock is loaded only where something is made."""

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
