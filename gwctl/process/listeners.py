"""Find which process holds a TCP port, and whether the gateway could have it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gwctl.free_ports import port_is_free
from gwctl.process.identity import Identity, cwd_of, is_alive

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True, slots=True)
class Listener:
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


def listens(identity: Identity, port: int) -> bool:
    """Return whether exactly that process holds the TCP port."""
    return _process_listens(identity.pid, port) and is_alive(identity)
