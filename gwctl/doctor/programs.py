"""Checks of the programs that gwctl starts: Java, the browser, and the release."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gwctl.doctor.case import Case
from gwctl.doctor.finding import Finding, failed, ok, warning
from gwctl.errors import ReleaseMissing, TimedOut
from gwctl.gateway import process

_START_TIMEOUT_S = 8.0
_VERSION_TIMEOUT_S = 4.0
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: (\S+?):|Library not loaded: (\S+)")
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def check_java(case: Case) -> Iterator[Finding]:
    """Look for a Java that runs the gateway."""
    from gwctl.gateway.java import find_java

    java = find_java(case.known["java"], case.environment.variables)
    case.versions["java"] = java.version
    yield ok(f"{java.version}, from {java.source}", where=java.executable)


def check_browser(case: Case) -> Iterator[Finding]:
    """Start the login's browser without a window, in a folder that is gone afterwards."""
    from gwctl.login.browser import arguments, find_browser

    browser = find_browser(case.known["browser"], case.environment.variables)
    argv = [str(browser.executable), "--headless", *arguments(None)]
    as_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="gwctl-doctor-", dir=case.scratch_dir, ignore_cleanup_errors=True) as made:
        folder = Path(made)
        try:
            done = _start(case, [*argv, *(["--no-sandbox"] if as_root else [])], folder)
            without_sandbox = not as_root and done.exit_code != 0 and "sandbox" in done.stderr.lower()
            if without_sandbox:
                done = _start(case, [*argv, "--no-sandbox"], folder)
        except TimedOut:
            yield failed(
                f"it did not start within {_START_TIMEOUT_S:g} s", "gwctl browser install", where=browser.executable
            )
            return
    library = _MISSING_LIBRARY.search(done.stderr + done.stdout)
    if library is not None:
        remedy = f"sudo {sys.executable} -m playwright install-deps chromium"
        yield failed(f"it lacks {library[1] or library[2]}", remedy, where=browser.executable)
    elif done.exit_code != 0 or "<html" not in done.stdout:
        last = next(
            (line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.exit_code}"
        )
        yield failed(f"it does not start: {last.strip()[:200]}", "gwctl browser install", where=browser.executable)
    else:
        own = ", without a sandbox of its own" if as_root or without_sandbox else ""
        yield ok(f"{browser.kind}, from {browser.source}: it starts{own}", where=browser.executable)


def _start(case: Case, argv: list[str], folder: Path) -> process.CompletedShort:
    # Whatever a browser writes for its user goes into the folder, too.
    own = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder), "TMPDIR": str(folder)}
    wanted = [*argv, f"--user-data-dir={folder / 'profile'}", "--dump-dom", "about:blank"]
    environment = process.child_environment(own, case.environment.variables)
    return asyncio.run(process.run_watched(wanted, timeout_s=_START_TIMEOUT_S, env=environment))


def browser_version(case: Case) -> str | None:
    """Return what the login's browser says of its version; None if it does not run."""
    from gwctl.errors import BrowserMissing
    from gwctl.login.browser import find_browser

    try:
        browser = find_browser(case.known["browser"], case.environment.variables)
        environment = process.child_environment({}, case.environment.variables)
        said = process.run_short([str(browser.executable), "--version"], timeout_s=_VERSION_TIMEOUT_S, env=environment)
    except (BrowserMissing, OSError, TimedOut, LookupError):
        return None
    found = _VERSION.search(said.stdout)
    return None if found is None else f"{browser.kind} {found[0]}"


def check_release(case: Case) -> Iterator[Finding]:
    """Look at the release that the profile runs: installed, chosen, and every file as it was installed."""
    from gwctl.release.store import ReleaseStore
    from gwctl.supervisor.releases import choose_release

    store = ReleaseStore(case.paths.releases_dir, case.paths.cache_dir)
    try:
        release = choose_release(case.known, store)
    except ReleaseMissing as error:
        yield failed(error.message, f"gwctl release install {case.known['release']}, or {error.hint}")
        return
    if release is None:
        if case.is_sandbox:
            yield ok("none is installed; the sandbox has its own")
        else:
            yield warning("no Standard Release is installed; the first gwctl up fetches it", "gwctl release install")
        return
    case.versions["release"] = release.version
    report = store.verify(release.version)
    if not report.ok:
        differing = (*report.changed, *report.missing, *report.extra)
        yield failed(
            f"{release.version} is not as it was installed: {', '.join(differing[:3])}"
            + (f" and {len(differing) - 3} more" if len(differing) > 3 else ""),
            f"gwctl release install {release.source}",
            where=release.path,
        )
        return
    pinned = "" if case.known.values["release"].source == "built in" else ", pinned by the profile"
    yield ok(f"{release.version}: {report.checked} files as installed{pinned}", where=release.path)
