"""`release`, `browser`, `sandbox` and `completion`: what a session needs, and the sandbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, SuggestingGroup, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.terminal import Terminal
from gwctl.config import OFFICIAL_RELEASE
from gwctl.errors import ReleaseBroken, ReleaseMissing, Usage
from gwctl.lifecycle.preflight import install_from, store_of
from gwctl.lifecycle.reach import Sandbox
from gwctl.paths import Paths

if TYPE_CHECKING:
    from gwctl.release.store import Release

MEGABYTE = 1_000_000


@click.group("release", cls=SuggestingGroup)
@global_options
def release() -> None:
    """Install, list, choose, verify and remove Standard Releases."""


def _release_facts(release: Release, *, current: bool) -> dict[str, Any]:
    return {
        "version": release.version,
        "sha256": release.sha256,
        "source": release.source,
        "installed_at": release.installed_at,
        "kind": release.kind,
        "size_bytes": release.size_bytes,
        "path": str(release.path),
        "current": current,
    }


@release.command("install")
@click.argument("source", required=False, metavar="[URL|FILE]")
@click.option("--sha256", metavar="HEX", help="Accept only an archive with this checksum.")
@verb
def install(call: Call, *, source: str | None, sha256: str | None) -> Outcome:
    """Install the official Standard Release, or one from a URL or a zip file, and choose it."""
    result = install_from(call.target(), source or OFFICIAL_RELEASE, Terminal(call), sha256)
    release = result.release
    said = {
        "installed": f"installed {release.version}",
        "already_installed": f"{release.version} is already installed; nothing changed",
        "new_bytes": f"the same URL returned DIFFERENT BYTES; installed next to the old release as {release.version}",
    }[result.outcome]
    data = {
        **_release_facts(release, current=True),
        "outcome": result.outcome,
        "previous": result.previous.version if result.previous else None,
    }
    return Outcome(data, f"{said}\nsha256 {release.sha256}")


@release.command("list")
@verb
def list_(call: Call) -> Outcome:
    """List the installed releases and mark the chosen one."""
    store = store_of(call.paths)
    current = store.current()
    chosen = current.version if current else None
    releases = store.list()
    rows = [
        f"{'*' if release.version == chosen else ' '} {release.version}  {release.kind}  "
        f"{release.size_bytes / MEGABYTE:.1f} MB  sha256 {release.sha256[:16]}…  {release.source}"
        for release in releases
    ]
    text = "\n".join(rows) or f"none; try: {call.command('release install')}"
    return Outcome({"releases": [_release_facts(one, current=one.version == chosen) for one in releases]}, text)


@release.command("use")
@click.argument("version")
@verb
def use(call: Call, *, version: str) -> Outcome:
    """Use VERSION for gateways started from now on."""
    release = store_of(call.paths).use(version)
    return Outcome(_release_facts(release, current=True), f"using {release.version}")


@release.command("verify")
@click.argument("version", required=False)
@verb
def verify(call: Call, *, version: str | None) -> Outcome:
    """Check every file of a release against its checksum from the installation."""
    store = store_of(call.paths)
    if version is None:
        current = store.current()
        if current is None:
            raise ReleaseMissing("no Standard Release is installed", hint=call.command("release install"))
        version = current.version
    report = store.verify(version)
    if not report.ok:
        wrong = [*report.changed, *report.missing, *report.extra]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ReleaseBroken(
            f"release {version} differs from its installation: {', '.join(wrong[:3])}{more}",
            hint=call.command("release install"),
        )
    return Outcome(
        {"version": version, "files": report.checked, "ok": True}, f"{version}: all {report.checked} files match"
    )


@release.command("prune")
@verb
def prune(call: Call) -> Outcome:
    """Remove the releases that are neither chosen nor used by a profile, and broken downloads."""
    store = store_of(call.paths)
    used = _used_by_profiles(call.paths)
    keep = {release.version for release in store.list() if str(release.path) in used}
    removed = store.prune(keep)
    names = [release.version for release in removed]
    return Outcome({"removed": names}, "removed " + ", ".join(names) if names else "nothing to remove")


def _used_by_profiles(paths: Paths) -> set[str]:
    """Return the release folders that the gateway folders of profiles link to."""
    links = paths.profiles_dir.glob("*/gateway/bin") if paths.profiles_dir.is_dir() else []
    return {str(link.resolve().parent) for link in links}


@click.group("browser", cls=SuggestingGroup)
@global_options
def browser() -> None:
    """Install the browser for logins, or show which one is used."""


@browser.command("install")
@click.option("--window", is_flag=True, help="Also install the browser that can show a window, for `login --manual`.")
@verb
def install_browser(call: Call, *, window: bool) -> Outcome:
    """Install Playwright's Chromium with gwctl's interpreter."""
    from gwctl.login.browser import install_chromium

    call.say("installing Playwright's Chromium (about 110 MB)")
    browser = install_chromium(call.environment.variables, window=window)
    return Outcome({"executable": str(browser.executable), "kind": browser.kind}, f"installed {browser.executable}")


@browser.command("show")
@verb
def show_browser(call: Call) -> Outcome:
    """Show the browser that a login would use."""
    from gwctl.login.browser import find_browser

    browser = find_browser(call.settings()["browser"], call.environment.variables)
    data = {"executable": str(browser.executable), "kind": browser.kind, "source": browser.source}
    return Outcome(data, f"{browser.executable} ({browser.source})")


@click.group("sandbox", cls=SuggestingGroup)
@global_options
def sandbox() -> None:
    """Turn faults of the running sandbox on and off, or show its state."""


def _parameters(pairs: tuple[str, ...]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for text in pairs:
        key, equals, value = text.partition("=")
        if not equals:
            raise Usage(f"{text!r} is not KEY=VALUE", hint="gwctl sandbox on slow delay_ms=500")
        try:
            parameters[key] = json.loads(value)
        except ValueError:
            parameters[key] = value
    return parameters


@sandbox.command("show")
@verb
def show(call: Call) -> Outcome:
    """Show the sandbox's address, sessions, logins and scenarios."""
    state = Sandbox(call.target()).state()
    return Outcome(state, json.dumps(state, indent=2))


@sandbox.command("on")
@click.argument("scenario")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…")
@verb
def on(call: Call, *, scenario: str, parameters: tuple[str, ...]) -> Outcome:
    """Turn SCENARIO on, for example `gwctl sandbox on http_503`."""
    state = Sandbox(call.target()).on(scenario, **_parameters(parameters))
    return Outcome(state, f"{scenario} is on")


@sandbox.command("off")
@click.argument("scenario")
@verb
def off(call: Call, *, scenario: str) -> Outcome:
    """Turn SCENARIO off."""
    state = Sandbox(call.target()).off(scenario)
    return Outcome(state, f"{scenario} is off")


@sandbox.command("do")
@click.argument("action")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…")
@verb
def do(call: Call, *, action: str, parameters: tuple[str, ...]) -> Outcome:
    """Do ACTION once, for example `gwctl sandbox do drop_session`."""
    state = Sandbox(call.target()).do(action, **_parameters(parameters))
    return Outcome(state, f"done: {action}")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verb
def completion(_call: Call, *, shell: str) -> Outcome:
    """Print the completion script: `source <(gwctl completion bash)`."""
    from click.shell_completion import get_completion_class

    from gwctl.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(cli, {}, "gwctl", "_GWCTL_COMPLETE").source()
    return Outcome({"shell": shell, "script": script}, script)
