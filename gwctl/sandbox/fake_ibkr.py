"""The fake IBKR's state: its sessions, its scenarios, its clock."""

from __future__ import annotations

import collections
import hashlib
import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from gwctl.sandbox.login_desk import LoginDesk
from gwctl.sandbox.market.venue import CASH, SEED, Market
from gwctl.sandbox.settings import ACTIONS, SCENARIOS, TEMPERS, PageOptions, StandInConfig, known

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
    opened: set[str] = field(default_factory=set)
    """What was asked for before: IBKR answers some requests only after another one."""

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
        self.shared = False
        """Whether logins leave each other alone, as those of two machines do (``two_machines``)."""
        self._holder: SsoSession | None = None
        self.last_login_s = -math.inf
        """When the last SSO session was opened, by the clock."""

    def begin(self) -> SsoSession:
        """Open a new SSO session and return it; unless ``shared``, this ends earlier ones and the brokerage session."""
        now = self._clock()
        session = SsoSession(secrets.token_hex(20), now, now)
        self._alive = {**(self._alive if self.shared else {}), session.token: session}
        self.last_login_s = now
        self.given.append(session.token)
        if not self.lacks_brokerage(session):
            self.set_brokerage("unauthenticated")
        return session

    def find(self, token: str | None) -> SsoSession | None:
        """Return the live session for this cookie, without renewing it, or None."""
        session = self._alive.get(token) if token else None
        if session is None:
            return None
        if self._clock() - session.last_request_s > self._idle_timeout_s:
            self.end(session)
            return None
        return session

    def renew(self, session: SsoSession) -> int:
        """Note a request of the session; return the milliseconds it had left before."""
        left_s = self._idle_timeout_s - (self._clock() - session.last_request_s)
        session.last_request_s = self._clock()
        return max(0, int(left_s * 1000))

    def lacks_brokerage(self, session: SsoSession) -> bool:
        """Return whether another login has the brokerage session."""
        holder = self._holder
        return self.shared and holder is not None and holder is not session and holder.token in self._alive

    def has_brokerage(self, session: SsoSession) -> bool:
        """Return whether this login can trade."""
        return self.brokerage == "authenticated" and not self.lacks_brokerage(session)

    def open_brokerage(self, session: SsoSession) -> None:
        """Open the brokerage session for a login; requests on an earlier one do not count."""
        lost_it, self._holder = self._holder is not session, session
        if lost_it:
            self.announce()
        if self.brokerage != "authenticated":
            self.accounts_asked = False
        self.set_brokerage("authenticated")

    def end(self, session: SsoSession) -> None:
        """End a login, and its brokerage session."""
        self._alive.pop(session.token, None)
        if not self.lacks_brokerage(session):
            self._holder = None
            self.set_brokerage("unauthenticated" if self._alive else "none")

    def drop(self) -> None:
        """End all logins and the brokerage session."""
        self._alive, self._holder = {}, None
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


GATEWAY_COOKIE = "web"
OTHERS_HAVE_IT = ("borrowed", "competing")
"""The scenarios that change what ``sts`` reports; during trouble, IBKR does not report its recovery."""
REFUSAL_BEGINS_AFTER_S = 0.1
"""A request for it over HTTP still gets an answer."""


