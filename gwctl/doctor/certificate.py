"""Checks of the machine and of the certificate."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import ipaddress
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gwctl.doctor.case import Case, Finding, failed, nearest, ok, warning, within
from gwctl.gateway import keystore

if TYPE_CHECKING:
    from cryptography import x509

_SOON = dt.timedelta(days=14)
_PERMITTED = frozenset({"localhost", "127.0.0.0/8", "::1/128"})


def check_certificate(case: Case) -> Iterator[Finding]:
    """Check the authority, the gateway's certificate and key, and the bundle of all roots."""
    paths = case.paths
    anew = f"{case.command('down')}, then {case.command('up')}, which makes new ones"
    ca_pem = _content(paths.ca_file)
    leaf_pem = _content(paths.leaf_file)
    if ca_pem is None:
        if leaf_pem is not None:
            yield failed("the authority that signed the gateway's certificate is missing", anew, where=paths.ca_file)
        else:
            yield ok("none yet; gwctl up creates it")
        return
    ca = _parsed(ca_pem)
    fault = _fault_of_authority(ca, paths.ca_dir / "ca.key", _asked_for(case))
    if ca is None or fault is not None:
        yield failed(f"the authority {fault}", anew, where=paths.ca_file)
        return
    if leaf_pem is None:
        yield ok(f"the authority is valid until {_day(ca)}; gwctl up creates the gateway's certificate")
        return
    leaf = _parsed(leaf_pem)
    fault = _fault_of_leaf(leaf, ca) or _fault_of_keystore(case, leaf)
    if leaf is None or fault is not None:
        yield failed(f"the gateway's certificate {fault}", anew, where=paths.leaf_file)
    elif leaf.not_valid_after_utc - _now() < _SOON:
        yield warning(
            f"the gateway's certificate expires on {_day(leaf)}", case.command("restart"), where=paths.leaf_file
        )
    else:
        yield ok(f"valid until {_day(leaf)}, the authority until {_day(ca)}")
    bundle = _content(paths.ca_bundle_file)
    if bundle is not None and bundle != keystore.bundled(ca_pem):
        yield warning("the bundle for SSL_CERT_FILE is out of date", case.command("env"), where=paths.ca_bundle_file)


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(pem: bytes) -> x509.Certificate | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _day(certificate: x509.Certificate) -> str:
    return certificate.not_valid_after_utc.date().isoformat()


def _fault_of_time(certificate: x509.Certificate) -> str | None:
    if certificate.not_valid_after_utc <= _now():
        return f"expired on {_day(certificate)}"
    if certificate.not_valid_before_utc > _now():
        return "is not valid yet: is the clock right?"
    return None


def _asked_for(case: Case) -> frozenset[str]:
    """Return the names that the authority may sign for: this machine, and the names that profiles request."""
    names = (case.state_of(case.paths.ca_dir / "ca.json") or {}).get("names")
    return _PERMITTED | {str(name) for name in names} if isinstance(names, list) else _PERMITTED


def _fault_of_authority(ca: x509.Certificate | None, key_file: Path, asked_for: frozenset[str]) -> str | None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if ca is None:
        return "is not a certificate"
    try:
        named = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except (x509.ExtensionNotFound, ValueError):
        named = []
    permitted = {_subtree(one) for one in named}
    if not permitted or not permitted <= asked_for:
        return "may sign for more names than this machine and the requested ones"
    pem = _content(key_file)
    try:
        key = None if pem is None else serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        key = None
    if key is None or key.public_key() != ca.public_key():
        return "has no matching key"
    return _fault_of_time(ca)


def _subtree(name: x509.GeneralName) -> str:
    value = name.value
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value) if value.num_addresses > 1 or str(value) in _PERMITTED else str(value.network_address)
    return value if isinstance(value, str) else ""


def _fault_of_leaf(leaf: x509.Certificate | None, ca: x509.Certificate) -> str | None:
    from cryptography.exceptions import InvalidSignature

    if leaf is None:
        return "is not a certificate"
    try:
        leaf.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return "is not signed by our authority"
    return _fault_of_time(leaf)


