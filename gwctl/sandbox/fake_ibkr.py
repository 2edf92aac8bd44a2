"""The fake IBKR's state: its sessions, its scenarios, its clock."""

from __future__ import annotations

import collections
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from gwctl.errors import Usage
from gwctl.sandbox.account_settings import PageOptions, StandInConfig
from gwctl.sandbox.login import LoginDesk
from gwctl.sandbox.scenarios import ACTIONS, SCENARIOS, TEMPERS, known
from gwctl.sandbox.second_factor import SecondFactor
from gwctl.sandbox.sessions import Sessions, SsoSession

GATEWAY_COOKIE = "web"
OTHERS_HAVE_IT = ("borrowed", "competing")
"""The scenarios that change what ``sts`` reports; during trouble, IBKR does not report its recovery."""
REFUSAL_BEGINS_AFTER_S = 0.1
"""A request for it over HTTP still gets an answer."""
LONGEST_REFUSAL_S = 3600.0
"""While connections are refused, nobody can end that over HTTP."""


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
            self.sessions,
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
            SecondFactor.from_parameters(merged)
            self.desk.renew_codes()
        if name == "temperamental" and merged["how"] not in TEMPERS:
            raise Usage(f"how cannot be {merged['how']!r}", hint=f"one of: {', '.join(TEMPERS)}")
        if name == "login_page":
            self.config.page.changed(merged)
            self._loads.clear()
        if on:
            self.scenarios[name] = merged
        else:
            self.scenarios.pop(name, None)
        if name == "temperamental":
            self._arm()
        if name in OTHERS_HAVE_IT:
            self.sessions.announce()

    def act(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Run an action; raise Usage if it is unknown."""
        merged = known(ACTIONS, "action", name, parameters)
        match name:
            case "drop_session":
                self.sessions.drop()
            case "drop_brokerage":
                how = merged["how"]
                if how not in ("no_bridge", "unauthenticated"):
                    raise Usage(f"drop_brokerage does not know {how!r}", hint="use no_bridge or unauthenticated")
                self.sessions.set_brokerage(how)
            case "restore_brokerage":
                self.sessions.set_brokerage("authenticated")
            case "refuse":
                begins_s = self.clock() + REFUSAL_BEGINS_AFTER_S
                self._refused_s = (begins_s, begins_s + _seconds(merged["for_s"]))
            case "unlock":
                self.desk.unlock()
            case "arm":
                self._arm()
            case "reset":
                self.scenarios.clear()
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
            "requests": dict(self.requests),
        }

    def _new_gateway_came(self) -> None:
        """Return a session that another client has borrowed (gateway-facts.md: a restarted gateway gets it back)."""
        if self.scenarios.pop("borrowed", None) is not None:
            self.sessions.announce()

    def _arm(self) -> None:
        self._warmed = dict.fromkeys(self._warmed, False)
        self._stranger_called = False


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_REFUSAL_S:
        raise Usage(f"for_s cannot be {value!r}", hint=f"seconds, {LONGEST_REFUSAL_S:g} at most")
    return float(value)
