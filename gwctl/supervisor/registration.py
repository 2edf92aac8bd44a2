"""How a supervisor lets other gwctl processes find it: its Unix socket and its record."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gwctl.errors import DiskTrouble
from gwctl.http_requests import address_of
from gwctl.paths import Paths
from gwctl.signals import whole
from gwctl.state_file import make_private_dir, write_json
from gwctl.supervisor.control import SupervisorRecord

_FOLDER = "gwctl-"
"""How the name begins of a folder that was created for a socket."""


class Registration:
    """The socket and the record of this process. ``serve`` answers on a socket, in place of the one before."""

    def __init__(self, paths: Paths, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        self.told: dict[str, Any] = {}
        """What the record says besides the process and its socket."""
        self._paths = paths
        self._serve = serve
        self._file: Path | None = None
        self._writing = asyncio.Lock()

    async def write(self) -> None:
        """Open a new socket, then write the record that names it; raise DiskTrouble."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        before = {self._file, await whole(_recorded_socket, self._paths)}
        bound, file = await whole(bind_control_socket, self._paths)
        self._file = file
        await self._serve(bound)
        await whole(self._record, file)
        for old in before - {None, file}:
            await whole(remove_socket, self._paths, old)

    def is_lost(self) -> bool:
        """Return whether somebody deleted the socket, so that no other process can reach us."""
        return self._file is not None and not self._file.is_socket()

    def remove(self) -> None:
        """Delete record and socket; call it while the profile's lock is ours."""
        self._paths.supervisor_state_file.unlink(missing_ok=True)
        remove_socket(self._paths, self._file)

    def _record(self, file: Path) -> None:
        from gwctl import process

        me = process.identify(os.getpid())
        who = {"pid": os.getpid(), "created_s": me.created_s if me else 0.0, "identity": me.to_json() if me else None}
        write_json(self._paths.supervisor_state_file, {**who, "control": str(file), **self.told})


def bind_control_socket(paths: Paths) -> tuple[socket.socket, Path]:
    """Return a new socket that only our user can connect to, and its file; raise DiskTrouble.

    The file is in the profile's folder. Where that is impossible (some file systems have no sockets, and macOS cannot
    name one by a path of over 103 characters), it is in a new private folder for temporary files.
    """
    make_private_dir(paths.profile_dir)
    try:
        return _bind(paths.control_socket)
    except OSError:
        pass
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    try:
        return _bind(folder / paths.control_socket.name)
    except OSError as error:
        folder.rmdir()
        raise DiskTrouble(
            f"cannot create a socket in {paths.profile_dir} or {folder.parent}: {error.strerror or error}",
            hint="set GWCTL_HOME to a folder with a shorter path on a local disk",
        ) from error


def _bind(file: Path) -> tuple[socket.socket, Path]:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        file.unlink(missing_ok=True)
        with address_of(file) as address:
            bound.bind(address)
        file.chmod(0o600)
    except BaseException:
        bound.close()
        raise
    return bound, file


def _recorded_socket(paths: Paths) -> Path | None:
    """Return the socket of a supervisor that was killed, if its record is still there."""
    record = SupervisorRecord.load(paths)
    return None if record is None else record.control


def remove_socket(paths: Paths, file: Path | None) -> None:
    """Delete the socket of a supervisor that has ended, and the folder that was created for it.

    The name comes from a record, which may be damaged: nothing else is deleted.
    """
    if file is None:
        return
    with contextlib.suppress(OSError, ValueError):
        if file.is_socket():
            file.unlink(missing_ok=True)
        if file.parent != paths.profile_dir and file.parent.name.startswith(_FOLDER):
            file.parent.rmdir()  # fails if it has anything else in it
