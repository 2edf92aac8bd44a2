"""Snapshots and historical bars, in IBKR's shapes.

Sources: "Market Data" in IBKR's Web API documentation (the pre-flight request, the field tags, the history and its step
sizes: https://www.interactivebrokers.com/docs/web-api/v1/endpoints/market-data), and "Top-of-Book Snapshots" in
https://www.interactivebrokers.com/campus/ibkr-api-page/webapi-doc/.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from gwctl.sandbox.market.contracts import Contract, find, number_in
from gwctl.sandbox.market.prices import DAY_S, Bar, Prices
from gwctl.sandbox.market.tickets import Unusable

AVAILABILITY: Final = "RpB"
"""Real time, consolidated, book (field 6509)."""
DEFAULT_FIELDS: Final = ("31", "55", "70", "71", "84", "85", "86", "87", "88")
MOST_POINTS: Final = 1000
"""IBKR's documentation: "This endpoint provides a maximum of 1000 data points"."""
LONGEST_S: Final = 15 * 365 * DAY_S
"""IBKR's longest period."""
_TOO_EARLY: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_UNITS_S: Final = {"S": 1, "secs": 1, "min": 60, "mins": 60, "h": 3600, "hrs": 3600, "d": DAY_S, "w": 7 * DAY_S,
                   "m": 30 * DAY_S, "y": 365 * DAY_S}  # fmt: skip
_LENGTH: Final = re.compile(r"(\d{1,5}) ?([A-Za-z]+)")
_DEFAULT_BARS_S: Final = ((2 * DAY_S, 60), (8 * DAY_S, 900), (31 * DAY_S, 1800), (731 * DAY_S, DAY_S))


def fields_of(prices: Prices, contract: Contract, at_s: float) -> dict[str, str | int]:
    """Return every field that the sandbox knows, by its tag."""
    quote = prices.quote(contract, at_s)
    day_began_s = at_s // DAY_S * DAY_S
    day = prices.bar(contract, day_began_s, at_s)
    change = quote.last - day.open
    percent = 100 * change / day.open
    return {
        "31": str(quote.last),
        "55": contract.symbol,
        "58": contract.name,
        "70": str(day.high),
        "71": str(day.low),
        "82": f"{change:+}",
        "83": f"{percent:.2f}%",
        "84": str(quote.bid),
        "85": f"{quote.ask_size:,}",
        "86": str(quote.ask),
        "87": _short(day.volume),
        "88": f"{quote.bid_size:,}",
        "6004": "SMART" if contract.sec_type == "STK" else contract.listing,
        "6008": contract.conid,
        "6070": contract.sec_type,
        "6509": AVAILABILITY,
        "7051": contract.name,
        "7059": f"{quote.last_size:,}",
        "7094": f"{contract.conid}@SMART",
        "7184": "1",
        "7219": contract.local_symbol,
        "7220": contract.local_symbol,
        "7221": contract.listing,
        "7280": contract.sector,
        "7281": contract.group,
        "7295": str(day.open),
        "7296": str(day.open),
        "7635": str(quote.last),
        "7682": f"{change:+}",
        "7741": str(day.open),
        "7762": str(day.volume),
        "7768": "1",
    }


def _short(volume: int) -> str:
    """Return a volume as IBKR writes it: in thousands or millions."""
    for size, letter in ((1_000_000, "M"), (1_000, "K")):
        if volume >= size:
            return f"{volume / size:.3g}{letter}" if volume < 1000 * size else f"{volume / size:.0f}{letter}"
    return str(volume)


def update(prices: Prices, contract: Contract, wanted: Iterable[str], at_s: float) -> dict[str, Any]:
    """Return a snapshot's object with the wanted fields; the market data on the WebSocket is the same."""
    known = fields_of(prices, contract, at_s)
    marker = f"q{contract.conid % 100}"
    return {
        **{tag: known[tag] for tag in wanted if tag in known},
        "6119": marker,
        "6509": AVAILABILITY,
        "_updated": int(at_s * 1000),
        "conid": contract.conid,
        "conidEx": str(contract.conid),
        "server_id": marker,
    }


class Snapshots:
    """The contracts that somebody has asked for: the first request opens the data, the next ones get it."""

    def __init__(self) -> None:
        self._wanted: dict[int, dict[str, None]] = {}

    def take(self, prices: Prices, conids: Iterable[str], fields: Iterable[str], at_s: float) -> list[dict[str, Any]]:
        """Return one object for each conid; nothing but the conid for a first request, or an unknown conid."""
        asked = tuple(fields)
        taken = []
        for conid in conids:
            contract = find(conid)
            if contract is None or contract.conid not in self._wanted:
                number = number_in(conid)
                taken.append({"conidEx": conid, "conid": conid if number is None else number})
            else:
                wanted = {**self._wanted[contract.conid], **dict.fromkeys(asked)} or dict.fromkeys(DEFAULT_FIELDS)
                taken.append(update(prices, contract, wanted, at_s))
            if contract is not None:
                self._wanted.setdefault(contract.conid, {}).update(dict.fromkeys(asked))
        return taken

    def close(self, conid: object) -> bool:
        """Close the data of one contract; return whether it was open."""
        contract = find(conid)
        return contract is not None and self._wanted.pop(contract.conid, None) is not None

    def close_all(self) -> None:
        """Close all data."""
        self._wanted.clear()


