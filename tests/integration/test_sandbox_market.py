"""The sandbox serves a bot: each group of IBKR's endpoints, and an order from its placing to its fill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from bot_rig import AAPL, ACCOUNT, DEADLINE_S, Bot, listening_at, log_in, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_admin import act, read_state

from gwctl.errors import TryAgain, Usage
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import StandInConfig

TOKEN = "admin-token"
ORDERS = f"/iserver/account/{ACCOUNT}/orders"


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token=TOKEN)) as running:
        yield running


@pytest.fixture
def bot(ibkr: RunningStandIn) -> Iterator[Bot]:
    """Yield a bot with a brokerage session that has asked for its accounts."""
    with httpx.Client(base_url=ibkr.url, timeout=DEADLINE_S, trust_env=False) as web:
        log_in(web)
        one = Bot(web)
        one.post("/iserver/auth/ssodh/init", {"publish": True, "compete": True})
        one.get("/iserver/accounts")
        one.get("/portfolio/accounts")
        yield one


def test_contracts(bot: Bot) -> None:
    """A symbol leads to a conid, a conid to its facts; an unknown symbol to an empty list, an unknown conid to 400."""
    (found,) = bot.get("/iserver/secdef/search", symbol="AAPL")
    assert (found["conid"], found["companyName"], found["sections"]) == ("265598", "APPLE INC", [{"secType": "STK"}])
    assert bot.post("/iserver/secdef/search", {"symbol": "AAPL", "secType": "STK"}) == [found]
    (by_name,) = bot.get("/iserver/secdef/search", symbol="apple", name="true")
    assert by_name.keys() == {"conid", "companyName", "companyHeader", "symbol"}
    assert bot.get("/iserver/secdef/search", symbol="NOPE") == []
    assert "symbol" in bot.get("/iserver/secdef/search", 400)["error"]
    stocks = bot.get("/trsrv/stocks", symbols="AAPL,MSFT,NOPE")
    assert stocks["MSFT"][0]["contracts"] == [{"conid": 272093, "exchange": "NASDAQ", "isUS": True}]
    assert stocks["NOPE"] == []
    (definition,) = bot.get("/trsrv/secdef", conids="265598,1")["secdef"]
    assert (definition["ticker"], definition["incrementRules"][0]["increment"]) == ("AAPL", 0.01)
    assert bot.get("/iserver/contract/265598/info")["con_id"] == AAPL
    assert bot.get("/iserver/contract/265598/info-and-rules")["rules"]["canTradeAcctIds"] == [ACCOUNT]
    assert "limit" in bot.post("/iserver/contract/rules", {"conid": AAPL, "isBuy": True})["orderTypes"]
    assert bot.get("/iserver/secdef/info", conid=12087792)[0]["secType"] == "CASH"
    assert "conid 1 " in bot.get("/iserver/contract/1/info", 400)["error"]


def test_listings_elsewhere(bot: Bot) -> None:
    """A stock comes with its company's listings in other countries, as in IBKR's documentation; they have no price.

    The source of the list: https://www.interactivebrokers.com/docs/web-api/v1/endpoints/contract, "Stocks by symbol".
    """
    listed = bot.get("/trsrv/stocks", symbols="AAPL")["AAPL"]
    assert [one.keys() for one in listed] == [{"name", "chineseName", "assetClass", "contracts"}] * 3
    assert [(one["name"], [(at["conid"], at["exchange"]) for at in one["contracts"]]) for one in listed] == [
        ("APPLE INC", [(AAPL, "NASDAQ"), (38708077, "MEXI"), (273982664, "EBS")]),
        ("LS 1X AAPL", [(493546048, "LSEETF")]),
        ("APPLE INC-CDR", [(532640894, "AEQLIT")]),
    ]
    assert [at["conid"] for one in listed for at in one["contracts"] if at["isUS"]] == [AAPL]
    assert "conid 38708077 " in bot.get("/iserver/contract/38708077/info", 400)["error"]


def test_an_option_chain(bot: Bot) -> None:
    """IBKR's three steps to a chain, and what comes of leaving one out: no strikes, no contracts.

    The shapes: https://www.interactivebrokers.com/campus/ibkr-api-page/cpapi-v1/#option-chain. "No Contracts
    retrieved" with 500 is what users report.
    """
    wish: dict[str, Any] = {"conid": 416904, "sectype": "OPT"}
    (index,) = bot.get("/iserver/secdef/search", symbol="SPX")
    months = index["sections"][1]["months"].split(";")
    assert bot.get("/iserver/secdef/search", symbol="s&p 500", name="true")[0].keys() < index.keys()
    assert bot.get("/iserver/secdef/strikes", **wish, month=months[1]) == {"call": [], "put": []}
    early = bot.get("/iserver/secdef/info", 500, **wish, month=months[1], strike=6000, right="C")
    assert early["error"] == "No Contracts retrieved"
    bot.get("/iserver/secdef/search", symbol="SPX")
    assert (index["conid"], index["companyHeader"]) == ("416904", "S&P 500 Stock Index - CBOE")
    own, chain = index["sections"]
    assert (own["secType"], chain["secType"]) == ("IND", "OPT")
    assert chain["exchange"] == "SMART;CBOE;IBUSOPT"
    assert len(months) == 6
    found = {}
    for month in months:
        strikes = bot.get("/iserver/secdef/strikes", **wish, month=month)
        assert strikes["call"] == strikes["put"] == sorted(strikes["call"])
        for right, word in (("C", "Call"), ("P", "Put")):
            for one in bot.get("/iserver/secdef/info", **wish, month=month, strike=strikes["call"][0], right=right):
                assert (one["secType"], one["right"], one["strike"]) == ("OPT", right, strikes["call"][0])
                assert one["desc2"].endswith(f" 5000 {word}")
                day = datetime.strptime(one["maturityDate"], "%Y%m%d").replace(tzinfo=UTC)
                assert (day.weekday(), f"{day:%b%y}".upper()) == (4, month)
                assert one["tradingClass"] == ("SPX" if 15 <= day.day <= 21 else "SPXW")
                found[one["conid"]] = one
    days = index["opt"].split(";")
    assert len(found) == 2 * len(days)
    assert {one["maturityDate"] for one in found.values()} == set(days)
    for wrong in ({"strike": "5001"}, {"strike": "sNaN"}, {"right": "X"}, {"month": "JAN20"}, {"conid": AAPL}):
        asked: dict[str, Any] = {**wish, "month": months[0], "strike": "5000", "right": "C", **wrong}
        assert "No Contracts" in bot.get("/iserver/secdef/info", 500, **asked)["error"]
    assert "month" in bot.get("/iserver/secdef/strikes", 400, **wish)["error"]
    order = {"conid": next(iter(found)), "side": "BUY", "orderType": "MKT", "tif": "DAY", "quantity": 1}
    assert "no contract with conid" in bot.post(ORDERS, {"orders": [order]}, 400)["error"]


def test_market_data(bot: Bot) -> None:
    """The first snapshot opens the data, the next has it; history joins it; closing begins again."""
    fields = "31,55,84,85,86,88"
    assert bot.get("/iserver/marketdata/snapshot", conids=AAPL, fields=fields) == [{"conid": AAPL, "conidEx": "265598"}]
    (quote,) = bot.get("/iserver/marketdata/snapshot", conids=AAPL, fields=fields)
    assert quote.keys() >= {*fields.split(","), "6509", "_updated", "server_id"}
    bars = bot.get("/iserver/marketdata/history", conid=AAPL, period="1d", bar="5min")
    assert (bars["points"], len(bars["data"]), bars["data"][0].keys()) == (288, 288, set("oclhvt"))
    assert abs(bars["data"][-1]["c"] - float(quote["31"])) < 1
    bot.get("/hmds/history", 404, conid=AAPL, period="1d", bar="1h")
    assert bot.get("/hmds/history", conid=AAPL, period="1d", bar="1h")["points"] == 24
    assert bot.post("/iserver/marketdata/unsubscribe", {"conid": AAPL}) == {"success": True}
    assert bot.post("/iserver/marketdata/unsubscribe", {"conid": AAPL}, 500) == {"error": "unknown"}
    assert len(bot.get("/iserver/marketdata/snapshot", conids=AAPL, fields=fields)[0]) == 2
    assert bot.get("/iserver/marketdata/unsubscribeall") == {"unsubscribed": True}
    assert "period" in bot.get("/iserver/marketdata/history", 400, conid=AAPL, period="ever", bar="1d")["error"]


def test_an_order_from_its_placing_to_its_fill(bot: Bot, ibkr: RunningStandIn) -> None:
    """Placed, asked about, confirmed, filled; the account, the executions and both WebSocket topics have it."""
    assert bot.get("/iserver/account/orders") == {"orders": [], "snapshot": False}
    cookies = dict(bot.web.cookies)
    with listening_at(ibkr, cookies) as listener:
        listener.say("sor+{}")
        listener.say("str+{}")
        assert listener.on("str")["args"] == []
        (question,) = bot.order(orderType="LMT", price=250, cOID="mine")
        assert question["messageIds"] == ["o163"]
        assert "price exceeds \nthe Percentage constraint of 3%" in question["message"][0]
        (placed,) = bot.post(f"/iserver/reply/{question['id']}", {"confirmed": True})
        assert placed["order_status"] == "Submitted"
        (order,) = listener.on("sor")["args"]
        assert (order["orderId"], order["filledQuantity"]) == (int(placed["order_id"]), 0.0)
        (filled,) = listener.on("sor")["args"]
        assert (filled["status"], filled["remainingQuantity"]) == ("Filled", 0.0)
        (fill,) = listener.on("str")["args"]
        assert (fill["order_id"], fill["size"], fill["side"]) == (order["orderId"], 10.0, "B")
    status = bot.until_filled(placed["order_id"])
    assert (status["cum_fill"], status["average_price"]) == ("10.0", fill["price"])
    (trade,) = bot.get("/iserver/account/trades")
    assert trade == fill
    (listed,) = bot.get("/iserver/account/orders")["orders"]
    assert (listed["status"], listed["order_ref"], listed["orderDesc"]) == (
        "Filled",
        "mine",
        "Bought 10 Limit 250.00, Day",
    )
    (position,) = bot.get(f"/portfolio/{ACCOUNT}/positions/0")
    assert (position["conid"], position["position"], position["avgPrice"]) == (AAPL, 10.0, float(fill["price"]))
    spent = Decimal(fill["price"]) * 10 + Decimal(fill["commission"])
    assert bot.get(f"/portfolio/{ACCOUNT}/ledger")["USD"]["cashbalance"] == float(1_000_000 - spent)


def test_orders_that_rest(bot: Bot) -> None:
    """A resting order is listed by its state, changed and cancelled; what is over can be neither."""
    (question,) = bot.order(orderType="LMT", price=150, tif="GTC")
    (placed,) = bot.post(f"/iserver/reply/{question['id']}", {"confirmed": True})
    one = f"/iserver/account/{ACCOUNT}/order/{placed['order_id']}"
    bot.get("/iserver/account/orders")
    assert len(bot.get("/iserver/account/orders", filters="submitted,pre_submitted")["orders"]) == 1
    assert bot.get("/iserver/account/orders", filters="filled")["orders"] == []
    assert bot.get("/iserver/account/orders", force="true")["orders"] == []
    terms = {"conid": AAPL, "side": "BUY", "orderType": "LMT", "tif": "GTC", "quantity": 7, "price": 199}
    assert bot.post(one, terms)[0]["order_id"] == placed["order_id"]
    status = bot.get(f"/iserver/account/order/status/{placed['order_id']}")
    assert (status["total_size"], status["limit_price"]) == ("7.0", "199.00")
    assert bot.post(one, terms | {"side": "SELL"})["error"].startswith("An order's contract and side")
    cancelled = bot.call("DELETE", one)
    assert (cancelled["msg"], cancelled["order_id"]) == ("Request was submitted", int(placed["order_id"]))
    assert bot.get(f"/iserver/account/order/status/{placed['order_id']}")["order_status"] == "Cancelled"
    bot.call("DELETE", one, 400)
    assert "cannot be modified" in bot.post(one, terms)["error"]
    assert bot.call("DELETE", f"/iserver/account/{ACCOUNT}/order/1", 400)["error"].endswith("OrderID 1 doesn't exist")
    bot.order(orderType="LMT", price=199)
    assert bot.call("DELETE", f"/iserver/account/{ACCOUNT}/order/-1")["order_id"] == -1
    assert {order["status"] for order in bot.get("/iserver/account/orders")["orders"]} == {"Cancelled"}
    bot.get("/iserver/account/order/status/1", 503)


def test_questions(bot: Bot) -> None:
    """A no gives the order up, an old id is 503, and a suppressed question is not asked until the reset."""
    (question,) = bot.order(orderType="LMT", price=150)
    assert bot.post(f"/iserver/reply/{question['id']}", {"confirmed": False}) == []
    bot.post(f"/iserver/reply/{question['id']}", {"confirmed": True}, 503)
    bot.post(f"/iserver/reply/{question['id']}", {}, 400)
    assert bot.post("/iserver/questions/suppress", {"messageIds": ["o163"]}) == {"status": "submitted"}
    assert "order_id" in bot.order(orderType="LMT", price=150)[0]
    bot.post("/iserver/questions/suppress", {"messageIds": ["nonsense"]}, 400)
    assert bot.post("/iserver/questions/suppress/reset") == {"status": "submitted"}
    assert "message" in bot.order(orderType="LMT", price=150)[0]


def test_orders_that_cannot_be(bot: Bot) -> None:
    """What cannot be understood is 400 with a reason; what IBKR would not accept is 200 with an error."""
    assert "orderType" in bot.order(400, orderType="TRAIL")["error"]
    assert "conid" in bot.order(400, conid=1)["error"]
    assert "orders" in bot.post(ORDERS, {}, 400)["error"]
    assert "no account" in bot.post("/iserver/account/DU7/orders", {"orders": [{}]}, 400)["error"]
    assert "minimum price variation" in bot.order(orderType="LMT", price=200.001)["error"]
    assert "INITIAL MARGIN" in bot.order(quantity=900_000)["error"]
    assert "order_id" in bot.order(cOID="twice")[0]
    assert "Local order ID=twice" in bot.order(cOID="twice")["error"]
    ticket = {"conid": AAPL, "side": "BUY", "orderType": "MKT", "tif": "DAY", "quantity": 1}
    assert "one order at a time" in bot.post(ORDERS, [ticket, ticket], 400)["error"]
    assert "order_id" in bot.post(ORDERS, [ticket])[0]


def test_the_account(bot: Bot) -> None:
    """Cash, values, positions and what was won, in each of the shapes that clients read; a pair changes the cash."""
    bot.order(quantity=100)
    (placed,) = bot.order(conid=12087792, side="BUY", quantity=20_000)
    bot.until_filled(placed["order_id"])
    preview = bot.post(f"{ORDERS}/whatif", {"orders": [{"conid": AAPL, "side": "SELL", "orderType": "MKT",
                                                         "tif": "DAY", "quantity": 40}]})  # fmt: skip
    assert preview["position"] == {"current": "100", "change": "-40", "after": "60"}
    ledger = bot.get(f"/portfolio/{ACCOUNT}/ledger")
    assert ledger.keys() == {"USD", "EUR", "BASE"}
    assert ledger["EUR"]["cashbalance"] == 20_000
    assert ledger["BASE"]["stockmarketvalue"] > 0
    summary = bot.get(f"/portfolio/{ACCOUNT}/summary")
    assert summary["accountcode"]["value"] == ACCOUNT
    worth = summary["netliquidation"]["amount"]
    assert abs(worth - 1_000_000) < 5_000
    assert abs(ledger["BASE"]["netliquidationvalue"] - worth) < 100
    assert abs(bot.get(f"/iserver/account/{ACCOUNT}/summary")["netLiquidationValue"] - worth) < 100
    won = bot.get("/iserver/account/pnl/partitioned")["upnl"][f"{ACCOUNT}.Core"]
    assert abs(won["nl"] - worth) < 100
    (position,) = bot.get(f"/portfolio/{ACCOUNT}/position/{AAPL}")
    assert bot.get(f"/portfolio/positions/{AAPL}")[ACCOUNT][0]["position"] == position["position"] == 100
    assert bot.get(f"/portfolio2/{ACCOUNT}/positions")[0]["position"] == 100
    assert len(bot.post(f"/portfolio/{ACCOUNT}/positions/invalidate")) == 1
    assert bot.get(f"/portfolio/{ACCOUNT}/positions/1") == []
    assert bot.get(f"/portfolio/{ACCOUNT}/meta")["currency"] == "USD"
    assert bot.get(f"/portfolio/{ACCOUNT}/allocation")["assetClass"]["long"].keys() == {"STK", "CASH"}
    assert bot.post("/iserver/account", {"acctId": ACCOUNT}) == {"success": "Account already set"}


def test_the_web_socket(bot: Bot, ibkr: RunningStandIn) -> None:
    """Prices come at once and then only what changed; account and history in IBKR's shapes; each can be ended."""
    with listening_at(ibkr, dict(bot.web.cookies)) as listener:
        listener.say('smd+265598+{"fields":["31","55","84","85","86","88"]}')
        first = listener.on("smd+265598")
        assert first.keys() >= {"31", "55", "84", "86", "conid", "_updated"}
        second = listener.on("smd+265598")
        assert "55" not in second
        assert second.keys() & {"31", "84", "85", "86", "88"}
        assert second["_updated"] > first["_updated"]
        listener.say("umd+265598+{}")
        listener.say("spl+{}")
        assert listener.on("spl")["args"].keys() == {f"{ACCOUNT}.Core"}
        listener.say("upl")
        for topic, ended in (("sd", "summary"), ("ld", "ledger")):
            listener.say(f"s{topic}+{ACCOUNT}+{{}}")
            assert listener.on(f"s{topic}+{ACCOUNT}")["result"]
            listener.say(f"u{topic}+{ACCOUNT}")
            assert listener.hear(lambda message: "result" in message and "topic" not in message) == {
                "result": f"unsubscribed from {ended}"
            }
        listener.say('smh+265598+{"period":"1h","bar":"5min"}')
        history = listener.on("smh+265598")
        assert history["points"] == 12
        listener.say(f"umh+{history['serverId']}")
        assert listener.hear(lambda message: "message" in message)["message"] == f"Unsubscribed {history['serverId']}"
        listener.say("sxx+1")
        assert "not in the sandbox" in listener.on("error")["error"]
        listener.say("smd+1+{}")
        assert "conid" in listener.on("error")["error"]
        listener.say("tic")
        assert listener.on("tic")["alive"] is True


