"""Read settings and record where each came from; the only reader of the environment and of ``config.toml``.

The first source that has a setting wins: a flag, the ``GWCTL_*`` variable, ``[profiles.NAME]``, ``[defaults]``, the
built-in value.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwctl.errors import Configuration
from gwctl.ownership import TRUST_VARIABLE
from gwctl.paths import Paths
from gwctl.setting_values import (
    Unsuitable,
    parse_address,
    parse_allow_ips,
    parse_any_port,
    parse_browser,
    parse_choice,
    parse_command,
    parse_delay_ms,
    parse_gateway_port,
    parse_limit,
    parse_names,
    parse_options,
    parse_page,
    parse_release,
    parse_seconds,
    parse_sha256,
    parse_text,
    parse_upstream,
    parse_users,
    parse_windows,
    parse_yes,
)
from gwctl.state_file import look_at_json

OFFICIAL_RELEASE = "https://download2.interactivebrokers.com/portal/clientportal.gw.zip"
DEFAULT_PROFILE = "default"
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*://)\S+", re.IGNORECASE)
_USER = re.compile(r"(?<=://).*@|(?<=['\"])[^'\"/]*@")
_QUERY = re.compile(r"(?<=://)([^\s?#'\"]*[?#])[^'\"]+")
BUILT_IN = "built in"
CHOSEN = "chosen by the first gwctl up: the built-in port was in use"
LAST_PORT = 65535
LONGEST_FILE_BYTES = 1_000_000
MOST_DOTS = 2000
"""In one line: ``tomllib`` takes the square of the time for a key with many parts."""
PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Key:
    """The definition of one setting."""

    parse: Callable[[object], Any]
    default: Any
    help: str
    variable: bool = True


KEYS: dict[str, Key] = {
    "username": Key(parse_text, None, "IBKR username"),
    "mode": Key(parse_choice("paper", "live"), "paper", "account kind: paper or live"),
    "port": Key(parse_gateway_port, 5000, "port the gateway listens on"),
    "upstream": Key(parse_upstream, "https://api.ibkr.com", "IBKR's address, scheme://host[:port]"),
    "release": Key(parse_release, OFFICIAL_RELEASE, "Standard Release: version, file or URL"),
    "release_sha256": Key(parse_sha256, None, "SHA-256 that the release's zip must have"),
    "java": Key(parse_text, None, "path of the java program"),
    "java_options": Key(
        parse_options,
        "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -XX:+ExitOnOutOfMemoryError",
        "JAVA_TOOL_OPTIONS of the gateway",
    ),
    "browser": Key(parse_browser, None, "path or channel of the browser"),
    "second_factor": Key(
        parse_choice("none", "totp", "push", "command", "prompt"),
        None,
        "second factor: none, totp, push, command or prompt",
    ),
    "second_factor_command": Key(parse_command, None, "program whose stdout is the second factor code", variable=False),
    "second_factor_device": Key(parse_text, None, "device to choose: its value or part of its label"),
    "notify_command": Key(parse_command, None, "program to run for each notification", variable=False),
    "tickle_interval_s": Key(parse_seconds(5, 240), 30.0, "seconds between tickles"),
    "check_interval_s": Key(parse_seconds(1, 60), 5.0, "seconds between session checks"),
    "rejected_limit": Key(parse_limit, 3, "refused logins in 24 h after which gwctl sends no more"),
    "on_competing": Key(
        parse_choice("yield", "take_over"), "yield", "when another session competes: yield or take_over"
    ),
    "maintenance": Key(
        parse_windows,
        ("north-america",),
        "IBKR's maintenance windows: north-america, europe, asia, or '23:45-01:45 America/New_York'",
        variable=False,
    ),
    "allow_ips": Key(parse_allow_ips, ("127.0.0.1",), "addresses that may use the door, besides this machine"),
    "isolation": Key(
        parse_choice("auto", "namespace", "firewall", "off", "required"),
        "auto",
        "keep other users and machines from the gateway: auto (where possible), namespace, required, firewall or off",
    ),
    "allow_users": Key(parse_users, (), "users of this machine, besides you, who may use an isolated gateway"),
    "door": Key(parse_address, None, "address:port for serving the gateway to other machines, with a token"),
    "door_read_only": Key(parse_yes, False, "whether the door lets only requests through that read"),
    "door_token_file": Key(parse_text, None, "file with the door's token, in place of gwctl's own"),
    "door_client_ca": Key(parse_text, None, "PEM file: clients of the door need its certificate in place of a token"),
    "certificate_names": Key(
        parse_names, (), "names and addresses, besides localhost, that clients use to reach the gateway"
    ),
    "health_port": Key(parse_any_port, 0, "port of the health server on loopback; 0 for any free port"),
    "metrics_address": Key(
        parse_address, None, "address:port for serving /livez, /readyz and /metrics to other machines"
    ),
    "auth_delay_ms": Key(parse_delay_ms, None, "the gateway's authDelay in milliseconds"),
    "password_command": Key(parse_command, None, "program whose stdout is the password", variable=False),
    "totp_secret_command": Key(parse_command, None, "program whose stdout is the TOTP secret", variable=False),
    "notify_webhook_command": Key(parse_command, None, "program whose stdout is the webhook URL", variable=False),
    "notify_webhook_token_command": Key(
        parse_command, None, "program whose stdout is the webhook's bearer token", variable=False
    ),
    "notify_urls_command": Key(parse_command, None, "program whose stdout is the Apprise URLs", variable=False),
    "page": Key(parse_page, None, "selectors that override those of the login page", variable=False),
}
"""All settings of the contract."""

NOTIFY_SECRETS = ("notify_webhook", "notify_webhook_token", "notify_urls")
"""Notification URLs: treat them as secrets, because anybody who knows such a URL can usually post to it."""
SECRET_KEYS = ("password", "totp_secret", *NOTIFY_SECRETS)
SECRET_PREFIXES = ("GWCTL_PASSWORD", "GWCTL_TOTP", "GWCTL_NOTIFY")
"""How the names of variables begin that may hold a secret of ours."""
SERVICE_MANAGER_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""For one process only, and not for its children."""


