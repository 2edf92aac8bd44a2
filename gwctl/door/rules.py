"""What may pass the door: who, from where, which paths, how often. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from msgspec import Struct

from gwctl.isolation.page_guard import OWN_NAMES, WEBSOCKET, fault_of

API = "/v1/api/"
METHODS = ("GET", "POST", "PUT", "DELETE")
UNKNOWN = "a token is needed: Authorization: Bearer TOKEN"
MOST_A_SECOND = 8
"""IBKR refuses an address for 15 minutes that sends more than 10 requests a second; gwctl's own are among them."""
_PATH = re.compile(r"/v1/api(?:/[A-Za-z0-9_.,:@~+!$'()*=%-]+)+/?")
_BROWSER = ("origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")

READS: Mapping[str, tuple[str, ...]] = {
    "GET": (
        *("tickle", "sso/validate", "iserver/auth/status", "iserver/accounts", "iserver/account/orders"),
        *("iserver/account/trades", "iserver/account/pnl/partitioned", "iserver/account/order/status/*"),
        *("iserver/account/*/summary", "iserver/account/*/summary/*", "iserver/account/*/alerts"),
        *("iserver/account/alert/*", "iserver/account/mta", "iserver/account/search/*"),
        *("iserver/marketdata/snapshot", "iserver/marketdata/history"),
        *("iserver/contract/*/info", "iserver/contract/*/info-and-rules", "iserver/contract/*/algos"),
        *("iserver/secdef/search", "iserver/secdef/info", "iserver/secdef/strikes", "iserver/secdef/bond-filters"),
        *("iserver/currency/pairs", "iserver/exchangerate", "iserver/scanner/params"),
        *("iserver/watchlists", "iserver/watchlist", "hmds/history", "md/snapshot"),
        *("portfolio/accounts", "portfolio/subaccounts", "portfolio/subaccounts2", "portfolio/positions/*"),
        *("portfolio/*/meta", "portfolio/*/summary", "portfolio/*/ledger", "portfolio/*/allocation"),
        *("portfolio/*/positions/*", "portfolio/*/position/*", "portfolio/*/combo/positions"),
        *("portfolio2/*/positions", "trsrv/secdef", "trsrv/secdef/schedule", "trsrv/stocks", "trsrv/futures"),
        *("trsrv/all-conids", "fyi/unreadnumber", "fyi/settings", "fyi/notifications", "fyi/deliveryoptions"),
    ),
    "POST": (
        *("tickle", "iserver/auth/status", "iserver/secdef/search", "iserver/contract/rules", "iserver/scanner/run"),
        *("iserver/account/*/orders/whatif", "hmds/scanner", "trsrv/secdef"),
        *("portfolio/allocation", "pa/performance", "pa/allperiods", "pa/transactions", "pa/summary"),
    ),
}
"""What ``read_only`` lets through, below /v1/api/; ``*`` is one part of a path. IBKR's reference of the Web API.

Not here: what costs a fee for each call (``md/regsnapshot``), and what ends another client's data (``unsubscribe``).
"""
READ_MESSAGES = re.compile(r"tic|ech\+hb|[su](?:md|mh|bd|or|tr|pl|sd|ld|ts)\+[^\r\n]*")
"""WebSocket messages that read: they subscribe to data and end subscriptions."""


