"""systemd: units that run gwctl, and notifications between a running service and systemd."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwctl import process
from gwctl.errors import FINAL_EXIT_CODES, ServiceManagerFailed, TimedOut
from gwctl.integrations.service_file import Wanted, sealed

SYSTEM_UNITS = Path("/etc/systemd/system")
DOCUMENTATION = "https://github.com/gwctl/gwctl/blob/main/docs/how-to/systemd.md"
CALL_TIMEOUT_S = 30.0
START_TIMEOUT_S = 600
"""How long a start may take: the first one downloads the release."""
STOP_TIMEOUT_S = 120
"""How long a stop may take: `gwctl down` needs less, even if something hangs."""
WATCHDOG_S = 60
RESTART_S = 15
ENDED_BY_SIGNAL = (130, 143)
_RUNNING = frozenset({"initializing", "starting", "running", "degraded", "maintenance", "stopping"})
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")

_ANYWHERE = """\
# Needs no privileges. MemoryDenyWriteExecute is left out: Java and Chromium generate code while they run.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
"""
_SYSTEM_ONLY = """\
# Chromium's own sandbox needs these kinds of namespaces, chroot and seccomp. Left out: ProtectProc, which would hide
# the browser's processes from gwctl, and PrivateUsers, in which Chromium could not create its namespaces.
RestrictNamespaces=user pid net
SystemCallFilter=@system-service chroot seccomp
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=
AmbientCapabilities=
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""The folders that ``ProtectHome=yes`` would make empty."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a system unit runs as."""

    name: str
    folder: Path
    """Where the account's gwctl keeps all its files."""
    in_homes: bool = False
    """Whether anything that it uses is inside one of ``HOMES``."""


def unit_name(profile: str) -> str:
    """Return the name of a profile's unit."""
    return f"gwctl-{profile}.service"


def user_units(environ: Mapping[str, str]) -> Path:
    """Return the folder of a person's own units."""
    config = environ.get("XDG_CONFIG_HOME") or ""
    return (Path(config) if config.startswith("/") else Path(environ["HOME"]) / ".config") / "systemd" / "user"


def _quoted(word: str) -> str:
    """Quote a word for a unit file, except the dollar sign, which only means something in command lines."""
    word = word.replace("%", "%%")
    return word if _PLAIN.fullmatch(word) else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _command(argv: Sequence[str]) -> str:
    # The first word is the program; systemd does not expand variables in it.
    return " ".join([_quoted(argv[0]), *(_quoted(word.replace("$", "$$")) for word in argv[1:])])


def render(wanted: Wanted, account: Account | None = None) -> str:
    """Return the unit: a person's own, or with ``account`` a system unit."""
    up = _command(wanted.argv("up", "--foreground", *wanted.sandbox_words))
    lines = [
        "# Made by `gwctl service install --systemd`. Extend it with a drop-in (systemctl edit); an install does not",
        "# overwrite this file after you edit it.",
        f"# gwctl-options: {wanted.options.to_text()}",
        "# gwctl-seal: -",
        "",
        "[Unit]",
        f"Description=gwctl session of profile {wanted.profile} at Interactive Brokers",
        f"Documentation={DOCUMENTATION}",
        *(() if account is None else ("Wants=network-online.target", "After=network-online.target")),
        "# Restart without limit: final errors exit with a code that prevents a restart.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={up}",
        "# Logs out first and always reaches stopped. If the supervisor dies, KillMode=process leaves the gateway",
        "# to the next one, which needs no login.",
        f"ExecStop={_command(wanted.argv('down'))}",
        "KillMode=process",
        f"TimeoutStartSec={START_TIMEOUT_S}",
        f"TimeoutStopSec={STOP_TIMEOUT_S}",
        "Restart=on-failure",
        f"RestartSec={RESTART_S}",
        f"RestartPreventExitStatus={' '.join(map(str, FINAL_EXIT_CODES))}",
        f"SuccessExitStatus={' '.join(map(str, ENDED_BY_SIGNAL))}",
        f"WatchdogSec={WATCHDOG_S}",
        "WatchdogSignal=SIGKILL",
        "# The supervisor handles a gateway or a browser that ran out of memory.",
        "OOMPolicy=continue",
        "LimitCORE=0",
        "UMask=0077",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(wanted.variables.items())),
        *(
            f"LoadCredential={name}:{file.replace('%', '%%')}"
            for name, file in sorted(wanted.options.secret_files().items())
        ),
        *(() if account is None else _as_account(account)),
        "",
        _ANYWHERE.rstrip(),
        *(() if account is None else (_SYSTEM_ONLY.rstrip(),)),
        "",
        "[Install]",
        f"WantedBy={'default.target' if account is None else 'multi-user.target'}",
    ]
    return sealed("\n".join(lines) + "\n")


