"""Checks of the installation: Python, disk, time zones, Java, the browser and the release."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gwctl import process
from gwctl.doctor.case import Case, Finding, State, Tried, failed, nearest, ok, warning
from gwctl.errors import ReleaseBroken, ReleaseMissing, TimedOut
from gwctl.system_packages import apt_install

if TYPE_CHECKING:
    from gwctl.login.browser import Browser
    from gwctl.login.outcome import LoginReport

_REINSTALL = "pipx reinstall gwctl (or: uv tool upgrade --reinstall gwctl)"
_SCARCE_BYTES, _TOO_FEW_BYTES = 300_000_000, 20_000_000
_SCARCE_INODES, _TOO_FEW_INODES = 2_000, 100
_BROWSER_NEEDS_BYTES = 50_000_000
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only read
_SHOWN_CHARS = 300
_VERSION_TIMEOUT_S = 4.0
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: (\S+?):|Library not loaded: (\S+)")
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def check_python(case: Case) -> Iterator[Finding]:
    """Check the interpreter and the installed dependencies."""
    from packaging.specifiers import SpecifierSet

    running = platform.python_version()
    case.versions["python"] = running
    try:
        metadata = importlib.metadata.metadata("gwctl")
    except importlib.metadata.PackageNotFoundError:
        yield ok(f"{running}; gwctl runs from its source tree", where=sys.prefix)
        return
    wanted = SpecifierSet("".join(metadata.get_all("Requires-Python") or []))
    if not wanted.contains(running, prereleases=True):
        yield failed(f"gwctl needs Python {wanted}, this is {running}", _REINSTALL, where=sys.executable)
        return
    lacking = [fault for one in metadata.get_all("Requires-Dist") or [] if (fault := _lacking(one)) is not None]
    if lacking:
        yield failed(f"this installation is missing {', '.join(lacking)}", _REINSTALL, where=sys.prefix)
        return
    own = "" if sys.prefix != sys.base_prefix else ", not in a virtual environment"
    yield ok(f"{running}{own}", where=sys.prefix)


def _lacking(line: str) -> str | None:
    """Return a requirement that is not met; None if it is met, or belongs to an extra."""
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return None
    try:
        found = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return wanted.name
    is_met = wanted.specifier.contains(found, prereleases=True)
    return None if is_met else f"{wanted.name}{wanted.specifier} (found {found})"


def check_disk(case: Case) -> Iterator[Finding]:
    """Check the free space and inodes of the state and release folders."""
    seen: dict[int, Path] = {}
    for folder in (case.paths.profile_dir, case.paths.releases_dir):
        there = nearest(folder)
        seen.setdefault(there.stat().st_dev, there)
    for there in seen.values():
        disk = case.ports.disk(there)
        free_bytes, inodes = disk.f_bavail * disk.f_frsize, disk.f_favail
        few_inodes = disk.f_files > 0 and inodes < _SCARCE_INODES
        what = f"{_shown(free_bytes)} free" + (f", {inodes} inodes" if few_inodes else "")
        remedy = "gwctl release prune, or set GWCTL_HOME to a folder on a larger disk"
        if free_bytes < _TOO_FEW_BYTES or (few_inodes and inodes < _TOO_FEW_INODES):
            yield failed(f"the disk is full: {what}", remedy, where=there)
        elif free_bytes < _SCARCE_BYTES or few_inodes:
            yield warning(f"the disk is nearly full: {what}", remedy, where=there)
        else:
            yield ok(what, where=there)


def _shown(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def check_scratch(case: Case) -> Iterator[Finding]:
    """Check the folder for temporary files, which the browser uses instead of a small /dev/shm."""
    folder = case.scratch_dir
    shared = ""
    if _SHARED_MEMORY.is_dir():
        disk = case.ports.disk(_SHARED_MEMORY)
        shared = f"; /dev/shm has {_shown(disk.f_blocks * disk.f_frsize)}, which the login does not use"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "is not writable" if folder.is_dir() else "does not exist"
        yield failed(
            f"the folder for temporary files {what}: a browser cannot start", "unset TMPDIR, or repair it", where=folder
        )
        return
    disk = case.ports.disk(folder)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < _BROWSER_NEEDS_BYTES:
        what = f"{_shown(free_bytes)} free for temporary files; a login's browser may not start{shared}"
        yield warning(what, "set TMPDIR to a folder with more space", where=folder)
        return
    yield ok(f"{_shown(free_bytes)} free{shared}", where=folder)


def check_time_zones(_case: Case) -> Iterator[Finding]:
    """Check that this machine knows the time zones of IBKR's maintenance windows."""
    from gwctl.maintenance import REGIONS, BadWindow, Windows

    try:
        for region in REGIONS:
            Windows.parse([region])
    except BadWindow as error:
        yield failed(
            f"{error}: gwctl cannot compute the maintenance windows",
            f"{apt_install('tzdata') or 'install tzdata'} (or: {_REINSTALL})",
        )
        return
    yield ok("the time zones of IBKR's maintenance windows are known")


def check_java(case: Case) -> Iterator[Finding]:
    """Look for a Java that runs the gateway."""
    from gwctl.gateway.java import find_java

    java = find_java(case.known["java"], case.environment.variables)
    case.versions["java"] = java.version
    yield ok(f"{java.version}, from {java.source}", where=java.executable)


