"""Chromium's network errors: who is at fault, and what a login that meets one has come to.

The names are those of Chromium's ``net/base/net_error_list.h``; every address that a login opens is the gateway's, and
what lies behind that is IBKR's.
"""

from __future__ import annotations

import re
from enum import StrEnum

from gwctl.login.outcome import LoginOutcome
from gwctl.login.verdict import Ended

_NET_ERROR = re.compile(r"net::(ERR_[A-Z0-9_]+)")


class Fault(StrEnum):
    """Who, or what, is at fault."""

    IBKR = "ibkr"
    GATEWAY = "gateway"
    NETWORK = "network"
    NAME = "name"
    PROXY = "proxy"
    CERTIFICATE = "certificate"
    PORT = "port"
    BROWSER = "browser"


# First match wins.
FAULTS: tuple[tuple[str, Fault], ...] = (
    (r"UNSAFE_PORT", Fault.PORT),
    (r"(NAME_|ICANN_NAME_|DNS_|HOST_RESOLVER_).*", Fault.NAME),
    (r".*PROX(Y|IES).*|SOCKS_.*|TUNNEL_.*|PAC_.*", Fault.PROXY),
    (r"(CERT|SSL|BAD_SSL|CT|ECH|TLS13|ALPN|NO_SSL|CERTIFICATE|CLIENT_AUTH)_.*", Fault.CERTIFICATE),
    (r"INTERNET_DISCONNECTED|NETWORK_(CHANGED|ACCESS_DENIED|IO_SUSPENDED)|ADDRESS_.*", Fault.NETWORK),
    (r"CONNECTION_.*|SOCKET_.*|TIMED_OUT|EMPTY_RESPONSE", Fault.GATEWAY),
    (r"(HTTP|HTTP2|QUIC|RESPONSE|CONTENT|ENCODING)_.*|INVALID_(RESPONSE|HTTP_RESPONSE)", Fault.IBKR),
    (r"(INVALID|INCOMPLETE)_.*(ENCODING|HEADERS)|TOO_MANY_.*|(UNSAFE|INVALID)_REDIRECT", Fault.IBKR),
    (r"ABORTED|FAILED|BLOCKED_BY_(RESPONSE|CSP|ORB)|(UNKNOWN|DISALLOWED)_URL_SCHEME", Fault.IBKR),
    (r"(INVALID|MISSING)_AUTH_CREDENTIALS|UNSUPPORTED_AUTH_SCHEME|METHOD_NOT_SUPPORTED", Fault.IBKR),
)
"""What is in no row, such as ``INSUFFICIENT_RESOURCES`` and ``BLOCKED_BY_ADMINISTRATOR``, is the browser's own."""

_ENDINGS: dict[Fault, tuple[LoginOutcome, str]] = {
    Fault.IBKR: (LoginOutcome.UPSTREAM_ILL, "IBKR answered {status}without a page"),
    Fault.GATEWAY: (LoginOutcome.PAGE_NEVER_CAME, "no answer at the gateway's port"),
    Fault.NETWORK: (LoginOutcome.UPSTREAM_ILL, "this machine's network does not reach it"),
    Fault.NAME: (LoginOutcome.UPSTREAM_ILL, "a name on the way to it is not found (DNS)"),
    Fault.PROXY: (LoginOutcome.UPSTREAM_ILL, "a proxy on the way to it does not let the browser through"),
    Fault.CERTIFICATE: (LoginOutcome.FOREIGN_KEY, "the gateway's port does not show our key"),
    Fault.PORT: (LoginOutcome.PORT_FORBIDDEN, "no browser opens this port"),
    Fault.BROWSER: (LoginOutcome.BROWSER_FAILED, ""),
}


def fault_of(text: str) -> Fault:
    """Return who is at fault for what the browser says; without a network error in it that is the browser itself."""
    found = _NET_ERROR.search(text)
    if found is None:
        return Fault.BROWSER
    name = found[1].removeprefix("ERR_")
    return next((fault for pattern, fault in FAULTS if re.fullmatch(pattern, name)), Fault.BROWSER)


def ended_by(text: str, status: int | None = None) -> Ended:
    """Return how a login ends that met ``text`` of the browser's; ``status`` is the document's, if it had one."""
    outcome, what = _ENDINGS[fault_of(text)]
    # A page that came well says nothing of an answer that did not come.
    shown = f"{status} " if status is not None and status >= 400 else ""
    said = what.format(status=shown)
    return Ended(outcome, f"{said}: {text}" if said else text)
