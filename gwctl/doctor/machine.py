"""Checks of the machine: Python, disks, time zones, and what localhost means."""

from __future__ import annotations

import importlib.metadata
import ipaddress
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from gwctl.doctor.bounded import within
from gwctl.doctor.case import Case, nearest
from gwctl.doctor.finding import Finding, failed, ok, warning

_REINSTALL = "pipx reinstall gwctl (or: uv tool upgrade --reinstall gwctl)"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:>=(?P<least>[0-9.]+))?")
_SCARCE_BYTES, _TOO_FEW_BYTES = 300_000_000, 20_000_000
_SCARCE_INODES, _TOO_FEW_INODES = 2_000, 100
_BROWSER_NEEDS_BYTES = 50_000_000
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, never written to
_RESOLVE_TIMEOUT_S = 3.0


def check_python(case: Case) -> Iterator[Finding]:
    """Look at the interpreter and at what gwctl was installed with."""
    running = platform.python_version()
    case.versions["python"] = running
    try:
        metadata = importlib.metadata.metadata("gwctl")
    except importlib.metadata.PackageNotFoundError:
        yield ok(f"{running}; gwctl runs from its source", where=sys.prefix)
        return
    least = _REQUIREMENT.fullmatch("python" + "".join(metadata.get_all("Requires-Python") or []))
    if least is not None and least["least"] and _numbers(running) < _numbers(least["least"]):
        yield failed(f"{running} is older than {least['least']}", _REINSTALL, where=sys.executable)
        return
    lacking = [fault for one in metadata.get_all("Requires-Dist") or [] if (fault := _lacking(one)) is not None]
    if lacking:
        yield failed(f"this installation lacks {', '.join(lacking)}", _REINSTALL, where=sys.prefix)
        return
    own = "" if sys.prefix != sys.base_prefix else ", in no environment of its own"
    yield ok(f"{running}{own}", where=sys.prefix)


def _lacking(requirement: str) -> str | None:
    """Return what of a requirement is not there; None if it is, or is for an extra."""
    wanted, _, marker = requirement.partition(";")
    parsed = _REQUIREMENT.match(wanted.strip())
    if parsed is None or marker:
        return None
    try:
        found = importlib.metadata.version(parsed["name"])
    except importlib.metadata.PackageNotFoundError:
        return parsed["name"]
    if parsed["least"] and _numbers(found) < _numbers(parsed["least"]):
        return f"{parsed['name']} {parsed['least']} (it has {found})"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def check_disk(case: Case) -> Iterator[Finding]:
    """Look at the free space and inodes where state and releases are."""
    seen: dict[int, Path] = {}
    for folder in (case.paths.profile_dir, case.paths.releases_dir):
        there = nearest(folder)
        seen.setdefault(there.stat().st_dev, there)
    for there in seen.values():
        disk = case.ports.disk(there)
        free_bytes, inodes = disk.f_bavail * disk.f_frsize, disk.f_favail
        few_inodes = disk.f_files > 0 and inodes < _SCARCE_INODES
        what = f"{_shown(free_bytes)} free" + (f", {inodes} inodes" if few_inodes else "")
        remedy = "gwctl release prune, or set GWCTL_HOME to a larger disk"
        if free_bytes < _TOO_FEW_BYTES or (few_inodes and inodes < _TOO_FEW_INODES):
            yield failed(f"the disk is full: {what}", remedy, where=there)
        elif free_bytes < _SCARCE_BYTES or few_inodes:
            yield warning(f"the disk is nearly full: {what}", remedy, where=there)
        else:
            yield ok(what, where=there)


def _shown(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def check_scratch(case: Case) -> Iterator[Finding]:
    """Look at the folder for temporary files, which the browser uses in place of a small /dev/shm."""
    import os

    folder = case.scratch_dir
    shared = ""
    if _SHARED_MEMORY.is_dir():
        disk = case.ports.disk(_SHARED_MEMORY)
        shared = f"; /dev/shm has {_shown(disk.f_blocks * disk.f_frsize)}, which the login does not use"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "cannot be written to" if folder.is_dir() else "is not there"
        yield failed(
            f"the folder for temporary files {what}: a browser does not start", "unset TMPDIR, or mend it", where=folder
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
    """Look for the time zones of IBKR's maintenance windows."""
    from gwctl.windows import REGIONS, BadWindow, Windows

    try:
        for region in REGIONS:
            Windows.parse([region])
    except BadWindow as error:
        yield failed(
            f"{error}: the maintenance windows cannot be known", "sudo apt install tzdata (or: " + _REINSTALL + ")"
        )
        return
    yield ok("the time zones of IBKR's maintenance windows are known")


def check_localhost(case: Case) -> Iterator[Finding]:
    """Look at what the name localhost means here: clients and the login's browser use it."""
    remedy = "write `127.0.0.1 localhost` into /etc/hosts"
    try:
        found = within(_RESOLVE_TIMEOUT_S, lambda: case.ports.resolve("localhost", 0))
    except TimeoutError:
        yield failed(f"localhost has no address within {_RESOLVE_TIMEOUT_S:g} s", remedy)
        return
    except OSError as error:
        yield failed(f"localhost has no address: {error.strerror}", remedy)
        return
    stray = [one for one in found if not ipaddress.ip_address(one.partition("%")[0]).is_loopback]
    if stray:
        yield failed(f"localhost is {', '.join(stray)}, which is not this machine", remedy, where="/etc/hosts")
    elif "127.0.0.1" not in found:
        yield failed(
            f"localhost is {', '.join(found) or 'nothing'}, and the gateway is asked at 127.0.0.1",
            remedy,
            where="/etc/hosts",
        )
    else:
        yield ok(f"localhost is {' and '.join(found)}")
