"""The gateway's HTTP interface, typed; trusts only our authority, and every call has a deadline."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from gwctl.errors import GatewayUnreachable, TimedOut
from gwctl.gateway import responses as answer
from gwctl.gateway.http_client import GatewayHttp, NoAnswer
from gwctl.gateway.responses import AccountsAnswer, SessionAnswer, SsoFacts
from gwctl.gateway.tls_connection import TlsConnection
from gwctl.http_requests import RawAnswer, trust_only

_API = "/v1/api"
_RESUME = "/sso/Dispatcher?forwardTo=22&RL=1&ip2loc=US"
_SENDABLE_COOKIE = re.compile(r"[\x21-\x3a\x3c-\x7e]*")
_LEAST_TIMEOUT_S = 1.0
_BOTH_REFUSED_S = 60.0
_STATUS_LINE_BYTES = 1024


class PortCheck(StrEnum):
    """The result of a probe."""

    OURS = "ours"
    """It has our key, and ``GET /`` leads to the login page."""
    CLOSED = "closed"
    STRANGER = "stranger"
    """A server answers without our key."""
    SILENT = "silent"
    """It accepts connections and sends nothing: hung, or stopped."""
    ODD = "odd"
    """It has our key, but ``GET /`` returns something unexpected."""


async def knock(port: int, context: ssl.SSLContext, leaf_der: bytes, *, timeout_s: float) -> PortCheck:
    """Request ``GET /`` on 127.0.0.1 and say who answered; needs no IBKR (gateway-facts.md, HTTP surface)."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _knock(port, context, leaf_der)
    except TimeoutError:
        return PortCheck.SILENT
    except ConnectionRefusedError:
        return PortCheck.CLOSED
    except ssl.SSLError:
        return PortCheck.STRANGER
    except (OSError, EOFError, ValueError):
        return PortCheck.SILENT


async def _knock(port: int, context: ssl.SSLContext, leaf_der: bytes) -> PortCheck:
    line = await TlsConnection.open(port, context, leaf_der)
    try:
        await line.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status_line = b""
        while b"\n" not in status_line and len(status_line) < _STATUS_LINE_BYTES and (part := await line.receive()):
            status_line += part
    finally:
        line.close()  # the result is known; do not wait for a close
    if not status_line:
        return PortCheck.SILENT
    return PortCheck.OURS if status_line.startswith(b"HTTP/1.") and b" 302" in status_line[:14] else PortCheck.ODD


class _Ways(Struct):
    """The choice between POST and GET for a path that may take either."""

    method: str = "POST"
    other: str = "GET"
    not_before_s: float = 0.0
    """Both were refused: the other method is not tried again before this time."""


