"""The sandbox's orders and its account after any sequence of orders: nothing is lost, nothing comes from nowhere."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.sandbox.market.book import FIRST_ID, Book, Order
from gwctl.sandbox.market.contracts import CONTRACTS, EUR_USD
from gwctl.sandbox.market.prices import Prices
from gwctl.sandbox.market.questions import questions_for
from gwctl.sandbox.market.tickets import Rejected, Ticket, Unusable
from gwctl.sandbox.market.venue import Market, NoSuchReply

BEGAN_S = 1_800_000_000.0
AAPL, SPY = CONTRACTS[265598], CONTRACTS[756733]
CASH = Decimal(1_000_000)


def ticket(**terms: Any) -> Ticket:
    """Return the ticket of an order for 10 AAPL at the market, or with other terms."""
    return Ticket.parse({"conid": 265598, "side": "BUY", "orderType": "MKT", "tif": "DAY", "quantity": 10, **terms})


def market(**more: Any) -> Market:
    return Market("DU1", "paper", began_s=BEGAN_S, **more)


def book() -> Book:
    return Book(Prices(1, BEGAN_S).quote, BEGAN_S)


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an order of any kind, near the market or far from it."""
    contract = draw(st.sampled_from([AAPL, SPY, EUR_USD]))
    kind = draw(st.sampled_from(["MKT", "LMT", "STP", "STOP_LIMIT"]))
    near = st.integers(-40, 40).map(lambda ticks: float(contract.start_price + ticks * contract.tick * 5))
    terms: dict[str, Any] = {"conid": contract.conid, "orderType": kind, "price": draw(near), "auxPrice": draw(near)}
    terms["side"] = draw(st.sampled_from(["BUY", "SELL"]))
    terms["tif"] = draw(st.sampled_from(["DAY", "GTC", "IOC"]))
    return {**terms, "quantity": draw(st.integers(1, 1500))}


Action = tuple[str, Any]
actions: st.SearchStrategy[list[Action]] = st.lists(
    st.one_of(
        st.tuples(st.just("place"), orders()),
        st.tuples(st.just("wait"), st.floats(0, 30)),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.tuples(st.just("modify"), st.tuples(st.integers(0, 5), st.integers(1, 2000))),
    ),
    max_size=25,
)


def play(one: Market, steps: list[Action], look: Callable[[], None]) -> None:
    """Do the actions, and call ``look`` after each."""
    now_s = BEGAN_S
    for what, how in steps:
        known = list(one.book.orders.values())
        try:
            if what == "place":
                one.book.place([Ticket.parse(how)])
            elif what == "wait":
                now_s += how
                one.advance(now_s)
            elif what == "cancel" and known:
                one.book.cancel(known[how % len(known)])
            elif what == "modify" and known:
                order = known[how[0] % len(known)]
                one.book.modify(order, ticket_with(order, how[1]))
        except Rejected:
            pass
        look()


def ticket_with(order: Order, quantity: int) -> Ticket:
    was = order.ticket
    return Ticket(was.contract, was.side, Decimal(quantity), was.kind, was.limit, was.stop, was.tif)


@given(actions, st.integers(0, 50))
def test_cash_and_positions_add_up(steps: list[Action], seed: int) -> None:
    """Whatever was ordered: cash is what the fills and commissions left, positions are the sum of the fills."""
    one = market(seed=seed)

    def look() -> None:
        fills = one.book.fills
        cash, euros, held = CASH, Decimal(0), dict.fromkeys((AAPL.conid, SPY.conid), Decimal(0))
        for fill in fills:
            change = fill.quantity * fill.ticket.sign
            cash -= change * fill.price + fill.commission
            if fill.ticket.contract is EUR_USD:
                euros += change
            else:
                held[fill.ticket.contract.conid] += change
        assert one.portfolio.cash["USD"] == cash
        assert one.portfolio.cash.get("EUR", Decimal(0)) == euros
        assert {c.conid: one.portfolio.quantity_of(c) for c in (AAPL, SPY)} == held
        for order in one.book.orders.values():
            mine = [fill for fill in fills if fill.order_id == order.order_id]
            assert order.filled == sum((fill.quantity for fill in mine), Decimal(0))
            assert order.commission == sum((fill.commission for fill in mine), Decimal(0))
            assert all(fill.commission >= 0 for fill in mine)

    play(one, steps, look)


