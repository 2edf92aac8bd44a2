"""The sandbox serves ibind as it is: its examples' calls work, through the fake gateway and through the real one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import a_home

pytestmark = pytest.mark.timeout(180)

PROGRAM = Path(__file__).parents[1] / "fakes" / "ibind_bot.py"
QUIET = {"IBIND_LOG_TO_FILE": "false", "IBIND_LOG_TO_CONSOLE": "false"}
PROGRAMS = ("accounts", "stocks", "prices", "order", "bracket", "chain", "listen")
Told = dict[str, Any]


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.real_gateway)])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Yield what the programs were told, one after the other, on a sandbox with this gateway."""
    with a_home(tmp_path_factory.mktemp("ibind")) as home:
        if request.param == "real":
            home.gwctl("release", "install", os.environ["GWCTL_TEST_RELEASE_ZIP"]).check(0)
        done = home.gwctl("exec", "--sandbox", "--fast", "--", sys.executable, str(PROGRAM), *PROGRAMS, **QUIET)
        assert done.exit_code == 0, done.stderr
        yield json.loads(done.stdout)


def test_accounts_ledger_and_positions(told: Told) -> None:
    """A new sandbox is healthy, and has a paper account with a million dollars and no positions."""
    accounts = told["accounts"]
    assert accounts["healthy"] is True
    assert accounts["account"] == "DU1234567"
    assert accounts["ledger"]["USD"] == accounts["ledger"]["BASE"] == [1_000_000, 1_000_000, 0]
    assert (accounts["summary"]["amount"], accounts["positions"]) == (1_000_000, [])


def test_contracts(told: Told) -> None:
    """Symbols lead to IBKR's conids, by ibind's queries, too."""
    stocks = told["stocks"]
    assert (stocks["conid"], stocks["query"]) == ({"AAPL": 265598}, {"MSFT": 272093})
    assert stocks["elsewhere"] == {"AAPL": 38708077, "GOOG": 532638805, "HUBS": 169544810}
    assert stocks["stocks"]["AAPL"][0]["contracts"][0]["exchange"] == "NASDAQ"
    assert (stocks["search"][0]["conid"], stocks["unknown"]) == ("265598", [])


def test_snapshots_and_history(told: Told) -> None:
    """Snapshots have ibind's names for the fields; history is there by conid, by symbol, and for fifteen at once."""
    prices = told["prices"]
    apple = prices["snapshot"]["AAPL"]
    assert Decimal(apple["bid_price"]) < Decimal(apple["last_price"]) < Decimal(apple["ask_price"])
    assert prices["snapshot"]["MSFT"]["conid"] == 272093
    assert prices["by_conid"]["data"][0].keys() == prices["by_symbol"]["data"][0].keys() == set("oclhvt")
    assert len(prices["many"]) == 15
    assert set(prices["many"].values()) == {24}


def test_an_order_from_its_placing_to_its_fill(told: Told) -> None:
    """Ibind answers the questions; the order fills in two parts; another one is changed and cancelled."""
    order = told["order"]
    placed = order["placed"]["order_id"]
    assert (order["status"]["order_status"], order["status"]["cum_fill"]) == ("Filled", "600.0")
    assert [trade["size"] for trade in order["trades"]] == [300.0, 300.0]
    assert {trade["order_ref"] for trade in order["trades"]} == {"my_order-1"}
    assert order["changed"]["order_id"] == str(order["cancelled"]["order_id"])
    assert order["orders"] == {placed: "Filled", order["changed"]["order_id"]: "Cancelled"}
    (position,) = order["positions"]
    assert (position["ticker"], position["position"]) == ("AAPL", 600.0)
    assert order["preview"]["position"]["after"] == "1,200"


def test_a_bracket(told: Told) -> None:
    """Three orders are placed at once; the parent, whose price is far above the market, fills."""
    assert len(told["bracket"]["placed"]) == 3
    assert told["bracket"]["parent"] == "Filled"


def test_an_option_chain(told: Told) -> None:
    """The steps from an index to its options, in the order that IBKR wants."""
    chain = told["chain"]
    assert chain["index"]["companyName"] == "S&P 500 Stock Index"
    assert len(chain["strikes"]["call"]) > 50
    assert {(one["strike"], one["right"]) for one in chain["found"]} == {(chain["strikes"]["call"][0], "C")}


def test_the_web_socket(told: Told) -> None:
    """Every subscription is confirmed and heard; an order placed meanwhile comes filled, with its execution."""
    heard = told["listen"]
    assert heard["active"] == heard["ended"] == [True] * 7
    assert heard["errors"] == []
    assert heard["prices"].keys() >= {"last_price", "bid_price", "ask_price"}
    assert heard["history"]["points"] == 12
    assert heard["summary"]["AccountCode"]["value"] == heard["ledger"]["acctCode"] == "DU1234567"
    assert heard["won"]["args"].keys() == {"DU1234567.Core"}
    (filled,) = [one for one in heard["filled"]["args"] if one.get("order_ref") == "heard"]
    (trade,) = [one for one in heard["trade"]["args"] if one["order_ref"] == "heard"]
    assert (filled["status"], trade["size"]) == ("Filled", 5.0)
    assert str(filled["orderId"]) == str(trade["order_id"]) == heard["placed"]["order_id"]