def test_a_session_is_needed(bot: Bot, ibkr: RunningStandIn) -> None:
    """Without a brokerage session nothing trades, without the accounts neither; the portfolio needs its own request."""
    act(ibkr.url, TOKEN, "drop_brokerage", {"how": "unauthenticated"})
    assert bot.order(401)["error"] == "not authenticated"
    with listening_at(ibkr, dict(bot.web.cookies)) as listener:
        listener.say("smd+265598+{}")
        assert listener.hear(lambda message: "message" in message)["message"] == "waiting for session"
    act(ibkr.url, TOKEN, "drop_brokerage", {"how": "no_bridge"})
    assert "no bridge" in bot.order(400)["error"]
    bot.post("/iserver/auth/ssodh/init", {"publish": True, "compete": True})
    assert bot.order(500)["error"] == "Please query /accounts first"
    bot.get("/iserver/accounts")
    assert "order_id" in bot.order()[0]
    bot.web.cookies.clear()
    log_in(bot.web)
    assert bot.get(f"/portfolio/{ACCOUNT}/summary", 500)["error"] == "Please query /accounts first"
    bot.get("/portfolio/accounts")
    bot.get(f"/portfolio/{ACCOUNT}/summary")


def test_what_is_not_there(bot: Bot) -> None:
    """Another path, and another method of a path that is there, is 404 with all paths that are."""
    for method, path in (("GET", "/iserver/scanner/params"), ("DELETE", ORDERS), ("GET", "/portfolio/x/y/z/z")):
        answer = bot.call(method, path, 404)
        assert path in answer["error"]
        assert {"/iserver/secdef/search", "/tickle", "/portfolio/{account_id}/ledger"} <= set(answer["known"])


