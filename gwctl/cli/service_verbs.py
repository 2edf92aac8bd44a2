"""``gwctl service``: run the profile with systemd, cron or launchd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gwctl.cli.call import Call, SuggestingGroup, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.service_place import CrontabPlace, LaunchdPlace, Place, SystemdPlace
from gwctl.errors import Configuration, Usage
from gwctl.integrations.service_file import Options, State, compare, read_options

_KINDS = ("systemd", "cron", "launchd")


@click.group("service", cls=SuggestingGroup)
@global_options
def service() -> None:
    """Install, remove or show a systemd unit, a crontab line or a launch agent for the profile."""


def _with(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def give(function: Any) -> Any:  # noqa: ANN401 - Click's decorators
        for option in reversed(options):
            function = option(function)
        return function

    return give


_MANAGER = _with(
    click.option("--systemd", is_flag=True, help="Use systemd, by default your user's manager."),
    click.option("--cron", is_flag=True, help="Use your crontab."),
    click.option("--launchd", is_flag=True, help="Use a launchd agent (macOS)."),
    click.option("--system", is_flag=True, help="With --systemd: use the system's manager."),
)
_CHOICES = _with(
    click.option("--user", "account", metavar="NAME", help="With --system: account to run as.  [default: gwctl]"),
    click.option("--password-file", metavar="FILE", help="File with the password; only its path is stored."),
    click.option("--totp-secret-file", metavar="FILE", help="File with the TOTP secret; only its path is stored."),
    click.option("--sandbox", is_flag=True, help="Use the built-in sandbox: no account, no internet."),
)  # fmt: skip


def _place(call: Call, chosen: dict[str, Any]) -> Place:
    """Return the place of the service; raise Usage unless exactly one manager is named."""
    kinds = [kind for kind in _KINDS if chosen.pop(kind)]
    if len(kinds) != 1:
        hint = f"{call.command('service ' + str(chosen.pop('verb', 'show')))} --systemd, or --cron, or --launchd"
        raise Usage("name exactly one service manager", hint=hint)
    system, account = chosen.pop("system"), chosen.get("account")
    if system and kinds != ["systemd"]:
        raise Usage(f"--system needs --systemd, not --{kinds[0]}")
    if account and not system:
        raise Usage("--user needs --systemd --system", hint="--systemd --system --user NAME")
    if kinds == ["cron"]:
        return CrontabPlace(call)
    return LaunchdPlace(call) if kinds == ["launchd"] else SystemdPlace(call, system=system)


def _options(chosen: dict[str, Any], found: str | None) -> Options:
    """Return the chosen options on top of those in the installed file; raise Configuration if that is not ours."""
    for name in ("password_file", "totp_secret_file"):
        if chosen[name] is not None:
            file = Path(chosen[name]).expanduser().absolute()
            if not file.is_file():
                raise Configuration(f"{file} is not a file", hint=f"write the secret to it, then: chmod 600 {file}")
            chosen[name] = str(file)
    return Options(**{name: chosen[name] for name in Options.__slots__}).over(read_options(found))


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
    found = place.read()
    options = _options(chosen, found)
    place.check(options)
    wanted = place.render(options)
    state = compare(found, wanted)
    if state is State.EDITED and not force:
        _refuse_edited(place, "overwritten")
    if state is not State.CURRENT:
        place.write(wanted)
    started, following = place.take_up(changed=state is not State.CURRENT, start=not no_start)
    said = {State.ABSENT: "installed", State.CURRENT: "already installed"}.get(state, "updated")
    text = "\n".join([f"{said}: {place.where}", *following])
    data = {**place.describe(), "was": str(state), "started": started, "next": following}
    return Outcome(data, "" if call.quiet else text)


@service.command("uninstall")
@_MANAGER
@click.option("--force", is_flag=True, help="Remove a file that was edited by hand.")
@verb
def uninstall(call: Call, *, force: bool, **chosen: Any) -> Outcome:  # noqa: ANN401 - see _MANAGER
    """Stop the service and remove its file; exits with 0 if there is none."""
    place = _place(call, {**chosen, "verb": "uninstall"})
    found = place.read()
    if found is None:
        text = f"not installed: {place.where}"
        return Outcome({**place.describe(), "removed": False}, "" if call.quiet else text)
    if not force and compare(found, "") is State.EDITED:
        _refuse_edited(place, "removed")
    following = place.remove()
    text = "\n".join([f"removed: {place.where}", *following])
    return Outcome({**place.describe(), "removed": True, "next": following}, "" if call.quiet else text)


@service.command("show")
@_MANAGER
@_CHOICES
@verb
def show(call: Call, **chosen: Any) -> Outcome:  # noqa: ANN401 - see _MANAGER
    """Show what an install would write and how that differs from what is installed."""
    place = _place(call, {**chosen, "verb": "show"})
    found = place.read()
    wanted = place.render(_options(chosen, found))
    state = compare(found, wanted)
    call.say(f"{place.where}: {_WORDS[state]}")
    text = wanted if found is None or state is State.CURRENT else _difference(found, wanted)
    return Outcome({**place.describe(), "state": str(state), "wanted": wanted, "found": found}, text)


_WORDS = {
    State.ABSENT: "not installed; an install would write",
    State.CURRENT: "installed and up to date",
    State.OUTDATED: "installed; an install would change it",
    State.EDITED: "edited by hand or not made by gwctl; install --force would change it",
}


def _difference(found: str, wanted: str) -> str:
    import difflib

    lines = difflib.unified_diff(
        found.splitlines(keepends=True), wanted.splitlines(keepends=True), "installed", "install would write"
    )
    return "".join(lines)
