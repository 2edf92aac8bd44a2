"""Parse the values of settings from text or TOML, or reject them with a reason; host names and addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}")
_OWN = frozenset({"localhost", "127.0.0.1", "::1"})
"""Every certificate of ours contains these."""


def parse_hosts(raw: object) -> tuple[str, ...]:
    """Return lower-case names and shortest addresses, without duplicates and without this machine's own.

    ``raw`` is a list or a comma-separated text. Raise ValueError that says what was expected. A wildcard is rejected:
    it would let one gateway pass for another.
    """
    wanted = "a list of host names and addresses, such as gwctl.example.internal, 10.0.0.7"
    names = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(wanted)
    checked = dict.fromkeys(_check(name.strip(), wanted) for name in names if name.strip())
    return tuple(name for name in checked if name not in _OWN)


def address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return ``name`` as an address, or None if it is a host name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _check(name: str, wanted: str) -> str:
    address = address_of(name)
    if address is not None:
        if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
            raise ValueError(f"{wanted}: {name} is not an address to connect to")
        return str(address)
    if "*" in name:
        raise ValueError(f"{wanted}: {name} is a wildcard; list each name")
    lowered = name.lower()
    # Some clients read a name that ends in digits as an address.
    if not _NAME.fullmatch(lowered) or lowered.rpartition(".")[2].isdigit():
        raise ValueError(f"{wanted}: {name!r} is not a host name")
    return lowered


class Unsuitable(ValueError):
    """A well-formed value that does not work; ``hint`` says what to do."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


def parse_text(raw: object) -> str:
    """Return the text without surrounding blanks."""
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("a text")
    return raw.strip()


def parse_port(raw: object) -> int:
    """Return a port."""
    return parse_whole(raw, 1, 65535)


def parse_gateway_port(raw: object) -> int:
    """Return a port on which browsers open the login page."""
    from gwctl.free_ports import BROWSERS_REFUSE, next_free

    port = parse_port(raw)
    if port in BROWSERS_REFUSE:
        free = next_free(max(port, 4999))
        raise Unsuitable("a port that browsers open, so no login would work", f"set another port, such as {free}")
    return port


def parse_any_port(raw: object) -> int:
    """Return a port, or 0 for any free port."""
    return parse_whole(raw, 0, 65535)


def parse_address(raw: object) -> str:
    """Return an address and port as they were written."""
    import ipaddress

    text = "an IP address and a port, such as 0.0.0.0:9464 or [::1]:9464"
    host, _, port = raw.strip().rpartition(":") if isinstance(raw, str) else ("", "", "")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(bare)
        number = parse_port(port)
    except ValueError:
        raise ValueError(text) from None
    if host != (f"[{bare}]" if address.version == 6 else bare):
        raise ValueError(text)
    return f"{host}:{number}"


def parse_whole(raw: object, low: int, high: int) -> int:
    """Return a whole number within bounds."""
    text = f"a whole number from {low} to {high}"
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise ValueError(text)  # noqa: TRY004 - one exception type for every bad value, caught in one place
    try:
        number = int(raw)
    except ValueError:
        raise ValueError(text) from None
    if not low <= number <= high:
        raise ValueError(text)
    return number


def parse_seconds(low: float, high: float) -> Callable[[object], float]:
    """Return a parser for seconds within bounds."""

    def parse(raw: object) -> float:
        text = f"a number of seconds from {low:g} to {high:g}"
        if isinstance(raw, bool) or not isinstance(raw, int | float | str):
            raise ValueError(text)  # noqa: TRY004 - see parse_whole
        try:
            number = float(raw)
        except ValueError:
            raise ValueError(text) from None
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return parse


def parse_limit(raw: object) -> int:
    """Return a limit of refused logins; IBKR's own limit is 10."""
    return parse_whole(raw, 1, 9)


def parse_delay_ms(raw: object) -> int:
    """Return a number of milliseconds."""
    return parse_whole(raw, 1, 60_000)


def parse_choice(*allowed: str) -> Callable[[object], str]:
    """Return a parser for one of several words."""

    def parse(raw: object) -> str:
        if raw not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return str(raw)

    return parse


def parse_list(raw: object) -> tuple[str, ...]:
    """Return a list of addresses; a variable separates them with commas."""
    if isinstance(raw, str):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    if not isinstance(raw, list) or not raw or not all(isinstance(entry, str) for entry in raw):
        raise ValueError("a list of addresses")
    return tuple(raw)


def parse_names(raw: object) -> tuple[str, ...]:
    """Return host names and addresses."""
    return parse_hosts(raw)


def parse_command(raw: object) -> tuple[str, ...]:
    """Return a program and its arguments."""
    if not isinstance(raw, list) or not raw or not all(isinstance(part, str) for part in raw):
        raise ValueError('a list of the program and its arguments, such as ["pass", "show", "ibkr"]')
    return tuple(raw)


def parse_windows(raw: object) -> tuple[str, ...]:
    """Return maintenance windows and regions after checking each of them."""
    from gwctl.maintenance import BadWindow, Windows

    if isinstance(raw, str):
        raw = [raw]
    if not isinstance(raw, list) or not all(isinstance(entry, str) for entry in raw):
        raise ValueError("a list of windows such as ['23:45-01:45 America/New_York'] or regions such as ['europe']")
    try:
        Windows.parse(raw)
    except BadWindow as error:
        raise ValueError(f"a list of windows or regions: {error}") from None
    return tuple(raw)


def parse_page(raw: object) -> dict[str, list[str]]:
    """Return selectors by the element they select."""
    if not isinstance(raw, dict):
        raise ValueError("a table of selectors")  # noqa: TRY004 - see parse_whole
    page = {str(name): [value] if isinstance(value, str) else value for name, value in raw.items()}
    if not all(isinstance(parts, list) and all(isinstance(part, str) for part in parts) for parts in page.values()):
        raise ValueError("a table of selectors, each a text or a list of texts")
    return page