def test_a_reset_begins_again(bot: Bot, ibkr: RunningStandIn) -> None:
    """Prices take the same way after each reset with a seed; orders and positions are gone; wrong values are named."""
    (placed,) = bot.order()
    bot.until_filled(placed["order_id"])
    with listening_at(ibkr, dict(bot.web.cookies)) as listener:
        listener.say("sor+{}")
        assert listener.on("sor")["args"][0]["status"] == "Filled"
        told = act(ibkr.url, TOKEN, "reset_market", {"seed": 7, "cash": 5000})["market"]
        assert told == {"seed": 7, "orders": 0, "active_orders": 0, "fills": 0, "positions": 0}
        (placed,) = bot.order(quantity=1)
        assert listener.on("sor")["args"][0]["orderId"] == int(placed["order_id"])
    assert bot.get(f"/portfolio/{ACCOUNT}/ledger")["USD"]["cashbalance"] <= 5000
    act(ibkr.url, TOKEN, "reset")
    assert read_state(ibkr.url, TOKEN)["market"]["seed"] == 1
    for wrong in ({"seed": "x"}, {"cash": -1}, {"seed": 1e300}, {"price": 1}):
        with pytest.raises((Usage, TryAgain)):
            act(ibkr.url, TOKEN, "reset_market", wrong)


