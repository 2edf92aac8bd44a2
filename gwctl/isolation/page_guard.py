"""Keep web pages out: what a browser sends to the gateway must come from the gateway's own pages.

A page on any site can make a browser send requests to this machine. The browser says where a request comes from, in
``Origin`` and ``Sec-Fetch-Site``, which no page can change or leave out (https://www.w3.org/TR/fetch-metadata; Chrome
80, Firefox 90, Safari 16.4). Other programs send neither, and are not looked at any further. The standard library only.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

HEAD_BYTES = 65_536
OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
WEBSOCKET = "/v1/api/ws"
TYPED = frozenset(
    {
        *("/", "/demo", "/sso/Login", "/v1/api/tickle", "/v1/api/sso/validate", "/v1/api/iserver/auth/status"),
        *("/v1/api/iserver/accounts", "/v1/api/portfolio/accounts"),
    }
)
"""What a person may open by its address. A hostile site that a person opens so can redirect there, and a browser does
not tell the two apart, so nothing is here that ends or changes anything."""
_MARK = re.compile(rb"\r\n(origin|sec-fetch-site|referer)[ \t]*:", re.IGNORECASE)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ ?#\r\n\0]*)(\?[^ #\r\n\0]*)? HTTP/1\.[01]")


class Refused(Exception):
    """A request that must not reach the gateway; ``answer`` is what its sender gets."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        body = f"gwctl: {why}\n"
        fields = f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close"
        self.answer = f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}".encode()


class Guard:
    """What one client sends, request by request: passed on, or refused."""

    __slots__ = ("_body_bytes", "_held", "_searched_bytes", "passes_all")

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched_bytes = 0
        """How much of it has no end of a head in it."""
        self._body_bytes = 0
        """How much of the current request's body is still to come."""
        self.passes_all = False
        """Whether this client is no browser, or speaks WebSocket by now."""

    def feed(self, content: bytes) -> bytes:
        """Return what of ``content``, and of what came before it, may pass; raise Refused."""
        self._held += content
        passed = bytearray()
        while self._held and not self.passes_all:
            if not self._body_bytes:
                end = self._held.find(b"\r\n\r\n", self._searched_bytes, HEAD_BYTES)
                if end < 0:
                    self._searched_bytes = max(0, len(self._held) - 3)
                    if len(self._held) >= HEAD_BYTES:
                        raise Refused("431 Request Header Fields Too Large", "the request's head is too large")
                    return bytes(passed)
                self._searched_bytes = 0
                self._body_bytes = end + 4 + self._judge(bytes(self._held[: end + 4]))
            taken = self._held[: self._body_bytes]
            passed += taken
            del self._held[: len(taken)]
            self._body_bytes -= len(taken)
        if self.passes_all:
            passed += self._held
            self._held.clear()
        return bytes(passed)

    def _judge(self, head: bytes) -> int:
        """Return the length of the body that follows a request's head; raise Refused."""
        if _MARK.search(head) is None:
            self.passes_all = True
            return 0
        method, path, fields = _parsed(head)
        fault = fault_of(method, path, fields, OWN_NAMES)
        if fault is not None:
            raise Refused("403 Forbidden", fault)
        if "upgrade" in fields:
            if path != WEBSOCKET:
                raise Refused("403 Forbidden", "only /v1/api/ws has a WebSocket")
            self.passes_all = True
            return 0
        length = fields.get("content-length", "0")
        if "transfer-encoding" in fields or not (length.isascii() and length.isdigit()) or len(length) > 15:
            raise Refused("400 Bad Request", "the length of the request's body is not clear")
        return int(length)


def fault_of(method: str, path: str, fields: Mapping[str, str], names: Collection[str]) -> str | None:
    """Return why a browser's request must not pass, None if it comes from a page of ``names`` or from a person.

    ``fields`` are those of its head, by their names in small letters. Ports do not matter: they may be forwarded.
    """
    host = fields.get("host", "").lower()
    if re.sub(r":[0-9]*\Z", "", host) not in names:
        return "the page was loaded under another name than the gateway's"
    own, origin, site = f"https://{host}", fields.get("origin"), fields.get("sec-fetch-site")
    if site is None:  # an old browser, or a program that behaves as one
        is_own = "/".join(fields.get("referer", own).lower().split("/")[:3]) == own
    elif site == "none":
        kind = (method, fields.get("sec-fetch-mode"), fields.get("sec-fetch-dest"))
        is_own = kind == ("GET", "navigate", "document") and path in TYPED
    else:
        is_own = site == "same-origin"
    origins = {None, own}
    if not fields.get("user-agent", "").startswith("Mozilla/"):  # no page can change it
        origins.add(f"http://{host}")  # websocket-client before 1.3 says so, also with TLS
    if not is_own or (None if origin is None else origin.lower()) not in origins:
        return "the request comes from another site's page"
    return None


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return a browser's request as its method, its path and its fields; raise Refused for anything unusual."""
    first, *lines = head[:-4].split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    fields: dict[str, str] = {}
    for line in lines:
        raw_name, colon, value = line.partition(b":")
        name = raw_name.decode("latin-1").lower()
        is_valid = colon and _NAME.fullmatch(raw_name) and not any(one in value for one in b"\r\n\0")
        if not is_valid or name in fields:
            raise Refused("400 Bad Request", "the request's head is not valid")
        fields[name] = value.strip(b" \t").decode("latin-1")
    if request is None:
        raise Refused("400 Bad Request", "the request's first line is not valid")
    return request[1].decode(), request[2].decode("latin-1"), fields
