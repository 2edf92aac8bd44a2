"""Programs that use ibind as it is, with the calls of ibind's own examples, which its package does not have.

Each names the example that makes the same calls (Voyz/ibind, folder ``examples``). None knows anything of gwctl: what
they need is in the environment that `gwctl exec` sets.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ibind import CallbackSink, IbkrClient, IbkrWsClient, QuestionType, StockQuery, events
from ibind.client.ibkr_utils import OrderRequest
from ibind.subscriptions import (
    AccountLedgerSubscription,
    AccountSummarySubscription,
    MarketDataSubscription,
    MarketHistorySubscription,
    OrdersSubscription,
    PnlSubscription,
    TradesSubscription,
)

AAPL = "265598"
WITHIN_S = 20.0
FIVE = ["AAPL", "MSFT", "GOOG", "TSLA", "AMZN"]
FIFTEEN = [*FIVE, "ADBE", "AMD", "COIN", "META", "DIS", "BAC", "XOM", "KO", "WMT", "V"]
YES = {
    QuestionType.PRICE_PERCENTAGE_CONSTRAINT: True,
    QuestionType.ORDER_VALUE_LIMIT: True,
    QuestionType.ORDER_SIZE_LIMIT: True,
    QuestionType.MISSING_MARKET_DATA: True,
    QuestionType.STOP_ORDER_RISKS: True,
}


def connected() -> tuple[IbkrClient, str]:
    """Return a client that has asked for the accounts, and the account."""
    client = IbkrClient(max_retries=1)
    account: str = client.portfolio_accounts().data[0]["accountId"]
    client.account_id = account
    client.receive_brokerage_accounts()
    return client, account


def accounts() -> dict[str, Any]:
    """Do what ``rest_01_basic.py`` and ``rest_02_intermediate.py`` do."""
    client, account = connected()
    ledger = client.get_ledger().data
    shown = {
        currency: (one["cashbalance"], one["netliquidationvalue"], one["stockmarketvalue"])
        for currency, one in ledger.items()
    }
    return {
        "healthy": client.check_health(),
        "session": client.tickle().data["iserver"]["authStatus"],
        "account": account,
        "ledger": shown,
        "summary": client.portfolio_summary().data["netliquidation"],
        "positions": [(one["ticker"], one["position"], one["mktValue"]) for one in client.positions().data],
    }


def stocks() -> dict[str, Any]:
    """Do what ``rest_03_stock_querying.py`` does."""
    client, _ = connected()
    query = StockQuery("MSFT", name_match="microsoft", contract_conditions={"exchange": "NASDAQ"})
    elsewhere = [
        StockQuery("AAPL", contract_conditions={"exchange": "MEXI"}),
        StockQuery("GOOG", name_match="CDR"),
        StockQuery("HUBS"),
    ]
    return {
        "stocks": client.security_stocks_by_symbol("AAPL").data,
        "conid": client.stock_conid_by_symbol("AAPL").data,
        "query": client.stock_conid_by_symbol(query, default_filtering=False).data,
        "elsewhere": client.stock_conid_by_symbol(elsewhere, default_filtering=False).data,
        "search": client.search_contract_by_symbol("AAPL").data,
        "unknown": client.search_contract_by_symbol("NOPE").data,
    }


def prices() -> dict[str, Any]:
    """Do what ``rest_05_marketdata_history.py`` does, and ask for a snapshot."""
    client, _ = connected()
    fields = ["31", "55", "84", "86", "7295"]
    by_symbol = client.marketdata_history_by_symbols(FIFTEEN, period="1d", bar="1h", outside_rth=True)
    return {
        "snapshot": client.live_marketdata_snapshot_by_symbol(["AAPL", "MSFT"], fields),
        "by_conid": client.marketdata_history_by_conid(AAPL, period="1d", bar="1d", outside_rth=True).data,
        "by_symbol": client.marketdata_history_by_symbol("AAPL", period="1d", bar="1d", outside_rth=True).data,
        "many": {symbol: len(bars) for symbol, bars in by_symbol.items()},
    }


def order() -> dict[str, Any]:
    """Do what ``rest_04_place_order.py`` does, without its mock, and follow the order to its fill."""
    client, account = connected()
    request = OrderRequest(
        conid=AAPL, side="BUY", quantity=600, order_type="LMT", price=250.0, acct_id=account, coid="my_order-1"
    )
    placed = client.place_order(request, YES, account).data
    order_id = placed["order_id"]
    status = until(lambda: client.order_status(order_id).data, lambda told: told["order_status"] == "Filled")
    client.live_orders()
    resting = OrderRequest(conid=AAPL, side="SELL", quantity=600, order_type="LMT", price=205.0, acct_id=account)
    other = client.place_order(resting, YES, account).data["order_id"]
    resting.price = 206.0
    changed = client.modify_order(other, resting, YES, account).data
    cancelled = client.cancel_order(other, account).data
    return {
        "placed": placed,
        "status": status,
        "changed": changed,
        "cancelled": cancelled,
        "orders": {one["orderId"]: one["status"] for one in client.live_orders().data["orders"]},
        "trades": client.trades().data,
        "positions": client.positions().data,
        "preview": client.whatif_order(request, account).data,
    }


def bracket() -> dict[str, Any]:
    """Do what ``rest_07_bracket_orders.py`` does: its price is far from the market's."""
    client, account = connected()
    price = 211.07
    common: dict[str, Any] = {"conid": AAPL, "acct_id": account, "quantity": 1}
    requests = [
        OrderRequest(side="BUY", order_type="LMT", price=price, coid="parent", **common),
        OrderRequest(side="SELL", order_type="STP", price=price - 20, parent_id="parent", **common),
        OrderRequest(side="SELL", order_type="LMT", price=price + 20, parent_id="parent", **common),
    ]
    placed = client.place_order(requests, YES, account).data
    parent = until(
        lambda: client.order_status(placed[0]["order_id"]).data, lambda told: told["order_status"] == "Filled"
    )
    return {"placed": placed, "parent": parent["order_status"]}


