"""Identify a process by its pid, creation time and working directory (law 3), or by the TCP port that it holds."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gwctl.free_ports import port_is_free

if TYPE_CHECKING:
    import psutil

_HAS_PROC = Path("/proc/self/stat").exists()
_POLL_S = 0.02
_DELETED = " (deleted)"
_NOT_ALIVE = frozenset("ZXx")
_LATEST_S = 2**53
_LISTENING = "0A"
"""The state of a listening socket in ``/proc/PID/net/tcp`` (``man 5 proc``)."""


class Identity(Struct, frozen=True):
    """One process, distinct from every other process that ever has its pid.

    ``created_s`` counts from the machine's boot if that is known (``boot_id`` then names the boot, and changing the
    clock does no harm), otherwise from the epoch.
    """

    pid: int
    created_s: float
    cwd: str
    boot_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object for a state file."""
        return {"pid": self.pid, "created_s": self.created_s, "cwd": self.cwd, "boot_id": self.boot_id}

    @classmethod
    def from_json(cls, value: object) -> Identity | None:
        """Return the identity stored in ``value``, or None if it holds none."""
        match value:
            case {
                "pid": int(pid),
                "created_s": int() | float() as created_s,
                "cwd": str(cwd),
                "boot_id": str(boot_id),
            } if pid > 1 and abs(created_s) < _LATEST_S:
                return cls(pid, float(created_s), cwd, boot_id)
            case _:
                return None


def _born_from_proc(pid: int) -> tuple[float, str] | None:
    """Return when ``pid`` was created, in seconds since boot, and the boot's id; None if it is not alive."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # While other threads still end, the first one is already a zombie and the process still holds its sockets.
    if fields[0] in _NOT_ALIVE and int(fields[17]) <= 1:
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK"), boot_id


def _born_from_psutil(pid: int) -> tuple[float, str] | None:
    """Do the same as ``_born_from_proc`` on any system, counting from the epoch."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            return None
        return process.create_time(), ""
    except psutil.Error:
        return None


def _born(pid: int) -> tuple[float, str] | None:
    return _born_from_proc(pid) if _HAS_PROC else _born_from_psutil(pid)


def cwd_of(pid: int) -> str:
    """Return the working directory of ``pid``; empty if we may not read it."""
    if _HAS_PROC:
        try:
            return str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(_DELETED)
        except OSError:
            return ""
    import psutil

    try:
        return psutil.Process(pid).cwd()
    except psutil.Error:
        return ""


def identify(pid: int) -> Identity | None:
    """Return the identity of the process that has ``pid`` now; None if there is none or it is a zombie."""
    born = _born(pid)
    return None if born is None else Identity(pid, born[0], cwd_of(pid), born[1])


def is_alive(identity: Identity) -> bool:
    """Return whether exactly that process (pid and creation time) is still running; a zombie is not."""
    # A record made by the portable version has no boot id: compare it with what that version returns now.
    born = _born(identity.pid) if identity.boot_id else _born_from_psutil(identity.pid)
    return born == (identity.created_s, identity.boot_id)


def is_ours(identity: Identity) -> bool:
    """Return whether the process is alive and works in the recorded folder: only then may we signal it (law 3)."""
    return is_alive(identity) and identity.cwd != "" and cwd_of(identity.pid) == identity.cwd


def rss_bytes(identity: Identity) -> int | None:
    """Return the process's resident memory; None if it has ended."""
    import psutil

    try:
        resident: int = psutil.Process(identity.pid).memory_info().rss
    except psutil.Error:
        return None
    return resident if is_alive(identity) else None


def descendants(identity: Identity) -> list[Identity]:
    """Return all current descendants of the process; empty if it has ended."""
    return _offspring(identity, recursive=True)


def children(identity: Identity) -> list[Identity]:
    """Return the current direct children of the process; empty if it has ended."""
    return _offspring(identity, recursive=False)


def _offspring(identity: Identity, *, recursive: bool) -> list[Identity]:
    import psutil

    try:
        found = psutil.Process(identity.pid).children(recursive=recursive)
    except psutil.Error:
        return []
    if not is_alive(identity):
        return []
    return [known for child in found if (known := identify(child.pid)) is not None]


def members_of_group(pgid: int) -> list[Identity]:
    """Return the living members of a process group."""
    import psutil

    found: list[Identity] = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == pgid and (known := identify(pid)) is not None:
                found.append(known)
    return found


