"""What a profile says about its gateway, checked for what the gateway itself would misread."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from gwctl.errors import Configuration

_LOOPBACK = "127.0.0.1"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_PATTERN = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}|{_OCTET}(?:\.{_OCTET}){{0,2}}\.\*")
_PATTERNS_KNOWN = "an exact IPv4 address, a.*, a.b.* or a.b.c.*"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The settings that the gateway's folder is made from."""

    port: int
    upstream: str
    allow_ips: tuple[str, ...] = (_LOOPBACK,)
    certificate_names: tuple[str, ...] = ()
    auth_delay_ms: int | None = None
    java_options: str = ""


def check_upstream(upstream: str) -> str:
    """Return ``upstream`` as the gateway wants it, scheme://host[:port]; raise Configuration if it is anything else."""
    hint = "write it as https://api.ibkr.com"
    try:
        parts = urlsplit(upstream)
        port = parts.port
    except ValueError:
        raise Configuration("upstream is not an address", hint=hint) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Configuration("upstream must begin with https:// and name a host", hint=hint)
    if parts.username is not None or parts.password is not None:
        raise Configuration("upstream must not hold a user or a password", hint=hint)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "?" in upstream or "#" in upstream:
        raise Configuration(f"upstream must not go beyond the host: {upstream}", hint=hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", host):
        raise Configuration("upstream names no host that can exist", hint=hint)
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def check_allow_ips(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns for ``ips.allow``, with 127.0.0.1, from where gwctl itself asks; raise Configuration.

    The gateway knows exact IPv4 addresses and a.*, a.b.*, a.b.c.*; what it cannot parse it ignores with a line in its
    log, so anything else is refused here, with what to write in its place.
    """
    checked = [_check_pattern(pattern.strip()) for pattern in patterns]
    if not any(_covers(pattern, _LOOPBACK) for pattern in checked):
        checked.insert(0, _LOOPBACK)
    return tuple(dict.fromkeys(checked))


def _check_pattern(pattern: str) -> str:
    if _PATTERN.fullmatch(pattern):
        return pattern
    message = f"allow_ips: the gateway does not understand {pattern!r}; it knows {_PATTERNS_KNOWN}"
    raise Configuration(message, hint=_suggest(pattern))


def _suggest(pattern: str) -> str:
    if pattern in {"*", "*.*.*.*", "0.0.0.0/0", "::/0"}:
        return "name the networks you mean, such as 192.168.1.*; whoever reaches the port can trade"
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return "write allow_ips as in 127.0.0.1 or 192.168.1.*"
    if network.version == 6:
        return f"the gateway checks IPv4 only: leave {pattern} out"
    octets = str(network.network_address).split(".")
    kept = -(-network.prefixlen // 8)
    if kept == 4:
        smaller = [str(address) for _, address in zip(range(4), network, strict=False)]
        return f"list the addresses: {', '.join(smaller)}" + (", …" if network.num_addresses > 4 else "")
    wanted = ".".join([*octets[: max(kept, 1)], "*"])
    exact = network.prefixlen % 8 == 0 and kept > 0
    return f"write {wanted}" if exact else f"write {wanted} and its neighbours, a line each"


def _covers(pattern: str, address: str) -> bool:
    return address == pattern or (pattern.endswith("*") and address.startswith(pattern[:-1]))
