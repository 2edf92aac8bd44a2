"""The sandbox's prices: the same for the same seed, one walk for quotes and bars, and IBKR's way of asking for them."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.sandbox.market import market_data
from gwctl.sandbox.market.contracts import CONTRACTS, find, search
from gwctl.sandbox.market.market_data import MOST_POINTS, HistoryWish, Snapshots
from gwctl.sandbox.market.prices import DAY_S, Prices
from gwctl.sandbox.market.tickets import Unusable

BEGAN_S = 1_800_000_000.0
AAPL = CONTRACTS[265598]
contracts = st.sampled_from(sorted(CONTRACTS.values(), key=lambda contract: contract.conid))
seeds = st.integers(0, 10**9)


@given(contracts, seeds, st.floats(0, 3e7), st.floats(0, 1e6))
def test_the_same_seed_has_the_same_prices(one: Any, seed: int, after_s: float, later_s: float) -> None:
    """A price depends on the seed and on the time since the market began, and on nothing else."""
    first, second = Prices(seed, BEGAN_S), Prices(seed, BEGAN_S + later_s)
    quote = first.quote(one, BEGAN_S + after_s)
    assert quote == first.quote(one, BEGAN_S + after_s)
    assert abs(quote.last - second.last(one, BEGAN_S + later_s + after_s)) <= one.tick
    assert first.last(one, BEGAN_S) == one.start_price


def test_another_seed_has_other_prices_and_they_move() -> None:
    """Two seeds differ within a minute, and a price changes within one."""
    paths = [[Prices(seed, BEGAN_S).last(AAPL, BEGAN_S + second) for second in range(60)] for seed in (1, 2)]
    assert paths[0] != paths[1]
    assert all(len(set(path)) > 1 for path in paths)


@given(contracts, seeds, st.integers(-(10**8), 10**8), st.sampled_from([60, 300, 3600, DAY_S, 7 * DAY_S]), st.data())
def test_bars_agree_with_the_walk(one: Any, seed: int, start_s: int, length_s: int, data: st.DataObject) -> None:
    """A bar opens and closes at the walk's prices, no price in between is outside it, and its extremes are prices."""
    prices = Prices(seed, BEGAN_S)
    begins_s, ends_s = BEGAN_S + start_s, BEGAN_S + start_s + length_s
    bar = prices.bar(one, begins_s, ends_s)
    assert (bar.open, bar.close) == (prices.last(one, begins_s), prices.last(one, ends_s))
    inside_s = data.draw(st.lists(st.floats(begins_s, ends_s), min_size=1, max_size=20))
    assert all(bar.low <= prices.last(one, at_s) <= bar.high for at_s in inside_s)
    if length_s <= 300:
        seen = {prices.last(one, begins_s + second) for second in range(length_s + 1)}
        assert {bar.low, bar.high} <= seen


@given(contracts, seeds, st.integers(-(10**7), 10**7), st.integers(2, 8))
def test_bars_join(one: Any, seed: int, start_s: int, parts: int) -> None:
    """A long bar is what its short ones are together: prices, extremes and volume."""
    prices = Prices(seed, BEGAN_S)
    edges_s = [BEGAN_S + start_s + 600 * part for part in range(parts + 1)]
    short = [prices.bar(one, *edge_s) for edge_s in itertools.pairwise(edges_s)]
    whole = prices.bar(one, edges_s[0], edges_s[-1])
    assert whole.high == max(bar.high for bar in short)
    assert whole.low == min(bar.low for bar in short)
    assert whole.volume == sum(bar.volume for bar in short)
    assert all(bar.volume > 0 for bar in short)
    assert all(before.close == after.open for before, after in itertools.pairwise(short))


@given(contracts, seeds, st.floats(0, 1e7))
def test_quotes_are_on_ticks_and_in_order(one: Any, seed: int, after_s: float) -> None:
    """Bid, last and ask are on ticks, in this order, and somebody offers something on both sides."""
    quote = Prices(seed, BEGAN_S).quote(one, BEGAN_S + after_s)
    assert quote.bid < quote.last < quote.ask
    assert all(price == one.rounded(price) for price in (quote.bid, quote.last, quote.ask))
    assert min(quote.bid_size, quote.ask_size, quote.last_size) > 0


