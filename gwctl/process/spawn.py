"""Start long-running and short-lived processes: their environments, their logs, and the memory they release."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from msgspec.structs import replace

from gwctl import core_dumps
from gwctl.environment import SECRET_PREFIXES, SERVICE_MANAGER_VARIABLES
from gwctl.errors import DiskTrouble, TimedOut
from gwctl.ownership import open_ours, read_ours
from gwctl.process.identity import Identity, identify, wait_ended
from gwctl.process.pipes import feed_and_read, read_to_end
from gwctl.signals import postponed, woken
from gwctl.state_file import write_bytes

if TYPE_CHECKING:
    import asyncio

KILLED_WITHIN_S = 5.0
"""How long to wait for a killed command."""
FRUGAL_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""For glibc: one arena, and large blocks (a password's scrypt takes 16 MB) go back to the system when freed."""
_MINIMUM = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP", "JAVA_HOME",
        "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "LD_LIBRARY_PATH", "PLAYWRIGHT_BROWSERS_PATH", "NODE_COMPILE_CACHE",
    }
)  # fmt: skip
_MINIMUM_PREFIXES = ("LC_", "XDG_")
_ONLINE = frozenset(
    {
        "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
        "NODE_EXTRA_CA_CERTS", "PLAYWRIGHT_DOWNLOAD_HOST",
    }
)  # fmt: skip
_KEYRING_PREFIX = "PYTHON_KEYRING_"
"""The library reads from its own process's environment which keyring to use."""


class Child(Enum):
    """What a child of gwctl is, which decides what it inherits (``environment_of``)."""

    OURS = auto()
    """Our program, or the system's for us: the harmless minimum."""
    ONLINE = auto()
    """Like ``OURS``, for one that connects to the internet: the proxies as well."""
    SUPERVISOR = auto()
    """Like ``OURS``, for one that runs for months and reads the keyring."""
    HOOK = auto()
    """A program that the user's settings name: the user's environment without our secrets and their files' paths."""
    COMMAND = auto()
    """The command of `gwctl exec`: like ``HOOK``, and it may call gwctl and the service manager that started it."""


def environment_of(kind: Child, base: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: what its kind inherits from ``base``, and ``extra``; no secret (law 8)."""
    inherited = {name: value for name, value in base.items() if _inherits(kind, name)}
    malloc = FRUGAL_MALLOC if kind is Child.SUPERVISOR else {}
    given = {**inherited, **malloc, **(extra or {})}
    return {name: value for name, value in given.items() if not _is_secret(kind, name)}


def _inherits(kind: Child, name: str) -> bool:
    if kind in {Child.HOOK, Child.COMMAND}:
        return kind is Child.COMMAND or name not in SERVICE_MANAGER_VARIABLES
    return (
        name in _MINIMUM
        or name.startswith(_MINIMUM_PREFIXES)
        or (kind is Child.ONLINE and name in _ONLINE)
        or (kind is Child.SUPERVISOR and name.startswith(_KEYRING_PREFIX))
    )


def _is_secret(kind: Child, name: str) -> bool:
    """Return whether a variable may hold one of our secrets, or may lead a child to one that has no use for it."""
    return name.startswith(SECRET_PREFIXES) and not (kind is Child.COMMAND and name.endswith("_FILE"))


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a program that ran to its end."""

    exit_code: int
    stdout: bytes = field(repr=False)
    stderr: str = field(repr=False)

    @property
    def text(self) -> str:
        """Its stdout as text."""
        return self.stdout.decode(errors="replace")


@dataclass(slots=True)
class Spawned:
    """A child of ours in its own session and process group; ``pgid`` equals its pid."""

    identity: Identity
    popen: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """The child's pid."""
        return self.popen.pid

    @property
    def pgid(self) -> int:
        """The child's process group, which it leads."""
        return self.popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to the child, if one was requested."""
        return self.popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe from the child, if one was requested."""
        return self.popen.stdout

    def poll(self) -> int | None:
        """Return the exit code once the child has ended (negative: the signal), else None; collects the zombie."""
        return self.popen.poll()

    async def wait_ended(self) -> int:
        """Return the exit code as soon as the child has ended; without a deadline."""
        import asyncio

        while (code := self.popen.poll()) is None:
            await wait_ended(self.identity)
            # A zombie may not be collectable yet, but the kernel needs only a moment.
            if self.popen.poll() is None:
                await asyncio.sleep(0.001)
        return code

    async def stdout_reader(self) -> asyncio.StreamReader:
        """Return an asyncio reader on the child's stdout; requires ``pipes`` at the spawn. Call it once."""
        import asyncio

        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self.popen.stdout)
        return reader

    def let_go(self) -> None:
        """Leave the child running: the next supervisor adopts it (law 4). ``poll`` returns None after this."""
        if self.popen.returncode is None:
            self.popen.returncode = 0


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log_file: Path | None,
    pipes: bool = False,
) -> Spawned:
    """Start ``argv`` in a new session and process group and append its output to ``log_file`` (0600).

    The child owns the descriptor, opened for appending, so it outlives us and rotation by truncation works. Without
    ``log_file`` the output is dropped. With ``pipes`` the child's stdin and stdout are pipes to us. Raise DiskTrouble
    if the log or the program cannot be opened.
    """
    try:
        log = subprocess.DEVNULL if log_file is None else open_ours(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except OSError as error:
        raise DiskTrouble(
            f"cannot write {log_file}: {error.strerror}", hint="check its owner and the free space"
        ) from error
    try:
        popen = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
    except OSError as error:
        raise DiskTrouble(f"cannot start {argv[0]}: {error.strerror}", hint=f"check that {argv[0]} exists") from error
    finally:
        if log_file is not None:
            os.close(log)
    folder = os.path.realpath(cwd)
    identity = identify(popen.pid) or Identity(popen.pid, 0.0, folder)
    # A child that ends while it is looked at has no folder any more, and what it leaves is known by its folder.
    return Spawned(identity if identity.cwd else replace(identity, cwd=folder), popen)


def run(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], fed: bytes = b"") -> Completed:
    """Run a program to its end, with ``fed`` as its stdin.

    Raise OSError if it cannot start, and TimedOut after killing all of it.
    """
    child = None
    try:
        with postponed():
            child = _begin(argv, env, reads=bool(fed))
        with woken(partial(os.killpg, child.pgid, signal.SIGKILL)):
            stdout, stderr = feed_and_read(child.popen, fed, timeout_s)
    except BaseException as error:
        # Also for Ctrl-C, which does not reach the command's own session.
        if child is not None:
            _abandon(child)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.popen.wait(KILLED_WITHIN_S)
            _collect(child)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimedOut(f"{argv[0]} did not answer within {timeout_s:g} s") from None
        raise
    return Completed(_collect(child), stdout, stderr.decode(errors="replace"))


