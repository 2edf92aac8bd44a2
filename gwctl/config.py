"""Settings and where each came from; the only reader of the environment and of ``config.toml``.

Order, first found: a flag, the ``GWCTL_*`` variable, ``[profiles.NAME]``, ``[defaults]``, the built-in value.
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
from gwctl.paths import Paths
from gwctl.setting_values import (
    Unsuitable,
    parse_address,
    parse_any_port,
    parse_choice,
    parse_command,
    parse_delay_ms,
    parse_gateway_port,
    parse_limit,
    parse_list,
    parse_names,
    parse_page,
    parse_seconds,
    parse_text,
    parse_windows,
)
from gwctl.state_file import look_at_json

OFFICIAL_RELEASE = "https://download2.interactivebrokers.com/portal/clientportal.gw.zip"
DEFAULT_PROFILE = "default"
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*://)\S+", re.IGNORECASE)
BUILT_IN = "built in"
CHOSEN = "taken by the first gwctl up: the built-in one was in use"
LAST_PORT = 65535
PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and the place it came from."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one setting."""

    parse: Callable[[object], Any]
    default: Any
    help: str
    variable: bool = True


KEYS: dict[str, Key] = {
    "username": Key(parse_text, None, "IBKR username"),
    "mode": Key(parse_choice("paper", "live"), "paper", "account kind: paper or live"),
    "port": Key(parse_gateway_port, 5000, "port the gateway listens on"),
    "upstream": Key(parse_text, "https://api.ibkr.com", "IBKR's address, scheme://host[:port]"),
    "release": Key(parse_text, OFFICIAL_RELEASE, "Standard Release: version, file or URL"),
    "java": Key(parse_text, None, "path of the java program"),
    "java_options": Key(
        parse_text,
        "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -XX:+ExitOnOutOfMemoryError",
        "JAVA_TOOL_OPTIONS of the gateway",
    ),
    "browser": Key(parse_text, None, "path or channel of the browser"),
    "second_factor": Key(
        parse_choice("none", "totp", "push", "command", "prompt"),
        None,
        "how a second factor is given",
    ),
    "second_factor_command": Key(
        parse_command, None, "program whose stdout is the second factor's code", variable=False
    ),
    "second_factor_device": Key(parse_text, None, "device to choose: its value, or a part of its label"),
    "notify_command": Key(parse_command, None, "program that is told what a person should know", variable=False),
    "tickle_interval_s": Key(parse_seconds(5, 240), 30.0, "seconds between two tickles"),
    "check_interval_s": Key(parse_seconds(1, 60), 5.0, "seconds between two checks of the session"),
    "rejected_limit": Key(parse_limit, 3, "refused logins in 24 h before nothing more is sent"),
    "on_competing": Key(parse_choice("yield", "take_over"), "yield", "what to do when another session competes"),
    "maintenance": Key(
        parse_windows,
        ("north-america",),
        "IBKR's maintenance windows: north-america, europe, asia, or '23:45-01:45 America/New_York'",
        variable=False,
    ),
    "allow_ips": Key(parse_list, ("127.0.0.1",), "addresses that may use the gateway"),
    "certificate_names": Key(
        parse_names, (), "names and addresses other than localhost by which clients reach the gateway"
    ),
    "health_port": Key(parse_any_port, 0, "port of the health server on loopback, 0 = any free"),
    "metrics_address": Key(
        parse_address, None, "address:port that serves /livez, /readyz and /metrics to other machines"
    ),
    "auth_delay_ms": Key(parse_delay_ms, None, "the gateway's authDelay in milliseconds"),
    "password_command": Key(parse_command, None, "program whose stdout is the password", variable=False),
    "totp_secret_command": Key(parse_command, None, "program whose stdout is the TOTP secret", variable=False),
    "notify_webhook_command": Key(parse_command, None, "program whose stdout is the webhook's address", variable=False),
    "notify_webhook_token_command": Key(
        parse_command, None, "program whose stdout is the webhook's bearer token", variable=False
    ),
    "notify_urls_command": Key(parse_command, None, "program whose stdout is Apprise's addresses", variable=False),
    "page": Key(parse_page, None, "selectors that override the login page's", variable=False),
}
"""Every setting of the contract that this version acts on."""

NOTIFY_SECRETS = ("notify_webhook", "notify_webhook_token", "notify_urls")
"""Addresses at which somebody is told: whoever knows such an address can, as a rule, write there."""
SECRET_KEYS = ("password", "totp_secret", *NOTIFY_SECRETS)


def variable_of(key: str) -> str:
    """Return the environment variable of a setting."""
    return f"GWCTL_{key.upper()}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one profile, each with its source."""

    profile: str
    paths: Paths
    values: Mapping[str, Setting]

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - one table of differently typed values
        """Return a setting's value."""
        return self.values[key].value

    def shown(self, key: str) -> Any:  # noqa: ANN401 - one table of differently typed values
        """Return a setting's value as it may be shown: an address in a program's arguments may be a secret."""
        value = self[key]
        if key.endswith("_command") and value is not None:
            return tuple(_ADDRESS.sub(r"\1…", part) for part in value)
        return value

    def to_json(self) -> dict[str, Any]:
        """Return every setting, as it may be shown, with its source."""
        shown = {name: (self.shown(name), setting.source) for name, setting in self.values.items()}
        return {
            name: {"value": list(value) if isinstance(value, tuple) else value, "source": source}
            for name, (value, source) in shown.items()
        }