def inhabitants(folder: Path) -> list[Identity]:
    """Return the processes whose working directory is ``folder``, for when a state file was lost."""
    import psutil

    wanted = os.path.realpath(folder)
    return [
        known
        for pid in psutil.pids()
        if pid != os.getpid() and cwd_of(pid) == wanted and (known := identify(pid)) is not None
    ]


def has_open(identity: Identity, file: Path) -> bool:
    """Return whether a process has ``file`` open; False if that cannot be found out."""
    import psutil

    wanted = os.path.realpath(file)
    try:
        return any(one.path == wanted for one in psutil.Process(identity.pid).open_files())
    except (psutil.Error, OSError):
        return False


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when ``pid`` ends; None where the system has none."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        descriptor: int = opener(pid)
    except OSError:
        return None
    return descriptor


async def _wait_by_polling(identity: Identity) -> None:
    """Wait as on a pidfd, portably."""
    import asyncio

    while is_alive(identity):  # noqa: ASYNC110 - this system has nothing to wait on
        await asyncio.sleep(_POLL_S)


async def wait_ended(identity: Identity) -> None:
    """Return as soon as the process has ended, whether we started or adopted it; without a deadline."""
    import asyncio

    descriptor = open_pidfd(identity.pid)
    if descriptor is None:
        await _wait_by_polling(identity)
        return
    try:
        # The descriptor refers to the process that has the pid now; if that is not our process, ours has ended.
        if not is_alive(identity):
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def reap(identity: Identity) -> None:
    """Collect a child's exit status if we inherited it from its dead parent (as process 1 of a container)."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(identity.pid, os.WNOHANG)


class Listener(Struct, frozen=True):
    """The process that holds a TCP port, without its arguments: those may contain a secret."""

    pid: int | None
    name: str
    user: str
    cwd: str | None

    def describe(self) -> str:
        """Return a short phrase for a message."""
        if self.pid is None:
            return "a process of another user"
        where = f" in {self.cwd}" if self.cwd else ""
        return f"{self.name} (pid {self.pid}, user {self.user}{where})"


def _describe_holder(process: psutil.Process) -> Listener:
    import psutil

    name, user = "unknown", "unknown"
    with contextlib.suppress(psutil.Error, KeyError):
        name = process.name()
        user = process.username()
    return Listener(process.pid, name, user, cwd_of(process.pid) or None)


def find_listener(port: int) -> Listener | None:
    """Return the process that listens on a TCP port; None if none does. One that we may not inspect has no pid."""
    import psutil

    try:
        sockets = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return _find_listener_process_by_process(port)
    hidden: Listener | None = None
    for one in sockets:
        if one.status != psutil.CONN_LISTEN or not one.laddr or one.laddr.port != port:
            continue
        if one.pid is None:
            hidden = Listener(None, "unknown", "unknown", None)
            continue
        with contextlib.suppress(psutil.Error):
            return _describe_holder(psutil.Process(one.pid))
    return hidden


def _find_listener_process_by_process(port: int) -> Listener | None:
    """Do the same as ``find_listener`` where only root may read the whole table (macOS): inspect our own processes."""
    import psutil

    for process in psutil.process_iter():
        if _process_listens(process.pid, port):
            return _describe_holder(process)
    return None if port_is_free(port) else Listener(None, "unknown", "unknown", None)


def _process_listens(pid: int, port: int) -> bool:
    import psutil

    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in sockets)


def any_named(*names: str) -> bool:
    """Return whether a process of one of these names runs on this machine, as far as this user sees."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() in names:
                return True
    return False


def listens(identity: Identity, port: int) -> bool:
    """Return whether exactly that process holds the TCP port, in whatever network it is."""
    held = _ports_from_proc(identity.pid) if _HAS_PROC else None
    holds = _process_listens(identity.pid, port) if held is None else port in held
    return holds and is_alive(identity)


def listening_ports(identity: Identity) -> set[int]:
    """Return the TCP ports that the process holds, in whatever network it is; empty where that cannot be found out."""
    held = _ports_from_proc(identity.pid) if _HAS_PROC else None
    return held or set()


def _ports_from_proc(pid: int) -> set[int] | None:
    """Return the TCP ports that a process listens on, by the table of its own network; None if we may not read it."""
    inodes: set[str] = set()
    try:
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                inodes.add(str(one.readlink()).removeprefix("socket:[").removesuffix("]"))
        tables = [_table(pid, name) for name in ("tcp", "tcp6")]
    except FileNotFoundError:
        return set()  # it has ended
    except OSError:
        return None
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING and row[9] in inodes}


def _table(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/net/{name}").read_text()
    except FileNotFoundError:
        return ""  # without IPv6, there is no such table
