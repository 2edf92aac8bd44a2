"""The source of a release: an address or a file, checked before anything changes."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gwctl.errors import ReleaseMissing, Usage

# From IBKR's Client Portal API documentation; the address has no version, and IBKR publishes no checksum.
OFFICIAL_URL = "https://download2.interactivebrokers.com/portal/clientportal.gw.zip"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")


@dataclass(frozen=True, slots=True)
class Source:
    """One place to install from.

    ``shown`` is safe to print and to record: it has no query, which may be a signature. ``key`` is the SHA-256 of the
    whole address, to recognize the address without storing it. ``where`` is the address or the file, ``name`` the name
    of the archive in errors.
    """

    shown: str
    key: str
    name: str
    where: str | Path


def is_loopback(host: str | None) -> bool:
    """Say whether ``host`` is this machine, by name or by a loopback address."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_url(url: str) -> str:
    """Return ``url`` without user, query and fragment, safe to print and to store."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def url_fault(url: str, *, loopback_allowed: bool) -> str | None:
    """Say why gwctl may not fetch ``url``, or None: https anywhere, http on loopback only, never with a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "is not a valid address"
    if not host:
        return "names no host"
    if "@" in parts.netloc:
        return "contains a user or a password"
    if parts.scheme == "https" or (parts.scheme == "http" and loopback_allowed and is_loopback(host)):
        return None
    return "is not https"


def parse(source: str) -> Source:
    """Return the source that the text ``source`` names.

    Raises Usage for a folder, an unsupported kind of address or an empty text, and ReleaseMissing for a file that does
    not exist. It reads the disk and changes nothing.
    """
    if not source.strip():
        raise Usage("the release's source is empty", hint="gwctl release install [URL|FILE]")
    if _SCHEME.match(source) and not Path(source).exists():
        return _parse_url(source)
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        raise Usage(
            f"{path} is a folder; gwctl installs a release from its zip",
            hint=f"cd {path} && zip -r ../clientportal.gw.zip . && gwctl release install ../clientportal.gw.zip",
        )
    if not path.exists():
        raise ReleaseMissing(
            f"{path} does not exist", hint=f"gwctl release install {OFFICIAL_URL}, or give the path of the zip"
        )
    if not path.is_file():
        raise Usage(f"{path} is not a regular file", hint="gwctl release install FILE, with the downloaded zip")
    key = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()
    return Source(shown=str(path), key=key, name=path.name, where=path)


def _parse_url(url: str) -> Source:
    fault = url_fault(url, loopback_allowed=True)
    if fault is not None:
        raise Usage(f"{shown_url_or_text(url)} {fault}", hint=f"gwctl release install {OFFICIAL_URL}")
    parts: SplitResult = urlsplit(url)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", parts.path.rsplit("/", 1)[-1])[:80].lstrip(".") or "release.zip"
    return Source(shown=shown_url(url), key=hashlib.sha256(url.encode()).hexdigest(), name=name, where=url)


def shown_url_or_text(url: str) -> str:
    """Return ``shown_url``, or a fixed text for an address that cannot be parsed."""
    try:
        return shown_url(url)
    except ValueError:
        return "the address"
