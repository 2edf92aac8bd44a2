"""Where a service of the profile is kept and loaded: systemd, cron, launchd."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gwctl import process
from gwctl.cli.call import Call
from gwctl.environment import SECRET_PREFIXES
from gwctl.errors import Configuration, GwctlError, ProfileHeld, Unavailable
from gwctl.integrations import service_files, service_managers
from gwctl.integrations.service_files import Account, Options, Wanted

if TYPE_CHECKING:
    from gwctl.config import Settings

_SYSTEM_UNITS = Path("/etc/systemd/system")
_LINGERING = Path("/var/lib/systemd/linger")  # systemd records there who lingers
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_HOME_VARIABLES = ("GWCTL_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
"""Without these variables, the service would use another, empty home."""
_CREATE = "useradd --system --create-home --home-dir /var/lib/{0} --shell /usr/sbin/nologin {0}"
_FOR_ALL = "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install '.[java]', in a clone"


class Place(ABC):
    """A file for one kind of service; ``read`` returns its text, None if there is none."""

    kind: str
    system_name = ""
    """The only system that has this kind of service; empty if each one may have it."""

    def __init__(self, call: Call, file: Path) -> None:
        self.call = call
        self.file = file
        self.profile = call.paths.profile
        self.environ = call.environment.variables
        self.where = str(file)

    def verb(self, name: str) -> str:
        """Return the command to type for this kind of service."""
        return self.call.command(f"service {name} --{self.kind}")

    def wanted(self, options: Options) -> Wanted:
        """Return what the service runs."""
        get = self.call.environment.get
        names = _HOME_VARIABLES[:1] if get("GWCTL_HOME") else _HOME_VARIABLES
        variables = {name: value for name in names if (value := get(name))}
        return Wanted(self.call.profile_name, service_managers.own_program(), variables, options)

    def check(self, options: Options) -> None:
        """Raise GwctlError if the service would end at once; name what it will not have."""
        settings = self.call.settings()
        if not options.sandbox:
            self._say_what_a_login_lacks(settings, options)
        for name in self.environ:
            if name.startswith("GWCTL_") and not name.startswith(("GWCTL_HOME", "GWCTL_PROFILE", "GWCTL_TEST_")):
                secret = name.startswith(SECRET_PREFIXES)
                better = "--password-file" if "PASSWORD" in name else "a file or a command" if secret else "config.toml"
                self.call.say(f"the service will not have {name}, which is set here; use {better}")

    def _say_what_a_login_lacks(self, settings: Settings, options: Options) -> None:
        from gwctl.system_keyring import read_keyring

        if settings["username"] is None:
            self.call.say(f"profile {self.call.profile_name!r} has no username yet; next: {self.call.command('setup')}")
        elif not (
            options.password_file
            or settings["password_file"]
            or settings["password_command"]
            or read_keyring(settings.paths, "password")
        ):
            store = self.call.command("secret set password")
            self.call.say(f"the service has no password: give --password-file FILE, or store it: {store}")

    def describe(self) -> dict[str, Any]:
        """Return the place as an envelope shows it."""
        return {"profile": self.call.profile_name, "kind": self.kind, "where": self.where}

    @property
    def is_for_another_system(self) -> bool:
        """Whether no machine like this one can load the file; it can be copied to one that does."""
        return self.system_name not in {"", "macOS" if sys.platform == "darwin" else "Linux"}

    def _not_loaded(self) -> list[str]:
        return [f"it was written for {self.system_name}, and is not loaded here"]

    @abstractmethod
    def render(self, options: Options) -> str:
        """Return the text that an install writes."""

    def read(self) -> str | None:
        """Return the installed text; raise OSError."""
        try:
            return self.file.read_text(errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, text: str) -> None:
        """Replace the file; it holds no secret, and the service manager must be able to read it."""
        from gwctl.state_file import write_bytes

        write_bytes(self.file, text.encode(errors="surrogateescape"), mode=0o644)

    @abstractmethod
    def load(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:
        """Make the service manager load it; return whether it runs now, and lines for a person."""

    @abstractmethod
    def remove(self) -> list[str]:
        """Make the service manager forget it, remove it, and return lines for a person."""


class SystemdPlace(Place):
    """A user unit or a system unit."""

    kind = "systemd"
    system_name = "Linux"

    def __init__(self, call: Call, *, system: bool) -> None:
        self.system = system
        self.unit = service_files.unit_name(call.paths.profile)
        super().__init__(call, (_SYSTEM_UNITS if system else _user_units(call)) / self.unit)
        self.systemctl = service_managers.Systemctl(self.environ, system=system)

    def verb(self, name: str) -> str:
        """Return the command to type, for the manager of this unit."""
        return super().verb(name) + (" --system" if self.system else "")

    def check(self, options: Options) -> None:
        """Raise GwctlError if a system unit's account is missing or cannot run this gwctl."""
        if not self.system:
            super().check(options)
            return
        import pwd

        name = options.account or "gwctl"
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise Configuration(f"there is no account {name!r}", hint=_CREATE.format(name)) from None
        if entry.pw_uid != os.geteuid() and (closed := service_managers.closed_to_others()) is not None:
            raise Unavailable(f"{name} cannot run this gwctl: other users cannot access {closed}", hint=_FOR_ALL)
        folder = self._account(options).folder
        if not folder.is_dir():
            raise Configuration(f"{folder} does not exist", hint=f"install -d -m 700 -o {name} {folder}")

    def render(self, options: Options) -> str:
        """Return the unit."""
        if not self.system:
            return service_files.unit(self.wanted(options))
        # The installer's other variables are about another account's folders.
        home = self.call.environment.get("GWCTL_HOME")
        variables = {"GWCTL_HOME": home} if home else {}
        wanted = Wanted(self.call.profile_name, service_managers.own_program(), variables, options)
        return service_files.unit(wanted, self._account(options))

    def _account(self, options: Options) -> Account:
        import pwd

        name = options.account or "gwctl"
        try:
            own = pwd.getpwnam(name).pw_dir
        except KeyError:
            own = f"/var/lib/{name}"
        folder = Path(self.call.environment.get("GWCTL_HOME") or own)
        in_homes = any(path.is_relative_to(one) for path in (folder, *service_managers.own_paths()) for one in _HOMES)
        return Account(name, folder, in_homes)

    def load(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:
        """Reload, enable and start, if a manager runs; otherwise return what to type."""
        command = self.systemctl.command
        enable = f"{command} enable --now {self.unit}"
        if not self.systemctl.is_running():
            if self.is_for_another_system:
                return False, self._not_loaded()
            reason = "systemd is not running here" if self.system else "your user's systemd does not answer"
            by_hand = f"next: {command} daemon-reload && {enable}"
            return False, [f"{reason}; nothing was started", by_hand, *self._linger()]
        self.systemctl.call("daemon-reload")
        if not start:
            return False, [f"next: {enable}", *self._linger()]
        ran = self.systemctl.is_active(self.unit)
        if not ran and not self.system:
            self._refuse_held()
        self.call.say(f"starting {self.unit}; the first start downloads what is missing")
        timeout_s = service_files.START_TIMEOUT_S + service_managers.CALL_TIMEOUT_S
        self.systemctl.call("enable", "--now", self.unit, timeout_s=timeout_s)
        lines = [f"running: {command} status {self.unit}", f"next: {self.call.command('wait')}", *self._linger()]
        if ran and changed:
            lines.insert(1, f"still running with the old unit; apply the new one: {command} restart {self.unit}")
        return True, lines

    def _refuse_held(self) -> None:
        """Raise ProfileHeld if an ordinary `gwctl up` supervises the profile."""
        from gwctl.lifecycle.reach import find_supervisor

        if find_supervisor(self.call.target()) is not None:
            raise ProfileHeld(
                f"a gwctl outside {self.unit} supervises profile {self.call.profile_name!r}",
                hint=f"{self.call.command('down --keep-session')}, then repeat this command; the session continues",
            )

    def _linger(self) -> list[str]:
        lingers = self.system or (_LINGERING / _user_name()).exists()
        return [] if lingers else ["to run it while you are logged out: loginctl enable-linger"]

    def remove(self) -> list[str]:
        """Stop and disable the unit if a manager runs, then remove its file."""
        running = self.systemctl.is_running()
        if running:
            stop_s = 2 * service_files.STOP_TIMEOUT_S + service_managers.CALL_TIMEOUT_S
            self.systemctl.call("disable", "--now", self.unit, timeout_s=stop_s)
        self.file.unlink(missing_ok=True)
        if running:
            self.systemctl.call("daemon-reload")
        return []


class CronPlace(Place):
    """A block of the user's crontab."""

    kind = "cron"

    def __init__(self, call: Call) -> None:
        super().__init__(call, Path())
        self.where = f"gwctl's lines in the crontab of {_user_name()}"

    def render(self, options: Options) -> str:
        """Return the block."""
        return service_files.crontab_block(self.wanted(options))

    def read(self) -> str | None:
        """Return the block."""
        return service_files.find_block(service_managers.read_crontab(self.environ), self.profile)

    def write(self, text: str) -> None:
        """Replace the block and nothing else."""
        crontab = service_managers.read_crontab(self.environ)
        service_managers.write_crontab(service_files.with_block(crontab, self.profile, text), self.environ)

    def load(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:  # noqa: ARG002 - cron needs nothing
        """Return when it runs, and what it lacks for that."""
        up = "up --sandbox" if service_files.read_options(self.read()).sandbox else "up"
        lines = ["cron runs it every five minutes", f"to start now: {self.call.command(up)}"]
        if sys.platform == "linux" and not process.any_named("cron", "crond", "fcron"):
            lines.insert(1, "no cron daemon is seen here: without one, nothing starts it")
        return False, lines

    def remove(self) -> list[str]:
        """Remove the block; a session that it started goes on."""
        self.write("")
        return [f"what runs keeps running; to stop it: {self.call.command('down')}"]


class LaunchdPlace(Place):
    """A launch agent; launchd itself is called by the person only."""

    kind = "launchd"
    system_name = "macOS"

    def __init__(self, call: Call) -> None:
        label = service_files.job_label(call.paths.profile)
        file = _home_of(call) / "Library" / "LaunchAgents" / f"{label}.plist"
        super().__init__(call, file)
        self.leave = f"launchctl bootout gui/{os.getuid()}/{label}"

    def render(self, options: Options) -> str:
        """Return the property list."""
        return service_files.launch_agent(self.wanted(options), self.call.paths.logs_dir / "launchd.log")

    def load(self, *, changed: bool, start: bool) -> tuple[bool, list[str]]:  # noqa: ARG002 - the person's choice
        """Return what to type."""
        if self.is_for_another_system:
            return False, self._not_loaded()
        from gwctl.state_file import make_private_dir

        make_private_dir(self.call.paths.logs_dir)
        enter = f"launchctl bootstrap gui/{os.getuid()} {shlex.quote(self.where)}"
        return False, [f"next: {enter}", f"first, if it was installed before: {self.leave}"]

    def remove(self) -> list[str]:
        """Remove the file; return what ends a running job."""
        self.file.unlink(missing_ok=True)
        return [] if self.is_for_another_system else [f"next, if it is running: {self.leave}"]


def _user_units(call: Call) -> Path:
    config = call.environment.variables.get("XDG_CONFIG_HOME") or ""
    home = Path(config) if config.startswith("/") else _home_of(call) / ".config"
    return home / "systemd" / "user"


def places(call: Call) -> Iterator[Place]:
    """Yield the places for the service managers that this machine has for its user, the best first."""
    for place in _all_places(call):
        if isinstance(place, SystemdPlace) and (place.system or not place.systemctl.is_running()):
            continue
        yield place


def installed_places(call: Call) -> Iterator[Place]:
    """Yield the places where a service of the profile is installed, whether its manager runs or not."""
    for place in _all_places(call):
        with suppress(GwctlError, OSError):  # such as a crontab that this account may not have
            if place.read() is not None:
                yield place


def _all_places(call: Call) -> Iterator[Place]:
    with suppress(Configuration):  # an account without a name or a home folder has none
        if sys.platform == "darwin":
            yield LaunchdPlace(call)
        else:
            yield SystemdPlace(call, system=False)
            if os.geteuid() == 0:
                yield SystemdPlace(call, system=True)
    with suppress(Configuration):
        if shutil.which("crontab", path=call.environment.get("PATH")):
            yield CronPlace(call)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise Configuration(f"uid {os.geteuid()} has no name on this machine", hint="id") from None


def _home_of(call: Call) -> Path:
    home = call.environment.get("HOME")
    if home is None:
        raise Configuration("this account has no home folder", hint="set HOME")
    return Path(home)
