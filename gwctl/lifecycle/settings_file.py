"""Write profiles into config.toml: whole, checked, and with the comments and other profiles that are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gwctl.config import (
    BUILT_IN,
    Setting,
    Settings,
    check_profile_name,
    check_together,
    chosen_port,
    load,
    parse_value,
    profile_names,
    read_file,
)
from gwctl.environment import with_absolute_path
from gwctl.errors import Configuration, ProfileHeld, Usage
from gwctl.known_words import Choice, suggestion
from gwctl.lifecycle.profile import Profile
from gwctl.paths import Paths
from gwctl.profile_registry import choose_port, ports_by_profile
from gwctl.setting_keys import KEYS, SECRET_KEYS, variable_of
from gwctl.setting_values import parse_command
from gwctl.state_file import make_missing, write_bytes

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

LOCK_TIMEOUT_S = 30.0
_SOURCE = "the command line"


class Saved(Struct, frozen=True):
    """A profile as it is in config.toml now."""

    file: Path
    settings: Settings
    note: str
    """What a person should know, to be added to a line; may be empty."""


def unknown_profile(name: str, known: Iterable[str]) -> Configuration:
    """Return the error of a profile that is not in config.toml."""
    hint = f"{suggestion(name, known, what='profiles')}; or gwctl profile create {name}"
    return Configuration(f"unknown profile {name!r}", hint=hint)


def pair_of(text: str) -> tuple[str, str]:
    """Return the key and the value of KEY=VALUE; raise Usage for anything else, without the value."""
    key, equals, value = text.partition("=")
    if equals and key in KEYS:
        return key, value
    _refuse_secret(key)
    # The value may be a secret in the wrong place: do not repeat it.
    hint = suggestion(key, KEYS, form="{}=…", what="known keys")
    raise Usage(f"{key!r} is not KEY=VALUE with a known key", hint=hint)


def known_key(key: str) -> str:
    """Return the key of a setting; raise Usage for anything else."""
    _refuse_secret(key)
    if key not in KEYS:
        raise Usage(f"{key!r} is no setting", hint=suggestion(key, KEYS, what="known keys"))
    return key


def _refuse_secret(key: str) -> None:
    if key in SECRET_KEYS:
        raise Usage(f"{key} must not be in config.toml", hint=f"gwctl secret set {key}, or set {key}_file=FILE")


def checked(key: str, value: object) -> Any:  # noqa: ANN401 - a setting's own type
    """Return a setting's value as config.toml holds it, a path absolute; raise Configuration."""
    if isinstance(value, str):
        value = _argv(value) if KEYS[key].parse is parse_command else with_absolute_path(key, value, key)
    parsed = parse_value(key, value, _SOURCE, hint=_example(key))
    return list(parsed) if isinstance(parsed, tuple) else parsed


def _example(key: str) -> str:
    """Return the hint for a bad value: KEY=VALUE with a good one, as it is typed into a shell."""
    import shlex

    one = KEYS[key]
    # Of words, the built-in one: whoever mistypes `paper` must not be led to `live`.
    example = one.default if isinstance(one.parse, Choice) and one.default else one.example
    if isinstance(example, Mapping):
        return "gwctl profile edit"  # no text stands for a table
    if one.parse is parse_command or isinstance(example, bool):
        text = json.dumps(example)
    else:
        text = str(example[0] if isinstance(example, list) else example)
    return f"a value such as {key}={shlex.quote(text)}"


