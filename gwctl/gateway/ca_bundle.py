"""The bundle of certificate authorities for programs that call the gateway and other hosts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import certifi

from gwctl import state_file
from gwctl.gateway.keystore import ensure_ca

_OURS = b"\n\n# gwctl, for localhost only\n"


def write_bundle(ca_dir: Path, names: Iterable[str] = (), trusted: Iterable[Path] = ()) -> Path:
    """Write the public roots and ours to ``bundle.pem``, for programs that call other hosts too; return its path.

    ``trusted`` are the files that the caller's environment already names, such as a company's: they are added. A caller
    that names none, or the bundle itself, keeps what an earlier one has added.
    """
    bundle_file = ca_dir / "bundle.pem"
    ca_pem = ensure_ca(ca_dir, names).ca_file.read_bytes()
    others = [pem for file in trusted if not _is_same(file, bundle_file) and (pem := _pem_in(file))]
    before, content = _content(bundle_file), bundled(ca_pem, others)
    if before != content and (others or not is_bundle(before, ca_pem)):
        state_file.write_bytes(bundle_file, content, mode=0o644)
    return bundle_file


def bundled(ca_pem: bytes, others: Iterable[bytes] = ()) -> bytes:
    """Return the bundle's content: the public roots, what else is trusted, then ours."""
    parts = [_public_roots(), *(other.strip() for other in dict.fromkeys(others))]
    return b"\n\n".join(parts) + _OURS + ca_pem


def is_bundle(content: bytes, ca_pem: bytes) -> bool:
    """Return whether it has today's public roots and our authority, whatever else is in it."""
    return content.startswith(_public_roots()) and content.endswith(_OURS + ca_pem)


def _public_roots() -> bytes:
    return Path(certifi.where()).read_bytes().rstrip()


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one == other


def _pem_in(file: Path) -> bytes:
    """Return the certificates in a file that the environment names; nothing if it has none or cannot be read."""
    content = _content(file)
    return content if b"-----BEGIN CERTIFICATE-----" in content else b""


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
