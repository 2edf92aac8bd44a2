"""Start processes, for long or to their end: their environment, their logs, the memory that they give back."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from gwctl.errors import DiskTrouble, TimedOut
from gwctl.process.identity import Identity, identify, wait_ended
from gwctl.signals import postponed, woken

if TYPE_CHECKING:
    import asyncio

_PASSED_ON = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP", "JAVA_HOME",
        "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "LD_LIBRARY_PATH", "PLAYWRIGHT_BROWSERS_PATH", "NODE_COMPILE_CACHE",
    }
)  # fmt: skip
_PASSED_ON_PREFIXES = ("LC_", "XDG_")
_NEVER_PASSED_ON_PREFIXES = ("GWCTL_PASSWORD", "GWCTL_TOTP", "GWCTL_NOTIFY")
_A_SERVICE_MANAGERS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
"""What names the way out to a program of ours that speaks to somebody else than the gateway."""
KILLED_WITHIN_S = 5.0
"""How long a killed command is waited for."""


@dataclass(frozen=True, slots=True)
class CompletedShort:
    """What a short command said."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class CompletedFed:
    """What a short command said that was given something to read; stdout as it is."""

    exit_code: int
    stdout: bytes
    stderr: str


def child_environment(extra: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may know: the harmless part of ``base`` and ``extra``, never a secret of gwctl (law 8)."""
    passed = {name: value for name, value in base.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)}
    passed.update(extra)
    return {name: value for name, value in passed.items() if not name.startswith(_NEVER_PASSED_ON_PREFIXES)}


def command_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return what a program of the user's own may know: all of the user's environment but gwctl's secrets (law 8)."""
    return {
        name: value
        for name, value in base.items()
        if not name.startswith(_NEVER_PASSED_ON_PREFIXES) and name not in _A_SERVICE_MANAGERS
    }


@dataclass(slots=True)
class Spawned:
    """A child of ours in its own session and process group; ``pgid`` equals its pid."""

    identity: Identity
    popen: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.popen.pid

    @property
    def pgid(self) -> int:
        """Its process group, which it leads."""
        return self.popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to it, if one was asked for."""
        return self.popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe from it, if one was asked for."""
        return self.popen.stdout

    def poll(self) -> int | None:
        """Return its exit code once it has ended (negative: the signal), else None; collects the zombie."""
        return self.popen.poll()

    async def wait_ended(self) -> int:
        """Return its exit code as soon as it has ended; no deadline of its own."""
        import asyncio

        while (code := self.popen.poll()) is None:
            await wait_ended(self.identity)
            # Between "is a zombie" and "can be collected" lies at most the kernel's own moment.
            if self.popen.poll() is None:
                await asyncio.sleep(0.001)
        return code

    async def stdout_reader(self) -> asyncio.StreamReader:
        """Return an asyncio reader on its stdout; it was spawned with ``pipes``. Call it once."""
        import asyncio

        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self.popen.stdout)
        return reader

    def let_go(self) -> None:
        """Leave it running when we end: whoever comes next adopts it (law 4). ``poll`` says nothing after this."""
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
    """Start ``argv`` in a session and process group of its own, its output appended to ``log_file`` (0600).

    The descriptor is the child's own and opened for appending, so that it outlives us and rotation by truncation works.
    Without ``log_file`` the output is dropped. With ``pipes`` its stdin and stdout are pipes to us. Raises DiskTrouble
    if the log or the program cannot be opened.
    """
    target = os.devnull if log_file is None else str(log_file)
    try:
        log = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DiskTrouble(f"cannot write {target}: {error.strerror}", hint="check its owner and the space") from error
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
        raise DiskTrouble(f"cannot start {argv[0]}: {error.strerror}", hint=f"check that {argv[0]} is there") from error
    finally:
        os.close(log)
    identity = identify(popen.pid) or Identity(popen.pid, 0.0, os.path.realpath(cwd))
    return Spawned(identity, popen)