async def run_async(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], fed: bytes = b"") -> Completed:
    """Do the same as ``run`` without blocking the loop; kill all of the program also on cancellation."""
    import asyncio

    # asyncio's own subprocess kills only the command itself if it is cancelled during the start. Waiting for its end
    # also waits for the end of its pipes, which a process that left the command's group may hold open without end.
    child = None
    try:
        with postponed():
            child = _begin(argv, env, reads=bool(fed))
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            # Not collected yet: until then, no other process can get its group's number.
            group.create_task(wait_ended(child.identity))
            stdout, stderr = (group.create_task(read_to_end(one)) for one in (child.stdout, child.popen.stderr))
            if fed:
                group.create_task(_write(child.stdin, fed))
    except TimeoutError:
        raise TimedOut(f"{argv[0]} did not answer within {timeout_s:g} s") from None
    finally:
        if child is not None:
            _abandon(child)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILLED_WITHIN_S):
                    await child.wait_ended()
            exit_code = _collect(child)
    return Completed(exit_code, stdout.result(), stderr.result().decode(errors="replace"))


def _begin(argv: Sequence[str], env: Mapping[str, str], *, reads: bool) -> Spawned:
    """Start a command in a new session with its output in pipes; without ``reads`` its stdin is empty."""
    popen = subprocess.Popen(
        list(argv),
        env=dict(env),
        stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return Spawned(identify(popen.pid) or Identity(popen.pid, 0.0, ""), popen)


def _abandon(child: Spawned) -> None:
    """Kill the command and its process group, and close our ends of its pipes; a second Ctrl-C waits for this.

    A process that left the group may hold the other ends open without end, so we do not wait for them.
    """
    with postponed():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pgid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout, child.popen.stderr):
            if pipe is not None:
                pipe.close()


def _collect(child: Spawned) -> int:
    """Return the exit code; a program that changed to another user (sudo) may survive the kill and is abandoned."""
    code = child.poll()
    if code is None:
        code = child.popen.returncode = -signal.SIGKILL
    return code


async def _write(pipe: IO[bytes] | None, fed: bytes) -> None:
    """Write everything into a pipe and close it; the reader may stop reading earlier."""
    import asyncio

    class Closed(asyncio.BaseProtocol):
        def __init__(self) -> None:
            self.event = asyncio.Event()

        def connection_lost(self, _exc: Exception | None) -> None:
            self.event.set()

    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Closed, pipe)
    try:
        transport.write(fed)
        transport.write_eof()
        await protocol.event.wait()
    finally:
        if not protocol.event.is_set():
            transport.abort()


def rotate_by_truncation(log_file: Path, *, max_bytes: int, keep: int) -> bool:
    """Copy a log larger than ``max_bytes`` to ``.1``, shift older copies up, keep ``keep`` of them, and empty the log.

    The writer keeps its descriptor; what it writes during the copy may be lost. Return whether the log was rotated.
    """
    try:
        if log_file.stat().st_size <= max_bytes:
            return False
        numbered = [log_file.with_name(f"{log_file.name}.{number}") for number in range(1, keep + 1)]
        for older, newer in zip(reversed(numbered), [*reversed(numbered[:-1]), None], strict=True):
            if newer is not None and newer.exists():
                newer.replace(older)
        if numbered:
            write_bytes(numbered[0], read_ours(log_file))
        os.close(open_ours(log_file, os.O_WRONLY | os.O_TRUNC))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DiskTrouble(f"cannot rotate {log_file}: {error.strerror}", hint="check the free space") from error
    return True


def give_back_memory() -> None:
    """Return free memory to the system if its C library can (glibc); elsewhere only collect garbage."""
    gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


_SIGNALS_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def run_through(argv: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Run ``argv`` with our stdin, stdout and stderr and return its exit code, or 128 + N if signal N ended it.

    Pass TERM, HUP and INT on, except a Ctrl-C of our terminal, which the command gets directly. It ignores the signals
    that we ignore, as under nohup. Raise FileNotFoundError or PermissionError if it cannot start.
    """
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if not started:
            early.append(number)
        elif number != signal.SIGINT or not _has_terminal():
            started[0].send_signal(number)

    heard = [number for number in _SIGNALS_PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        with core_dumps.as_before():
            popen = subprocess.Popen(list(argv), env=dict(env))
        with popen:
            started.append(popen)
            for number in early:
                popen.send_signal(number)
            code = popen.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _has_terminal() -> bool:
    """Return whether we are in the foreground of a terminal, whose Ctrl-C goes to the whole foreground group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    except OSError:
        return False
