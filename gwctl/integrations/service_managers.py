"""The programs that a service needs: systemctl, crontab and this gwctl; and its messages to systemd while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from gwctl import process
from gwctl.errors import ServiceManagerFailed, TimedOut, Unavailable
from gwctl.system_packages import apt_install

CALL_TIMEOUT_S = 30.0
_RUNNING = frozenset({"initializing", "starting", "running", "degraded", "maintenance", "stopping"})
_CODEC = ("utf-8", "surrogateescape")
"""A crontab may hold bytes that are not UTF-8; they must not change."""
_TO_PASS, _TO_READ = 0o001, 0o005


class Systemctl(Struct, frozen=True):
    """The program systemctl, for the user's manager or the system's."""

    environ: Mapping[str, str]
    system: bool = False

    @property
    def command(self) -> str:
        """The start of a command line to type."""
        return "systemctl" if self.system else "systemctl --user"

    def is_running(self) -> bool:
        """Say whether a manager answers; in a container, a chroot or `su -` there often is none."""
        try:
            return self._run("is-system-running", timeout_s=CALL_TIMEOUT_S).text.strip() in _RUNNING
        except (OSError, TimedOut):
            return False

    def is_active(self, unit: str) -> bool:
        """Say whether a unit is running."""
        try:
            return self._run("is-active", "--quiet", unit, timeout_s=CALL_TIMEOUT_S).exit_code == 0
        except OSError:
            return False

    def call(self, *rest: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Run a command; raise ServiceManagerFailed with systemctl's message."""
        try:
            done = self._run(*rest, timeout_s=timeout_s)
        except OSError as error:
            raise ServiceManagerFailed(f"cannot start systemctl: {error.strerror}") from None
        if done.exit_code != 0:
            lines = [line for line in done.stderr.splitlines() if not line.startswith("Created symlink")]
            said = " ".join(" ".join(lines).split()) or f"exit code {done.exit_code}"
            raise ServiceManagerFailed(f"{self.command} {' '.join(rest)}: {said}", hint=self._look(rest[-1]))

    def _run(self, *rest: str, timeout_s: float) -> process.Completed:
        env = process.environment_of(process.Child.OURS, self.environ)
        return process.run([*self.command.split(), *rest], timeout_s=timeout_s, env=env)

    def _look(self, unit: str) -> str:
        journal = "journalctl" if self.system else "journalctl --user"
        return f"{journal} -u {unit} -n 20" if unit.endswith(".service") else f"{self.command} status"


def _run_crontab(option: str, environ: Mapping[str, str], fed: bytes = b"") -> process.Completed:
    try:
        env = process.environment_of(process.Child.OURS, environ)
        return process.run(["crontab", option], fed=fed, timeout_s=CALL_TIMEOUT_S, env=env)
    except FileNotFoundError:
        raise Unavailable("no crontab program found", hint=apt_install("cron") or "install cron") from None
    except OSError as error:
        raise ServiceManagerFailed(f"cannot start crontab: {error.strerror}") from None


def read_crontab(environ: Mapping[str, str]) -> str:
    """Return the user's crontab, empty if there is none; raise ServiceManagerFailed if it cannot be read."""
    done = _run_crontab("-l", environ)
    if done.exit_code == 0:
        return done.stdout.decode(*_CODEC)
    if "no crontab" in done.stderr.lower():
        return ""
    raise ServiceManagerFailed(f"crontab -l: {' '.join(done.stderr.split())}", hint="crontab -l")


def write_crontab(crontab: str, environ: Mapping[str, str]) -> None:
    """Replace the user's crontab, or remove an empty one; if it raises ServiceManagerFailed, the old one stays."""
    done = _run_crontab("-", environ, crontab.encode(*_CODEC)) if crontab else _run_crontab("-r", environ)
    if done.exit_code != 0:
        raise ServiceManagerFailed(f"crontab: {' '.join(done.stderr.split())}", hint="crontab -e")


def own_program() -> tuple[str, ...]:
    """Return the command that starts this gwctl: its script, otherwise its interpreter and module."""
    # As it was called: a link by pipx or a package manager lives longer than its target.
    for program in (Path(sys.argv[0]).absolute(), Path(sys.executable).with_name("gwctl")):
        if program.name == "gwctl" and program.is_file() and os.access(program, os.X_OK):
            return (str(program),)
    return (sys.executable, "-m", "gwctl")


def own_paths() -> list[Path]:
    """Return what running this gwctl reads: the script, its environment, and that environment's Python."""
    program = Path(own_program()[0])
    return [program, program.resolve(), Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve()]


def closed_to_others() -> Path | None:
    """Return the first folder or file on the way to this gwctl that another account cannot enter or read."""
    for path in own_paths():
        for one in [*reversed(path.parents), path]:
            needed = _TO_READ if one == path else _TO_PASS
            if one.stat().st_mode & needed != needed:
                return one
    return None


log = logging.getLogger("gwctl.supervisor")

_STATUS_CHARACTERS = 200


class ServiceManager:
    """The receiver of messages at ``NOTIFY_SOCKET``.

    READY means that the supervisor holds the profile and its loop runs, not that the session is ready: a maintenance
    night at IBKR must not fail a start. If the socket is gone or full, the message is lost and the loop goes on.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        # A leading @ stands for the zero byte of an abstract socket, which no variable can hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._has_begun = self._is_stopping = False

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> ServiceManager | None:
        """Return the receiver; None if there is none. A watchdog for another process is ignored."""
        address = variables.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        watchdog_s = None
        if variables.get("WATCHDOG_PID") in {None, str(os.getpid())}:
            with contextlib.suppress(KeyError, ValueError):
                watchdog_s = int(variables["WATCHDOG_USEC"]) / 1e6
        return cls(address, watchdog_s)

    def witness(self, entry: dict[str, Any]) -> None:
        """Pass a journal entry on, if it matters to the service manager."""
        match entry:
            case {"kind": "phase", "phase": phase, "reason": reason}:
                self._say_phase(str(phase), str(reason))
            case {"kind": "end"}:
                self.say_stopping()

    def _say_phase(self, phase: str, reason: str) -> None:
        status = f"STATUS={' '.join(f'{phase}: {reason}'.split())[:_STATUS_CHARACTERS]}"
        if phase == "stopping":
            self.say_stopping(status)
        elif self._has_begun:
            self._send(status)
        else:
            # The loop's first round reports the first phase. READY goes with each message until one has arrived.
            self._has_begun = self._send(f"READY=1\n{status}")

    def say_stopping(self, *more: str) -> None:
        """Report once that the supervisor is stopping."""
        words = [*([] if self._is_stopping else ["STOPPING=1"]), *more]
        if words:
            self._is_stopping = self._send("\n".join(words))

    async def keep_watch(self, is_live: Callable[[], bool]) -> None:
        """Ping the watchdog twice in its time while the loop runs; without a watchdog, return at once."""
        while self._watchdog_s:
            if is_live():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, text: str) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("could not notify the service manager: %s", error.strerror)
            return False
        return True