def test_the_first_snapshot_is_a_preflight() -> None:
    """The first one has the conid alone; the next ones what was asked for then or since; closing begins again."""
    prices, snapshots = Prices(1, BEGAN_S), Snapshots()
    first = snapshots.take(prices, ["265598"], ["31", "84", "86", "88", "85", "55"], BEGAN_S)
    assert first == [{"conidEx": "265598", "conid": 265598}]
    (again,) = snapshots.take(prices, ["265598"], ["7295"], BEGAN_S + 1)
    assert {"31", "84", "86", "88", "85", "55", "7295", "6509", "_updated"} <= again.keys()
    assert (again["55"], again["6509"], again["conid"]) == ("AAPL", "RpB", 265598)
    assert Decimal(again["84"]) < Decimal(again["31"]) < Decimal(again["86"])
    assert "7295" in snapshots.take(prices, ["265598"], [], BEGAN_S + 2)[0]
    assert snapshots.close(265598)
    assert not snapshots.close(265598)
    assert snapshots.take(prices, ["265598"], ["31"], BEGAN_S + 3) == first
    assert snapshots.take(prices, ["1", "x"], ["31"], BEGAN_S)[0] == {"conidEx": "1", "conid": 1}


def test_history_has_ibkrs_shape() -> None:
    """The bars are consecutive and end now; the extremes say where they are."""
    now_s = BEGAN_S + 1234.5
    wish = HistoryWish.parse({"conid": "265598", "period": "1h", "bar": "5min"})
    bars = wish.bars(Prices(1, BEGAN_S), now_s)
    told = market_data.history(wish, bars, "7")
    assert (told["points"], told["barLength"], told["symbol"], told["mdAvailability"]) == (12, 300, "AAPL", "S")
    times_ms = [point["t"] for point in told["data"]]
    assert times_ms[-1] <= now_s * 1000 < times_ms[-1] + 300_000
    assert {after - before for before, after in itertools.pairwise(times_ms)} == {300_000}
    assert told["high"].split("/")[0] == str(round(max(point["h"] for point in told["data"]) * 100))
    asked = HistoryWish.parse({"conid": "265598", "period": "1d", "bar": "1d", "startTime": "20260102-00:00:00"})
    assert [bar.start_s for bar in asked.bars(Prices(1, BEGAN_S), now_s)] == [1767312000.0]
    longest = HistoryWish.parse({"conid": "265598", "period": "30d", "bar": "5min"})
    assert len(longest.bars(Prices(1, BEGAN_S), now_s)) == MOST_POINTS


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"conid": "1"}, "conid"),
        ({"period": "1 fortnight"}, "period"),
        ({"period": "0d"}, "period"),
        ({"bar": "tiny"}, "bar"),
        ({"period": "1h", "bar": "1d"}, "bar"),
        ({"startTime": "yesterday"}, "startTime"),
    ],
)
def test_a_history_that_cannot_be(wrong: dict[str, str], named: str) -> None:
    """A wrong parameter is named."""
    with pytest.raises(Unusable, match=named):
        HistoryWish.parse({"conid": "265598", "period": "1d", "bar": "1h", **wrong})


def test_contracts_are_found() -> None:
    """By conid, by symbol, by name, by pair; and nothing for anything else."""
    assert find("265598@SMART") is find(265598) is AAPL
    assert [one.conid for one in search("eur.usd")] == [one.conid for one in search("EUR")] == [12087792]
    assert [one.symbol for one in search("apple", by_name=True)] == ["AAPL"]
    assert search("AAPL", sec_type="CASH") == search("NOPE") == search("") == []
    odd: tuple[object, ...] = ("", "x", "-1", "\uff19", "9" * 30, None, [])
    assert [find(one) for one in odd] == [None] * len(odd)
