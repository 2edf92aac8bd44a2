"""The check of our authority and of the gateway's certificate, as they are on disk."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gwctl.doctor.case import Case
from gwctl.doctor.finding import Finding, failed, ok, warning
from gwctl.gateway import keystore

if TYPE_CHECKING:
    from cryptography import x509

_SOON = dt.timedelta(days=14)
_PERMITTED = frozenset({"localhost", "127.0.0.0/8", "::1/128"})


def check_certificate(case: Case) -> Iterator[Finding]:
    """Look at the authority, at the gateway's certificate with its key, and at the bundle of all roots."""
    paths = case.paths
    anew = f"{case.command('down')}, then {case.command('up')}, which makes them anew"
    ca_pem = _content(paths.ca_file)
    leaf_pem = _content(paths.leaf_file)
    if ca_pem is None:
        if leaf_pem is not None:
            yield failed("the authority that signed the gateway's certificate is gone", anew, where=paths.ca_file)
        else:
            yield ok("none yet; gwctl up makes it")
        return
    ca = _parsed(ca_pem)
    fault = _fault_of_authority(ca, paths.ca_dir / "ca.key", _asked_for(case))
    if ca is None or fault is not None:
        yield failed(f"the authority {fault}", anew, where=paths.ca_file)
        return
    if leaf_pem is None:
        yield ok(f"the authority is good until {_day(ca)}; the gateway's certificate comes with gwctl up")
        return
    leaf = _parsed(leaf_pem)
    fault = _fault_of_leaf(leaf, ca) or _fault_of_keystore(case, leaf)
    if leaf is None or fault is not None:
        yield failed(f"the gateway's certificate {fault}", anew, where=paths.leaf_file)
    elif leaf.not_valid_after_utc - _now() < _SOON:
        yield warning(f"the gateway's certificate ends on {_day(leaf)}", case.command("restart"), where=paths.leaf_file)
    else:
        yield ok(f"good until {_day(leaf)}, the authority until {_day(ca)}")
    bundle = _content(paths.ca_bundle_file)
    if bundle is not None and bundle != keystore.bundled(ca_pem):
        yield warning(
            "the bundle for SSL_CERT_FILE is not of today's roots", case.command("env"), where=paths.ca_bundle_file
        )


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
        return f"ended on {_day(certificate)}"
    if certificate.not_valid_before_utc > _now():
        return "is not valid yet: is the clock right?"
    return None


def _asked_for(case: Case) -> frozenset[str]:
    """Return what the authority may sign for: this machine, and the names that profiles have asked for."""
    names = (case.state_of(case.paths.ca_dir / "ca.json") or {}).get("names")
    return _PERMITTED | {str(name) for name in names} if isinstance(names, list) else _PERMITTED


def _fault_of_authority(ca: x509.Certificate | None, key_file: Path, asked_for: frozenset[str]) -> str | None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if ca is None:
        return "is no certificate"
    try:
        named = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except (x509.ExtensionNotFound, ValueError):
        named = []
    permitted = {_subtree(one) for one in named}
    if not permitted or not permitted <= asked_for:
        return "may sign for more than this machine and the names that were asked for"
    pem = _content(key_file)
    try:
        key = None if pem is None else serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        key = None
    if key is None or key.public_key() != ca.public_key():
        return "has no key that fits"
    return _fault_of_time(ca)


def _subtree(name: x509.GeneralName) -> str:
    value = name.value
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value) if value.num_addresses > 1 or str(value) in _PERMITTED else str(value.network_address)
    return value if isinstance(value, str) else ""


def _fault_of_leaf(leaf: x509.Certificate | None, ca: x509.Certificate) -> str | None:
    from cryptography.exceptions import InvalidSignature

    if leaf is None:
        return "is no certificate"
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
        return "is not the one in the keystore"
    return None