def run_short(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> CompletedShort:
    """Run a short command to its end; raises OSError if it cannot be started and TimedOut, with all of it killed."""
    done = run_fed(argv, fed=b"", timeout_s=timeout_s, env=env)
    return CompletedShort(done.exit_code, done.stdout.decode(errors="replace"), done.stderr)


def run_fed(argv: Sequence[str], *, fed: bytes, timeout_s: float, env: Mapping[str, str] | None = None) -> CompletedFed:
    """Do what ``run_short`` does with ``fed`` on the command's stdin, and return its stdout byte for byte."""
    child = None
    try:
        with postponed():
            child = _begin(argv, env, reads=bool(fed))
        with woken(partial(os.killpg, child.pgid, signal.SIGKILL)):
            stdout, stderr = child.popen.communicate(fed or None, timeout=timeout_s)
    except BaseException as error:
        # Also for Ctrl-C, which its own session does not get.
        if child is not None:
            _abandon(child)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.popen.wait(KILLED_WITHIN_S)
            _collect(child)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimedOut(f"{argv[0]} did not answer within {timeout_s:g} s") from None
        raise
    return CompletedFed(_collect(child), stdout, stderr.decode(errors="replace"))


async def run_watched(
    argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], told: bytes | None = None
) -> CompletedShort:
    """Run a command to its end without holding up the loop; cancelled or late, all of it is killed.

    ``told`` is what it reads on stdin. Raises OSError if it cannot be started and TimedOut.
    """
    import asyncio

    # asyncio's own subprocess ends the command alone if it is cancelled while it starts, and a wait for its end is one
    # for the end of its pipes, which whatever left the command's group may hold for ever.
    child = None
    try:
        with postponed():
            child = _begin(argv, env, reads=told is not None)
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            # It is not collected yet: as long as it is not, its group's number is nobody else's.
            group.create_task(wait_ended(child.identity))
            stdout, stderr = group.create_task(_read(child.stdout)), group.create_task(_read(child.popen.stderr))
            if told is not None:
                group.create_task(_write(child.stdin, told))
    except TimeoutError:
        raise TimedOut(f"{argv[0]} did not answer within {timeout_s:g} s") from None
    finally:
        if child is not None:
            _abandon(child)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILLED_WITHIN_S):
                    await child.wait_ended()
            exit_code = _collect(child)
    return CompletedShort(exit_code, *(said.result().decode(errors="replace") for said in (stdout, stderr)))


def _begin(argv: Sequence[str], env: Mapping[str, str] | None, *, reads: bool) -> Spawned:
    """Start a command in a session of its own, its output in pipes; without ``reads`` there is nothing on its stdin."""
    popen = subprocess.Popen(
        list(argv),
        env=None if env is None else dict(env),
        stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return Spawned(identify(popen.pid) or Identity(popen.pid, 0.0, ""), popen)


def _abandon(child: Spawned) -> None:
    """Kill it and whatever it has started in its group, and close our ends of its pipes; a second Ctrl-C waits for it.

    What left its group may hold the other ends for ever, so that nobody waits for those.
    """
    with postponed():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pgid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout, child.popen.stderr):
            if pipe is not None:
                pipe.close()


def _collect(child: Spawned) -> int:
    """Return the exit code; a program that has made itself another user's (sudo) may outlive its end, and is let go."""
    code = child.poll()
    if code is None:
        code = child.popen.returncode = -signal.SIGKILL
    return code


async def _read(pipe: IO[bytes] | None) -> bytes:
    """Return all that comes out of a pipe, and close it."""
    import asyncio

    reader = asyncio.StreamReader()
    connect = asyncio.get_running_loop().connect_read_pipe
    transport, _ = await connect(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        return await reader.read()
    finally:
        transport.close()


async def _write(pipe: IO[bytes] | None, told: bytes) -> None:
    """Write it all into a pipe and close that; whoever reads it may have enough before."""
    import asyncio

    class Closed(asyncio.BaseProtocol):
        def __init__(self) -> None:
            self.event = asyncio.Event()

        def connection_lost(self, _exc: Exception | None) -> None:
            self.event.set()

    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Closed, pipe)
    try:
        transport.write(told)
        transport.write_eof()
        await protocol.event.wait()
    finally:
        if not protocol.event.is_set():
            transport.abort()


def rotate_by_truncation(log_file: Path, *, max_bytes: int, keep: int) -> bool:
    """Copy a log that grew over ``max_bytes`` to ``.1`` (older ones move up, ``keep`` stay) and empty it.

    The writer keeps its descriptor; what it writes during the copy may be lost. Returns whether it rotated.
    """
    try:
        if log_file.stat().st_size <= max_bytes:
            return False
        numbered = [log_file.with_name(f"{log_file.name}.{number}") for number in range(1, keep + 1)]
        for older, newer in zip(reversed(numbered), [*reversed(numbered[:-1]), None], strict=True):
            if newer is not None and newer.exists():
                newer.replace(older)
        if numbered:
            shutil.copyfile(log_file, numbered[0])
            numbered[0].chmod(0o600)
        os.truncate(log_file, 0)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DiskTrouble(f"cannot rotate {log_file}: {error.strerror}", hint="check the free space") from error
    return True


FRUGAL_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""For glibc: one arena, and large blocks (a password's scrypt takes 16 MB) returned when they are freed."""


def give_back_memory() -> None:
    """Return what is free to the system, where its C library can (glibc); elsewhere do nothing more than collect."""
    gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


_SIGNALS_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def run_through(argv: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Run ``argv`` with our stdin, stdout and stderr and return its exit code, 128 + N if signal N ended it.

    TERM, HUP and INT that reach us are passed on and waited for; a Ctrl-C of our terminal reaches the command by the
    terminal itself, and twice would be once too often. What we ignore, as under nohup, the command ignores, too. Raises
    FileNotFoundError or PermissionError if it cannot be started.
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
        with subprocess.Popen(list(argv), env=dict(env)) as popen:
            started.append(popen)
            for number in early:
                popen.send_signal(number)
            code = popen.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _has_terminal() -> bool:
    """Say whether we stand in the foreground of a terminal, whose Ctrl-C goes to all who stand there."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
