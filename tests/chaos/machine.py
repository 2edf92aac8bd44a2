"""What chaos needs from the machine: a small disk, a resolver, an adjustable clock, other processes' ports.

Needs Linux, and root for disk and resolver.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IS_ROOT = os.geteuid() == 0
DISK_SIZE = "256m"
DNS_TIMEOUT_S = 0.2
NO_NAME = 3
PIDFD_GETFD = 438
"""The system call's number, the same on every architecture (Linux 5.6)."""
FIRST_PORT, LAST_PORT = 18_000, 29_000
"""Below the system's ports for outgoing connections: such a connection could take a gateway's port."""


def take_port(taken: set[int]) -> int:
    """Return and reserve a free port that no other world of this run has; a parallel run finds different ones."""
    ports = range(FIRST_PORT, LAST_PORT)
    for port in secrets.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                with contextlib.suppress(OSError):
                    probe.close()
                    taken.add(port)
                    return port
    raise RuntimeError("no port is free")


# Disk.


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system on ``folder``; without root, do nothing."""
    if not IS_ROOT:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=0700", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        # Lazily: a process that still uses it must not prevent the next world from starting.
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill_disk(folder: Path) -> Path:
    """Write until nothing more fits, and return the file to remove."""
    file = folder / "filling"
    block = bytes(1 << 20)
    with file.open("wb", buffering=0) as filling:
        for size in (len(block), 4096, 1):
            with contextlib.suppress(OSError):
                while filling.write(block[:size]):
                    pass
    return file


# Names.


class Resolver:
    """A DNS server on a separate loopback address: every name resolves to 127.0.0.1, unless the server is ``gone``."""

    def __init__(self, lane: int) -> None:
        self.address = f"127.77.{lane % 250}.{1 + lane // 250}"
        self.gone = False
        self.denied = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.address, 53))
        self._socket.settimeout(DNS_TIMEOUT_S)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="chaos-resolver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def prefix(self, folder: Path) -> list[str]:
        """Return the prefix with which only a command and its children use this server."""
        file = folder / "resolv.conf"
        file.write_text(f"nameserver {self.address}\noptions timeout:1 attempts:1\n")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(file)]

    def _serve(self) -> None:
        while not self._ending.is_set():
            try:
                query, client = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self.denied += self.gone
            if len(query) > 12:
                self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(0, 12) + 1
        (kind,) = struct.unpack("!H", query[end : end + 2])
        answers = int(kind == 1 and not self.gone)
        flags = 0x8580 | (NO_NAME if self.gone else 0)
        head = query[:2] + struct.pack("!HHHHH", flags, 1, answers, 0, 0) + query[12 : end + 4]
        address = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton("127.0.0.1")
        return head + address * answers


# Time.

CLOCK = """\
import time as _time

_now, _now_ns, _file = _time.time, _time.time_ns, {file!r}


def _ahead_s():
    try:
        with open(_file) as said:
            return float(said.read())
    except (OSError, ValueError):
        return 0.0


_time.time = lambda: _now() + _ahead_s()
_time.time_ns = lambda: _now_ns() + int(_ahead_s() * 1e9)
"""

TRUSTED_NAME = """\
import gwctl.setting_values as _values

_is_loopback = _values.is_loopback
_values.is_loopback = lambda netloc: netloc.partition(":")[0] == {name!r} or _is_loopback(netloc)
"""


@dataclass(frozen=True)
class Clock:
    """An interpreter whose wall clock can be set ahead without its monotonic clock, as on a sleeping machine."""

    python: Path
    file: Path

    @classmethod
    def make(cls, folder: Path) -> Clock:
        """Create the interpreter in ``folder``; it has the same packages as this one."""
        home = folder / "python"
        venv.create(home, symlinks=True, with_pip=False)
        scheme = {"base": str(home), "platbase": str(home)}
        packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
        file = folder / "ahead"
        (packages / "chaos_clock.py").write_text(CLOCK.format(file=str(file)))
        seen = [str(Path(__file__).resolve().parents[2]), *(path for path in sys.path if path.endswith("-packages"))]
        (packages / "chaos.pth").write_text("\n".join([*seen, "import chaos_clock", ""]))
        return cls(home / "bin" / "python", file)

    def trust(self, name: str) -> None:
        """Let gwctl take ``name`` for this machine: for localhost, which it accepts, nobody asks a resolver."""
        packages = next(self.python.parent.parent.glob("lib/python*/site-packages"))
        (packages / "chaos_names.py").write_text(TRUSTED_NAME.format(name=name))
        (packages / "chaos_names.pth").write_text("import chaos_names\n")

    @property
    def ahead_s(self) -> float:
        """How far the clock is ahead of the true one."""
        return float(self.file.read_text()) if self.file.exists() else 0.0

    def put_ahead(self, by_s: float) -> None:
        """Set it further ahead."""
        replacement = self.file.with_suffix(".new")
        replacement.write_text(str(self.ahead_s + by_s))
        replacement.replace(self.file)


# Processes.


def state_of(pid: int) -> str:
    """Return the letter of the kernel's state, empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def is_alive(pid: int) -> bool:
    """Say whether a process runs: a zombie does not."""
    return state_of(pid) not in {"", "Z", "X", "x"}


def cwd_of(pid: int) -> str:
    """Return a process's working directory, even if it was removed; empty if it is not visible."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def open_files(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def signal_within(folder: Path, pid: int, number: signal.Signals) -> None:
    """Signal a process that works below ``folder``; leave a reused pid alone."""
    if Path(cwd_of(pid)).is_relative_to(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def close_listener(pid: int, port: int) -> None:
    """Close the socket on which another process listens at ``port``, and leave the process alive.

    ``pidfd_getfd`` gets a copy of the socket and ``shutdown`` ends it for all who have it.
    """
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        if (fields := line.split())[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(link.readlink()) not in {f"socket:[{inode}]" for inode in inodes}:
                    continue
            copied = libc.syscall(PIDFD_GETFD, pidfd, int(link.name), 0)
            if copied < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            with socket.socket(fileno=copied) as listener:
                listener.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(pidfd)