def check_browser(case: Case) -> Iterator[Finding]:
    """Start the login's browser as a login does, with its worker, flags, folders and environment, then clean up."""
    from gwctl.login.browser import ROOT_NEEDS, find_browser, is_root
    from gwctl.login.start_failures import MORE_MEMORY, remedy_of_start

    browser = find_browser(case.known["browser"], case.environment.variables)
    tried = (case.ports.try_browser or try_out)(case, browser)
    library = _MISSING_LIBRARY.search(tried.text)
    if library is not None:
        what = f"a library is missing: {library[1] or library[2]}"
        yield failed(what, remedy_of_start(tried.text), where=browser.executable)
    elif tried.was_killed:
        what = "it was killed while starting, as the system does when memory runs out"
        yield failed(what, MORE_MEMORY, where=browser.executable)
    elif tried.text:
        yield failed(tried.text[:_SHOWN_CHARS], remedy_of_start(tried.text), where=browser.executable)
    else:
        own = "" if tried.has_sandbox else ", without its sandbox"
        what = f"{browser.kind}, from {browser.source}: it starts{own}"
        if tried.has_sandbox or not is_root():
            yield ok(what, where=browser.executable)
        else:
            yield warning(f"{what}: a login page that attacks it would get root", ROOT_NEEDS, where=browser.executable)


def try_out(case: Case, browser: Browser) -> Tried:
    """Start a browser in a login's worker and stop both; raises GwctlError."""
    from gwctl.gateway.keystore import leaf_facts_file
    from gwctl.login.browser import NO_SANDBOX
    from gwctl.login.outcome import LoginOutcome
    from gwctl.login.worker_client import LoginWorker

    steps: list[str] = []
    limits = case.ports.browser_limits
    pin = (case.state_of(leaf_facts_file(case.paths)) or {}).get("spki_pin_base64")

    async def start(scratch_dir: Path) -> LoginReport | None:
        worker = LoginWorker.start(browser, pin, scratch_dir, environ=case.environment.variables, limits=limits)
        async with worker:
            return await worker.await_browser(lambda step: steps.append(step.name))

    # A check must not create the folder of a profile that has never logged in.
    login_dir = case.paths.login_scratch_dir
    beside = case.paths.profile_dir if os.access(case.paths.profile_dir, os.W_OK) else case.scratch_dir
    with tempfile.TemporaryDirectory(prefix="gwctl-doctor-", dir=beside, ignore_cleanup_errors=True) as made:
        report = asyncio.run(start(login_dir if login_dir.is_dir() else Path(made)))
    has_sandbox = NO_SANDBOX not in steps
    if report is None:
        return Tried(has_sandbox=has_sandbox)
    text = report.text
    if "Timeout" in text or report.outcome is LoginOutcome.TIMED_OUT:
        text = f"it did not start within {limits.browser_s:g} s: {text}"
    return Tried(text, report.outcome is LoginOutcome.BROWSER_KILLED, has_sandbox)


def browser_version(case: Case) -> str | None:
    """Return the version that the login's browser reports; None if it does not run."""
    from gwctl.errors import BrowserMissing
    from gwctl.login.browser import find_browser

    try:
        browser = find_browser(case.known["browser"], case.environment.variables)
        environment = process.environment_of(process.Child.OURS, case.environment.variables)
        said = process.run([str(browser.executable), "--version"], timeout_s=_VERSION_TIMEOUT_S, env=environment)
    except (BrowserMissing, OSError, TimedOut, LookupError):
        return None
    found = _VERSION.search(said.text)
    return None if found is None else f"{browser.kind} {found[0]}"


def check_release(case: Case) -> Iterator[Finding]:
    """Check that the profile's release is installed, chosen and unchanged, and whether gwctl knows of a newer one."""
    from gwctl.release.newer import notices_of
    from gwctl.release.store import ReleaseStore
    from gwctl.supervisor.served import choose_release

    store = ReleaseStore(case.paths.releases_dir, case.paths.cache_dir)
    try:
        release = choose_release(case.known, store)
    except ReleaseBroken as error:
        yield failed(error.message, error.hint or "")
        return
    except ReleaseMissing as error:
        yield failed(error.message, f"gwctl release install {case.known['release']}, or {error.hint}")
        return
    if release is None:
        if case.is_sandbox:
            yield ok("none is installed; the sandbox includes one")
        else:
            yield warning("no Standard Release is installed; the first gwctl up downloads it", "gwctl release install")
        return
    case.versions["release"] = release.version
    report = store.verify(release.version)
    if not report.ok:
        differing = (*report.changed, *report.missing, *report.extra)
        yield failed(
            f"{release.version} has changed since it was installed: {', '.join(differing[:3])}"
            + (f" and {len(differing) - 3} more" if len(differing) > 3 else ""),
            f"gwctl release install {release.source}",
            where=release.path,
        )
        return
    pinned = "" if case.known.values["release"].source == "built in" else ", pinned by the profile"
    yield ok(f"{release.version}: {report.checked} files unchanged{pinned}", where=release.path)
    for notice in [] if case.is_sandbox else notices_of(case.known, case.environment):
        yield Finding(State.OK, notice.text, notice.remedy)