def _fault_of_keystore(case: Case, leaf: x509.Certificate | None) -> str | None:
    from cryptography.hazmat.primitives.serialization import pkcs12

    store, password = _content(case.paths.keystore_file), _content(keystore.password_file(case.paths))
    if store is None or password is None:
        return "has no keystore"
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(store, password)
    except ValueError:
        return "has a keystore that does not open"
    if key is None or certificate is None or certificate != leaf or key.public_key() != certificate.public_key():
        return "differs from the one in the keystore"
    return None


_REINSTALL = "pipx reinstall gwctl (or: uv tool upgrade --reinstall gwctl)"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:>=(?P<least>[0-9.]+))?")
_SCARCE_BYTES, _TOO_FEW_BYTES = 300_000_000, 20_000_000
_SCARCE_INODES, _TOO_FEW_INODES = 2_000, 100
_BROWSER_NEEDS_BYTES = 50_000_000
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only read
_RESOLVE_TIMEOUT_S = 3.0


def check_python(case: Case) -> Iterator[Finding]:
    """Check the interpreter and the installed dependencies."""
    running = platform.python_version()
    case.versions["python"] = running
    try:
        metadata = importlib.metadata.metadata("gwctl")
    except importlib.metadata.PackageNotFoundError:
        yield ok(f"{running}; gwctl runs from its source tree", where=sys.prefix)
        return
    least = _REQUIREMENT.fullmatch("python" + "".join(metadata.get_all("Requires-Python") or []))
    if least is not None and least["least"] and _numbers(running) < _numbers(least["least"]):
        yield failed(f"{running} is older than {least['least']}", _REINSTALL, where=sys.executable)
        return
    lacking = [fault for one in metadata.get_all("Requires-Dist") or [] if (fault := _lacking(one)) is not None]
    if lacking:
        yield failed(f"this installation is missing {', '.join(lacking)}", _REINSTALL, where=sys.prefix)
        return
    own = "" if sys.prefix != sys.base_prefix else ", not in a virtual environment"
    yield ok(f"{running}{own}", where=sys.prefix)


def _lacking(requirement: str) -> str | None:
    """Return a requirement that is not met; None if it is met, or belongs to an extra."""
    wanted, _, marker = requirement.partition(";")
    parsed = _REQUIREMENT.match(wanted.strip())
    if parsed is None or marker:
        return None
    try:
        found = importlib.metadata.version(parsed["name"])
    except importlib.metadata.PackageNotFoundError:
        return parsed["name"]
    if parsed["least"] and _numbers(found) < _numbers(parsed["least"]):
        return f"{parsed['name']} {parsed['least']} (found {found})"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


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
    import os

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
            f"{error}: gwctl cannot compute the maintenance windows", "sudo apt install tzdata (or: " + _REINSTALL + ")"
        )
        return
    yield ok("the time zones of IBKR's maintenance windows are known")


def check_localhost(case: Case) -> Iterator[Finding]:
    """Check that localhost resolves to this machine: clients and the login's browser use it."""
    remedy = "add `127.0.0.1 localhost` to /etc/hosts"
    try:
        found = within(_RESOLVE_TIMEOUT_S, lambda: case.ports.resolve("localhost", 0))
    except TimeoutError:
        yield failed(f"localhost did not resolve within {_RESOLVE_TIMEOUT_S:g} s", remedy)
        return
    except OSError as error:
        yield failed(f"localhost does not resolve: {error.strerror}", remedy)
        return
    stray = [one for one in found if not ipaddress.ip_address(one.partition("%")[0]).is_loopback]
    if stray:
        yield failed(f"localhost resolves to {', '.join(stray)}, which is not this machine", remedy, where="/etc/hosts")
    elif "127.0.0.1" not in found:
        yield failed(
            f"localhost resolves to {', '.join(found) or 'nothing'}, but gwctl calls the gateway at 127.0.0.1",
            remedy,
            where="/etc/hosts",
        )
    else:
        yield ok(f"localhost resolves to {' and '.join(found)}")
