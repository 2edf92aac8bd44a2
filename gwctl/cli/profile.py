"""``gwctl profile``: several accounts on one machine."""

from __future__ import annotations

import shutil
from typing import Any

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup
from gwctl.config import KEYS, SECRET_KEYS, check_profile_name, load, profile_names, read_file
from gwctl.errors import Configuration, ProfileHeld, Usage
from gwctl.paths import Paths
from gwctl.state_file import write_bytes
from gwctl.supervisor.control import SupervisorClient


@click.group("profile", cls=SuggestingGroup)
@global_options
def command() -> None:
    """List, show, create and delete profiles."""


@command.command("list")
@verb
def list_(call: Call) -> Outcome:
    """List the profiles."""
    names = profile_names(call.environment)
    return Outcome({"profiles": names}, "\n".join(names))


@command.command("show")
@click.argument("name", required=False)
@verb
def show(call: Call, *, name: str | None) -> Outcome:
    """Show each setting with its source."""
    settings = load(name or call.profile_name, environment=call.environment)
    width = max(map(len, settings.values))
    rows = [
        f"{key:<{width}}  {_shown(settings.shown(key))}  ({setting.source})" for key, setting in settings.values.items()
    ]
    return Outcome({"profile": settings.profile, "settings": settings.to_json()}, "\n".join(rows))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@command.command("create")
@click.argument("name")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Any setting; may be given several times.")
@click.option("--username", help="IBKR username.")
@click.option("--mode", type=click.Choice(["paper", "live"]), help="Account kind.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Port of the gateway.")
@verb
def create(  # noqa: PLR0913 - one argument an option
    call: Call, *, name: str, pairs: tuple[str, ...], username: str | None, mode: str | None, port: int | None
) -> Outcome:
    """Create profile NAME in config.toml; comments and other profiles there stay as they are."""
    import tomlkit

    check_profile_name(name)
    wanted: dict[str, Any] = {"username": username, "mode": mode, "port": port}
    wanted |= dict(_pair(text) for text in pairs)
    file = Paths.for_profile(name, call.environment.home).config_file
    load(name, environment=call.environment)  # a file with a mistake in it is not written to
    if name in read_file(file).get("profiles", {}):
        raise Configuration(f"profile {name!r} exists in {file}", hint=f"edit {file}, or gwctl profile delete {name}")
    table = tomlkit.table()
    for key, value in wanted.items():
        if value is not None:
            table[key] = _checked(key, value)
    document: Any = tomlkit.parse(file.read_text() if file.exists() else "")
    if "profiles" not in document:
        document["profiles"] = tomlkit.table(is_super_table=True)
    document["profiles"][name] = table
    write_bytes(file, tomlkit.dumps(document).encode())
    settings = load(name, environment=call.environment)
    return Outcome(
        {"profile": name, "file": str(file), "settings": settings.to_json()},
        f"created {name} in {file}\nnext: gwctl --profile {name} secret set password, or GWCTL_PASSWORD_FILE; "
        f"then gwctl --profile {name} up",
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in KEYS:
        if key in SECRET_KEYS:
            raise Usage(f"{key} does not belong into config.toml", hint=f"gwctl secret set {key}")
        # The value may be a secret of the wrong place: it is not repeated.
        raise Usage(f"--set {key!r} is not KEY=VALUE with a known key", hint="known keys: " + ", ".join(KEYS))
    return key, value


def _checked(key: str, value: Any) -> Any:  # noqa: ANN401 - a setting's own type
    try:
        parsed = KEYS[key].parse(value)
    except ValueError as error:
        raise Configuration(f"{key} = {value!r} is not {error}", hint="gwctl profile show") from None
    return list(parsed) if isinstance(parsed, tuple) else parsed


@command.command("delete")
@click.argument("name")
@verb
def delete(call: Call, *, name: str) -> Outcome:
    """Delete profile NAME from config.toml and its folder; its count of refused logins goes with it."""
    import tomlkit

    from gwctl.gateway.launch import adopt

    paths = Paths.for_profile(check_profile_name(name), call.environment.home)
    if SupervisorClient.find(paths) is not None or adopt(paths) is not None:
        raise ProfileHeld(f"profile {name!r} is running", hint=f"gwctl --profile {name} down")
    if name not in profile_names(call.environment):
        raise Configuration(f"there is no profile {name!r}", hint="gwctl profile list")
    file = paths.config_file
    if name in read_file(file).get("profiles", {}):
        document = tomlkit.parse(file.read_text())
        profiles: Any = document["profiles"]
        del profiles[name]
        write_bytes(file, tomlkit.dumps(document).encode())
    shutil.rmtree(paths.profile_dir, ignore_errors=True)
    return Outcome({"profile": name}, f"deleted {name}")
