"""What went wrong in the browser: Playwright's messages, Chromium's network errors, its last words before it ended."""

from __future__ import annotations

import contextlib
import re
import signal
from dataclasses import replace
from enum import StrEnum

from gwctl.login.outcome import LoginOutcome, LoginReport, tidy
from gwctl.login.verdict import Ended

CRASHED = "the page crashed"
DETACHED = "frame was detached"
"""What Playwright says of a page whose process ended while it was on its way."""
INTERRUPTED = "is interrupted by another navigation"
ABORTED = "net::ERR_ABORTED"


def was_on_its_way(message: str) -> bool:
    """Say by the log of a click that failed whether its last try had got as far as the mouse (Playwright 1.50 to 1.65).

    A try that ended with something lying over the element is followed by the next one's line. A log in other words says
    nothing, and the click may have been done.
    """
    if "locator resolved to" in message and "attempting click action" not in message:
        return True
    return message.rfind("performing click action") > message.rfind("retrying click action")


def first_line(error: Exception) -> str:
    """Return the first line of Playwright's message, without the name of its call."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    with contextlib.suppress(ValueError):
        head, tail = lines[0].split(": ", 1)
        if "." in head and " " not in head:
            return tail
    return lines[0]


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


DRIVER = "pw:browser"
LOG_VARIABLES = {"DEBUG": DRIVER, "DEBUG_HIDE_DATE": "1", "DEBUG_COLORS": "0"}
"""What has the driver write it down; there is no message of the protocol in it, nor what is typed."""
LOOKED_AT_BYTES = 256 * 1024
_FATAL = re.compile(r"^.*?(?:\[err\] )?(?P<said>\[[^\]]*:FATAL:[^\]]*\].*)$", re.MULTILINE)
_LIBRARY = re.compile(
    r"^.*?(?P<said>(?:\S+: )?error while loading shared libraries: .*|Library not loaded: .*)$", re.MULTILINE
)
_ENDED = re.compile(r"<process did exit: exitCode=(?P<code>\S+), signal=(?P<signal>\w+)>")
_PRINTED = re.compile(r"\[pid=\d+\]\[(?:err|out)\] (?P<said>.*\S.*)$", re.MULTILINE)
_BY_PLAYWRIGHT = "<forcefully close>"
_CLOSED = re.compile(r": Target (page, context or browser has been closed|crashed)\Z")
_KILLED_CODE = 128 + signal.SIGKILL
"""What a shell that started the browser ends with where that was killed."""


def fatal_line(log: str) -> str | None:
    """Return why the browser ended in its own words; None if it gave no reason."""
    # The last one: where its sandbox cannot be had it was started twice.
    found = [*_FATAL.finditer(log)][-1:] or [*_LIBRARY.finditer(log)][-1:]
    return found[0]["said"].strip() if found else None


def was_killed(log: str) -> bool:
    """Say whether something killed the browser, as the system does where memory runs out (SIGKILL)."""
    ends = [*_ENDED.finditer(log)][-1:]
    killed = any(one["signal"] == "SIGKILL" or one["code"] == str(_KILLED_CODE) for one in ends)
    return killed and _BY_PLAYWRIGHT not in log


def has_ended(log: str) -> bool:
    """Say whether the browser's process is known to have ended."""
    return _ENDED.search(log) is not None


def explained(report: LoginReport, log: str, secrets: tuple[str, ...] = ()) -> LoginReport:
    """Return the report of a login whose browser did not work with what the browser said of itself."""
    if report.outcome is not LoginOutcome.BROWSER_FAILED:
        return report
    reason = fatal_line(log)
    if reason is None and was_killed(log):
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED, text="SIGKILL")
    if reason is None and report.text == CRASHED:
        # The system ends a page's process before the browser's own, and Chromium says nothing of it.
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED)
    if reason is None:
        # No reason of its own: what it printed last is more than Playwright's "has been closed".
        printed = [found["said"].strip() for found in _PRINTED.finditer(log)]
        ends = [one["code"] for one in _ENDED.finditer(log) if one["code"].isdecimal()]
        reason = printed[-1] if printed else f"it ended with code {ends[-1]}" if ends else None
    if reason is None:
        return report
    return replace(report, text=tidy(f"{_CLOSED.sub('', report.text)}: {reason}", secrets))
