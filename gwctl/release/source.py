"""Where a release comes from: an address or a file, checked before anything is touched."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gwctl.errors import ReleaseMissing, Usage

# Source: IBKR's Client Portal API documentation; it is not versioned and has no published checksum.
OFFICIAL_URL = "https://download2.interactivebrokers.com/portal/clientportal.gw.zip"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")


@dataclass(frozen=True, slots=True)
class Source:
    """One place to install from.

    ``shown`` may be printed and recorded: a query (which may be a signature) is left out of it. ``key`` is the SHA-256
    of the whole address, so that the same address is known again without keeping it. ``where`` is the address or the
    file, ``name`` what errors call the archive.
    """

    shown: str
    key: str
    name: str
    where: str | Path


def is_loopback(host: str | None) -> bool:
    """Tell whether ``host`` is this machine by its own name or by a loopback address."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_url(url: str) -> str:
    """Return ``url`` without user, query and fragment, safe to print and to keep."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def url_fault(url: str, *, loopback_allowed: bool) -> str | None:
    """Say why ``url`` may not be fetched, or None: https anywhere, http on loopback only, never a password in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "is not a valid address"
    if not host:
        return "names no host"
    if "@" in parts.netloc:
        return "has a user or a password in it"
    if parts.scheme == "https" or (parts.scheme == "http" and loopback_allowed and is_loopback(host)):
        return None
    return "is not https"


def parse(source: str) -> Source:
    """Return what ``source`` means.

    Raises Usage for a folder, a kind of address gwctl does not fetch or an empty text, and ReleaseMissing for a file
    that is not there. Looks at the disk, changes nothing.
    """
    if not source.strip():
        raise Usage("the release's source is empty", hint="gwctl release install [URL|FILE]")
    if _SCHEME.match(source) and not Path(source).exists():
        return _parse_url(source)
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        raise Usage(
            f"{path} is a folder; a release is installed from its zip",
            hint=f"cd {path} && zip -r ../clientportal.gw.zip . && gwctl release install ../clientportal.gw.zip",
        )
    if not path.exists():
        raise ReleaseMissing(
            f"there is no file {path}", hint=f"gwctl release install {OFFICIAL_URL}, or give the path of the zip"
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
    """Return ``shown_url``, or a fixed text for what cannot even be taken apart."""
    try:
        return shown_url(url)
    except ValueError:
        return "the address"
