"""``gwctl release``: Standard Releases side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup
from gwctl.config import OFFICIAL_RELEASE, Settings
from gwctl.errors import ReleaseBroken, ReleaseMissing
from gwctl.paths import Paths

if TYPE_CHECKING:
    from gwctl.release.download import DownloadProgress
    from gwctl.release.store import InstallResult, Release, ReleaseStore

MEGABYTE = 1_000_000


@click.group("release", cls=SuggestingGroup)
@global_options
def command() -> None:
    """Install, list, choose, check and remove Standard Releases."""


def store_of(paths: Paths) -> ReleaseStore:
    """Return the store of this machine's releases."""
    from gwctl.release.store import ReleaseStore

    return ReleaseStore(paths.releases_dir, paths.cache_dir)


def _facts(release: Release, *, current: bool) -> dict[str, Any]:
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


@command.command("install")
@click.argument("source", required=False, metavar="[URL|FILE]")
@click.option("--sha256", metavar="HEX", help="Accept only an archive with this checksum.")
@verb
def install(call: Call, *, source: str | None, sha256: str | None) -> Outcome:
    """Install the official Standard Release, or one from an address or a zip file, and choose it."""
    result = install_from(call, source or OFFICIAL_RELEASE, sha256)
    release = result.release
    said = {
        "installed": f"installed {release.version}",
        "already_installed": f"{release.version} is installed already; nothing was changed",
        "new_bytes": f"the same address gave OTHER BYTES than before: installed beside it as {release.version}",
    }[result.outcome]
    data = {
        **_facts(release, current=True),
        "outcome": result.outcome,
        "previous": result.previous.version if result.previous else None,
    }
    return Outcome(data, f"{said}\nsha256 {release.sha256}")


def install_from(call: Call, source: str, sha256: str | None = None) -> InstallResult:
    """Install from ``source`` with progress shown; raises what the store raises."""
    with _progress(call) as show:
        return store_of(call.paths).install(source, sha256=sha256, progress=show)


def ensure_release(call: Call, settings: Settings, show: Callable[[str], None]) -> None:
    """Install the release that the profile asks for, unless it is there."""
    from gwctl.supervisor.releases import choose_release

    if choose_release(settings, store_of(call.paths)) is not None:
        return
    show("getting the Standard Release")
    result = install_from(call, str(settings["release"]))
    show(f"installed release {result.release.version}, sha256 {result.release.sha256}")


@contextmanager
def _progress(call: Call) -> Iterator[Callable[[DownloadProgress], None]]:
    """Yield what shows a download: a bar on a terminal, a line for each trouble otherwise."""
    if call.quiet or call.as_json or not sys.stderr.isatty():
        yield lambda seen: _say_trouble(call, seen)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True, no_color=call.no_color or None)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("downloading", total=None)

        def show(seen: DownloadProgress) -> None:
            bar.update(task, completed=seen.received_bytes, total=seen.total_bytes)
            if seen.trouble:
                bar.console.print(f"{seen.trouble}; again in {seen.pause_s:.0f} s")

        yield show


def _say_trouble(call: Call, seen: DownloadProgress) -> None:
    if seen.trouble:
        call.say(f"download: {seen.trouble}; again in {seen.pause_s:.0f} s")


@command.command("list")
@verb
def list_(call: Call) -> Outcome:
    """List the installed releases; the chosen one is marked."""
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
    return Outcome({"releases": [_facts(one, current=one.version == chosen) for one in releases]}, text)


@command.command("use")
@click.argument("version")
@verb
def use(call: Call, *, version: str) -> Outcome:
    """Choose VERSION for gateways started from now on."""
    release = store_of(call.paths).use(version)
    return Outcome(_facts(release, current=True), f"using {release.version}")


@command.command("verify")
@click.argument("version", required=False)
@verb
def verify(call: Call, *, version: str | None) -> Outcome:
    """Check every file of a release against what was recorded at its installation."""
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
            f"release {version} is not as installed: {', '.join(wrong[:3])}{more}",
            hint=call.command("release install"),
        )
    return Outcome(
        {"version": version, "files": report.checked, "ok": True}, f"{version}: {report.checked} files are sound"
    )


@command.command("prune")
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
    """Return the release folders that profiles' gateway folders link into."""
    links = paths.profiles_dir.glob("*/gateway/bin") if paths.profiles_dir.is_dir() else []
    return {str(link.resolve().parent) for link in links}