class Refusal(Struct, frozen=True):
    """The answer to a request that does not pass."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Who and what may pass. ``digest`` is the token's; None if client certificates take its place."""

    digest: bytes | None = field(repr=False)
    names: frozenset[str]
    """The host names of the door, in small letters."""
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Where clients may be; empty for anywhere."""
    read_only: bool = False

    def admits(self, address: str) -> bool:
        """Return whether a client with this address may connect at all."""
        try:
            client = ipaddress.ip_address(address.removeprefix("::ffff:").partition("%")[0])
        except ValueError:
            return False
        return not self.networks or any(client in network for network in self.networks)

    def judge(
        self, method: str, raw_path: str, fields: Mapping[str, str], *, is_websocket: bool = False
    ) -> Refusal | None:
        """Return why a request does not pass, None if it does.

        ``raw_path`` is the path as sent, without a query; ``fields`` have names in small letters.
        """
        refusal = self._judge_sender(method, raw_path, fields)
        if refusal is None and "upgrade" in fields and not is_websocket:
            refusal = Refusal(400, "this is no valid upgrade to a WebSocket")
        return refusal or self._judge_wish(method, raw_path, is_upgrade=is_websocket)

    def _judge_sender(self, method: str, raw_path: str, fields: Mapping[str, str]) -> Refusal | None:
        host = fields.get("host", "").lower()
        name = re.sub(r":[0-9]*\Z", "", host)
        if name not in self.names:
            return Refusal(421, f"this door does not serve {name[:100]!r}; certificate_names names what it serves")
        is_browser = any(one in fields for one in _BROWSER)
        fault = fault_of(method, raw_path, fields, self.names) if is_browser else None
        if fault is not None:
            return Refusal(403, fault)
        return None if self._knows(fields.get("authorization", "")) else Refusal(401, UNKNOWN)

    def _judge_wish(self, method: str, raw_path: str, *, is_upgrade: bool) -> Refusal | None:
        if not _is_plain(raw_path) or is_upgrade != (raw_path == WEBSOCKET):
            return Refusal(404, f"only paths below {API} pass, and a WebSocket at {WEBSOCKET}")
        if method not in METHODS:
            return Refusal(405, f"only {', '.join(METHODS)} pass")
        if self.read_only and not is_upgrade and not reads(method, raw_path):
            return Refusal(403, "this door is read-only")
        return None

    def _knows(self, authorization: str) -> bool:
        """Return whether the token is in ``Bearer``, or is the password in ``Basic``."""
        if self.digest is None:
            return True
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
            except ValueError:
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(digest_of(value.strip()), self.digest)

    def lets_say(self, message: str | bytes) -> bool:
        """Return whether a client may send this over its WebSocket."""
        return not self.read_only or (isinstance(message, str) and READ_MESSAGES.fullmatch(message) is not None)


def digest_of(token: str) -> bytes:
    """Return what the door keeps of a token."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def names_of(names: Iterable[str]) -> frozenset[str]:
    """Return the host names of a door, from those of the certificate besides localhost."""
    return OWN_NAMES | {f"[{name}]" if ":" in name else name.lower() for name in names}


def reads(method: str, path: str) -> bool:
    """Return whether a request only reads."""
    parts = path.removeprefix(API).strip("/").split("/")
    return any(
        len(pattern) == len(parts) and all(want in {"*", part} for want, part in zip(pattern, parts, strict=True))
        for pattern in (one.split("/") for one in READS.get(method, ()))
    )


def _is_plain(path: str) -> bool:
    """Return whether every server on the way reads a path in the same way."""
    if _PATH.fullmatch(path) is None:
        return False
    decoded = unquote(path, errors="replace")
    parts = decoded.split("/")
    return decoded.count("/") == path.count("/") and not {".", ".."} & set(parts) and _is_printable(decoded)


def _is_printable(text: str) -> bool:
    return all(one.isprintable() and one not in "\\%?#;\ufffd" for one in text)


class Pace:
    """How many requests may pass in any second."""

    def __init__(self, most: int = MOST_A_SECOND) -> None:
        self._passed: deque[float] = deque(maxlen=most)

    def lets_pass(self, now_s: float) -> bool:
        """Return whether one more may pass now, and count it if so."""
        if len(self._passed) == self._passed.maxlen and now_s - self._passed[0] < 1.0:
            return False
        self._passed.append(now_s)
        return True


def shown(path: str) -> str:
    """Return a path for the access log: without account numbers, and without what may forge a line."""
    plain = re.sub(r"(?<=/)[A-Z]{1,3}[0-9]{4,}(?=/|\Z)", "ACCOUNT", path)
    return "".join(one if one.isascii() and one.isprintable() and one != " " else "?" for one in plain)[:200]