def chain() -> dict[str, Any]:
    """Do what ``rest_06_options_chain.py`` does: an index's first month, first strike, and the contracts of both."""
    client, _ = connected()
    index = client.search_contract_by_symbol("SPX").data[0]
    (options,) = [one for one in index["sections"] if one["secType"] == "OPT"]
    wish = {"conid": index["conid"], "sec_type": "OPT", "month": options["months"].split(";")[0]}
    strikes = client.search_strikes_by_conid(**wish).data
    found = client.search_secdef_info_by_conid(**wish, strike=strikes["call"][0], right="C").data
    return {"index": index, "strikes": strikes, "found": found}


def until(ask: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """Return the answer once it is so; fail after a while."""
    deadline_s = time.monotonic() + WITHIN_S
    while not is_so(told := ask()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(told)
        time.sleep(0.05)  # another process fills the order: nothing to wait on; bounded above
    return told


def listen() -> dict[str, Any]:
    """Do what ``ws_03_advanced.py`` does, with every subscription in it, and place an order meanwhile."""
    client, account = connected()
    heard: dict[str, list[Any]] = {}
    news = threading.Condition()
    sink = CallbackSink()

    def keep(event: Any) -> None:
        with news:
            heard.setdefault(type(event).__name__, []).append(getattr(event, "data", None))
            news.notify_all()

    wanted = (events.MarketData, events.MarketHistory, events.Orders, events.Trades, events.Pnl)
    for kind in (*wanted, events.AccountSummary, events.AccountLedger, events.WsReady, events.WsError):
        sink.on(kind, keep)
    socket = IbkrWsClient(ibkr_client=client, account_id=account, sink=sink)
    threading.Thread(target=socket.start, daemon=True).start()

    def wait_for(name: str, is_it: Callable[[Any], bool] = lambda _data: True) -> Any:
        with news:
            news.wait_for(lambda: any(map(is_it, heard.get(name, []))), WITHIN_S)
            return next(filter(is_it, heard.get(name, [])), None)

    def is_filled(one: dict[str, Any]) -> bool:
        return one.get("order_ref") == "heard" and one["status"] == "Filled"

    wait_for("WsReady")
    subscriptions = [
        MarketDataSubscription(conid=AAPL, fields=["31", "84", "85", "86", "88"], expiry_seconds=30),
        MarketHistorySubscription(conid=AAPL, period="1h", bar="5min"),
        AccountSummarySubscription(account_id=account),
        AccountLedgerSubscription(account_id=account),
        OrdersSubscription(),
        TradesSubscription(),
        PnlSubscription(),
    ]
    handles = [socket.subscribe(one) for one in subscriptions]
    active = [handle.wait(timeout=WITHIN_S) for handle in handles]
    request = OrderRequest(conid=AAPL, side="BUY", quantity=5, order_type="MKT", acct_id=account, coid="heard")
    placed = client.place_order(request, YES, account).data
    told = {
        "active": active,
        "placed": placed,
        "prices": wait_for("MarketData"),
        "history": wait_for("MarketHistory"),
        "summary": wait_for("AccountSummary"),
        "ledger": wait_for("AccountLedger"),
        "won": wait_for("Pnl"),
        "filled": wait_for("Orders", lambda data: any(map(is_filled, data["args"]))),
        "trade": wait_for("Trades", lambda data: any(one.get("order_ref") == "heard" for one in data["args"])),
    }
    told["ended"] = [handle.unsubscribe().wait(timeout=WITHIN_S) for handle in handles]
    # Without ibind's shutdown, which now and then waits 5 s for its own thread: this process ends anyway.
    return told | {"errors": heard.get("WsError", [])}


PROGRAMS = {one.__name__: one for one in (accounts, stocks, prices, order, bracket, chain, listen)}

if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: PROGRAMS[name]() for name in sys.argv[1:]}, default=str) + "\n")
