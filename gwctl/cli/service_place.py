"""The places for a profile's service: a unit file, lines in a crontab, a launch agent's file."""

from __future__ import annotations

import getpass
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from gwctl.cli.call import Call
from gwctl.errors import Configuration, ProfileHeld, Unavailable
from gwctl.integrations import cron, launchd, systemd
from gwctl.integrations.service_file import HOME_VARIABLES, Options, Wanted

DEFAULT_ACCOUNT = "gwctl"
LINGERING = Path("/var/lib/systemd/linger")
"""Where systemd records which users linger."""
_CREATE = "useradd --system --create-home --home-dir /var/lib/{0} --shell /usr/sbin/nologin {0}"
_FOR_ALL = "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install gwctl"
_TO_PASS, _TO_READ = 0o001, 0o005


def own_program() -> tuple[str, ...]:
    """Return the words that start this gwctl from any folder: its script, or its interpreter and module."""
    beside = Path(sys.executable).with_name("gwctl")
    # Keep the path as called: a link made by pipx or a package manager outlives its target.
    for program in (Path(sys.argv[0]).absolute(), beside):
        if program.name == "gwctl" and program.is_file() and os.access(program, os.X_OK):
            return (str(program),)
    return (sys.executable, "-m", "gwctl")


class Place(ABC):
    """One place; ``read`` returns its text, None if there is none."""

    kind: str

    def __init__(self, call: Call, where: str) -> None:
        self.call = call
        self.where = where

    def verb(self, name: str) -> str:
        """Return the command to type for this kind of service."""
        return self.call.command(f"service {name} --{self.kind}")

    def wanted(self, options: Options) -> Wanted:
        """Return what the service must run."""
        get = self.call.environment.get
        names = HOME_VARIABLES[:1] if get("GWCTL_HOME") else HOME_VARIABLES
        variables = {name: value for name in names if (value := get(name))}
        return Wanted(self.call.profile_name, own_program(), variables, options)

    def check(self, _options: Options) -> None:
        """Raise GwctlError for a service that would end at once; warn about variables that it will not have."""
        self.call.settings()
        for name in self.call.environment.variables:
            if name.startswith("GWCTL_") and name not in {"GWCTL_HOME", "GWCTL_PROFILE"}:
                better = "--password-file" if "PASSWORD" in name else "config.toml"
                self.call.say(f"the service will not have {name}, which is set here; use {better}")

    def describe(self) -> dict[str, Any]:
        """Return what the envelope says about the place."""
        return {"profile": self.call.profile_name, "kind": self.kind, "where": self.where}

    @abstractmethod
    def render(self, options: Options) -> str:
        """Return the text that an install writes."""

    @abstractmethod
    def read(self) -> str | None:
        """Return the current text."""

    @abstractmethod
    def write(self, text: str) -> None:
        """Replace the current text."""

    @abstractmethod
    def take_up(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:
        """Make the manager load it; return whether it is running now, and lines with commands for a person."""

    @abstractmethod
    def remove(self) -> list[str]:
        """Make the manager unload it, remove it, and return lines for a person."""


class FilePlace(Place):
    """A place that is a file."""

    def __init__(self, call: Call, file: Path) -> None:
        super().__init__(call, str(file))
        self.file = file

    def read(self) -> str | None:
        """Return the file's text; raise OSError if it cannot be read."""
        try:
            return self.file.read_text(errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, text: str) -> None:
        """Write the file in one step; it contains no secret, and its manager must be able to read it."""
        from gwctl.state_file import write_bytes

        write_bytes(self.file, text.encode(errors="surrogateescape"), mode=0o644)


class SystemdPlace(FilePlace):
    """A unit of a person's manager, or of the system's."""

    kind = "systemd"

    def __init__(self, call: Call, *, system: bool) -> None:
        self.system = system
        self.unit = systemd.unit_name(call.paths.profile)
        folder = systemd.SYSTEM_UNITS if system else systemd.user_units(call.environment.variables)
        super().__init__(call, folder / self.unit)
        self.systemctl = systemd.Systemctl(call.environment.variables, system=system)

    def verb(self, name: str) -> str:
        """Return the command for this unit's manager."""
        return super().verb(name) + (" --system" if self.system else "")

    def check(self, options: Options) -> None:
        """Raise GwctlError if the account of a system unit is missing or cannot run this gwctl."""
        if not self.system:
            super().check(options)
            return
        import pwd

        name = options.account or DEFAULT_ACCOUNT
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise Configuration(f"there is no account {name!r}", hint=_CREATE.format(name)) from None
        if entry.pw_uid != os.geteuid() and (closed := _closed_to_others()) is not None:
            raise Unavailable(f"{name} cannot run this gwctl: other users cannot access {closed}", hint=_FOR_ALL)
        folder = self._account(options).folder
        if not folder.is_dir():
            raise Configuration(f"{folder} does not exist", hint=f"install -d -m 700 -o {name} {folder}")

    def render(self, options: Options) -> str:
        """Return the unit."""
        if not self.system:
            return systemd.render(self.wanted(options))
        get = self.call.environment.get
        home = get("GWCTL_HOME")
        # The installing user's variables name another account's folders.
        wanted = Wanted(self.call.profile_name, own_program(), {"GWCTL_HOME": home} if home else {}, options)
        return systemd.render(wanted, self._account(options))

    def _account(self, options: Options) -> systemd.Account:
        import pwd

        name = options.account or DEFAULT_ACCOUNT
        try:
            folder = pwd.getpwnam(name).pw_dir
        except KeyError:
            folder = f"/var/lib/{name}"
        folder = self.call.environment.get("GWCTL_HOME") or folder
        used = [Path(folder), *_own_paths()]
        in_homes = any(path.is_relative_to(one) for path in used for one in systemd.HOMES)
        return systemd.Account(name, Path(folder), in_homes)

    def take_up(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:
        """Reload, enable and start if a manager runs; otherwise return what to type."""
        words = " ".join(self.systemctl.words)
        by_hand = f"next: {words} daemon-reload && {words} enable --now {self.unit}"
        if not self.systemctl.is_running():
            reason = "systemd is not running here" if self.system else "your user's systemd does not answer"
            return False, [f"{reason}; nothing was started", by_hand, *self._linger()]
        self.systemctl.call("daemon-reload")
        if not start:
            return False, [by_hand.replace(f"{words} daemon-reload && ", ""), *self._linger()]
        ran = self.systemctl.is_active(self.unit)
        if not ran and not self.system:
            self._refuse_held()
        self.call.say(f"starting {self.unit}; the first start downloads what is missing")
        self.systemctl.call("enable", "--now", self.unit, timeout_s=systemd.START_TIMEOUT_S + systemd.CALL_TIMEOUT_S)
        lines = [f"running: {words} status {self.unit}", f"next: {self.call.command('wait')}", *self._linger()]
        if ran and changed:
            lines.insert(1, f"still running with the old unit; apply the new one: {words} restart {self.unit}")
        return True, lines

    def _refuse_held(self) -> None:
        """Raise ProfileHeld if an ordinary `gwctl up` supervises the profile: the unit cannot hold it too."""
        from gwctl.lifecycle.reach import find_supervisor

        held = find_supervisor(self.call.target())
        if held is not None:
            raise ProfileHeld(
                f"a gwctl outside {self.unit} supervises profile {self.call.profile_name!r}",
                hint=f"{self.call.command('down --keep-session')}, then repeat this command; the session continues",
            )

    def _linger(self) -> list[str]:
        if self.system or (LINGERING / getpass.getuser()).exists():
            return []
        return ["to run it while you are logged out: loginctl enable-linger"]

    def remove(self) -> list[str]:
        """Stop and disable the unit if a manager runs, then remove its file."""
        running = self.systemctl.is_running()
        if running:
            stop_s = 2 * systemd.STOP_TIMEOUT_S + systemd.CALL_TIMEOUT_S
            self.systemctl.call("disable", "--now", self.unit, timeout_s=stop_s)
        self.file.unlink(missing_ok=True)
        if running:
            self.systemctl.call("daemon-reload")
        return []


class CrontabPlace(Place):
    """The lines in the caller's crontab."""

    kind = "cron"

    def __init__(self, call: Call) -> None:
        super().__init__(call, f"the crontab of {cron.whose()}")
        self.profile = call.paths.profile
        self.environ = call.environment.variables

    def render(self, options: Options) -> str:
        """Return the lines."""
        return cron.render(self.wanted(options))

    def read(self) -> str | None:
        """Return the current lines."""
        return cron.find(cron.read(self.environ), self.profile)

    def write(self, text: str) -> None:
        """Replace the lines, and nothing else."""
        cron.write(cron.replaced(cron.read(self.environ), self.profile, text), self.environ)

    def take_up(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:  # noqa: ARG002 - cron notices changes by itself
        """Return when it runs."""
        return False, ["cron runs it every five minutes", f"to start now: {self.call.command('up')}"]

    def remove(self) -> list[str]:
        """Remove the lines; what they started keeps running."""
        self.write("")
        return [f"what runs keeps running; to stop it: {self.call.command('down')}"]


class LaunchdPlace(FilePlace):
    """A launch agent."""

    kind = "launchd"

    def __init__(self, call: Call) -> None:
        super().__init__(call, launchd.file_of(call.paths.profile, call.environment.variables))

    def render(self, options: Options) -> str:
        """Return the property list."""
        return launchd.render(self.wanted(options), self.call.paths.logs_dir / "launchd.log")

    def take_up(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:  # noqa: ARG002 - a person does this
        """Return what to type; gwctl does not call launchd."""
        from gwctl.state_file import make_private_dir

        make_private_dir(self.call.paths.logs_dir)
        profile, uid = self.call.profile_name, os.getuid()
        return False, [
            f"next: {launchd.enter_command(self.file, uid)}",
            f"first, if it was installed before: {launchd.leave_command(profile, uid)}",
        ]

    def remove(self) -> list[str]:
        """Remove the file; return what to type to end a running job."""
        self.file.unlink(missing_ok=True)
        return [f"next, if it is running: {launchd.leave_command(self.call.profile_name, os.getuid())}"]


def _own_paths() -> list[Path]:
    """Return the paths that running this gwctl reads: the script, its environment, and that environment's Python."""
    program = Path(own_program()[0])
    return [program, program.resolve(), Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve()]


def _closed_to_others() -> Path | None:
    """Return the first folder or file on the way to this gwctl that another account cannot enter or read."""
    for path in _own_paths():
        for one in [*reversed(path.parents), path]:
            needed = _TO_READ if one == path else _TO_PASS
            if one.stat().st_mode & needed != needed:
                return one
    return None
