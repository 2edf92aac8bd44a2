"""Positions, ledger and summary of an account, in IBKR's shapes.

Source: "Portfolio" and "Accounts" in IBKR's Web API documentation
(https://www.interactivebrokers.com/docs/web-api/v1/endpoints/portfolio), and ``ssd``, ``sld`` and ``spl`` under
"WebSockets" there.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from gwctl.sandbox.market.book import commission_of
from gwctl.sandbox.market.contracts import EUR_USD, definition
from gwctl.sandbox.market.portfolio import BASE, MARGIN, Portfolio, Position, Worth
from gwctl.sandbox.market.tickets import Ticket

CENT: Final = Decimal("0.01")
Mode = Literal["paper", "live"]


def account(account_id: str, mode: Mode) -> dict[str, Any]:
    """Return the account as ``/portfolio/accounts`` lists it; ``/portfolio/{accountId}/meta`` is the same."""
    return {
        "id": account_id,
        "accountId": account_id,
        "accountVan": account_id,
        "accountTitle": "Sandbox",
        "displayName": "Sandbox",
        "accountAlias": None,
        "accountStatus": 1644814800000,
        "currency": BASE,
        "type": "DEMO" if mode == "paper" else "INDIVIDUAL",
        "tradingType": "STKNOPT",
        "businessType": "INDEPENDENT",
        "ibEntity": "IBLLC-US",
        "faclient": False,
        "clearingStatus": "O",
        "covestor": False,
        "noClientTrading": False,
        "trackVirtualFXPortfolio": False,
        "parent": {"mmc": [], "accountId": "", "isMParent": False, "isMChild": False, "isMultiplex": False},
        "desc": account_id,
    }


def brokerage_accounts(account_id: str, mode: Mode) -> dict[str, Any]:
    """Return the object of ``/iserver/accounts``."""
    return {
        "accounts": [account_id],
        "acctProps": {account_id: {"hasChildAccounts": False, "supportsCashQty": False, "supportsFractions": False}},
        "aliases": {account_id: account_id},
        "selectedAccount": account_id,
        "isFT": False,
        "isPaper": mode == "paper",
    }


def position(held: Position, account_id: str, price: Decimal) -> dict[str, Any]:
    """Return a position as ``/portfolio/{accountId}/positions/{page}`` lists it."""
    contract = held.contract
    known = definition(contract)
    return {
        "acctId": account_id,
        "conid": contract.conid,
        "contractDesc": contract.local_symbol,
        "position": float(held.quantity),
        "mktPrice": float(price),
        "mktValue": _money(held.quantity * price),
        "currency": contract.currency,
        "avgCost": float(held.cost),
        "avgPrice": float(held.cost),
        "realizedPnl": _money(held.realized),
        "unrealizedPnl": _money(held.quantity * (price - held.cost)),
        "exchs": None,
        "exerciseStyle": None,
        "conExchMap": [],
        "model": "",
        **{key: value for key, value in known.items() if key not in {"conid", "currency"}},
        "multiplier": None,
        "strike": 0.0,
    }


def position2(held: Position, price: Decimal, now_s: float) -> dict[str, Any]:
    """Return a position as ``/portfolio2/{accountId}/positions`` lists it."""
    contract = held.contract
    return {
        "position": float(held.quantity),
        "conid": str(contract.conid),
        "avgCost": float(held.cost),
        "avgPrice": float(held.cost),
        "currency": contract.currency,
        "description": contract.local_symbol,
        "isLastToLoq": False,
        "marketPrice": float(price),
        "marketValue": _money(held.quantity * price),
        "realizedPnl": _money(held.realized),
        "secType": contract.sec_type,
        "timestamp": int(now_s),
        "unrealizedPnl": _money(held.quantity * (price - held.cost)),
        "assetClass": contract.sec_type,
        "sector": contract.sector,
        "group": contract.group,
        "model": "",
    }


def ledger(
    portfolio: Portfolio, worth: Worth, rates: Mapping[str, Decimal], account_id: str, now_s: float
) -> dict[str, dict[str, Any]]:
    """Return the object of ``/portfolio/{accountId}/ledger``: one entry for each currency, and ``BASE``."""

    def entry(currency: str, cash: Decimal, in_it: Worth | None, rate: Decimal) -> dict[str, Any]:
        stocks = in_it.positions if in_it is not None else Decimal(0)
        none = ("commodity", "future", "corporatebonds", "warrants", "issueroptions", "stockoption", "futureoption")
        return {
            **{f"{kind}marketvalue": 0.0 for kind in (*none, "tbonds", "tbills")},
            "settledcash": _money(cash),
            "exchangerate": float(rate),
            "sessionid": 1,
            "cashbalance": _money(cash),
            "netliquidationvalue": _money(cash + stocks),
            "interest": 0.0,
            "unrealizedpnl": _money(in_it.unrealized) if in_it is not None else 0.0,
            "stockmarketvalue": _money(stocks),
            "moneyfunds": 0.0,
            "currency": currency,
            "realizedpnl": _money(in_it.realized) if in_it is not None else 0.0,
            "funds": 0.0,
            "acctcode": account_id,
            "key": "LedgerList",
            "timestamp": int(now_s),
            "severity": 0,
            "futuresonlypnl": 0.0,
            "cashbalancefxsegment": 0.0,
            "secondkey": currency,
            "dividends": 0.0,
        }

    entries = {
        # Every stock of the sandbox is in dollars.
        currency: entry(currency, cash, worth if currency == BASE else None, rates[currency])
        for currency, cash in portfolio.cash.items()
    }
    return {**entries, "BASE": entry("BASE", worth.cash, worth, Decimal(1))}


def summary(worth: Worth, account_id: str, mode: Mode, now_s: float) -> dict[str, dict[str, Any]]:
    """Return the object of ``/portfolio/{accountId}/summary``; ``-s`` is the part that is in securities: all of it."""
    at_ms = int(now_s * 1000)

    def entry(amount: Decimal | None, text: str | None = None) -> dict[str, Any]:
        return {
            "amount": 0.0 if amount is None else _money(amount),
            "currency": None if amount is None else BASE,
            "isNull": False,
            "timestamp": at_ms,
            "value": text,
            "severity": 0,
        }

    texts = {
        "accountcode": account_id,
        "accountready": "true",
        "accounttype": "DEMO" if mode == "paper" else "INDIVIDUAL",
    }
    shown = {key: entry(None, text) for key, text in texts.items()}
    for key, amount in _amounts(worth).items():
        for name in (key.lower(), f"{key.lower()}-s"):
            shown[name] = entry(amount)
    return shown


def _amounts(worth: Worth) -> dict[str, Decimal]:
    """Return the values of a summary, by the names that ``ssd`` gives them."""
    none = Decimal(0)
    return {
        "AccruedCash": none,
        "AccruedDividend": none,
        "AvailableFunds": worth.available,
        "BuyingPower": worth.available * 4,
        "Cushion": worth.available / worth.net if worth.net else none,
        "EquityWithLoanValue": worth.net,
        "ExcessLiquidity": worth.available,
        "FullInitMarginReq": worth.margin,
        "FullMaintMarginReq": worth.margin,
        "GrossPositionValue": worth.gross,
        "InitMarginReq": worth.margin,
        "MaintMarginReq": worth.margin,
        "NetLiquidation": worth.net,
        "TotalCashValue": worth.cash,
    }


def brokerage_summary(worth: Worth, portfolio: Portfolio) -> dict[str, Any]:
    """Return the object of ``/iserver/account/{accountId}/summary``."""
    balances = [
        {"currency": currency, "balance": _money(cash), "settledCash": _money(cash)}
        for currency, cash in portfolio.cash.items()
    ]
    total = {"currency": f"Total (in {BASE})", "balance": _money(worth.cash), "settledCash": _money(worth.cash)}
    return {
        "accountType": "",
        "status": "",
        "balance": _money(worth.net),
        "SMA": _money(worth.available),
        "buyingPower": _money(worth.available * 4),
        "availableFunds": _money(worth.available),
        "excessLiquidity": _money(worth.available),
        "netLiquidationValue": _money(worth.net),
        "equityWithLoanValue": _money(worth.net),
        "regTLoan": 0,
        "securitiesGVP": _money(worth.gross),
        "totalCashValue": _money(worth.cash),
        "accruedInterest": 0,
        "regTMargin": 0,
        "initialMargin": _money(worth.margin),
        "maintenanceMargin": _money(worth.margin),
        "cashBalances": [*balances, total],
    }


def profit_and_loss(worth: Worth, begun_with: Decimal, account_id: str) -> dict[str, dict[str, Any]]:
    """Return the object in ``/iserver/account/pnl/partitioned`` and ``spl``; the day is the time since the reset."""
    return {
        f"{account_id}.Core": {
            "rowType": 1,
            "dpl": _money(worth.net - begun_with),
            "nl": _money(worth.net),
            "upl": _money(worth.unrealized),
            "uel": _money(worth.available),
            "el": _money(worth.available),
            "mv": _money(worth.positions),
        }
    }


def allocation(held: list[tuple[Position, Decimal]], cash: Decimal) -> dict[str, Any]:
    """Return the object of ``/portfolio/{accountId}/allocation``."""
    tables: dict[str, Any] = {name: {"long": {}, "short": {}} for name in ("assetClass", "sector", "group")}

    def add(table: str, key: str, value: Decimal) -> None:
        side = tables[table]["long" if value >= 0 else "short"]
        side[key] = round(side.get(key, 0.0) + _money(value), 2)

    add("assetClass", "CASH", cash)
    for one, price in held:
        for table, key in (("assetClass", "STK"), ("sector", one.contract.sector), ("group", one.contract.group)):
            add(table, key, one.quantity * price)
    return tables


def summary_stream(worth: Worth, account_id: str, now_s: float) -> list[dict[str, Any]]:
    """Return the ``result`` of an ``ssd`` message."""
    texts = {"AccountCode": account_id, "AccountReady": "true"}
    shown: list[dict[str, Any]] = [
        {"key": key, "timestamp": int(now_s), "value": text, "severity": 0} for key, text in texts.items()
    ]
    amounts = [
        {"key": key, "timestamp": int(now_s), "currency": BASE, "monetaryValue": _money(amount), "severity": 0}
        for key, amount in _amounts(worth).items()
    ]
    return shown + amounts


def ledger_stream(entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the ``result`` of an ``sld`` message, from the entries of a ledger."""
    names = {
        "cashbalance": "cashbalance",
        "netliquidationvalue": "netLiquidationValue",
        "realizedpnl": "realizedPnl",
        "settledcash": "settledCash",
        "stockmarketvalue": "stockMarketValue",
        "unrealizedpnl": "unrealizedPnl",
        "exchangerate": "exchangeRate",
    }
    return [
        {
            "acctCode": entry["acctcode"],
            "key": f"LedgerList{currency}",
            "secondKey": currency,
            "timestamp": entry["timestamp"],
            "severity": 0,
            **{name: entry[key] for key, name in names.items()},
        }
        for currency, entry in entries.items()
    ]