@given(actions, st.integers(0, 50))
def test_no_order_is_filled_beyond_its_terms(steps: list[Action], seed: int) -> None:
    """Never more than was ordered, never at a worse price than the limit, and nothing once an order is over."""
    one = market(seed=seed)
    over: dict[int, tuple[str, Decimal]] = {}

    def look() -> None:
        for order in one.book.orders.values():
            assert 0 <= order.filled <= order.ticket.quantity
            assert (order.status == "Filled") == (order.remaining == 0)
            if order.order_id in over:
                assert (order.status, order.filled) == over[order.order_id]
            elif order.is_over:
                over[order.order_id] = (order.status, order.filled)
        for fill in one.book.fills:
            assert fill.ticket.limit is None or (fill.ticket.limit - fill.price) * fill.ticket.sign >= 0

    play(one, steps, look)


@given(actions, st.lists(st.floats(0.01, 5), min_size=1, max_size=10))
def test_looking_changes_nothing(steps: list[Action], looks_s: list[float]) -> None:
    """Orders fill at the same times and prices, however often somebody looks meanwhile."""
    seldom, often = book(), book()
    for what, how in steps:
        if what == "place":
            try:
                parsed = Ticket.parse(how)
            except Rejected:
                continue
            seldom.place([parsed])
            often.place([parsed])
        elif what == "wait":
            until_s = seldom.now_s + how
            at_s = often.now_s
            for pause_s in looks_s:
                at_s = min(until_s, at_s + pause_s)
                often.advance(at_s)
            seldom.advance(until_s)
            often.advance(until_s)
    assert often.fills == seldom.fills


def test_a_market_order_is_seen_before_it_is_filled() -> None:
    """It is PreSubmitted, then Filled within a second, at the ask, with a commission of a dollar."""
    one, seen = book(), []
    (order,) = one.place([ticket()])
    for after_s in (0, 0.1, 1):
        one.advance(BEGAN_S + after_s)
        seen.append(order.status)
    assert seen == ["PreSubmitted", "PreSubmitted", "Filled"]
    (fill,) = one.fills
    assert (fill.order_id, fill.quantity, fill.commission) == (FIRST_ID, Decimal(10), Decimal(1))
    assert fill.price == Prices(1, BEGAN_S).quote(AAPL, fill.at_s).ask


def test_a_large_order_fills_in_parts() -> None:
    """A step of the market fills 300 at most; in between, the order is Submitted and partly filled."""
    one = book()
    (order,) = one.place([ticket(quantity=700)])
    one.advance(BEGAN_S + 0.3)
    assert (order.status, order.filled) == ("Submitted", Decimal(300))
    one.advance(BEGAN_S + 2)
    assert [fill.quantity for fill in one.fills] == [300, 300, 100]
    assert order.commission == Decimal("3.50")


def test_limits_and_stops_wait_for_their_price() -> None:
    """A limit far away rests; a stop rests until the price is there; IOC is gone after its first chance."""
    one = book()
    (rests,) = one.place([ticket(orderType="LMT", price=150)])
    (stop,) = one.place([ticket(orderType="STP", side="SELL", price=195)])
    (hasty,) = one.place([ticket(orderType="LMT", price=150, tif="IOC")])
    one.advance(BEGAN_S + 5)
    assert (rests.status, stop.status, hasty.status) == ("Submitted", "PreSubmitted", "Cancelled")
    (sure,) = one.place([ticket(orderType="STP", side="SELL", price=205)])
    (both,) = one.place([ticket(orderType="STOP_LIMIT", side="SELL", price=150, auxPrice=205)])
    one.advance(BEGAN_S + 10)
    assert (sure.status, both.status, rests.status) == ("Filled", "Filled", "Submitted")


