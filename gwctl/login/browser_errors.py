"""Browser failures: Playwright's messages, Chromium's network errors, and its last output before it exited."""

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
"""Playwright's message about a page whose process ended during a navigation."""
INTERRUPTED = "is interrupted by another navigation"
ABORTED = "net::ERR_ABORTED"


def was_on_its_way(message: str) -> bool:
    """Say, from the log of a failed click, whether its last try reached the mouse (Playwright 1.50 to 1.65).

    If something covers the element, a try ends and the log has a line for the next one. A log in other words says
    nothing, and the click may have happened.
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
    """The party at fault."""

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
"""Errors in no row, such as ``INSUFFICIENT_RESOURCES`` and ``BLOCKED_BY_ADMINISTRATOR``, are the browser's."""

_ENDINGS: dict[Fault, tuple[LoginOutcome, str]] = {
    Fault.IBKR: (LoginOutcome.UPSTREAM_ILL, "IBKR answered {status}without a page"),
    Fault.GATEWAY: (LoginOutcome.PAGE_NEVER_CAME, "no answer at the gateway's port"),
    Fault.NETWORK: (LoginOutcome.UPSTREAM_ILL, "this machine's network does not reach IBKR"),
    Fault.NAME: (LoginOutcome.UPSTREAM_ILL, "a host name does not resolve (DNS)"),
    Fault.PROXY: (LoginOutcome.UPSTREAM_ILL, "a proxy blocks the browser"),
    Fault.CERTIFICATE: (LoginOutcome.FOREIGN_KEY, "the server at the gateway's port does not have our key"),
    Fault.PORT: (LoginOutcome.PORT_FORBIDDEN, "browsers refuse to open this port"),
    Fault.BROWSER: (LoginOutcome.BROWSER_FAILED, ""),
}


def fault_of(text: str) -> Fault:
    """Return the party at fault for the browser's message; without a network error, that is the browser itself."""
    found = _NET_ERROR.search(text)
    if found is None:
        return Fault.BROWSER
    name = found[1].removeprefix("ERR_")
    return next((fault for pattern, fault in FAULTS if re.fullmatch(pattern, name)), Fault.BROWSER)


def ended_by(text: str, status: int | None = None) -> Ended:
    """Return how a login ends after the browser's message ``text``; ``status`` is the document's, if it had one."""
    outcome, what = _ENDINGS[fault_of(text)]
    # A page that loaded says nothing about an answer that is missing.
    shown = f"{status} " if status is not None and status >= 400 else ""
    said = what.format(status=shown)
    return Ended(outcome, f"{said}: {text}" if said else text)


DRIVER = "pw:browser"
LOG_VARIABLES = {"DEBUG": DRIVER, "DEBUG_HIDE_DATE": "1", "DEBUG_COLORS": "0"}
"""Makes the driver write a log; it contains no protocol messages and nothing that is typed."""
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
"""The exit code of a shell whose browser was killed."""


def fatal_line(log: str) -> str | None:
    """Return the browser's own reason for its exit; None if it gave none."""
    # The last one: without a usable sandbox, the browser was started twice.
    found = [*_FATAL.finditer(log)][-1:] or [*_LIBRARY.finditer(log)][-1:]
    return found[0]["said"].strip() if found else None


def was_killed(log: str) -> bool:
    """Say whether something killed the browser, as the system does when memory runs out (SIGKILL)."""
    ends = [*_ENDED.finditer(log)][-1:]
    killed = any(one["signal"] == "SIGKILL" or one["code"] == str(_KILLED_CODE) for one in ends)
    return killed and _BY_PLAYWRIGHT not in log


def has_ended(log: str) -> bool:
    """Say whether the log shows that the browser's process has ended."""
    return _ENDED.search(log) is not None


def explained(report: LoginReport, log: str, secrets: tuple[str, ...] = ()) -> LoginReport:
    """Add the browser's own output to the report of a login with a failed browser; return it."""
    if report.outcome is not LoginOutcome.BROWSER_FAILED:
        return report
    reason = fatal_line(log)
    if reason is None and was_killed(log):
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED, text="SIGKILL")
    if reason is None and report.text == CRASHED:
        # The system ends a page's process before the browser's, and Chromium logs nothing about it.
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED)
    if reason is None:
        # Without a reason, its last output says more than Playwright's "has been closed".
        printed = [found["said"].strip() for found in _PRINTED.finditer(log)]
        ends = [one["code"] for one in _ENDED.finditer(log) if one["code"].isdecimal()]
        reason = printed[-1] if printed else f"it exited with code {ends[-1]}" if ends else None
    if reason is None:
        return report
    return replace(report, text=tidy(f"{_CLOSED.sub('', report.text)}: {reason}", secrets))