def _as_account(account: Account) -> tuple[str, ...]:
    return (
        f"User={account.name}",
        f"ProtectHome={'read-only' if account.in_homes else 'yes'}",
        f"ReadWritePaths={_quoted(str(account.folder))}",
    )


@dataclass(frozen=True, slots=True)
class Systemctl:
    """The systemctl program, for a person's manager or the system's."""

    environ: Mapping[str, str]
    system: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """What a person types before the rest."""
        return ("systemctl",) if self.system else ("systemctl", "--user")

    def is_running(self) -> bool:
        """Return whether a manager answers; in a container, a chroot or after `su -` there often is none."""
        try:
            done = self._run("is-system-running", timeout_s=CALL_TIMEOUT_S)
        except (OSError, TimedOut):
            return False
        return done.text.strip() in _RUNNING

    def call(self, *rest: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Run a systemctl command; raise ServiceManagerFailed with its output."""
        try:
            done = self._run(*rest, timeout_s=timeout_s)
        except OSError as error:
            raise ServiceManagerFailed(f"cannot start systemctl: {error.strerror}") from None
        if done.exit_code != 0:
            lines = [line for line in done.stderr.splitlines() if not line.startswith("Created symlink")]
            said = " ".join(" ".join(lines).split()) or f"exit code {done.exit_code}"
            raise ServiceManagerFailed(f"{' '.join((*self.words, *rest))}: {said}", hint=self._look(rest[-1]))

    def is_active(self, unit: str) -> bool:
        """Return whether a unit is running."""
        try:
            return self._run("is-active", "--quiet", unit, timeout_s=CALL_TIMEOUT_S).exit_code == 0
        except OSError:
            return False

    def _run(self, *rest: str, timeout_s: float) -> process.Completed:
        env = process.environment_of(process.Child.OURS, self.environ)
        return process.run([*self.words, *rest], timeout_s=timeout_s, env=env)

    def _look(self, unit: str) -> str:
        journal = "journalctl" if self.system else "journalctl --user"
        return f"{journal} -u {unit} -n 20" if unit.endswith(".service") else " ".join((*self.words, "status"))


log = logging.getLogger("gwctl.supervisor")

_STATUS_CHARACTERS = 200


class ServiceManager:
    """The process that listens on ``NOTIFY_SOCKET``.

    READY means that the supervisor holds the profile and its loop is running, not that the session is ready: a night of
    maintenance at IBKR must not fail a start. A closed or full socket loses the message but never stops the loop.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        # A leading @ stands for the zero byte of an abstract socket, which a variable cannot contain.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._has_begun = self._is_stopping = False

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> ServiceManager | None:
        """Return the manager to notify, None if there is none. A watchdog for another process is ignored."""
        address = variables.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        watchdog_s = None
        if variables.get("WATCHDOG_PID") in {None, str(os.getpid())}:
            with contextlib.suppress(KeyError, ValueError):
                watchdog_s = int(variables["WATCHDOG_USEC"]) / 1e6
        return cls(address, watchdog_s)

    def witness(self, entry: dict[str, Any]) -> None:
        """Pass on what a journal entry means for the service manager."""
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
            # The first phase comes from the first turn of the loop. Until READY has arrived, each message repeats it.
            self._has_begun = self._send(f"READY=1\n{status}")

    def say_stopping(self, *more: str) -> None:
        """Report once that the end has begun."""
        words = [*([] if self._is_stopping else ["STOPPING=1"]), *more]
        if words:
            self._is_stopping = self._send("\n".join(words))

    async def keep_watch(self, is_live: Callable[[], bool]) -> None:
        """Ping the watchdog at half its interval while the loop runs; without a watchdog, return at once."""
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
