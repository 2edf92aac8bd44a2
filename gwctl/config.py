"""Read settings and record where each came from; the only reader of ``config.toml``.

The first source that has a setting wins: a flag, the ``GWCTL_*`` variable, ``[profiles.NAME]``, ``[defaults]``, the
built-in value.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from gwctl.environment import DEFAULT_PROFILE, Environment
from gwctl.errors import Configuration
from gwctl.known_words import Unsuitable, nearest, suggestion
from gwctl.ownership import read_ours
from gwctl.paths import Paths
from gwctl.setting_keys import KEYS, SECRET_KEYS, variable_of
from gwctl.state_file import look_at_json

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


class Setting(Struct, frozen=True):
    """A value and where it came from."""

    value: Any
    source: str


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


def check_together(values: Mapping[str, Setting]) -> None:
    """Raise Configuration if settings exclude each other: servers on the gateway's port, a login outside its hours."""
    port = values["port"].value
    for key in ("health_port", "metrics_address", "door"):
        setting = values[key]
        if setting.value is not None and int(str(setting.value).rpartition(":")[2]) == port:
            wanted = f"free for it: {port} is the gateway's port"
            raise bad_value(key, setting.value, setting.source, wanted, hint=f"set {key} to another port")
    planned = values["relogin_at"]
    if planned.value and values["login_hours"].value:
        from gwctl.login_hours import LoginPlan
        from gwctl.maintenance import BadWindow

        try:
            LoginPlan.parse(values["login_hours"].value, planned.value)
        except BadWindow:
            shown, wanted = ", ".join(planned.value), "within login_hours"
            raise bad_value("relogin_at", shown, planned.source, wanted, hint="correct relogin_at") from None


class Settings(Struct, frozen=True):
    """The settings of one profile and where each came from."""

    profile: str
    paths: Paths
    values: Mapping[str, Setting]

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - one table of differently typed values
        """Return a setting's value."""
        return self.values[key].value

    @property
    def may_change_port(self) -> bool:
        """Whether gwctl chooses the port: nobody set it, and no client can know it, because no gateway had it yet."""
        had_a_gateway = self.paths.gateway_state_file.exists() or self.paths.gateway_served_file.exists()
        return self.values["port"].source in {BUILT_IN, CHOSEN} and not had_a_gateway

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
    place = f" in [{where}]" if where else ""
    hint = suggestion(key, known, form="{!r}", what="known keys")
    raise Configuration(f"unknown key {key!r}{place} of {path}", hint=hint)


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
    environment.require_known()
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
        values[name] = Setting(parse_value(name, raw, source, hint=_remedy(source)), source)
    if values["port"].source == BUILT_IN:
        values["port"] = chosen_port(paths) or values["port"]
    check_together(values)
    return Settings(profile, paths, values)


def _remedy(source: str) -> str:
    """Return what to do about a bad value: `profile show` could not read it either."""
    if source.startswith("$"):
        return f"correct {source[1:]}, or: unset {source[1:]}"
    return "correct the option" if source == "flag" else "gwctl profile edit"


def chosen_port(paths: Paths) -> Setting | None:
    """Return the port that the profile's first `up` chose; None if it took the built-in port."""
    chosen: dict[str, Any] | None = None
    with contextlib.suppress(OSError):
        chosen, _ = look_at_json(paths.chosen_port_file)
    port = (chosen or {}).get("port")
    if isinstance(port, bool) or not isinstance(port, int):
        return None
    return Setting(port, CHOSEN) if 0 < port <= LAST_PORT else None


def profile_of(environment: Environment) -> str:
    """Return the profile that is used where none is named: ``GWCTL_PROFILE``, else that of `gwctl profile use`.

    Raise Configuration if that cannot be read: another profile must not stand in for it.
    """
    named = environment.get("GWCTL_PROFILE")
    if named is not None:
        return named
    file = Paths.for_profile(DEFAULT_PROFILE, environment.home).default_profile_file
    try:
        name = (file.read_bytes if environment.trusts_home else partial(read_ours, file))().decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return DEFAULT_PROFILE
    except OSError as error:
        raise Configuration(f"cannot read {file}: {error.strerror}", hint=f"check the owner of {file}") from error
    if not PROFILE_NAME.fullmatch(name.strip()):
        raise Configuration(f"{file} names no profile", hint="gwctl profile use NAME, or name one with --profile")
    return name.strip()


def usual_profile(paths: Paths) -> str:
    """Return the profile of `gwctl profile use`, for the commands that are shown; ``default`` if it cannot be read."""
    try:
        name = paths.default_profile_file.read_bytes().decode(errors="replace").strip()
    except OSError:
        return DEFAULT_PROFILE
    return name if PROFILE_NAME.fullmatch(name) else DEFAULT_PROFILE


def require_profile(name: str, environment: Environment) -> None:
    """Raise Configuration that names the profiles there are if ``name`` is none of them.

    Settings that cannot be read raise nothing: a running profile can be stopped nevertheless.
    """
    if environment.get(variable_of("username")):
        return  # variables alone can make a profile
    if Paths.for_profile(check_profile_name(name), environment.home).profile_dir.is_dir():
        return
    try:
        known = profile_names(environment)
    except Configuration:
        return
    if name not in known:
        near = nearest(name, known)
        hint = f"gwctl --profile {near} …, or " if near else ""
        there_are = f"there is no profile {name!r}, only {', '.join(known)}"
        raise Configuration(there_are, hint=f"{hint}gwctl profile create {name} --username NAME")


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