def parse_value(key: str, raw: object, source: str, *, hint: str) -> Any:  # noqa: ANN401 - as in Settings
    """Return a setting's parsed value; raise Configuration with what is wrong with it, its source and no secret."""
    try:
        return KEYS[key].parse(raw)
    except ValueError as error:
        raise bad_value(
            key, raw, source, str(error), hint=error.hint if isinstance(error, Unsuitable) else hint
        ) from None


def bad_value(key: str, raw: object, source: str, wanted: str, *, hint: str) -> Configuration:
    """Return the error of a bad value; a URL in it may be a secret, or have a password or a signature."""
    if key.endswith("_command"):
        shown = _ADDRESS.sub(r"\1…", repr(raw))
    else:
        shown, wanted = (_QUERY.sub(r"\1…", _USER.sub("…@", text)) for text in (repr(raw), wanted))
    return Configuration(f"{key} = {shown} ({source}) is not {wanted}", hint=hint)


def check_ports(values: Mapping[str, Setting]) -> None:
    """Raise Configuration if another server of the profile would have the gateway's port."""
    port = values["port"].value
    for key in ("health_port", "metrics_address", "door"):
        setting = values[key]
        if setting.value is not None and int(str(setting.value).rpartition(":")[2]) == port:
            wanted = f"free for it: {port} is the gateway's port"
            raise bad_value(key, setting.value, setting.source, wanted, hint=f"set {key} to another port")


def variable_of(key: str) -> str:
    """Return the name of a setting's environment variable."""
    return f"GWCTL_{key.upper()}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one profile and where each came from."""

    profile: str
    paths: Paths
    values: Mapping[str, Setting]

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - one table of differently typed values
        """Return a setting's value."""
        return self.values[key].value

    def shown(self, key: str) -> Any:  # noqa: ANN401 - one table of differently typed values
        """Return a setting's value in a form safe to show: a URL in a program's arguments may be a secret."""
        value = self[key]
        if key.endswith("_command") and value is not None:
            return tuple(_ADDRESS.sub(r"\1…", part) for part in value)
        return value

    def to_json(self) -> dict[str, Any]:
        """Return every setting with its source, in a form safe to show."""
        shown = {name: (self.shown(name), setting.source) for name, setting in self.values.items()}
        return {
            name: {"value": list(value) if isinstance(value, tuple) else value, "source": source}
            for name, (value, source) in shown.items()
        }


class Environment:
    """The process environment; only this module reads it."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self.variables: Mapping[str, str] = os.environ if variables is None else variables

    def get(self, name: str) -> str | None:
        """Return a variable's value, or None if it is unset or empty."""
        return self.variables.get(name) or None

    @property
    def home(self) -> Path | None:
        """``GWCTL_HOME``."""
        home = self.get("GWCTL_HOME")
        return Path(home) if home else None

    @property
    def trusts_home(self) -> bool:
        """Whether gwctl uses its folders even if other users could write to them (``GWCTL_TRUST_HOME``)."""
        return self.flag(TRUST_VARIABLE)

    @property
    def profile(self) -> str:
        """Return ``GWCTL_PROFILE``, or the default profile's name."""
        return self.get("GWCTL_PROFILE") or DEFAULT_PROFILE

    def flag(self, name: str) -> bool:
        """Return whether a variable is set to anything other than a "no" value."""
        return (self.get(name) or "").lower() not in {"", "0", "false", "no", "off"}


@contextlib.contextmanager
def secrets_out_of_reach() -> Iterator[None]:
    """Remove the variables that hold our secrets from this process's environment for the duration of a ``with``.

    For libraries that start programs themselves: those programs inherit the environment (law 8).
    """
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(SECRET_PREFIXES)}
    try:
        yield
    finally:
        os.environ.update(taken)


def take_notification_variables() -> dict[str, str]:
    """Return how the service manager wants to be notified, and remove those variables from what children inherit."""
    return {name: value for name in SERVICE_MANAGER_VARIABLES if (value := os.environ.pop(name, None))}