def test_orders_fill_while_nobody_asks(bot: Bot) -> None:
    """An order is filled at its time, not at the time of the next request."""
    (placed,) = bot.order()
    until(lambda: bot.get("/iserver/account/trades")[0] if bot.get("/iserver/account/trades") else None)
    (trade,) = bot.get("/iserver/account/trades")
    status: dict[str, Any] = bot.until_filled(placed["order_id"])
    assert trade["trade_time_r"] % 250 == 0
    assert status["order_status_description"] == "Order Filled"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
VALID = {"conid": AAPL, "side": "BUY", "orderType": "LMT", "tif": "GTC", "quantity": 1, "price": 200, "auxPrice": 200}
POSTS = ("/iserver/secdef/search", "/iserver/contract/rules", "/iserver/marketdata/unsubscribe", "/iserver/account",
         "/iserver/reply/1", "/iserver/questions/suppress", ORDERS, f"{ORDERS}/whatif",
         f"/iserver/account/{ACCOUNT}/order/1")  # fmt: skip
KEYS = ("conid", "conidex", "side", "orderType", "tif", "quantity", "price", "auxPrice", "cOID", "parentId", "cashQty",
        "symbol", "secType", "messageIds", "acctId", "confirmed")  # fmt: skip
HISTORY = ("conid", "period", "bar", "startTime", "outsideRth")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(POSTS), st.dictionaries(st.sampled_from(KEYS), JSON), JSON, st.sampled_from(["one", "orders", "x"])
)
def test_no_body_breaks_it(bot: Bot, path: str, odd: dict[str, Any], other: Any, how: str) -> None:
    """Whatever is posted, the answer is JSON: what was asked for, or IBKR's error for it, never a failure of ours."""
    body = {"one": {**VALID, **odd}, "orders": {"orders": [{**VALID, **odd}]}, "x": other}[how]
    # Python writes NaN and Infinity, which are no JSON; a client may, too.
    answer = bot.web.post(f"/v1/api{path}", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code in {200, 400, 500, 503}
    assert answer.status_code != 500 or answer.json() == {"error": "unknown"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(HISTORY), st.text(max_size=8) | st.sampled_from(["265598", "1d", "15y", "1S"])))
