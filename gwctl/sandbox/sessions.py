"""The fake IBKR's sessions: of the login (SSO) and of the brokerage."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

BrokerageState = Literal["none", "unauthenticated", "no_bridge", "authenticated"]
Clock = Callable[[], float]


KEPT_TOKENS = 1000
MAC = "F4:03:43:DC:B4:60"
SERVER = {"serverName": "JifZ34060", "serverVersion": "Build 10.33.1f, Feb 5, 2025 10:21:09 AM"}


@dataclass(slots=True)
class SsoSession:
    """One login; it ends when it is dropped, logged out, replaced or idle for too long."""

    token: str = field(repr=False)
    began_s: float
    last_request_s: float
    challenge_open: bool = False
    dispatched: bool = False

    @property
    def public_id(self) -> str:
        """The part of the token to show: enough to tell two apart, useless otherwise."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:12]


class Sessions:
    """One user's SSO sessions and the one brokerage session; listeners hear about changes of the latter."""

    def __init__(self, clock: Clock, idle_timeout_s: float) -> None:
        self._clock = clock
        self._idle_timeout_s = idle_timeout_s
        self._alive: dict[str, SsoSession] = {}
        self._listeners: set[Callable[[], None]] = set()
        self.given: deque[str] = deque(maxlen=KEPT_TOKENS)
        """The tokens handed out last, for tests that search for leaks; never shown."""
        self.brokerage: BrokerageState = "none"
        self.accounts_asked = False
        """Whether a client has asked for the accounts since the brokerage session was opened."""
        self.last_login_s = -math.inf
        """When the last SSO session was opened, by the clock."""

    def begin(self) -> SsoSession:
        """Open a new SSO session and return it; this ends earlier ones and the brokerage session."""
        now = self._clock()
        session = SsoSession(secrets.token_hex(20), now, now)
        self._alive = {session.token: session}
        self.last_login_s = now
        self.given.append(session.token)
        self.set_brokerage("unauthenticated")
        return session

    def find(self, token: str | None) -> SsoSession | None:
        """Return the live session for this cookie, without renewing it, or None."""
        session = self._alive.get(token) if token else None
        if session is None:
            return None
        if self._clock() - session.last_request_s > self._idle_timeout_s:
            self.drop()
            return None
        return session

    def renew(self, session: SsoSession) -> int:
        """Note a request of the session; return the milliseconds it had left before."""
        left_s = self._idle_timeout_s - (self._clock() - session.last_request_s)
        session.last_request_s = self._clock()
        return max(0, int(left_s * 1000))

    def open_brokerage(self) -> None:
        """Open the brokerage session for the caller; requests on an earlier one do not count."""
        if self.brokerage != "authenticated":
            self.accounts_asked = False
        self.set_brokerage("authenticated")

    def drop(self) -> None:
        """End SSO and brokerage session."""
        self._alive = {}
        self.set_brokerage("none")

    def set_brokerage(self, state: BrokerageState) -> None:
        """Change the brokerage session, and notify the listeners if it changed."""
        changed = state != self.brokerage
        self.brokerage = state
        if changed:
            self.announce()

    def announce(self) -> None:
        """Notify every listener that the brokerage session may have changed."""
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` at each change; return a function that stops it."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def summary(self) -> dict[str, Any]:
        """Return what the admin may see: no token."""
        now = self._clock()
        alive = [session for token in tuple(self._alive) if (session := self.find(token)) is not None]
        return {
            "sso": [{"id": session.public_id, "age_s": round(now - session.began_s, 3)} for session in alive],
            "brokerage": self.brokerage,
            "listeners": len(self._listeners),
        }
