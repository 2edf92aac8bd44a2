"""`profile`: accounts and their settings."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import click

from gwctl.cli.call import Call, SuggestingGroup, global_options, offering, verb
from gwctl.cli.columns import folded, table, width_of
from gwctl.cli.output import Outcome, rows
from gwctl.config import load, profile_names, profile_of, require_profile, usual_profile
from gwctl.environment import secrets_out_of_reach
from gwctl.errors import Configuration, ProfileHeld, Usage
from gwctl.lifecycle.account import forget_secrets
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.settings_file import Saved, checked, editing, known_key, pair_of, save, unknown_profile
from gwctl.profile_registry import known_names
from gwctl.session_status import typed
from gwctl.state_file import make_missing, write_bytes
from gwctl.supervisor.control import SupervisorClient

PHASE_WIDTH = 24
"""What the last column of the list keeps on a narrow terminal."""


@click.group("profile", cls=SuggestingGroup)
@global_options
def profile() -> None:
    """List, show, create, change and delete profiles."""


@profile.command("list")
@verb
def list_(call: Call) -> Outcome:
    """List the profiles with port, account kind, user and phase; `*` marks the one that is used if none is named."""
    from gwctl.lifecycle.fleet import look_at
    from gwctl.lifecycle.reach import port_of

    names = profile_names(call.environment)
    known = set(known_names(call.paths))
    found: list[dict[str, Any]] = []
    for name, (status, _) in zip(names, look_at(call.target(), names), strict=True):
        settings = load(name, environment=call.environment)
        found.append(
            {
                "profile": name,
                "port": port_of(settings),
                "health_port": settings["health_port"],
                "mode": settings["mode"],
                "username": settings["username"],
                "show_username": settings["show_username"],
                "phase": status["phase"],
                "ready": status["ready"],
                "sandbox": status.get("sandbox", False),
                "default": name == profile_of(call.environment),
            }
        )
    for row in found:
        same = [one["profile"] for one in found if one["port"] == row["port"] and one is not row]
        row["port_shared_with"] = [name for name in same if {name, row["profile"]} <= known]
    return Outcome({"profiles": names, "details": found}, rows(_lines(found)))


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    width = width_of(sys.stdout)
    cells = [("  PROFILE", " PORT", "MODE ", "USER")]
    last = ["PHASE"]
    for row in found:
        sandbox = " (sandbox)" if row["sandbox"] else ""
        shared = f"; port also of {', '.join(row['port_shared_with'])}" if row["port_shared_with"] else ""
        mode = row["mode"].upper() if row["mode"] == "live" else row["mode"]
        name = f"{'*' if row['default'] else ' '} {row['profile']}"
        cells.append((name, f"{row['port']:>5}", f"{mode:<5}", (row["show_username"] and row["username"]) or "-"))
        last.append(f"{row['phase']}{sandbox}{shared}")
    narrower = {} if width is None else {3: 12, 0: 24}
    lines = list(table(cells, width=(width or 0) - PHASE_WIDTH, least=narrower))
    indent = max(map(len, lines))
    for line, phase in zip(lines, last, strict=True):
        yield from folded(f"{line:<{indent}}  {phase}", width, indent + 2).split("\n")


@profile.command("show")
@click.argument("name", required=False, shell_complete=offering("profiles"))
@verb
def show(call: Call, *, name: str | None) -> Outcome:
    """Show each setting and its source, and the path of config.toml."""
    if name is not None:
        require_profile(name, call.environment)
    settings = load(name or call.profile_name, environment=call.environment)
    width = max(map(len, settings.values))
    lines = [
        f"{key:<{width}}  {_shown(settings.shown(key))}  ({setting.source})" for key, setting in settings.values.items()
    ]
    file = settings.paths.config_file
    lines += ["", f"settings file: {file}{'' if file.exists() else ' (does not exist yet)'}"]
    data = {"profile": settings.profile, "settings": settings.to_json(), "config_file": str(file)}
    return Outcome(data, rows(lines))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@profile.command("create")
@click.argument("name")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", shell_complete=offering("settings"),
              help="Set any setting; repeat for several.")  # fmt: skip
@click.option("--username", help="IBKR username.")
@click.option("--mode", type=click.Choice(["paper", "live"]), help="Account kind.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT",
              help="Port of the gateway.  [default: the lowest port from 5000 up that no profile has]")  # fmt: skip
@verb
def create(  # noqa: PLR0913 - one argument an option
    call: Call, *, name: str, pairs: tuple[str, ...], username: str | None, mode: str | None, port: int | None
) -> Outcome:
    """Create profile NAME in config.toml; comments and other profiles there stay unchanged."""
    wanted: dict[str, Any] = {"username": username, "mode": mode, "port": port}
    wanted |= dict(pair_of(text) for text in pairs)
    values = {key: checked(key, value) for key, value in wanted.items() if value is not None}
    saved = save(call.target().with_name(name), values, create=True)
    return Outcome(
        {"profile": name, "file": str(saved.file), "settings": saved.settings.to_json()},
        f"created {name} in {saved.file}, port {saved.settings['port']}{saved.note}\n"
        f"next: {typed(name, 'secret set password')}, or set password_file; then {typed(name, 'up')}",
    )


@profile.command("set")
@click.argument("name", shell_complete=offering("profiles"))
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE…", shell_complete=offering("settings"))
@verb
def set_(call: Call, *, name: str, pairs: tuple[str, ...]) -> Outcome:
    """Change settings of profile NAME in config.toml; a running profile uses them from its next start."""
    values = {key: checked(key, value) for key, value in (pair_of(text) for text in pairs)}
    return _changed(name, save(call.target().with_name(name), values, create=False))


@profile.command("unset")
@click.argument("name", shell_complete=offering("profiles"))
@click.argument("keys", nargs=-1, required=True, metavar="KEY…", shell_complete=offering("keys"))
@verb
def unset(call: Call, *, name: str, keys: tuple[str, ...]) -> Outcome:
    """Remove settings of profile NAME from config.toml: `[defaults]` or the built-in value applies again."""
    return _changed(name, save(call.target().with_name(name), dict.fromkeys(map(known_key, keys)), create=False))


def _changed(name: str, saved: Saved) -> Outcome:
    return Outcome(
        {"profile": name, "file": str(saved.file), "settings": saved.settings.to_json()},
        f"changed {name} in {saved.file}{saved.note}",
    )


@profile.command("use")
@click.argument("name", shell_complete=offering("profiles"))
@verb
def use(call: Call, *, name: str) -> Outcome:
    """Use profile NAME where neither --profile nor GWCTL_PROFILE names one."""
    require_profile(name, call.environment)
    file = Profile(name, call.environment).paths.default_profile_file
    make_missing(file.parent)
    write_bytes(file, f"{name}\n".encode())
    return Outcome({"profile": name}, f"using {name} where no profile is named")


@profile.command("edit")
@verb
def edit(call: Call) -> Outcome:
    """Open config.toml in your editor (VISUAL, EDITOR), then check it."""
    file = call.paths.config_file
    if not call.may_ask:
        raise Usage("there is no terminal for an editor", hint="gwctl profile set NAME KEY=VALUE")
    if not file.exists():
        make_missing(file.parent)
        write_bytes(file, b"")
    with secrets_out_of_reach():
        click.edit(filename=str(file))
    for name in profile_names(call.environment):
        load(name, environment=call.environment)
    return Outcome({"config_file": str(file)}, f"{file} is valid")


@profile.command("delete")
@click.argument("name", shell_complete=offering("profiles"))
@verb
def delete(call: Call, *, name: str) -> Outcome:
    """Delete profile NAME from config.toml, and its folder; the refused logins of its username stay counted."""
    from gwctl.gateway.launch import adopt
    from gwctl.login_ledger.ledger import Ledger

    paths = call.target().with_name(name).paths
    if SupervisorClient.find(paths) is not None or adopt(paths) is not None:
        raise ProfileHeld(f"profile {name!r} is running", hint=f"gwctl --profile {name} down")
    if name not in profile_names(call.environment):
        raise unknown_profile(name, profile_names(call.environment))
    ledger = Ledger.of(load(name, environment=call.environment))
    if ledger.exists:
        ledger.prepare()
        if ledger.account.name is None and ledger.summary(1)["rejected"]:
            raise Configuration(
                f"profile {name!r} has refused logins of the last 24 h, and its settings name no username to count",
                hint=f"GWCTL_USERNAME=NAME gwctl profile delete {name}, or wait",
            )
    with editing(call.paths) as document:
        if name in document.get("profiles", {}):
            del document["profiles"][name]
    if name == usual_profile(paths):
        paths.default_profile_file.unlink(missing_ok=True)
    forget_secrets(call.target().with_name(name))
    shutil.rmtree(paths.profile_dir, ignore_errors=True)
    return Outcome({"profile": name}, f"deleted {name}")