def test_a_bracket() -> None:
    """The children wait for their parent; when one of them is filled, the other one is cancelled."""
    one = book()
    parent, stop, profit = one.place(
        [
            ticket(cOID="p"),
            ticket(orderType="STP", side="SELL", price=150, parentId="p"),
            ticket(orderType="LMT", side="SELL", price=150, parentId="p"),
        ]
    )
    one.advance(BEGAN_S + 0.2)
    assert (parent.filled, profit.filled) == (Decimal(0), Decimal(0))
    one.advance(BEGAN_S + 2)
    assert (parent.status, stop.status, profit.status) == ("Filled", "Cancelled", "Filled")
    parent, child = one.place([ticket(cOID="q", orderType="LMT", price=150), ticket(side="SELL", parentId="q")])
    assert one.cancel(parent)
    assert child.status == "Cancelled"
    with pytest.raises(Rejected, match="Local order ID=p is already registered"):
        one.place([ticket(cOID="p")])
    with pytest.raises(Rejected, match="parent"):
        one.place([ticket(parentId="nobody")])
    assert len(one.orders) == 5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"conid": 1}, "conid"),
        ({"side": "HOLD"}, "side"),
        ({"orderType": "TRAIL"}, "MKT, LMT, STP, STOP_LIMIT"),
        ({"tif": "FOREVER"}, "tif"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": 1.5}, "whole shares"),
        ({"quantity": True}, "quantity"),
        ({"quantity": "many"}, "quantity"),
        ({"quantity": float("nan")}, "quantity"),
        ({"quantity": 1e30}, "quantity"),
        ({"orderType": "LMT"}, "price"),
        ({"orderType": "STOP_LIMIT", "price": 200}, "auxPrice"),
        ({"cashQty": 100}, "cashQty"),
    ],
)
def test_a_ticket_that_cannot_be(wrong: dict[str, Any], named: str) -> None:
    """A wrong field is named, with what the sandbox takes."""
    with pytest.raises(Unusable, match=named):
        ticket(**wrong)


def test_a_price_between_ticks_is_rejected() -> None:
    """As by IBKR: the text is its own."""
    with pytest.raises(Rejected, match="minimum price variation"):
        ticket(orderType="LMT", price=200.001)


def test_questions() -> None:
    """A price more than 3 % away, more than 500 shares, more than 100,000 dollars, and a stop are asked about."""

    def asked(*suppressed: str, **terms: Any) -> list[str]:
        found = questions_for([ticket(**terms)], lambda contract: contract.start_price, suppressed)
        return [question.message_id for question in found]

    assert asked() == asked(orderType="LMT", price=206) == asked(quantity=500) == []
    assert asked(orderType="LMT", price=206.01) == asked(orderType="LMT", price=193.99) == ["o163"]
    assert asked(quantity=501) == ["o383", "o451"]
    assert asked("o383", quantity=501) == ["o451"]
    assert asked(orderType="STP", price=190) == ["o10331"]
    assert asked(conid=12087792, quantity=2_000_000) == []


def test_an_order_goes_after_its_last_reply() -> None:
    """Each question has its own id; no order is placed before the last yes, none after a no or a later order."""
    one = market()
    (first,) = one.order([ticket(quantity=501)], BEGAN_S)
    (second,) = one.reply(first["id"], BEGAN_S, confirmed=True)
    assert (first["messageIds"], second["messageIds"], one.book.orders) == (["o383"], ["o451"], {})
    with pytest.raises(NoSuchReply):
        one.reply(first["id"], BEGAN_S, confirmed=True)
    (placed,) = one.reply(second["id"], BEGAN_S, confirmed=True)
    assert placed == {"order_id": str(FIRST_ID), "order_status": "PreSubmitted", "encrypt_message": "1"}
    (third,) = one.order([ticket(quantity=501)], BEGAN_S)
    assert one.reply(third["id"], BEGAN_S, confirmed=False) == []
    (fourth,) = one.order([ticket(quantity=501)], BEGAN_S)
    one.order([ticket()], BEGAN_S)
    with pytest.raises(NoSuchReply):
        one.reply(fourth["id"], BEGAN_S, confirmed=True)
    assert len(one.book.orders) == 2


def test_what_the_account_cannot_afford() -> None:
    """The margin is a quarter of the value; an order that needs more is rejected in IBKR's words; closing never is."""
    one = market(cash=1000)
    one.order([ticket(quantity=15)], BEGAN_S)
    one.advance(BEGAN_S + 1)
    with pytest.raises(Rejected, match="MUST EXCEED THE INITIAL MARGIN"):
        one.order([ticket(quantity=15)], BEGAN_S + 1)
    one.order([ticket(side="SELL", quantity=15)], BEGAN_S + 1)


def test_the_average_cost_and_what_was_won() -> None:
    """Purchases average, sales realize, and a turned position begins at the price of the turn."""
    one = market()
    for side, quantity in (("BUY", 10), ("BUY", 30), ("SELL", 15), ("SELL", 40)):
        one.book.place([ticket(side=side, quantity=quantity)])
        one.advance(one.book.now_s + 60)
    first, second, third, fourth = (fill.price for fill in one.book.fills)
    cost = (10 * first + 30 * second) / 40
    (held,) = one.portfolio.held()
    assert (held.quantity, held.cost) == (Decimal(-15), fourth)
    assert held.realized == 15 * (third - cost) + 25 * (fourth - cost)