class HistoryWish(Struct, frozen=True):
    """Which bars somebody asks for; ``start_s`` is the beginning, None for a period that ends now."""

    contract: Contract
    period: str
    period_s: int
    bar_s: int
    start_s: float | None
    outside_rth: bool

    @classmethod
    def parse(cls, query: Mapping[str, Any]) -> HistoryWish:
        """Return the wish in a request; raise Unusable."""
        contract = find(query.get("conid", ""))
        if contract is None:
            raise Unusable(f"no contract with conid {query.get('conid')} in the sandbox")
        period = str(query.get("period") or "1w")
        period_s = _length_s("period", period)
        bar = str(query.get("bar") or "")
        usual_s = next((bar_s for below_s, bar_s in _DEFAULT_BARS_S if period_s <= below_s), 7 * DAY_S)
        bar_s = _length_s("bar", bar) if bar else min(usual_s, period_s)
        if bar_s > period_s:
            raise Unusable(f"bar {bar} is longer than period {period}")
        return cls(
            contract,
            period,
            period_s,
            bar_s,
            _moment_s(str(query.get("startTime") or "")),
            str(query.get("outsideRth", "")).lower() == "true",
        )

    def bars(self, prices: Prices, now_s: float) -> list[Bar]:
        """Return the bars, which begin at multiples of their length in UTC; the last one may not be complete."""
        if self.start_s is None:
            end_s = now_s
            start_s = ((now_s - self.period_s) // self.bar_s + 1) * self.bar_s
        else:
            start_s = self.start_s // self.bar_s * self.bar_s
            end_s = min(now_s, self.start_s + self.period_s)
        count = max(0, math.ceil((end_s - start_s) / self.bar_s))
        starts_s = [start_s + number * self.bar_s for number in range(max(0, count - MOST_POINTS), count)]
        return [prices.bar(self.contract, begin_s, min(begin_s + self.bar_s, end_s)) for begin_s in starts_s]


def _length_s(name: str, text: str) -> int:
    found = _LENGTH.fullmatch(text.strip())
    unit_s = _UNITS_S.get(found[2]) if found is not None else None
    if found is None or unit_s is None or not 0 < int(found[1]) * unit_s <= LONGEST_S:
        raise Unusable(f"{name} cannot be {text!r}; for example: 5min, 1h, 1d, 1w, 1m, 1y")
    return int(found[1]) * unit_s


def _moment_s(text: str) -> float | None:
    if not text:
        return None
    try:
        moment = dt.datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=dt.UTC)
    except ValueError:
        moment = _TOO_EARLY
    if moment <= _TOO_EARLY:
        raise Unusable(f"startTime cannot be {text!r}; its format is YYYYMMDD-HH:mm:ss, in UTC")
    return moment.timestamp()


def history(wish: HistoryWish, bars: list[Bar], server_id: str) -> dict[str, Any]:
    """Return the object of ``/iserver/marketdata/history``; ``smh`` on the WebSocket sends the same."""
    contract = wish.contract
    factor = 10**contract.digits
    first_s = bars[0].start_s if bars else 0.0

    def extreme(bar: Bar, price: str) -> str:
        return f"{int(getattr(bar, price) * factor)}/{bar.volume}/{int(bar.start_s - first_s) // 60}"

    return {
        "serverId": server_id,
        "symbol": contract.local_symbol,
        "text": contract.name,
        "priceFactor": factor,
        "startTime": _stamp(first_s),
        "high": extreme(max(bars, key=lambda bar: bar.high), "high") if bars else "",
        "low": extreme(min(bars, key=lambda bar: bar.low), "low") if bars else "",
        "timePeriod": wish.period,
        "barLength": wish.bar_s,
        "mdAvailability": "S",
        "mktDataDelay": 0,
        "outsideRth": wish.outside_rth,
        "tradingDayDuration": 1440,
        "volumeFactor": 1,
        "priceDisplayRule": 1,
        "priceDisplayValue": str(contract.digits),
        "chartPanStartTime": _stamp(first_s),
        "direction": -1,
        "negativeCapable": False,
        "messageVersion": 2,
        "data": [_point(bar) for bar in bars],
        "points": len(bars),
        "travelTime": 1,
    }


def hmds_history(bars: list[Bar]) -> dict[str, Any]:
    """Return the object of ``/hmds/history``."""
    first_s, last_s = (bars[0].start_s, bars[-1].end_s) if bars else (0.0, 0.0)
    return {
        "startTime": _stamp(first_s),
        "startTimeVal": int(first_s * 1000),
        "endTime": _stamp(last_s),
        "endTimeVal": int(last_s * 1000),
        "data": [_point(bar) for bar in bars],
        "points": len(bars),
        "mktDataDelay": 0,
    }


def _point(bar: Bar) -> dict[str, Any]:
    prices = {"o": bar.open, "c": bar.close, "h": bar.high, "l": bar.low}
    return {**{key: float(price) for key, price in prices.items()}, "v": bar.volume, "t": int(bar.start_s * 1000)}


def _stamp(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, dt.UTC).strftime("%Y%m%d-%H:%M:%S")