def _argv(text: str) -> object:
    """Return the list of a program and its arguments that a person typed as config.toml has it, else the text."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


@contextmanager
def editing(paths: Paths) -> Iterator[TOMLDocument]:
    """Yield the document of config.toml, locked against other writers, and write it at the end.

    Raise ProfileHeld if another gwctl keeps it locked.
    """
    import tomlkit
    from filelock import FileLock, Timeout

    file = paths.config_file
    make_missing(file.parent)
    try:
        with FileLock(file.with_name(f"{file.name}.lock"), mode=0o600).acquire(timeout=LOCK_TIMEOUT_S):
            before = file.read_bytes().decode("utf-8-sig") if file.exists() else ""
            document = tomlkit.parse(before)
            yield document
            text = tomlkit.dumps(document)
            _require_same(file, text, document)
            if text != before:
                write_bytes(file.resolve(), text.encode())  # a link of the user's stays one
    except Timeout:
        raise ProfileHeld(f"another gwctl is writing {file}", hint="the same command again") from None


def _require_same(file: Path, text: str, document: TOMLDocument) -> None:
    """Raise Configuration if a text does not say what the document does: tomlkit cannot change every form."""
    import tomllib

    with suppress(ValueError):
        # The table of all profiles is not written while it is empty.
        if {"profiles": {}, **tomllib.loads(text)} == {"profiles": {}, **document.unwrap()}:
            return
    raise _not_changeable(file)


def _not_changeable(file: Path) -> Configuration:
    text = f"gwctl cannot change {file}: it has its profiles in another form than [profiles.NAME]"
    return Configuration(text, hint="gwctl profile edit")


def save(
    profile: Profile,
    values: Mapping[str, Any],
    *,
    create: bool | None,
    keep: Callable[[], Mapping[str, Any]] = dict,
) -> Saved:
    """Write ``values``, which are ``checked``, into the profile's table; a new profile gets a port that no other has.

    A value of None removes the setting from the table. ``keep`` is called once nothing but the writing can fail, and
    returns further values.

    ``create`` says whether the profile must be new, or must be there; None takes both. Raise Configuration, changing
    nothing, for a file with an error, and for values that do not fit each other.
    """
    import tomlkit

    name, file = check_profile_name(profile.name), profile.paths.config_file
    profile_names(profile.environment)  # raises for a file with an error, before it is parsed to be changed
    with editing(profile.paths) as document:
        known = profile_names(profile.environment)
        is_there = name in read_file(file).get("profiles", {})
        if create is True:
            load(name, environment=profile.environment)  # reject an invalid value before writing anything
            if is_there:
                raise Configuration(f"profile {name!r} already exists in {file}", hint=_how_to_change(file, name))
        elif create is False and name not in known:
            raise unknown_profile(name, known)
        written = {key: value for key, value in values.items() if value is not None}
        removed = values.keys() - written.keys()
        fallbacks = _fallbacks(profile, removed)
        shown = {key: one.value for key, one in fallbacks.items()} | written
        note = _shared_ports(profile.paths, name, shown)
        if not is_there and "port" not in written and _needs_port(profile, create=create):
            written["port"] = _free_port(profile.paths, name, written)
        _check_together(profile, {**fallbacks, **{key: Setting(value, _SOURCE) for key, value in written.items()}})
        _change(file, document, name, written, removed)
        _require_same(file, tomlkit.dumps(document), document)
        kept = keep()
        more = {key: value for key, value in kept.items() if value is not None}
        _change(file, document, name, more, kept.keys() - more.keys())
    return Saved(file, load(name, environment=profile.environment), note)


def _change(
    file: Path, document: TOMLDocument, name: str, written: Mapping[str, Any], removed: AbstractSet[str]
) -> None:
    import tomlkit

    if not written and name not in document.get("profiles", {}):
        return  # nothing to remove
    try:
        if "profiles" not in document:
            document["profiles"] = tomlkit.table(is_super_table=True)
        if name not in document["profiles"]:
            document["profiles"][name] = tomlkit.table()
        for key, value in written.items():
            document["profiles"][name][key] = value
        for key in removed:
            document["profiles"][name].pop(key, None)
    except (ValueError, TypeError, tomlkit.exceptions.TOMLKitError):
        raise _not_changeable(file) from None


def _needs_port(profile: Profile, *, create: bool | None) -> bool:
    """Return whether a profile without a table needs a port of its own there: a new one, that has none elsewhere."""
    if create is not None:
        return create
    settings = load(profile.name, environment=profile.environment)
    had_a_gateway = settings.paths.gateway_state_file.exists() or settings.paths.gateway_served_file.exists()
    return settings.values["port"].source == BUILT_IN and not had_a_gateway


def _how_to_change(file: Path, name: str) -> str:
    return f"gwctl profile set {name} KEY=VALUE, edit {file}, or gwctl profile delete {name}"


def _free_port(paths: Paths, name: str, values: Mapping[str, Any]) -> int:
    """Return a port that no profile has and that is free now."""
    from gwctl.process import port_is_free

    taken = {port for other, ports in ports_by_profile(paths).items() if other != name for port in ports}
    return choose_port(taken | {values.get("health_port", 0)}, port_is_free)


def _shared_ports(paths: Paths, name: str, values: Mapping[str, Any]) -> str:
    """Return a note if another profile also has a port that a person chose: they may be meant to take turns."""
    chosen = {values[key] for key in ("port", "health_port") if key in values}
    others = ports_by_profile(paths)
    sharing = sorted(other for other, ports in others.items() if other != name and ports & chosen)
    return f"; {', '.join(sharing)} has that port too, so only one of them can run" if sharing else ""


def _fallbacks(profile: Profile, removed: Iterable[str]) -> dict[str, Setting]:
    """Return what applies when settings of the profile's own table are gone."""
    content = read_file(profile.paths.config_file)
    own, defaults = content.get("profiles", {}).get(profile.name, {}), content.get("defaults", {})
    found: dict[str, Setting] = {}
    for key in removed:
        if key in own and profile.environment.get(variable_of(key)) is None:
            default = Setting(KEYS[key].parse(defaults[key]) if key in defaults else KEYS[key].default, BUILT_IN)
            chosen = chosen_port(profile.paths) if key == "port" and key not in defaults else None
            found[key] = chosen or default
    return found


def _check_together(profile: Profile, values: Mapping[str, Setting]) -> None:
    """Raise Configuration, before anything is written, if ``values`` do not fit the profile's other settings."""
    settings: Mapping[str, Setting] = {key: Setting(one.default, BUILT_IN) for key, one in KEYS.items()}
    with suppress(Configuration):  # a bad value that is there already can be replaced
        settings = load(profile.name, environment=profile.environment).values
    check_together({**settings, **values})
