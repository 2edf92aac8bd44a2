"""Parse the values of settings from text or TOML, or reject them with a reason; host names and addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import urlsplit

from gwctl.known_words import Unsuitable
from gwctl.paths import without_tilde

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


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# ASCII also in the comparison of letters: without it, a long s (U+017F) would pass for the s of localhost.
_AUTHORITY = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d*)?", re.ASCII | re.IGNORECASE)
_LOOPBACK = re.compile(rf"(?:localhost|127(?:\.{_OCTET}){{3}}|\[::1\])(?::\d*)?", re.ASCII | re.IGNORECASE)


def parse_text(raw: object) -> str:
    """Return one line of text without surrounding blanks."""
    if not isinstance(raw, str) or not raw.strip() or _CONTROL.search(raw.strip()):
        raise ValueError("one line of text")
    return raw.strip()


def parse_file(raw: object) -> str:
    """Return a file's path without ``~``; a relative one would be another file in each folder that gwctl works in."""
    path = without_tilde(parse_text(raw))
    if not path.startswith("/"):
        raise ValueError("an absolute path, or one from ~/")
    return path


def parse_program(raw: object) -> str:
    """Return a program's name, or its path as ``parse_file`` does."""
    program = parse_text(raw)
    return parse_file(program) if "/" in program else program


def parse_options(raw: object) -> str:
    """Return the options of a program; they may have several lines."""
    if not isinstance(raw, str) or not raw.strip() or "\0" in raw:
        raise ValueError("a text")
    return raw.strip()