class Environment:
    """The process environment, read in this module only."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self.variables: Mapping[str, str] = os.environ if variables is None else variables

    def get(self, name: str) -> str | None:
        """Return a variable, an empty one being none."""
        return self.variables.get(name) or None

    @property
    def home(self) -> Path | None:
        """``GWCTL_HOME``."""
        home = self.get("GWCTL_HOME")
        return Path(home) if home else None

    @property
    def profile(self) -> str:
        """``GWCTL_PROFILE`` or the default profile's name."""
        return self.get("GWCTL_PROFILE") or DEFAULT_PROFILE

    def flag(self, name: str) -> bool:
        """Return whether a variable is set to something that is not a no."""
        return (self.get(name) or "").lower() not in {"", "0", "false", "no", "off"}


@contextlib.contextmanager
def secrets_out_of_reach() -> Iterator[None]:
    """Keep our secrets' variables out of this process's environment for the length of a ``with``.

    For libraries that start programs of their own accord, which inherit it (law 8).
    """
    ours = tuple(f"GWCTL_{name.upper()}" for name in SECRET_KEYS)
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(ours)}
    try:
        yield
    finally:
        os.environ.update(taken)


def take_notification_variables() -> dict[str, str]:
    """Return how a service manager wants to be told of this process, and take it out of what children inherit."""
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    return {name: value for name in names if (value := os.environ.pop(name, None))}


def check_profile_name(name: str) -> str:
    """Return ``name``; raise Configuration if it could not be a folder of its own."""
    if not PROFILE_NAME.fullmatch(name):
        raise Configuration(
            f"profile name {name!r} is not usable",
            hint="use letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit",
        )
    return name


def read_file(path: Path) -> dict[str, Any]:
    """Return the parsed settings file, empty if there is none; raise Configuration naming the broken place."""
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Configuration(f"cannot read {path}: {error.strerror}", hint=f"check the owner of {path}") from error
    import tomllib

    try:
        return tomllib.loads(raw.decode("utf-8-sig"))  # some editors put a mark (BOM) first, which nobody sees
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Configuration(f"{path} is not TOML: {error}", hint=f"mend {path}") from error


def _check_tables(path: Path, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        if name not in {"defaults", "profiles"}:
            _refuse_key(path, name, None, ["defaults", "profiles"])
        if not isinstance(value, dict):
            raise Configuration(f"[{name}] in {path} is not a table", hint=f"write [{name}] on a line of its own")
    for name, table in content.get("profiles", {}).items():
        check_profile_name(name)
        if not isinstance(table, dict):
            raise Configuration(f"profiles.{name} in {path} is not a table", hint=f"write [profiles.{name}]")
        _check_keys(path, f"profiles.{name}", table)
    _check_keys(path, "defaults", content.get("defaults", {}))


def _check_keys(path: Path, where: str, table: Mapping[str, Any]) -> None:
    for key in table:
        if key in SECRET_KEYS:
            raise Configuration(
                f"{key} does not belong into {path} ([{where}]): the file is not a place for secrets",
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

    Raises Configuration for an unknown key, a bad value or an unreadable file, each naming where it stands.
    """
    environment = environment or Environment()
    check_profile_name(profile)
    paths = Paths.for_profile(profile, environment.home)
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
        try:
            values[name] = Setting(key.parse(raw), source)
        except ValueError as error:
            raise Configuration(
                f"{name} = {raw!r} ({source}) is not {error}",
                hint=error.hint if isinstance(error, Unsuitable) else f"gwctl --profile {profile} profile show",
            ) from None
    if values["port"].source == BUILT_IN:
        values["port"] = _chosen_port(paths) or values["port"]
    return Settings(profile, paths, values)


def _chosen_port(paths: Paths) -> Setting | None:
    """Return the port that the profile's first `up` took; None if it took the built-in one."""
    chosen: dict[str, Any] | None = None
    with contextlib.suppress(OSError):
        chosen, _ = look_at_json(paths.chosen_port_file)
    port = (chosen or {}).get("port")
    return Setting(port, CHOSEN) if isinstance(port, int) and 0 < port <= LAST_PORT else None


def profile_names(environment: Environment | None = None) -> list[str]:
    """Return the profiles that the settings file names, or that have a folder, and always the default one."""
    paths = Paths.for_profile(DEFAULT_PROFILE, (environment or Environment()).home)
    content = read_file(paths.config_file)
    _check_tables(paths.config_file, content)
    names = {DEFAULT_PROFILE, *content.get("profiles", {})}
    if paths.profiles_dir.is_dir():
        names |= {entry.name for entry in paths.profiles_dir.iterdir() if entry.is_dir()}
    return sorted(names)