def check_profile_name(name: str) -> str:
    """Return ``name``; raise Configuration if it is not usable as a folder name."""
    if not PROFILE_NAME.fullmatch(name):
        raise Configuration(
            f"invalid profile name {name!r}",
            hint="use at most 64 letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    return name


def read_file(path: Path) -> dict[str, Any]:
    """Return the parsed settings file, empty if there is none; raise Configuration naming the faulty place."""
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Configuration(f"cannot read {path}: {error.strerror}", hint=f"check the owner of {path}") from error
    import tomllib

    if len(raw) > LONGEST_FILE_BYTES:
        raise Configuration(f"{path} is larger than {LONGEST_FILE_BYTES / 1e6:g} MB", hint=f"edit {path}")
    if any(line.count(b".") > MOST_DOTS for line in raw.splitlines()):
        raise Configuration(f"{path} has a line with more than {MOST_DOTS} dots", hint=f"edit {path}")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))  # some editors start a file with an invisible mark (BOM)
    except (ValueError, RecursionError) as error:  # also for thousands of digits, or of lists in lists
        raise Configuration(f"{path} is not valid TOML: {error}", hint=f"edit {path}") from error


def _check_tables(path: Path, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        if name not in {"defaults", "profiles"}:
            _refuse_key(path, name, None, ["defaults", "profiles"])
        if not isinstance(value, dict):
            raise Configuration(f"[{name}] in {path} is not a table", hint=f"put [{name}] on a line by itself")
    for name, table in content.get("profiles", {}).items():
        check_profile_name(name)
        if not isinstance(table, dict):
            raise Configuration(
                f"profiles.{name} in {path} is not a table", hint=f"put [profiles.{name}] on a line by itself"
            )
        _check_keys(path, f"profiles.{name}", table)
    _check_keys(path, "defaults", content.get("defaults", {}))


def _check_keys(path: Path, where: str, table: Mapping[str, Any]) -> None:
    for key in table:
        if key in SECRET_KEYS:
            raise Configuration(
                f"{key} must not be in {path} ([{where}]): the settings file is no place for secrets",
                hint=f"gwctl secret set {key}, or {key}_command, or GWCTL_{key.upper()}_FILE",
            )
        if key not in KEYS:
            _refuse_key(path, key, where, list(KEYS))


def _refuse_key(path: Path, key: str, where: str | None, known: list[str]) -> None:
    import difflib

    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    place = f" in [{where}]" if where else ""
    raise Configuration(
        f"unknown key {key!r}{place} of {path}",
        hint=f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(known),
    )


def load(
    profile: str,
    *,
    flags: Mapping[str, Any] | None = None,
    environment: Environment | None = None,
) -> Settings:
    """Return the settings of ``profile``.

    Raise Configuration for an unknown key, an invalid value or an unreadable file, naming the place.
    """
    environment = environment or Environment()
    check_profile_name(profile)
    paths = Paths.for_profile(profile, environment.home)
    if not environment.trusts_home:
        paths.require_ours()
    content = read_file(paths.config_file)
    _check_tables(paths.config_file, content)
    own = content.get("profiles", {}).get(profile, {})
    defaults = content.get("defaults", {})
    values: dict[str, Setting] = {}
    for name, key in KEYS.items():
        candidates = [
            ((flags or {}).get(name), "flag"),
            (environment.get(variable_of(name)) if key.variable else None, f"${variable_of(name)}"),
            (own.get(name), f"[profiles.{profile}] in {paths.config_file}"),
            (defaults.get(name), f"[defaults] in {paths.config_file}"),
        ]
        raw, source = next(((raw, source) for raw, source in candidates if raw is not None), (None, BUILT_IN))
        if raw is None:
            values[name] = Setting(key.default, source)
            continue
        values[name] = Setting(parse_value(name, raw, source, hint=f"gwctl --profile {profile} profile show"), source)
    if values["port"].source == BUILT_IN:
        values["port"] = _chosen_port(paths) or values["port"]
    check_ports(values)
    return Settings(profile, paths, values)


def _chosen_port(paths: Paths) -> Setting | None:
    """Return the port that the profile's first `up` chose; None if it took the built-in port."""
    chosen: dict[str, Any] | None = None
    with contextlib.suppress(OSError):
        chosen, _ = look_at_json(paths.chosen_port_file)
    port = (chosen or {}).get("port")
    if isinstance(port, bool) or not isinstance(port, int):
        return None
    return Setting(port, CHOSEN) if 0 < port <= LAST_PORT else None


def profile_names(environment: Environment | None = None) -> list[str]:
    """Return the profiles that the settings file names or that have a folder, and always the default profile."""
    environment = environment or Environment()
    paths = Paths.for_profile(DEFAULT_PROFILE, environment.home)
    if not environment.trusts_home:
        paths.require_ours()
    content = read_file(paths.config_file)
    _check_tables(paths.config_file, content)
    names = {DEFAULT_PROFILE, *content.get("profiles", {})}
    if paths.profiles_dir.is_dir():
        names |= {entry.name for entry in paths.profiles_dir.iterdir() if entry.is_dir()}
    return sorted(names)
