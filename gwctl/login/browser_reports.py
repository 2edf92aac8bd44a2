"""What the browser reports: the traffic and console of one login, its errors, and its last output before it exited.

The log of the traffic keeps methods, paths, statuses and times; never a query, path parameters, a header, a body or a
cookie. The only header that it reads is ``Date``, which is IBKR's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gwctl.login.outcome import LoginOutcome, redact
from gwctl.login.page_state import Traffic
from gwctl.login.verdict import Ended

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Request, Response, WebSocket
    from playwright.async_api import Page as BrowserPage

KEPT_REQUESTS = 200
KEPT_MESSAGES = 100
MESSAGE_LIMIT_CHARS = 300
MESSAGE_HELD_CHARS = 10_000
"""A message is cut to its limit when it is kept, after the redaction: half a secret would not be recognized."""
NAME_CHARS = 3
"""A shorter username may occur anywhere."""
_WHOLE_SECOND_S = 1.0
"""``Date`` has whole seconds."""
_FORM_PATH = re.compile(r"/(authenticator|login|logon|signin|dispatcher)(?=[/;]|$)", re.IGNORECASE)
"""The paths of forms; other requests below ``/sso/`` may be telemetry."""
_TELEMETRY = re.compile(
    r"[/._-](telemetry|metrics?|analytics|beacons?|collect(or)?|track(ing|er)?|logs?|logging|logger|stats?|statistics|rum"
    r"|events?|monitor(ing)?|csp|reports?|pings?|heartbeat|keep-?alive|errors?|perf(ormance)?|audit|usage|vitals|pixel)"
    r"(?=[/._;-]|$)",
    re.IGNORECASE,
)
"""The paths of telemetry."""
_SENDING = frozenset({"POST", "PUT", "PATCH"})
_BY_SCRIPT = frozenset({"document", "xhr", "fetch"})
"""The resource types by which a form can be sent."""
_ASKING = frozenset({"document", "script", "xhr", "fetch"})
"""The resource types by which a page goes on; pictures, beacons and sockets are not among them."""


class Exchange(Struct):
    """One request: ``status`` is None until it is answered, ``failed`` says how it failed."""

    method: str
    path: str
    kind: str
    at_s: float
    status: int | None = None
    took_ms: float | None = None
    failed: str | None = None


class Wire:
    """Listens to one page of the browser."""

    def __init__(self, page: BrowserPage) -> None:
        self._page = page
        self._began_s = time.monotonic()
        self._waiting: set[Request] = set()
        self._asking: dict[Request, float] = {}
        self._quiet_since_s = self._began_s
        self._username = ""
        self._expects_form = False
        self._taken: set[str] = set()
        self._told_to: set[str] = set()
        """Paths to which the page has posted by itself: the form does not go there."""
        self._exchanges: dict[Request, Exchange] = {}
        self._messages: list[tuple[float, str, str]] = []
        self.traffic = Traffic()
        self._unsure_s = math.inf
        self.server_ahead_s: float | None = None
        """How far the clock of the page's server is ahead of this machine's; None if unknown."""
        page.on("request", self._on_request)
        page.on("response", self._on_response)
        page.on("requestfinished", self._on_end)
        page.on("requestfailed", self._on_failed)
        page.on("websocket", self._on_socket)
        page.on("console", self._on_message)

    def _on_request(self, request: Request) -> None:
        path = urlsplit(request.url).path
        if len(self._exchanges) < KEPT_REQUESTS:
            at_s = time.monotonic() - self._began_s
            self._exchanges[request] = Exchange(request.method, path, request.resource_type, at_s)
        sends_form = self._sends_form(request, path)
        # A POST that is not the form is telemetry: a page that only reports is still quiet.
        if request.resource_type in _ASKING and (sends_form or request.method != "POST"):
            self._asking[request] = time.monotonic()
        if sends_form:
            self._waiting.add(request)
            self.traffic = replace(self.traffic, posts=self.traffic.posts + 1, waiting=len(self._waiting))

    def watch_for(self, username: str) -> None:
        """Treat requests that contain this username as the form's too."""
        self._username = username

    def expect_form(self, *, expected: bool) -> None:
        """From a click on the form's button on, treat possible form requests as the form, on any path (law 2).

        That is the first request to each path, until one is certain to be the form.
        """
        self._expects_form = expected
        self._taken.clear()

    def _sends_form(self, request: Request, path: str) -> bool:
        """Say whether a request is the form's: by its path, by its type, or by the username in it."""
        is_known = self._is_known_form(request, path)
        may_be = request.method in _SENDING and request.resource_type in _BY_SCRIPT and not is_known
        if is_known:
            self._expects_form = False
        elif may_be and not self._expects_form:
            self._told_to.add(path)
        elif may_be and self._may_be_form(request, path):
            self._taken.add(path)
            return True
        return is_known

    def _may_be_form(self, request: Request, path: str) -> bool:
        """Say whether a request to an unknown path may contain the form in an unreadable encoding."""
        here, there = urlsplit(self._page.url), urlsplit(request.url)
        is_ours = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        long_enough = len(request.post_data_buffer or b"") > len(self._username)
        is_new = path not in self._told_to | self._taken and not _TELEMETRY.search(path)
        return is_ours and long_enough and is_new

    def _is_known_form(self, request: Request, path: str) -> bool:
        is_document = request.is_navigation_request()
        if request.method not in _SENDING:
            asks_first = is_document and request.redirected_from is None
            return asks_first and self._names_user(urlsplit(request.url).query.encode())
        if path.startswith("/sso/") and request.method == "POST" and (_FORM_PATH.search(path) or is_document):
            return True
        return self._names_user(request.post_data_buffer or b"")

    def _names_user(self, sent: bytes) -> bool:
        """Say whether the username is in the sent bytes; a page may write it in lower case."""
        known = len(self._username) >= NAME_CHARS
        return known and self._username.casefold() in unquote(sent.decode(errors="replace")).casefold()

    def _on_socket(self, socket: WebSocket) -> None:
        socket.on("framesent", self._on_frame)

    def _on_frame(self, sent: str | bytes) -> None:
        """Count a form sent over a socket; its answer is one of many frames, so none is awaited."""
        if self._names_user(sent if isinstance(sent, bytes) else sent.encode(errors="replace")):
            posts, answers = self.traffic.posts + 1, self.traffic.answers + 1
            self.traffic = replace(self.traffic, posts=posts, answers=answers)

    @property
    def quiet_s(self) -> float:
        """The seconds since the page last sent a request; 0 while it waits for an answer."""
        return 0.0 if self._asking else time.monotonic() - self._quiet_since_s

    @property
    def unanswered_s(self) -> float:
        """How long the page has waited for its oldest open request; 0 if there is none."""
        return time.monotonic() - min(self._asking.values()) if self._asking else 0.0

    def _on_response(self, response: Response) -> None:
        request = response.request
        exchange = self._exchanges.get(request)
        if exchange is not None:
            exchange.status = response.status
        if request in self._waiting:
            self.traffic = replace(self.traffic, post_status=response.status, answers=self.traffic.answers + 1)
        if request.is_navigation_request() and request.frame == self._page.main_frame:
            self.traffic = replace(self.traffic, document_status=response.status)
        if urlsplit(request.url).path.startswith("/sso/"):
            self._look_at_clock(response)

    def _look_at_clock(self, response: Response) -> None:
        """Note IBKR's clock, by the browser's own times, as events may come late; the fastest answer is the most exact.

        Answers outside the login's paths may come from a cache, with an old date.
        """
        date, timing = response.headers.get("date"), response.request.timing
        sent_ms, came_ms = timing["requestStart"], timing["responseStart"]
        if date is None or response.status >= 500 or sent_ms < 0 or came_ms < sent_ms:
            return
        # The date was written between the two times, and has whole seconds.
        unsure_s = (came_ms - sent_ms) / 1000 + _WHOLE_SECOND_S
        ours_s = (timing["startTime"] + (sent_ms + came_ms) / 2) / 1000
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            ahead_s = parsedate_to_datetime(date).timestamp() + _WHOLE_SECOND_S / 2 - ours_s
            if unsure_s < self._unsure_s:
                self.server_ahead_s, self._unsure_s = ahead_s, unsure_s

    def _on_end(self, request: Request) -> None:
        exchange = self._exchanges.get(request)
        if exchange is not None:
            exchange.took_ms = round((time.monotonic() - self._began_s - exchange.at_s) * 1000, 1)
        if request in self._asking:
            del self._asking[request]
            self._quiet_since_s = time.monotonic()
        self._waiting.discard(request)
        self.traffic = replace(self.traffic, waiting=len(self._waiting))

    def _on_failed(self, request: Request) -> None:
        exchange = self._exchanges.get(request)
        if exchange is not None:
            exchange.failed = request.failure or "failed"
        self._on_end(request)

    def _on_message(self, message: ConsoleMessage) -> None:
        if len(self._messages) < KEPT_MESSAGES:
            at_s = time.monotonic() - self._began_s
            self._messages.append((at_s, message.type, message.text[:MESSAGE_HELD_CHARS]))

    @contextlib.contextmanager
    def next_call(self, path: str) -> Iterator[asyncio.Future[None]]:
        """Return a future that is done once a request below ``path`` is answered or fails."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_end(request: Request) -> None:
            if urlsplit(request.url).path.startswith(path) and not done.done():
                done.set_result(None)

        self._page.on("requestfinished", on_end)
        self._page.on("requestfailed", on_end)
        try:
            yield done
        finally:
            self._page.remove_listener("requestfinished", on_end)
            self._page.remove_listener("requestfailed", on_end)

    def summary(self, secrets: tuple[str, ...]) -> dict[str, Any]:
        """Return requests and console messages in order, redacted, each with its time in ms; nothing that was sent."""
        return {
            "requests": [
                {
                    "at_ms": round(one.at_s * 1000, 1),
                    "method": one.method,
                    "path": redact(_shown(one.path), secrets),
                    "kind": one.kind,
                    "status": one.status,
                    "took_ms": one.took_ms,
                    "failed": one.failed,
                }
                for one in self._exchanges.values()
            ],
            "console": [
                {"at_ms": round(at_s * 1000, 1), "type": kind, "text": redact(text, secrets)[:MESSAGE_LIMIT_CHARS]}
                for at_s, kind, text in self._messages
            ],
        }


def _shown(path: str) -> str:
    """Return a path without the parameters of its parts: a Java server puts its session's cookie there."""
    return unquote(re.sub(r";[^/]*", "", path))


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


class PageFailed(Exception):
    """The browser could not carry out a call; the text is the error's first line."""


class PageSilent(PageFailed):
    """No server answered: no connection, or no answer within the deadline."""


class PageWaits(PageFailed):
    """The page cannot be read while the browser waits for the answer to one of its forms or links."""


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