class GatewayClient:
    """Calls to one gateway on 127.0.0.1; close it, or use it in ``async with``."""

    def __init__(self, port: int, ca_file: Path, leaf_der: bytes, *, timeout_s: float = 10.0) -> None:
        self._port = port
        self._leaf_der = leaf_der
        self._timeout_s = timeout_s
        self._ways: dict[str, _Ways] = {}
        self._context = trust_only(ca_file)
        self._http = GatewayHttp(port, self._context, leaf_der)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        self._http.close()

    async def front_door(self, *, timeout_s: float | None = None) -> PortCheck:
        """Say whether the gateway itself answers, independent of IBKR."""
        return await knock(self._port, self._context, self._leaf_der, timeout_s=timeout_s or self._timeout_s)

    async def tickle(self, *, timeout_s: float | None = None) -> SessionAnswer:
        """Keep the session alive and return its state; a missing answer is a result too."""
        said = await _or_none(self._request_either_way(f"{_API}/tickle", timeout_s))
        return answer.NO_ANSWER if said is None else answer.judge_tickle(said.status, said.body)

    async def auth_status(self, *, timeout_s: float | None = None) -> SessionAnswer:
        """Return the state of the brokerage session."""
        said = await _or_none(self._request_either_way(f"{_API}/iserver/auth/status", timeout_s))
        return answer.NO_ANSWER if said is None else answer.judge_auth_status(said.status, said.body)

    async def ssodh_init(self, *, compete: bool, timeout_s: float | None = None) -> SessionAnswer:
        """Open the brokerage session; with ``compete``, take it over from another client."""
        wish = {"publish": True, "compete": compete}
        path = f"{_API}/iserver/auth/ssodh/init"
        said = await _or_none(self.request("POST", path, json=wish, timeout_s=timeout_s))
        return answer.NO_ANSWER if said is None else answer.judge_opening(said.status, said.body)

    async def validate(self, *, timeout_s: float | None = None) -> SsoFacts | None:
        """Return the login's facts and extend it; None without a login or an answer. At most once a minute."""
        said = await _or_none(self.request("GET", f"{_API}/sso/validate", timeout_s=timeout_s))
        return None if said is None else answer.judge_validate(said.status, said.body)

    async def accounts(self, *, timeout_s: float | None = None) -> AccountsAnswer:
        """Request the tradable accounts; before this call, IBKR answers nothing about orders and prices."""
        said = await _or_none(self.request("GET", f"{_API}/iserver/accounts", timeout_s=timeout_s))
        if said is None:
            return AccountsAnswer(None)
        return AccountsAnswer(said.status, answer.judge_accounts(said.status, said.body))

    async def reauthenticate(self, *, timeout_s: float | None = None) -> bool:
        """Ask the gateway to repeat its handshake; return whether it began (False: it has no login)."""
        said = await _or_none(self.request("POST", f"{_API}/iserver/reauthenticate", timeout_s=timeout_s))
        return said is not None and said.status == 200 and b"triggered" in said.body

    async def logout(self, *, timeout_s: float | None = None) -> bool:
        """End the session at IBKR; return whether IBKR confirmed it (the body need not be JSON)."""
        said = await _or_none(self.request("POST", f"{_API}/logout", timeout_s=timeout_s))
        return said is not None and said.status == 200 and (b"true" in said.body or b"logout succeeded" in said.body)

    async def resume(self, cookies: Mapping[str, str], *, timeout_s: float | None = None) -> bool | None:
        """Offer the SSO cookies of the last login to a new gateway process.

        Returns whether IBKR accepted them; None if IBKR did not answer or had an error: then they may still be good.
        """
        sendable = [
            f"{name}={value}"
            for name, value in cookies.items()
            if _SENDABLE_COOKIE.fullmatch(name) and _SENDABLE_COOKIE.fullmatch(value)
        ]
        if not sendable:
            return False
        sent = {"Cookie": "; ".join(sendable)}
        said = await _or_none(self.request("GET", _RESUME, headers=sent, timeout_s=timeout_s))
        return None if said is None else answer.judge_resume(said.status, said.body)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> RawAnswer:
        """Call ``path`` (from the root, ``/v1/api/…``) and return the raw answer.

        Raises TimedOut if the whole call takes longer than ``timeout_s``, GatewayUnreachable if no server with our key
        answers or the connection breaks.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._http.request(method, path, value=json, headers=headers)
        except TimeoutError:
            raise TimedOut(f"{method} {path} was not answered within {limit_s:g} s", hint="gwctl status") from None
        except (OSError, NoAnswer) as error:
            reason = type(error).__name__  # its text may contain what was sent
            raise GatewayUnreachable(f"{method} {path} failed: {reason}", hint="gwctl status") from None

    async def _request_either_way(self, path: str, timeout_s: float | None) -> RawAnswer:
        """Call by POST; if the method is refused (400, 405), once more by GET, and remember which one worked.

        Clients use both, and users report a ``Bad Request`` for one of them (gateway-facts.md).
        """
        ways = self._ways.setdefault(path, _Ways())
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        began_s = time.monotonic()
        said = await self.request(ways.method, path, timeout_s=limit_s)
        if began_s < ways.not_before_s or not answer.refuses_method(said.status, said.body):
            return said
        left_s = limit_s - (time.monotonic() - began_s)
        again = await self.request(ways.other, path, timeout_s=max(left_s, _LEAST_TIMEOUT_S))
        if answer.refuses_method(again.status, again.body):
            ways.not_before_s = time.monotonic() + _BOTH_REFUSED_S
            return said
        ways.method, ways.other = ways.other, ways.method
        return again


async def _or_none(call: Awaitable[RawAnswer]) -> RawAnswer | None:
    """Return the answer, or None if there is none."""
    try:
        return await call
    except (TimedOut, GatewayUnreachable):
        return None