class StandIn:
    """The state of the fake IBKR: sessions, logins, scenarios, and the gateways it has seen."""

    def __init__(
        self,
        config: StandInConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.clock = clock
        self.wall_clock = wall_clock
        self.scenarios: dict[str, dict[str, Any]] = {}
        self.sessions = Sessions(clock, config.idle_timeout_s)
        self.desk = LoginDesk(
            config.account,
            lambda: self.sessions.begin().token,
            locked_at_refusals=config.locked_at_refusals,
            scenarios=self.scenarios,
            wall_clock=wall_clock,
        )
        self.requests: collections.Counter[str] = collections.Counter()
        self._warmed: dict[str, bool] = {}
        self._loads: collections.Counter[str] = collections.Counter()
        self._stranger_called = False
        self._refused_s = (0.0, 0.0)

    # Cookies and gateways.

    def session_of(self, cookies: Mapping[str, str]) -> SsoSession | None:
        """Return the live SSO session for these cookies, or None."""
        return self.sessions.find(cookies.get("XYZAB_AM.LOGIN") or cookies.get("XYZAB"))

    def dispatch(self, cookies: Mapping[str, str]) -> bool:
        """Return whether the Dispatcher accepts these cookies; the same login again comes through a new gateway."""
        session = self.session_of(cookies)
        if session is None:
            return False
        if session.dispatched:
            self._new_gateway_came()
        session.dispatched = True
        return True

    @property
    def refuses(self) -> bool:
        """Whether the port is to be closed now; the server checks it."""
        begin_s, end_s = self._refused_s
        return begin_s <= self.clock() < end_s

    def ill_after_login(self) -> int | None:
        """Return the status of every API answer while the last login is too recent, or None."""
        parameters = self.scenarios.get("ill_after_login")
        if parameters is None or self.clock() - self.sessions.last_login_s >= float(parameters["for_s"]):
            return None
        return int(parameters["status"])

    def client_app(self) -> str:
        """Return the client that has the session, as named in ``sso/validate``."""
        for name in OTHERS_HAVE_IT:
            if name in self.scenarios:
                return str(self.scenarios[name]["client_app"])
        return "sandbox"

    def meet(self, cookies: Mapping[str, str]) -> str:
        """Return the name of the gateway that requests the login page; one without our cookie has just started.

        A gateway keeps the login page's cookies in a jar in memory, so it has none after each start.
        """
        name = cookies.get(GATEWAY_COOKIE, "")
        if name not in self._warmed:
            name = secrets.token_hex(6)
            self._warmed[name] = self._stranger_called
            self._stranger_called = False
            self._new_gateway_came()
        return name

    def demo_called(self, cookies: Mapping[str, str]) -> None:
        """Note that the demo page's script has called the API through the gateway with these cookies."""
        name = cookies.get(GATEWAY_COOKIE, "")
        if name in self._warmed:
            self._warmed[name] = True
        else:
            self._stranger_called = True

    def swallows(self, gateway: str) -> bool:
        """Whether the login page for this gateway ignores the form."""
        return "temperamental" in self.scenarios and not self._warmed.get(gateway, False)

    def temper(self) -> str:
        """Return what a temperamental login page does with the form."""
        return str(self.scenarios.get("temperamental", {}).get("how", TEMPERS[0]))

    def form_comes(self, gateway: str) -> bool:
        """Note that this gateway has loaded the login page, and return whether the form appears this time."""
        self._loads[gateway] += 1
        options = self.page()
        return not options.form_never and self._loads[gateway] >= options.form_on_load

    def page(self) -> PageOptions:
        """Return the login page's current options."""
        return self.config.page.changed(self.scenarios.get("login_page", {}))

    # The admin's actions.

    def set_scenario(self, name: str, *, on: bool, parameters: Mapping[str, Any]) -> None:
        """Switch a scenario; raise Usage for an unknown scenario, parameter or choice."""
        merged = known(SCENARIOS, "scenario", name, parameters)
        if name == "second_factor":
            self.desk.renew_codes()
        if name == "login_page":
            self.config.page.changed(merged)
            self._loads.clear()
        if on:
            self.scenarios[name] = merged
        else:
            self.scenarios.pop(name, None)
        if name == "temperamental":
            self._arm()
        if name == "two_machines":
            self.sessions.shared = on
        if name in OTHERS_HAVE_IT:
            self.sessions.announce()

    def act(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Run an action; raise Usage if it is unknown."""
        merged = known(ACTIONS, "action", name, parameters)
        match name:
            case "drop_session":
                self.sessions.drop()
            case "drop_brokerage":
                self.sessions.set_brokerage(merged["how"])
            case "restore_brokerage":
                self.sessions.set_brokerage("authenticated")
            case "refuse":
                begins_s = self.clock() + REFUSAL_BEGINS_AFTER_S
                self._refused_s = (begins_s, begins_s + merged["for_s"])
            case "unlock":
                self.desk.unlock()
            case "arm":
                self._arm()
            case "reset_market":
                self.market = self._new_market(int(merged["seed"]), int(merged["cash"]))
            case "reset":
                self.market = self._new_market()
                self.scenarios.clear()
                self.sessions.shared = False
                self.sessions.drop()
                self.desk.forget()
                self.requests.clear()
                self._loads.clear()
                self._arm()

    def summary(self) -> dict[str, Any]:
        """Return the content of ``GET /admin/state``: no password, no token."""
        account = self.config.account
        return {
            "account": {
                "username": account.username,
                "mode": account.mode,
                "account_id": account.account_id,
                "second_factor": "totp" if account.totp_secret is not None else None,
            },
            "sessions": self.sessions.summary(),
            "login": self.desk.summary(),
            "scenarios": self.scenarios,
            "page": asdict(self.page()),
            "gateways": len(self._warmed),
            "market": self.market.outline(),
            "requests": dict(self.requests),
        }

    @cached_property
    def market(self) -> Market:
        """The market, which opens when it is first looked at."""
        return self._new_market()

    def _new_market(self, seed: int = SEED, cash: int = CASH) -> Market:
        account = self.config.account
        return Market(account.account_id, account.mode, began_s=self.wall_clock(), seed=seed, cash=cash)

    def _new_gateway_came(self) -> None:
        """Return a session that another client has borrowed (gateway-facts.md: a restarted gateway gets it back)."""
        if self.scenarios.pop("borrowed", None) is not None:
            self.sessions.announce()

    def _arm(self) -> None:
        self._warmed = dict.fromkeys(self._warmed, False)
        self._stranger_called = False
