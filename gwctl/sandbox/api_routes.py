"""The fake IBKR's API: its sessions, its accounts, and where the market's routes hang."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gwctl.sandbox.contract_routes import object_in
from gwctl.sandbox.fake_ibkr import MAC, SERVER, SsoSession, StandIn
from gwctl.sandbox.market import account_shapes
from gwctl.sandbox.market_routes import ACCOUNTS_FIRST, Answer, MarketApi

NO_BRIDGE = {"error": "Bad Request: no bridge"}
EITHER_WAY = ("/tickle", "/iserver/auth/status")
BEFORE_ACCOUNTS = ("/iserver/auth/", "/iserver/accounts", "/iserver/reauthenticate")


def api_routes(stand_in: StandIn) -> list[BaseRoute]:
    """Return the API's routes under both of its names; all answer 401 to an unknown cookie."""
    market = MarketApi(stand_in).table()
    api = Api(stand_in)
    table: dict[str, Answer] = {
        "/tickle": api.tickle,
        "/logout": api.logout,
        "/sso/validate": api.validate,
        "/one/user": api.user,
        "/ssodh/init": api.key_exchange,
        "/ssodh/st": api.key_exchanged,
        "/iserver/auth/status": api.status,
        "/iserver/auth/ssodh/init": api.open_brokerage,
        "/iserver/auth/ssodh/response": api.complete_brokerage,
        "/iserver/reauthenticate": api.reauthenticate,
        "/iserver/accounts": api.brokerage_accounts,
        "/portfolio/accounts": api.portfolio_accounts,
        "/portfolio/validate": api.portfolio_validate,
    }
    api.known = sorted({*table, *(path.rstrip("/") for path, _, _ in market)})
    routes: list[BaseRoute] = []
    for prefix in ("/v1/api", "/v1/portal"):
        routes += [
            Route(prefix + path, api.guarded(path, answer), methods=["GET", "POST"]) for path, answer in table.items()
        ]
        routes += [Route(prefix + path, api.guarded(path, answer), methods=methods) for path, methods, answer in market]
        routes.append(
            Route(prefix + "/{path:path}", api.guarded("", api.unknown), methods=["GET", "POST", "PUT", "DELETE"])
        )
    return routes