def parse_upstream(raw: object) -> str:
    """Return an address in the gateway's form, scheme://host[:port]."""
    address = parse_text(raw)

    def unsuitable(why: str) -> Unsuitable:
        return Unsuitable(f"an address scheme://host[:port]: {why}", "write it as https://api.ibkr.com")

    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise unsuitable("its host or port is not valid") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise unsuitable("it must start with https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise unsuitable("it must not contain a user or a password")
    if parts.path not in {"", "/"} or "?" in address or "#" in address:
        raise unsuitable("it must end after the host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise unsuitable("its host is not valid")
    if parts.scheme == "http" and not is_loopback(parts.netloc):
        raise Unsuitable(
            "an address scheme://host[:port]: http is for this machine alone, as localhost, 127.0.0.1 or [::1]; "
            "anybody on the way would see the password and trade with the session",
            f"write it as https://{host}",
        )
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def parse_release(raw: object) -> str:
    """Return a release's version, file or URL; gwctl fetches a URL only if it is safe (``url_fault``)."""
    release = parse_text(raw)
    fault = url_fault(release, loopback_allowed=True) if "://" in release else None
    if fault is not None:
        raise Unsuitable(f"a version, a file or an https address: it {fault}", "gwctl release install [URL|FILE]")
    return release if "://" in release else parse_program(release)


def parse_sha256(raw: object) -> str:
    """Return a SHA-256 as 64 lower-case digits."""
    digits = raw.strip().lower().removeprefix("sha256:") if isinstance(raw, str) else ""
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise Unsuitable("a SHA-256, 64 hexadecimal digits", "sha256sum clientportal.gw.zip")
    return digits


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
    if "\\" in url or not url.isprintable():
        return "contains characters that programs read differently"
    if "@" in parts.netloc:
        return "contains a user or a password"
    if parts.scheme == "https" or (parts.scheme == "http" and loopback_allowed and is_loopback(parts.netloc)):
        return None
    return "is not https"


def is_loopback(netloc: str) -> bool:
    """Say whether ``host[:port]`` is this machine for every program, whatever it makes of short or unusual spellings.

    Only localhost, 127.0.0.0/8 as four numbers and [::1]; 127.1, 0x7f000001 or a name with a dot at its end are not.
    """
    return _LOOPBACK.fullmatch(netloc) is not None


def parse_browser(raw: object) -> str:
    """Return the path or channel of a browser other than Firefox, in which the login was seen to fail."""
    browser = parse_program(raw)
    if "firefox" in browser.lower():
        raise Unsuitable("a Chromium, Chrome or Edge: IBKR's login fails in Firefox", "gwctl browser install")
    return browser


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


def parse_yes(raw: object) -> bool:
    """Return a boolean; a text says yes or no."""
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    value = known.get(raw.strip().lower()) if isinstance(raw, str) else raw
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - one exception type for every bad value
    return value


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
        except (ValueError, OverflowError):
            raise ValueError(text) from None
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return parse


def parse_limit(raw: object) -> int:
    """Return a limit of refused logins; IBKR's own limit is 10."""
    return parse_whole(raw, 1, 9)


def parse_delay_ms(raw: object) -> int:
    """Return a number of milliseconds.

    With 0 the gateway's hand-shake fails: it cannot schedule a timer of less than 1 ms [seen].
    """
    return parse_whole(raw, 1, 60_000)


def parse_allow_ips(raw: object) -> tuple[str, ...]:
    """Return addresses and networks, IPv4 and IPv6; a text separates them with commas."""
    wanted = "a list of addresses and networks, such as 127.0.0.1, 192.168.1.0/24, 10.0.*, fd00::/8"
    entries = [part for part in raw.split(",") if part.strip()] if isinstance(raw, str) else raw
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(wanted)
    for entry in entries:
        try:
            network_of(entry)
        except ValueError:
            raise ValueError(f"{wanted}: {entry.strip()!r} is neither") from None
    return tuple(entry.strip() for entry in entries)


def network_of(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return an address or network of ``allow_ips``; raise ValueError. ``10.0.*`` is 10.0.0.0/16."""
    text = entry.strip()
    octets = text.removesuffix(".*").split(".")
    if text.endswith(".*") and len(octets) < 4:
        text = f"{'.'.join([*octets, '0', '0', '0'][:4])}/{8 * len(octets)}"
    return ipaddress.ip_network(text, strict=False)


_USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\$?")


def parse_users(raw: object) -> tuple[str, ...]:
    """Return user names and user IDs; a text separates them with commas."""
    entries = [part for part in raw.split(",") if part.strip()] if isinstance(raw, str) else raw
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("a list of user names or user IDs")
    users = tuple(entry.strip() for entry in entries)
    for user in users:
        if not _USER_NAME.fullmatch(user):
            raise ValueError(f"a list of user names or user IDs: {user!r} is neither")
    return users


def parse_names(raw: object) -> tuple[str, ...]:
    """Return host names and addresses."""
    return parse_hosts(raw)


def parse_command(raw: object) -> tuple[str, ...]:
    """Return a program and its arguments."""
    is_list = isinstance(raw, list) and all(isinstance(part, str) and "\0" not in part for part in raw)
    if not isinstance(raw, list) or not is_list or not raw or not raw[0].strip():
        raise ValueError('a list of the program and its arguments, such as ["pass", "show", "ibkr"]')
    return tuple(raw)


class Element(StrEnum):
    """The parts of the page that a login uses."""

    USERNAME = "username"
    USERNAME_SUBMIT = "username_submit"
    PASSWORD = "password"  # noqa: S105 - the name of a field of the page, not a password
    SUBMIT = "submit"
    PAPER_SWITCH = "paper_switch"
    PAPER_LABEL = "paper_label"
    ERROR = "error"
    CODE_APP = "code_app"
    CODE_TEMPORARY = "code_temporary"
    CODE_EMAIL = "code_email"
    CODE_CARD = "code_card"
    CODE = "code"
    CHALLENGE = "challenge"
    CHALLENGE_TEXT = "challenge_text"
    SHOW_CHALLENGE = "show_challenge"
    CHANNEL_CHOICE = "channel_choice"
    CHANNEL_TEXT = "channel_text"
    CHANNEL_EMAIL = "channel_email"
    CHANNEL_VOICE = "channel_voice"
    DEVICE_CHOICE = "device_choice"
    PUSH = "push"
    PUSH_RESEND = "push_resend"
    CODE_RESEND = "code_resend"
    OFFER = "offer"
    OFFER_SKIP = "offer_skip"
    PASSKEY = "passkey"
    QR_CODE = "qr_code"
    EMAIL_CHECK = "email_check"
    COOKIE_BUTTON = "cookie_button"
    COOKIE_COVER = "cookie_cover"
    MAINTENANCE = "maintenance"


def parse_page(raw: object) -> dict[str, list[str]]:
    """Return selectors by the element they select."""
    if not isinstance(raw, dict):
        raise ValueError("a table of selectors")  # noqa: TRY004 - see parse_whole
    unknown = sorted(set(raw) - set(Element))
    if unknown:
        raise ValueError(
            f"a table of selectors: the login page has no element {', '.join(unknown)}; known are {', '.join(Element)}"
        )
    page = {str(name): [value] if isinstance(value, str) else value for name, value in raw.items()}
    if not all(isinstance(parts, list) and all(map(_is_selector, parts)) for parts in page.values()):
        raise ValueError("a table of selectors, each a text or a list of texts")
    return page


def _is_selector(part: object) -> bool:
    return isinstance(part, str) and bool(part.strip())
