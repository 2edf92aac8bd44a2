"""The profile's lock and folder, one supervisor for each; and processes of the profile without a record."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from filelock import FileLock, Timeout

from gwctl.background_writer import reopen_log
from gwctl.errors import GwctlError
from gwctl.paths import Paths
from gwctl.process import Identity, has_open, inhabitants
from gwctl.signals import whole
from gwctl.state_file import make_private_dir, write_json


def unrecorded_supervisors(paths: Paths) -> list[Identity]:
    """Return the processes that are provably a background supervisor of the profile, although no record names them.

    The proof has three parts: the process works in the profile's folder, leads its own session, and has the
    supervisor's lock open. A `gwctl down` has the lock open as well, but works in its user's current folder.
    """
    return _leaders_with(paths, paths.supervisor_lock)


def unrecorded_stand_ins(paths: Paths) -> list[Identity]:
    """Return the processes that are provably the profile's fake IBKR: by the same proof, with its log."""
    return _leaders_with(paths, paths.logs_dir / "sandbox.log")


def unrecorded_gateway(paths: Paths, port: int) -> list[Identity]:
    """Return the process that holds ``port`` and works in the profile's gateway folder."""
    from gwctl.gateway.launch import find_unrecorded

    known = find_unrecorded(paths, port, paths.gateway_dir)
    return [] if known is None else [known.java]


def record_lost_gateway(paths: Paths, port: int) -> None:
    """Write the lost or damaged record of a running gateway again, so that the supervisor adopts it (law 4).

    Adoption checks first whether the gateway answers with our key. Raises DiskTrouble.
    """
    from gwctl.gateway import launch

    if launch.adopt(paths) is not None:
        return
    release_path = (paths.gateway_dir / "bin").resolve().parent
    lost = launch.find_unrecorded(paths, port, release_path)
    if lost is not None:
        write_json(paths.gateway_state_file, lost.to_json())


def _leaders_with(paths: Paths, file: Path) -> list[Identity]:
    return [one for one in inhabitants(paths.profile_dir) if _leads_session(one.pid) and has_open(one, file)]


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def stand_on(folder: Path) -> None:
    """Change to ``folder`` if the working directory was deleted: law 3 identifies us by it, and children need one."""
    try:
        Path.cwd()
    except FileNotFoundError:
        os.chdir(folder)


class ProfileLock:
    """An exclusive lock on ``file``; the system releases it when its holder ends, so that it never gets stale.

    The folder may be deleted while the supervisor runs. A lock on a deleted file excludes no other process, so the
    holder must check it and lock the new file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock: FileLock | None = None
        self._inode: tuple[int, int] | None = None

    def take(self) -> bool:
        """Take the lock without waiting, and release one on a deleted file; return whether it is ours.

        Raises DiskTrouble or OSError if the file cannot be created.
        """
        make_private_dir(self.file.parent)
        # Taken in one thread and released in another: a hung disk may block any of them.
        lock = FileLock(self.file, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self.release()
        self._lock, self._inode = lock, self._inode_of_file()
        return True

    def is_intact(self) -> bool:
        """Return whether the locked file is still the one that others would lock."""
        return self._inode is not None and self._inode_of_file() == self._inode

    def release(self) -> None:
        """Release the lock. Safe when nothing is held."""
        if self._lock is not None:
            self._lock.release()
        self._lock, self._inode = None, None

    def _inode_of_file(self) -> tuple[int, int] | None:
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


log = logging.getLogger("gwctl.supervisor")

SETTLE_S = 10.0
"""How long the next step waits for work under way, so that a hung disk cannot delay it for longer."""


class FolderGuard:
    """Maintains the lock on one profile's folder; all writes happen in threads.

    ``write`` restores the supervisor's files; if it raises GwctlError or OSError, the next look tries
    again. ``on_lost`` is called in the loop if the gateway's own files are gone with the folder, ``on_taken`` if
    another supervisor has taken the profile: by law 1, that one adopts the gateway.
    """

    def __init__(
        self,
        paths: Paths,
        hold: ProfileLock,
        *,
        write: Callable[[], Awaitable[None]],
        on_lost: Callable[[], None],
        on_taken: Callable[[], None],
    ) -> None:
        self.hold = hold
        self.abdicated = False
        """Whether another supervisor has the profile, so that the records there are its own."""
        self._paths = paths
        self._write = write
        self._on_lost = on_lost
        self._on_taken = on_taken
        self._unwritten = False
        self._under_way: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin to lock the folder again if the lock is lost, and return at once."""
        due = not self.abdicated and (self._unwritten or not self.hold.is_intact())
        if due and self._under_way is None:
            self._under_way = asyncio.get_running_loop().create_task(self._hold_again())

    async def is_ours(self) -> bool:
        """Return whether the folder is ours, after work under way has finished."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way], timeout=SETTLE_S)
        return not self.abdicated

    async def _hold_again(self) -> None:
        try:
            with contextlib.suppress(GwctlError, OSError):  # a full disk: the next look tries again
                if not self.hold.is_intact():
                    await self._take()
                if self._unwritten and not self.abdicated:
                    await self._write()
                    self._unwritten = False
        except Exception:  # the session comes first
            log.exception("could not maintain the profile's folder")
        finally:
            self._under_way = None

    async def _take(self) -> None:
        # A gateway that keeps writing its log may recreate its folder with nothing else in it.
        needed = (self._paths.gateway_state_file, self._paths.gateway_dir / "root" / "conf.yaml")
        lost = not all(file.exists() for file in needed)
        if not await whole(self.hold.take):
            log.error("the folder was deleted and another supervisor holds the profile: stopping")
            self.abdicated = True
            self._on_taken()
            return
        self._unwritten = True
        await whole(self._settle_in)
        if lost:
            self._on_lost()

    def _settle_in(self) -> None:
        stand_on(self._paths.profile_dir)
        reopen_log(self._paths)
        log.warning("the lock of %s was deleted; locked it again", self._paths.profile_dir)
