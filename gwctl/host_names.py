"""Names and addresses of hosts, as a certificate carries them. Pure: the standard library only."""

from __future__ import annotations

import ipaddress
import re

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}")
_OWN = frozenset({"localhost", "127.0.0.1", "::1"})
"""What every certificate of ours has anyway."""


def parse(raw: object) -> tuple[str, ...]:
    """Return the names in lower case and the addresses in their shortest form, each once, without this machine's own.

    ``raw`` is a list, or a text with commas in between. Raises ValueError with what it should have been. A wildcard is
    refused: it would let one gateway pass for another.
    """
    wanted = "a list of host names and addresses, as in gwctl.example.internal, 10.0.0.7"
    names = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(wanted)
    checked = dict.fromkeys(_check(name.strip(), wanted) for name in names if name.strip())
    return tuple(name for name in checked if name not in _OWN)


def address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that ``name`` is, None if it is a host's name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _check(name: str, wanted: str) -> str:
    address = address_of(name)
    if address is not None:
        if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
            raise ValueError(f"{wanted}: nobody connects to {name}")
        return str(address)
    if "*" in name:
        raise ValueError(f"{wanted}: {name} is a wildcard, write each name out")
    lowered = name.lower()
    # A last label of digits would be part of an address to some clients and of a name to others.
    if not _NAME.fullmatch(lowered) or lowered.rpartition(".")[2].isdigit():
        raise ValueError(f"{wanted}: {name!r} is no host's name")
    return lowered
