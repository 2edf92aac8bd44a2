"""`release`, `browser`, `sandbox`, `doctor` and `completion`: get what a session needs, and check it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, SuggestingGroup, global_options, offering, verb
from gwctl.cli.columns import PLAIN, folded, width_of
from gwctl.cli.output import Outcome, printable, rows, wants_color
from gwctl.cli.terminal import Terminal
from gwctl.errors import ReleaseBroken, ReleaseMissing, Usage
from gwctl.lifecycle.preflight import install_from, store_of
from gwctl.lifecycle.reach import Sandbox
from gwctl.paths import Paths
from gwctl.setting_keys import OFFICIAL_RELEASE

if TYPE_CHECKING:
    from gwctl.doctor.case import Finding
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
@click.argument("source", required=False, metavar="[URL|FILE]", shell_complete=offering("files"))
@click.option("--sha256", metavar="HEX", help="Accept only an archive with this checksum.")
@verb
def install(call: Call, *, source: str | None, sha256: str | None) -> Outcome:
    """Install the official Standard Release, or one from a URL or a zip file, and choose it."""
    pinned = sha256 or call.settings()["release_sha256"]
    result = install_from(call.target(), source or OFFICIAL_RELEASE, Terminal(call), pinned)
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
    lines = [
        f"{'*' if release.version == chosen else ' '} {release.version}  {release.kind}  "
        f"{release.size_bytes / MEGABYTE:.1f} MB  sha256 {release.sha256[:16]}…  {release.source}"
        for release in releases
    ]
    text = rows(lines) or f"none; try: {call.command('release install')}"
    data = {"releases": [_release_facts(one, current=one.version == chosen) for one in releases]}
    return Outcome(data, text, notices=call.notices())


@release.command("use")
@click.argument("version", shell_complete=offering("releases"))
@verb
def use(call: Call, *, version: str) -> Outcome:
    """Use VERSION for gateways started from now on."""
    release = store_of(call.paths).use(version)
    return Outcome(_release_facts(release, current=True), f"using {release.version}")


@release.command("verify")
@click.argument("version", required=False, shell_complete=offering("releases"))
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
    from gwctl.login.browser_install import install_chromium

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
@click.argument("scenario", shell_complete=offering("scenarios"))
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…", shell_complete=offering("parameters"))
@verb
def on(call: Call, *, scenario: str, parameters: tuple[str, ...]) -> Outcome:
    """Turn SCENARIO on, for example `gwctl sandbox on http_503`."""
    state = Sandbox(call.target()).on(scenario, **_parameters(parameters))
    return Outcome(state, f"{scenario} is on")


@sandbox.command("off")
@click.argument("scenario", shell_complete=offering("scenarios"))
@verb
def off(call: Call, *, scenario: str) -> Outcome:
    """Turn SCENARIO off."""
    state = Sandbox(call.target()).off(scenario)
    return Outcome(state, f"{scenario} is off")


@sandbox.command("do")
@click.argument("action", shell_complete=offering("actions"))
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…", shell_complete=offering("parameters"))
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

    from gwctl.cli.completing import VARIABLE, script_of
    from gwctl.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = script_of(shell, kind(cli, {}, "gwctl", VARIABLE))
    return Outcome({"shell": shell, "script": script}, script)


_WORDS = {"ok": "ok", "warning": "warning", "failed": "failed", "not_checked": "not checked"}
_COLORS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "failed": "\x1b[31m", "not_checked": "\x1b[2m"}
_RESET = "\x1b[0m"


@click.command("doctor")
@click.option("--bundle", type=click.Path(path_type=Path), metavar="FILE",
              help="Also write a redacted zip for a bug report.")  # fmt: skip
@click.option("--force", is_flag=True, help="Let --bundle overwrite an existing file.")
@verb
def doctor(call: Call, *, bundle: Path | None, force: bool) -> Outcome:
    """Check everything a session needs and show how to fix what is wrong; changes nothing.

    Exits with 1 if a check failed; warnings do not count.
    """
    from gwctl.doctor import CHECKS
    from gwctl.doctor.case import Case, State, examine, summarise

    if bundle is not None:
        _check_target(call, bundle, force=force)
    case = Case.of(call.profile_name, call.environment)
    began_s = time.monotonic()
    findings = examine(case, CHECKS)
    summary: dict[str, Any] = {**summarise(findings), "took_s": round(time.monotonic() - began_s, 2)}
    data: dict[str, Any] = {
        "profile": call.profile_name,
        "findings": [one.to_json() for one in findings],
        "summary": summary,
        "bundle": None,
    }
    if bundle is not None:
        from gwctl.doctor.bundle import write_bundle

        write_bundle(bundle, case, findings)
        data["bundle"] = str(bundle)
        call.say(f"wrote {bundle}; check it before you send it")
    exit_code = 1 if any(one.state is State.FAILED for one in findings) else 0
    colored = wants_color(sys.stdout, no_color=call.no_color)
    return Outcome(data, render(findings, summary, quiet=call.quiet, colored=colored), exit_code, is_styled=True)


def _check_target(call: Call, file: Path, *, force: bool) -> None:
    again = call.command(f"doctor --bundle {file} --force")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise Usage(f"--bundle {file}: not a file in an existing folder", hint="name a file in an existing folder")
    if file.exists() and not force:
        raise Usage(f"--bundle {file}: the file already exists", hint=again)


def render(findings: list[Finding], summary: dict[str, Any], *, quiet: bool, colored: bool) -> str:
    """Return the findings for a person, as wide as the terminal; if quiet, only the problems."""
    shown = [one for one in findings if not quiet or one.state in {"warning", "failed"}]
    width = max((len(one.check) for one in findings), default=0)
    rows = [row for one in shown for row in _rows(one, width, colored=colored)]
    if not quiet:
        counts = ", ".join(f"{summary[state]} {word}" for state, word in _WORDS.items() if summary[state])
        rows += ["", f"{counts} ({summary['took_s']:.1f} s)"]
    return "\n".join(rows)


def _rows(finding: Finding, width: int, *, colored: bool) -> list[str]:
    word = f"{_WORDS[finding.state]:<11}"
    indent = " " * (len(word) + width + 4)
    where = f" [{finding.where}]" if finding.where and finding.where not in finding.what else ""
    head = f"{word}  {finding.check:<{width}}  "
    rows = _wrapped(printable(finding.what + where), head, indent)
    if colored:
        rows[0] = _COLORS[finding.state] + word + _RESET + rows[0][len(word) :]
    if finding.remedy:
        rows += _wrapped(printable(finding.remedy), f"{indent}try: ", f"{indent}     ")
    return rows


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return folded((first + text).rstrip(), width_of(sys.stdout) or PLAIN, len(later)).split("\n")
