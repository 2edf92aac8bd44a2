"""The routes of the sandbox's contracts, and of an index's option chain."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gwctl.sandbox.fake_ibkr import SsoSession, StandIn
from gwctl.sandbox.market import contracts, options
from gwctl.sandbox.market.contracts import Contract, find, number_in
from gwctl.sandbox.market.tickets import Unusable

NOTHING_FOUND: Final = {"error": "No Contracts retrieved", "statusCode": 500}
"""The answer to bots whose request has no contracts, or came before the search (users' reports)."""
_CHAIN: Final = "option chain"
"""What a search by symbol opens: without it, there are no strikes and no options."""


def object_in(body: bytes) -> object:
    """Return the JSON in a request's body; an empty object if there is none."""
    try:
        value: object = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value


def contract_of(conid: object) -> Contract:
    """Return the contract with this conid; raise Unusable."""
    contract = find(conid)
    if contract is None:
        raise Unusable(f"no contract with conid {conid} in the sandbox")
    return contract


class ContractApi:
    """The answers of the contracts' routes."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    def _today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self._stand_in.wall_clock(), dt.UTC).date()

    async def search(self, request: Request, session: SsoSession) -> Response:
        """Return the contracts with a symbol, or with a name; an empty list if there is none.

        By symbol, it opens the index's option chain for this session.
        """
        wishes: dict[str, Any] = dict(request.query_params)
        if request.method == "POST" and isinstance(body := object_in(await request.body()), dict):
            wishes |= body
        if not wishes.get("symbol"):
            raise Unusable("symbol is missing")
        by_name = str(wishes.get("name", "")).lower() == "true"
        sec_type = str(wishes["secType"]) if wishes.get("secType") else None
        found = contracts.search(str(wishes["symbol"]), by_name=by_name, sec_type=sec_type)
        entries = [contracts.search_entry(one, by_name=by_name) for one in found]
        if options.find(str(wishes["symbol"]), by_name=by_name, sec_type=sec_type):
            (session.opened.discard if by_name else session.opened.add)(_CHAIN)
            entries.append(options.search_entry(self._today(), by_name=by_name))
        return JSONResponse(entries)

    async def strikes(self, request: Request, session: SsoSession) -> Response:
        """Return the strikes of a month's options; none before a search for their index by symbol."""
        wishes = request.query_params
        self._require(request, "conid", "sectype", "month")
        is_open = _CHAIN in session.opened and self._is_chain(request)
        return JSONResponse(options.strikes(wishes["month"] if is_open else "", self._today()))

    async def definition_info(self, request: Request, session: SsoSession) -> Response:
        """Return a contract's facts, in a list; with ``sectype=OPT``, those of an index's options."""
        wishes = request.query_params
        if wishes.get("sectype") == "OPT":
            self._require(request, "conid", "month", "strike", "right")
            is_open = _CHAIN in session.opened and self._is_chain(request)
            month = wishes["month"] if is_open else ""
            found = options.described(month, wishes["strike"], wishes["right"], self._today())
            return JSONResponse(found or NOTHING_FOUND, status_code=200 if found else 500)
        return JSONResponse([contracts.info_entry(contract_of(request.query_params.get("conid")))])

    def _require(self, request: Request, *names: str) -> None:
        for name in names:
            if not request.query_params.get(name):
                raise Unusable(f"{name} is missing")

    def _is_chain(self, request: Request) -> bool:
        """Return whether a request is about the index's options."""
        wishes = request.query_params
        return wishes["sectype"] == "OPT" and number_in(wishes["conid"]) == options.INDEX_CONID

    async def contract_info(self, request: Request, _session: SsoSession) -> Response:
        """Return a contract's facts."""
        return JSONResponse(contracts.info(contract_of(request.path_params["conid"])))

    async def info_and_rules(self, request: Request, _session: SsoSession) -> Response:
        """Return a contract's facts and its rules."""
        contract = contract_of(request.path_params["conid"])
        return JSONResponse({**contracts.info(contract), "rules": self._rules(contract)})

    async def rules(self, request: Request, _session: SsoSession) -> Response:
        """Return which orders a contract takes."""
        wish = object_in(await request.body())
        return JSONResponse(self._rules(contract_of(wish.get("conid") if isinstance(wish, dict) else None)))

    def _rules(self, contract: Contract) -> dict[str, Any]:
        price = self._stand_in.market.prices.last(contract, self._stand_in.wall_clock())
        return contracts.rules(contract, self._stand_in.market.account_id, price)

    async def stocks(self, request: Request, _session: SsoSession) -> Response:
        """Return the stocks with these symbols."""
        symbols = [one for one in request.query_params.get("symbols", "").split(",") if one]
        if not symbols:
            raise Unusable("symbols is missing")
        return JSONResponse({one: contracts.stocks(one) for one in symbols})

    async def definitions(self, request: Request, _session: SsoSession) -> Response:
        """Return the definitions of the known contracts."""
        found = [find(one) for one in request.query_params.get("conids", "").split(",")]
        return JSONResponse({"secdef": [contracts.definition(one) for one in found if one is not None]})