def test_no_query_breaks_it(bot: Bot, odd: dict[str, str]) -> None:
    """Whatever is asked of the history, there are at most 1,000 bars, or a reason why not."""
    answer = bot.web.get("/v1/api/iserver/marketdata/history", params={"conid": "265598", "period": "1h", **odd})
    assert answer.status_code in {200, 400}
    assert answer.status_code == 400 or answer.json()["points"] <= 1000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["smd", "umd", "sor", "str", "spl", "smh", "sld", "?"]).flatmap(
    lambda topic: st.text(max_size=12).map(lambda rest: f"{topic}+{rest}")), max_size=5))  # fmt: skip
def test_no_message_breaks_it(bot: Bot, ibkr: RunningStandIn, said: list[str]) -> None:
    """Whatever a client says on the WebSocket, the next word is answered; as bytes, too."""
    with listening_at(ibkr, dict(bot.web.cookies)) as listener:
        for text in said:
            listener.say(text)
        listener.say(b"tic")
        assert listener.on("tic")["alive"] is True


def test_long_numbers_are_nobody(bot: Bot) -> None:
    """A number of thousands of digits, or of other digits, is no order and no contract."""
    for number in ("9" * 5000, "\u00b2", "\uff11"):
        bot.get(f"/iserver/account/order/status/{number}", 503)
        assert bot.get("/iserver/marketdata/snapshot", conids=number)[0].keys() == {"conid", "conidEx"}
        assert bot.order(400, conid=number)["statusCode"] == 400
        assert "parent" in bot.order(parentId=number)["error"]
