"""The routes of the sandbox's market: contracts, market data, orders, portfolio.

``docs/sandbox.md`` lists them with the part of IBKR's documentation that each shape is from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gwctl.sandbox.contract_routes import ContractApi, object_in
from gwctl.sandbox.fake_ibkr import SsoSession, StandIn
from gwctl.sandbox.market import account_shapes, market_data, order_shapes
from gwctl.sandbox.market.book import Order
from gwctl.sandbox.market.market_data import HistoryWish
from gwctl.sandbox.market.questions import SUPPRESSIBLE
from gwctl.sandbox.market.tickets import Rejected, Ticket, Unusable
from gwctl.sandbox.market.venue import Market, NoSuchReply

Answer = Callable[[Request, SsoSession], Awaitable[Response]]
ACCOUNTS_FIRST: Final = {"error": "Please query /accounts first", "statusCode": 500}
"""The answer to bots on a session before any request for the accounts (Voyz/ibind users)."""
MOST_SUPPRESSED: Final = 51
GET: Final = ("GET",)
POST: Final = ("POST",)
DELETE: Final = ("DELETE",)


class MarketApi:
    """The answers of the market's routes."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._contracts = ContractApi(stand_in)

    def table(self) -> list[tuple[str, tuple[str, ...], Answer]]:
        """Return every path with its methods and its answer."""
        iserver = [
            ("/secdef/search", ("GET", "POST"), self._contracts.search),
            ("/secdef/strikes", GET, self._contracts.strikes),
            ("/secdef/info", GET, self._contracts.definition_info),
            ("/contract/{conid}/info", GET, self._contracts.contract_info),
            ("/contract/{conid}/info-and-rules", GET, self._contracts.info_and_rules),
            ("/contract/rules", POST, self._contracts.rules),
            ("/marketdata/snapshot", GET, self.snapshot),
            ("/marketdata/history", GET, self.history),
            ("/marketdata/unsubscribe", POST, self.unsubscribe),
            ("/marketdata/unsubscribeall", GET, self.unsubscribe_all),
            ("/account", POST, self.switch_account),
            ("/account/orders", GET, self.live_orders),
            ("/account/order/status/{order_id}", GET, self.order_status),
            ("/account/trades", GET, self.trades),
            ("/account/trades/", GET, self.trades),
            ("/account/pnl/partitioned", GET, self.profit_and_loss),
            ("/account/{account_id}/summary", GET, self.brokerage_summary),
            ("/account/{account_id}/orders", POST, self.place),
            ("/account/{account_id}/orders/whatif", POST, self.preview),
            ("/account/{account_id}/order/{order_id}", POST, self.modify),
            ("/account/{account_id}/order/{order_id}", DELETE, self.cancel),
            ("/reply/{reply_id}", POST, self.reply),
            ("/questions/suppress", POST, self.suppress),
            ("/questions/suppress/reset", POST, self.suppress_none),
        ]
        portfolio = [
            ("/portfolio/{account_id}/meta", GET, self.meta),
            ("/portfolio/{account_id}/summary", GET, self.summary),
            ("/portfolio/{account_id}/ledger", GET, self.ledger),
            ("/portfolio/{account_id}/allocation", GET, self.allocation),
            ("/portfolio/{account_id}/positions/invalidate", POST, self.positions),
            ("/portfolio/{account_id}/positions/{page}", GET, self.positions),
            ("/portfolio/{account_id}/position/{conid}", GET, self.position),
            ("/portfolio/positions/{conid}", GET, self.position_anywhere),
            ("/portfolio2/{account_id}/positions", GET, self.positions2),
        ]
        free: list[tuple[str, tuple[str, ...], Answer]] = [
            ("/trsrv/stocks", GET, self._contracts.stocks),
            ("/trsrv/secdef", GET, self._contracts.definitions),
            ("/hmds/history", GET, self.hmds_history),
        ]
        return [
            *((f"/iserver{path}", methods, self._trading(answer)) for path, methods, answer in iserver),
            *((path, methods, self._viewing(answer)) for path, methods, answer in portfolio),
            *((path, methods, _explained(answer)) for path, methods, answer in free),
        ]

    @property
    def _market(self) -> Market:
        return self._stand_in.market

    def _now_s(self) -> float:
        return self._stand_in.wall_clock()

    def _trading(self, answer: Answer) -> Answer:
        """Return ``answer`` behind the checks of a brokerage session that can trade."""

        async def checked(request: Request, session: SsoSession) -> Response:
            if not self._stand_in.sessions.has_brokerage(session):
                return JSONResponse({"error": "not authenticated", "statusCode": 401}, status_code=401)
            return self._wrong_account(request) or await explained(request, session)

        explained = _explained(answer)
        return checked

    def _viewing(self, answer: Answer) -> Answer:
        """Return ``answer`` behind the request for the accounts that IBKR wants first."""

        async def checked(request: Request, session: SsoSession) -> Response:
            if "portfolio" not in session.opened:
                return JSONResponse(ACCOUNTS_FIRST, status_code=500)
            return self._wrong_account(request) or await explained(request, session)

        explained = _explained(answer)
        return checked

    def _wrong_account(self, request: Request) -> Response | None:
        named = request.path_params.get("account_id", self._market.account_id)
        return None if named == self._market.account_id else _bad_request(f"no account {named}")

    # Market data.

    async def snapshot(self, request: Request, _session: SsoSession) -> Response:
        """Return the top of the book; for a conid's first request, the conid only."""
        conids = [one for one in request.query_params.get("conids", "").split(",") if one]
        if not conids:
            raise Unusable("conids is missing")
        fields = [one for one in request.query_params.get("fields", "").split(",") if one]
        return JSONResponse(self._market.snapshots.take(self._market.prices, conids, fields, self._now_s()))

    async def history(self, request: Request, _session: SsoSession) -> Response:
        """Return bars; many of them take a moment, so a thread computes them."""
        wish, prices = HistoryWish.parse(request.query_params), self._market.prices
        bars = await asyncio.to_thread(wish.bars, prices, self._now_s())
        return JSONResponse(market_data.history(wish, bars, "20477"))

    async def hmds_history(self, request: Request, session: SsoSession) -> Response:
        """Return bars; IBKR answers a session's first request with 404 and then opens the service."""
        if "hmds" not in session.opened:
            session.opened.add("hmds")
            return JSONResponse({"error": "Not Found: no bridge to hmds yet", "statusCode": 404}, status_code=404)
        wish, prices = HistoryWish.parse(request.query_params), self._market.prices
        return JSONResponse(market_data.hmds_history(await asyncio.to_thread(wish.bars, prices, self._now_s())))

    async def unsubscribe(self, request: Request, _session: SsoSession) -> Response:
        """Close the market data of one contract."""
        wish = object_in(await request.body())
        if not self._market.snapshots.close(wish.get("conid") if isinstance(wish, dict) else None):
            return JSONResponse({"error": "unknown"}, status_code=500)
        return JSONResponse({"success": True})

    async def unsubscribe_all(self, _request: Request, _session: SsoSession) -> Response:
        """Close all market data."""
        self._market.snapshots.close_all()
        return JSONResponse({"unsubscribed": True})

    # Orders.

    async def switch_account(self, request: Request, _session: SsoSession) -> Response:
        """Select the account, the only one there is."""
        wish = object_in(await request.body())
        if not isinstance(wish, dict) or wish.get("acctId") != self._market.account_id:
            raise Unusable("no such account")
        return JSONResponse({"success": "Account already set"})

    async def place(self, request: Request, _session: SsoSession) -> Response:
        """Place an order, or an order with its children; IBKR may ask first."""
        return JSONResponse(self._market.order(await _tickets(request), self._now_s()))

    async def preview(self, request: Request, _session: SsoSession) -> Response:
        """Return what an order would cost."""
        return JSONResponse(self._market.preview((await _tickets(request))[0], self._now_s()))

    async def reply(self, request: Request, _session: SsoSession) -> Response:
        """Answer a question about an order."""
        wish = object_in(await request.body())
        if not isinstance(wish, dict) or not isinstance(wish.get("confirmed"), bool):
            raise Unusable("confirmed must be true or false")
        reply_id = request.path_params["reply_id"]
        return JSONResponse(self._market.reply(reply_id, self._now_s(), confirmed=wish["confirmed"]))

    async def modify(self, request: Request, _session: SsoSession) -> Response:
        """Change an order."""
        ticket = Ticket.parse(object_in(await request.body()))
        return JSONResponse(self._market.modify(self._order(request), ticket, self._now_s()))

    async def cancel(self, request: Request, _session: SsoSession) -> Response:
        """Cancel an order; ``-1`` cancels all."""
        said: dict[str, Any] = {"msg": "Request was submitted", "order_id": -1, "conid": -1, "account": None}
        self._market.advance(self._now_s())
        if request.path_params["order_id"] == "-1":
            self._market.cancel_all()
            return JSONResponse(said)
        order = self._order(request)
        if not self._market.book.cancel(order):
            return JSONResponse({"error": f"OrderID {order.order_id} is {order.status}"}, status_code=400)
        found = {"order_id": order.order_id, "conid": order.ticket.contract.conid, "account": self._market.account_id}
        return JSONResponse(said | found)

    def _order(self, request: Request) -> Order:
        order = self._market.book.find(request.path_params["order_id"])
        if order is None:
            raise Unusable(f"OrderID {request.path_params['order_id']} doesn't exist")
        return order

    async def live_orders(self, request: Request, session: SsoSession) -> Response:
        """Return the orders of the session; its first request, and one with ``force``, returns none."""
        market, query = self._market, request.query_params
        market.advance(self._now_s())
        forced = query.get("force", "").lower() == "true"
        if forced or "orders" not in session.opened:
            session.opened.add("orders")
            return JSONResponse({"orders": [], "snapshot": False})
        wanted = {order_shapes.FILTERS.get(one.strip().lower(), one.strip()) for one in _listed(query.get("filters"))}
        states = wanted - {"sort_by_time"}
        orders = sorted(market.book.orders.values(), key=lambda order: (order.is_over, -order.placed_s))
        shown = [order for order in orders if not states or order.status in states]
        listed = [order_shapes.live_order(order, market.account_id) for order in shown]
        return JSONResponse({"orders": listed, "snapshot": True})

    async def order_status(self, request: Request, _session: SsoSession) -> Response:
        """Return one order."""
        self._market.advance(self._now_s())
        order = self._market.book.find(request.path_params["order_id"])
        if order is None:
            return JSONResponse({"error": "Service Unavailable", "statusCode": 503}, status_code=503)
        return JSONResponse(order_shapes.order_status(order, self._market.account_id))

    async def trades(self, _request: Request, _session: SsoSession) -> Response:
        """Return the executions since the reset, the latest first."""
        market, username = self._market, self._stand_in.config.account.username
        market.advance(self._now_s())
        fills = reversed(market.book.fills)
        return JSONResponse([order_shapes.trade(fill, market.account_id, username) for fill in fills])

    async def suppress(self, request: Request, _session: SsoSession) -> Response:
        """Stop to ask the questions with these ids, and only those."""
        wish = object_in(await request.body())
        ids = wish.get("messageIds") if isinstance(wish, dict) else None
        if not isinstance(ids, list) or len(ids) > MOST_SUPPRESSED:
            raise Unusable(f"messageIds must be a list of at most {MOST_SUPPRESSED}")
        unknown = [one for one in ids if one not in SUPPRESSIBLE]
        if unknown:
            raise Unusable(f"messageIds cannot be {unknown[0]!r}; known: {', '.join(SUPPRESSIBLE)}")
        self._market.suppressed = set(ids)
        return JSONResponse({"status": "submitted"})

    async def suppress_none(self, _request: Request, _session: SsoSession) -> Response:
        """Ask every question again."""
        self._market.suppressed.clear()
        return JSONResponse({"status": "submitted"})

    # The account.

    async def profit_and_loss(self, _request: Request, _session: SsoSession) -> Response:
        """Return what was won and lost since the reset."""
        return JSONResponse({"upnl": self._market.profit_and_loss(self._now_s())})

    async def brokerage_summary(self, _request: Request, _session: SsoSession) -> Response:
        """Return the account's values."""
        return JSONResponse(self._market.brokerage_summary(self._now_s()))

    async def meta(self, _request: Request, _session: SsoSession) -> Response:
        """Return the account."""
        return JSONResponse(account_shapes.account(self._market.account_id, self._market.mode))

    async def summary(self, _request: Request, _session: SsoSession) -> Response:
        """Return the account's values, by name."""
        return JSONResponse(self._market.summary(self._now_s()))

    async def ledger(self, _request: Request, _session: SsoSession) -> Response:
        """Return the account's cash by currency."""
        return JSONResponse(self._market.ledger(self._now_s()))

    async def allocation(self, _request: Request, _session: SsoSession) -> Response:
        """Return the positions by kind, sector and group."""
        return JSONResponse(self._market.allocation(self._now_s()))

    async def positions(self, request: Request, _session: SsoSession) -> Response:
        """Return the positions: all on page 0."""
        is_first = request.path_params.get("page", "0") == "0"
        return JSONResponse(self._market.positions(self._now_s()) if is_first else [])

    async def position(self, request: Request, _session: SsoSession) -> Response:
        """Return the position of one contract, in a list."""
        return JSONResponse(self._positions_of(request))

    async def position_anywhere(self, request: Request, _session: SsoSession) -> Response:
        """Return the positions of one contract by account."""
        return JSONResponse({self._market.account_id: self._positions_of(request)})

    def _positions_of(self, request: Request) -> list[dict[str, Any]]:
        conid = request.path_params["conid"]
        return [one for one in self._market.positions(self._now_s()) if str(one["conid"]) == conid]

    async def positions2(self, _request: Request, _session: SsoSession) -> Response:
        """Return the positions, in their newer shape."""
        return JSONResponse(self._market.positions2(self._now_s()))


def _listed(text: str | None) -> list[str]:
    return [one for one in (text or "").split(",") if one.strip()]


def _bad_request(text: str) -> Response:
    return JSONResponse({"error": f"Bad Request: {text}", "statusCode": 400}, status_code=400)


def _explained(answer: Answer) -> Answer:
    """Return ``answer`` with IBKR's answers to what cannot be done."""

    async def explained(request: Request, session: SsoSession) -> Response:
        try:
            return await answer(request, session)
        except Unusable as error:
            return _bad_request(str(error))
        except Rejected as error:
            return JSONResponse({"error": str(error)})
        except NoSuchReply:
            return JSONResponse({"error": "Service Unavailable", "statusCode": 503}, status_code=503)

    return explained


async def _tickets(request: Request) -> list[Ticket]:
    """Return the tickets in ``{"orders": [...]}`` or in a list; raise Unusable and Rejected."""
    body = object_in(await request.body())
    orders = body.get("orders") if isinstance(body, dict) else body
    if not isinstance(orders, list) or not orders:
        raise Unusable('the body must be {"orders": [...]}, with at least one order')
    return [Ticket.parse(one) for one in orders]
