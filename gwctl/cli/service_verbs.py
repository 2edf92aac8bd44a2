"""``gwctl service``: run the profile with systemd, cron or launchd."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from gwctl.cli.call import Call, SuggestingGroup, global_options, offering, verb
from gwctl.cli.output import Outcome
from gwctl.cli.service_places import CronPlace, LaunchdPlace, Place, SystemdPlace, installed_places, places
from gwctl.errors import Configuration, Usage
from gwctl.gateway.isolated import firewall_of
from gwctl.integrations.service_files import Options, State, compare, difference, read_options


@click.group("service", cls=SuggestingGroup)
@global_options
def service() -> None:
    """Install, remove or show a systemd unit, a crontab line or a launch agent for the profile."""


def _with(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda function: reduce(lambda given, option: option(given), reversed(options), function)


_MANAGER = _with(
    click.option("--systemd", is_flag=True, help="Use systemd, by default your user's manager."),
    click.option("--cron", is_flag=True, help="Use your crontab."),
    click.option("--launchd", is_flag=True, help="Use a launchd agent (macOS)."),
    click.option("--system", is_flag=True, help="With --systemd: use the system's manager."),
)
_CHOICES = _with(
    click.option("--user", "account", metavar="NAME", help="With --system: account to run as.  [default: gwctl]"),
    click.option("--password-file", metavar="FILE", shell_complete=offering("files"),
                 help="File with the password; only its path is stored."),
    click.option("--totp-secret-file", metavar="FILE", shell_complete=offering("files"),
                 help="File with the TOTP secret; only its path is stored."),
    click.option("--sandbox", is_flag=True, help="Use the built-in sandbox: no account, no internet."),
)  # fmt: skip

_FIREWALL = click.option(
    "--firewall", is_flag=False, flag_value="pf" if sys.platform == "darwin" else "nft",
    type=click.Choice(["nft", "pf"]),
    help="Show a firewall for the gateway's port, for root to load: by default nftables' table, on macOS pf's anchor.",
)  # fmt: skip


def _found_place(call: Call, hint: str) -> Place:
    """Return the place of a service that is installed, else the best one; raise Usage if there is no manager."""
    for found in (installed_places(call), places(call)):
        if (place := next(iter(found), None)) is not None:
            return place
    raise Usage("this machine has no service manager for its users: neither systemd nor cron", hint=hint)


def _place(call: Call, chosen: dict[str, Any]) -> Place:
    """Return the place of the service, this machine's own unless one is named; raise Usage if several are."""
    kinds = [kind for kind in ("systemd", "cron", "launchd") if chosen.pop(kind)]
    verb_name = chosen.pop("verb", "show")
    hint = f"{call.command(f'service {verb_name}')} --systemd, or --cron, or --launchd"
    if len(kinds) > 1:
        raise Usage("name one service manager", hint=hint)
    system, account = chosen.pop("system"), chosen.get("account")
    if not kinds and system:
        kinds = ["systemd"]
    if not kinds:
        if account:
            raise Usage("--user needs --systemd --system", hint="--systemd --system --user NAME")
        return _found_place(call, hint)
    if system and kinds != ["systemd"]:
        raise Usage(f"--system needs --systemd, not --{kinds[0]}")
    if account and not system:
        raise Usage("--user needs --systemd --system", hint="--systemd --system --user NAME")
    if kinds == ["cron"]:
        return CronPlace(call)
    return LaunchdPlace(call) if kinds == ["launchd"] else SystemdPlace(call, system=system)


def _options(chosen: dict[str, Any], found: str | None) -> Options:
    """Return the chosen options on top of those in the installed file; raise Configuration if that is not ours."""
    for name in ("password_file", "totp_secret_file"):
        if chosen[name] is not None:
            file = Path(chosen[name]).expanduser().absolute()
            if not file.is_file():
                raise Configuration(f"{file} is not a file", hint=f"write the secret to it, then: chmod 600 {file}")
            chosen[name] = str(file)
    return Options(**{name: chosen[name] for name in Options.__struct_fields__}).over(read_options(found))