class Api:
    """The API's answers."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._sessions = stand_in.sessions
        self.known: list[str] = []
        """Every path, for the answer to one that is not there."""

    def guarded(self, path: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Return ``answer`` behind a check of the SSO cookie and, on ``/iserver``, of the brokerage session."""

        async def guard(request: Request) -> Response:
            if path == "/portfolio/accounts":
                self._stand_in.demo_called(request.cookies)
            session = self._stand_in.session_of(request.cookies)
            if session is None:
                return Response(status_code=401)
            refused = self._refused_method(path, request.method)
            if refused is not None:
                return refused
            opens = path in ("/iserver/auth/ssodh/init", "/iserver/auth/ssodh/response")
            if "/iserver/" in request.url.path and not opens and self._sessions.brokerage == "no_bridge":
                return JSONResponse(NO_BRIDGE, status_code=400)
            if self._wants_accounts_first(request.url.path):
                return JSONResponse(ACCOUNTS_FIRST, status_code=500)
            return await answer(request, session)

        return guard

    def _refused_method(self, path: str, method: str) -> Response | None:
        refused = self._stand_in.scenarios.get("method_refused")
        if refused is None or path not in EITHER_WAY or method != refused["method"]:
            return None
        return JSONResponse({"error": "Bad Request", "statusCode": refused["status"]}, status_code=refused["status"])

    def _wants_accounts_first(self, path: str) -> bool:
        opened = self._sessions.brokerage == "authenticated" and not self._sessions.accounts_asked
        return opened and "/iserver/" in path and not any(known in path for known in BEFORE_ACCOUNTS)

    async def tickle(self, _request: Request, session: SsoSession) -> Response:
        """Renew the session and report both sessions (the object is in IBKR's reference)."""
        left_ms = self._sessions.renew(session)
        bridged = self._sessions.brokerage != "no_bridge"
        common = {
            "session": session.public_id,
            "ssoExpires": left_ms,
            "collission": False,
            "userId": self._stand_in.config.account.user_id,
            "hmds": {"error": "no bridge"},
        }
        if "flat_tickle" in self._stand_in.scenarios:
            return JSONResponse(common | (self.auth_status(session) if bridged else {"error": "no bridge"}))
        brokerage = {"authStatus": self.auth_status(session)} if bridged else {"error": "no bridge"}
        return JSONResponse(common | {"iserver": brokerage})

    async def logout(self, _request: Request, session: SsoSession) -> Response:
        """End both sessions."""
        self._sessions.end(session)
        return JSONResponse({"status": True})

    async def validate(self, _request: Request, session: SsoSession) -> Response:
        """Return the session's facts and renew it."""
        if "login_never_authenticates" in self._stand_in.scenarios:
            return Response(status_code=401)
        left_ms = self._sessions.renew(session)
        account = self._stand_in.config.account
        return JSONResponse(
            {
                "USER_ID": account.user_id,
                "USER_NAME": account.username,
                "RESULT": True,
                "AUTH_TIME": int((time.time() - (time.monotonic() - session.began_s)) * 1000),
                "SF_ENABLED": account.totp_secret is not None,
                "IS_FREE_TRIAL": False,
                "CREDENTIAL": account.username,
                "IP": "127.0.0.1",
                "EXPIRES": left_ms,
                "QUALIFIED_FOR_MOBILE_AUTH": None,
                "LANDING_APP": "UNIVERSAL",
                "IS_MASTER": False,
                "LOGIN_TYPE": account.login_type,
                "CLIENT_APP": self._stand_in.client_app(),
            }
        )

    async def user(self, _request: Request, _session: SsoSession) -> Response:
        """Return the user."""
        account = self._stand_in.config.account
        return JSONResponse(
            {"USER_ID": account.user_id, "USER_NAME": account.username, "isPaper": account.mode == "paper"}
        )

    async def key_exchange(self, _request: Request, _session: SsoSession) -> Response:
        """Begin the gateway's key exchange."""
        return JSONResponse({"success": True})

    async def key_exchanged(self, _request: Request, session: SsoSession) -> Response:
        """Return the session's token, hexadecimal."""
        return JSONResponse({"st": session.public_id})

    async def status(self, _request: Request, session: SsoSession) -> Response:
        """Return the brokerage session's state."""
        return JSONResponse(self.auth_status(session))

    async def open_brokerage(self, request: Request, session: SsoSession) -> Response:
        """Open the brokerage session: at once for a client, by a challenge for a gateway (which names its machine)."""
        wishes = await _object_in(request)
        competing = self._stand_in.scenarios.get("competing")
        if competing is not None and competing["take_over"] and wishes.get("compete") is True:
            self._stand_in.set_scenario("competing", on=False, parameters={})
        if "login_never_authenticates" in self._stand_in.scenarios:
            return JSONResponse({"error": "not authenticated"})
        refused = self._stand_in.scenarios.get("brokerage_refused")
        if refused is not None:
            return JSONResponse(
                {"error": refused["text"], "statusCode": refused["status"]}, status_code=refused["status"]
            )
        if "machineId" in wishes and not self._sessions.has_brokerage(session):
            session.challenge_open = True
            return JSONResponse({"challenge": secrets.token_hex(16)})
        self._sessions.open_brokerage(session)
        return JSONResponse(self.auth_status(session))

    async def complete_brokerage(self, request: Request, session: SsoSession) -> Response:
        """Accept the gateway's response to the challenge; IBKR's arithmetic is not public, so it is not checked."""
        if not session.challenge_open or not (await _object_in(request)).get("response"):
            return JSONResponse({"error": "no challenge"}, status_code=400)
        session.challenge_open = False
        self._sessions.open_brokerage(session)
        return JSONResponse({"passed": True, **self.auth_status(session)})

    async def reauthenticate(self, _request: Request, _session: SsoSession) -> Response:
        """Answer as IBKR does; a gateway never forwards this request."""
        return JSONResponse({"message": "triggered"})

    async def brokerage_accounts(self, _request: Request, session: SsoSession) -> Response:
        """Return the accounts that can be traded."""
        if not self._sessions.has_brokerage(session):
            return JSONResponse({"error": "not authenticated", "statusCode": 401}, status_code=401)
        self._sessions.accounts_asked = True
        account = self._stand_in.config.account
        return JSONResponse(account_shapes.brokerage_accounts(account.account_id, account.mode))

    async def portfolio_accounts(self, _request: Request, session: SsoSession) -> Response:
        """Return the accounts that can be viewed; from now on, they can be."""
        session.opened.add("portfolio")
        account = self._stand_in.config.account
        return JSONResponse([account_shapes.account(account.account_id, account.mode)])

    async def portfolio_validate(self, _request: Request, _session: SsoSession) -> Response:
        """Accept the accounts."""
        return JSONResponse({"result": True})

    async def unknown(self, request: Request, _session: SsoSession) -> Response:
        """Report that the sandbox does not have this path, and which it has."""
        said = {"error": f"not in the sandbox: {request.url.path}", "statusCode": 404, "known": self.known}
        return JSONResponse(said, status_code=404)

    def auth_status(self, session: SsoSession) -> dict[str, Any]:
        """Return the object that status, tickle and ``sts`` share."""
        competing = self._stand_in.scenarios.get("competing")
        refused = self._stand_in.scenarios.get("brokerage_refused")
        ready = self._sessions.has_brokerage(session) and "borrowed" not in self._stand_in.scenarios
        elsewhere = self._sessions.lacks_brokerage(session)
        authenticated = ready and (competing is None or bool(competing["authenticated"]))
        return {
            "authenticated": authenticated,
            "competing": competing is not None or elsewhere,
            # Connected but not authenticated makes a gateway log out at its next tickle [seen in its code].
            "connected": authenticated,
            "message": "" if refused is None or authenticated else str(refused["text"]),
            "MAC": MAC,
            "serverInfo": dict(SERVER),
            "hardware_info": f"2486818e|{MAC}",
        }


async def _object_in(request: Request) -> dict[str, Any]:
    value = object_in(await request.body())
    return value if isinstance(value, dict) else {}