def preview(ticket: Ticket, price: Decimal, worth: Worth, held: Decimal, warning: str | None) -> dict[str, Any]:
    """Return the object of ``/iserver/account/{accountId}/orders/whatif``."""
    value = ticket.quantity * price
    commission = commission_of(ticket.contract, ticket.quantity, value)
    after = held + ticket.quantity * ticket.sign
    change = (abs(after) - abs(held)) * price * MARGIN if ticket.contract.sec_type == "STK" else Decimal(0)

    def amounts(current: Decimal, by: Decimal) -> dict[str, str]:
        return {"current": f"{current:,.0f}", "change": f"{by:,.0f}", "after": f"{current + by:,.0f}"}

    units = "Shares" if ticket.contract.sec_type == "STK" else ticket.contract.symbol
    currency = ticket.contract.currency
    return {
        "amount": {
            "amount": f"{value:,.2f} {currency} ({ticket.quantity:f} {units})",
            "commission": f"{commission} {BASE}",
            "total": f"{value + commission * ticket.sign:,.2f} {currency}",
        },
        "equity": amounts(worth.net, -commission),
        "initial": amounts(worth.margin, change),
        "maintenance": amounts(worth.margin, change),
        "position": amounts(held, ticket.quantity * ticket.sign),
        "warn": warning,
        "error": None,
    }


def rates(price_of: Decimal) -> dict[str, Decimal]:
    """Return what one unit of each currency is worth in the base currency, from the price of the euro."""
    return {BASE: Decimal(1), EUR_USD.symbol: price_of}


def _money(amount: Decimal) -> float:
    return float(amount.quantize(CENT))