def _refuse_edited(place: Place, what: str) -> None:
    raise Configuration(
        f"{place.where} was edited by hand or not made by gwctl, so it is not {what}",
        hint=f"{place.verb('show')}, then repeat with --force",
    )


@service.command("install")
@_MANAGER
@_CHOICES
@click.option("--no-start", is_flag=True, help="Only write it; start and enable nothing.")
@click.option("--force", is_flag=True, help="Overwrite a file that was edited by hand.")
@verb
def install(call: Call, *, no_start: bool, force: bool, **chosen: Any) -> Outcome:  # noqa: ANN401 - see _MANAGER
    """Write the service's file and start the service, now and at each boot or login.

    Run it again to update the file. Options of an earlier install stay unless you give them again; uninstall removes
    them.
    """
    place = _place(call, {**chosen, "verb": "install"})
    data, text = install_at(place, chosen, Install(start=not no_start, force=force))
    return Outcome(data, "" if call.quiet else text)


class Install(Struct, frozen=True):
    """How a service is installed."""

    start: bool = True
    force: bool = False
    """Whether a file that was edited by hand is overwritten."""
    keeps_options: bool = True
    """Whether the options of an earlier install stay unless they are chosen again."""
    before_load: Callable[[], object] = lambda: None
    """Called when only the service manager can still refuse."""


def install_at(place: Place, chosen: Mapping[str, Any], how: Install) -> tuple[dict[str, Any], str]:
    """Install the service, and return it for machines and for people; raise GwctlError."""
    found = place.read()
    options = _options({**dict.fromkeys(Options.__struct_fields__), **chosen}, found if how.keeps_options else None)
    place.check(options)
    wanted = place.render(options)
    state = compare(found, wanted)
    if state is State.EDITED and not how.force:
        _refuse_edited(place, "overwritten")
    if state is not State.CURRENT:
        place.write(wanted)
    how.before_load()
    started, following = place.load(changed=state is not State.CURRENT, start=how.start)
    said = {State.ABSENT: "installed", State.CURRENT: "already installed"}.get(state, "updated")
    text = "\n".join([f"{said}: {place.where}", *following])
    return {**place.describe(), "was": str(state), "started": started, "next": following}, text


@service.command("uninstall")
@_MANAGER
@click.option("--force", is_flag=True, help="Remove a file that was edited by hand.")
@verb
def uninstall(call: Call, *, force: bool, **chosen: Any) -> Outcome:  # noqa: ANN401 - see _MANAGER
    """Stop the service and remove its file; exits with 0 if there is none."""
    place = _place(call, {**chosen, "verb": "uninstall"})
    found = place.read()
    if found is None:
        return Outcome({**place.describe(), "removed": False}, "" if call.quiet else f"not installed: {place.where}")
    if not force and compare(found, "") is State.EDITED:
        _refuse_edited(place, "removed")
    following = place.remove()
    text = "\n".join([f"removed: {place.where}", *following])
    return Outcome({**place.describe(), "removed": True, "next": following}, "" if call.quiet else text)


@service.command("show")
@_MANAGER
@_CHOICES
@_FIREWALL
@verb
def show(call: Call, *, firewall: str | None, **chosen: Any) -> Outcome:  # noqa: ANN401 - see _MANAGER
    """Show what an install would write and how that differs from what is installed."""
    if firewall is not None:
        if any(chosen.values()):
            raise Usage("--firewall cannot be combined with options of a service")
        wanted = firewall_of(call.settings()).shown(firewall)
        return Outcome({"profile": call.profile_name, "kind": firewall, "wanted": wanted}, wanted, is_verbatim=True)
    place = _place(call, {**chosen, "verb": "show"})
    found = place.read()
    wanted = place.render(_options(chosen, found))
    state = compare(found, wanted)
    call.say(f"{place.where}: {_WORDS[state]}")
    text = wanted if found is None or state is State.CURRENT else difference(found, wanted)
    return Outcome({**place.describe(), "state": str(state), "wanted": wanted, "found": found}, text, is_verbatim=True)


_WORDS = {
    State.ABSENT: "not installed; an install would write",
    State.CURRENT: "installed and up to date",
    State.OUTDATED: "installed; an install would change it",
    State.EDITED: "edited by hand or not made by gwctl; install --force would change it",
}
