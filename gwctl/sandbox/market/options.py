"""The option chain of one index: what can be looked up about it, as IBKR's three steps to a chain do.

Search, strikes and contract have the shapes of "Contract" and "Option Chains" in IBKR's Web API documentation
(https://www.interactivebrokers.com/docs/web-api/v1/endpoints/contract,
https://www.interactivebrokers.com/campus/ibkr-api-page/cpapi-v1/#option-chain). The index's conid is IBKR's own; the
options', their strikes and days are the sandbox's: the Fridays of six months. There are no prices.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from msgspec import Struct

INDEX_CONID: Final = 416904
SYMBOL: Final = "SPX"
NAME: Final = "S&P 500 Stock Index"
LISTING: Final = "CBOE"
EXCHANGES: Final = ("SMART", "CBOE", "IBUSOPT")
STRIKES: Final = tuple(range(5000, 7001, 25))
MONTHS: Final = 6
RIGHTS: Final = {"C": "Call", "P": "Put"}
_FIRST_CONID: Final = 800_000_000
_FIRST_DAY: Final = dt.date(2020, 1, 1)
_NAMES: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FRIDAY: Final = 4
_THIRD_WEEK: Final = range(15, 22)


class Option(Struct, frozen=True):
    """One option of the index."""

    expires: dt.date
    strike: int
    right: str

    @property
    def conid(self) -> int:
        """The sandbox's own number for it: the day, the strike and the right."""
        day, strike = (self.expires - _FIRST_DAY).days, STRIKES.index(self.strike)
        return _FIRST_CONID + (day << 8 | strike << 1 | (self.right == "P"))

    def described(self) -> dict[str, Any]:
        """Return an entry of ``/iserver/secdef/info``."""
        at = self.expires
        return {
            "conid": self.conid,
            "symbol": SYMBOL,
            "secType": "OPT",
            "exchange": "SMART",
            "listingExchange": None,
            "right": self.right,
            "strike": float(self.strike),
            "currency": "USD",
            "cusip": None,
            "coupon": "No Coupon",
            "desc1": SYMBOL,
            "desc2": f"{_NAMES[at.month - 1]} {at:%d '%y} {self.strike} {RIGHTS[self.right]}",
            "maturityDate": f"{at:%Y%m%d}",
            "multiplier": "100",
            "tradingClass": SYMBOL if at.day in _THIRD_WEEK else f"{SYMBOL}W",
            "validExchanges": ",".join(EXCHANGES),
        }


def find(text: str, *, by_name: bool, sec_type: str | None) -> bool:
    """Return whether a search for this text means the index."""
    wanted = text.strip().upper()
    return sec_type in {None, "", "IND"} and bool(wanted) and (wanted in NAME.upper() if by_name else wanted == SYMBOL)


def search_entry(today: dt.date, *, by_name: bool) -> dict[str, Any]:
    """Return the index's entry of ``/iserver/secdef/search``."""
    entry = {
        "conid": str(INDEX_CONID),
        "companyHeader": f"{NAME} - {LISTING}",
        "companyName": NAME,
        "symbol": SYMBOL,
    }
    if by_name:
        return entry
    days = list(expirations(today))
    chain = {
        "secType": "OPT",
        "months": ";".join(dict.fromkeys(month_of(day) for day in days)),
        "exchange": ";".join(EXCHANGES),
    }
    return entry | {
        "description": LISTING,
        "restricted": "IND",
        "opt": ";".join(f"{day:%Y%m%d}" for day in days),
        "sections": [{"secType": "IND", "exchange": f"{LISTING};"}, chain],
        "secType": "IND",
    }


def strikes(month: str, today: dt.date) -> dict[str, list[float]]:
    """Return the object of ``/iserver/secdef/strikes``; a month without options has none."""
    found = [float(strike) for strike in STRIKES] if any(_in_month(month, today)) else []
    return {"call": found, "put": found}


def described(month: str, strike: str, right: str, today: dt.date) -> list[dict[str, Any]]:
    """Return the list of ``/iserver/secdef/info``: one entry for each day in the month on which such an option ends."""
    try:
        wanted = Decimal(strike)
        is_known = wanted in STRIKES and right in RIGHTS
    except InvalidOperation:  # no number, or a NaN that compares with nothing
        is_known = False
    return [Option(day, int(wanted), right).described() for day in _in_month(month, today)] if is_known else []


def expirations(today: dt.date) -> Iterator[dt.date]:
    """Yield the days on which options end, from today on."""
    friday = today + dt.timedelta((_FRIDAY - today.weekday()) % 7)
    months: set[str] = set()
    while len(months | {month_of(friday)}) <= MONTHS:
        months.add(month_of(friday))
        yield friday
        friday += dt.timedelta(weeks=1)


def month_of(day: dt.date) -> str:
    """Return a day's month as IBKR writes it: ``JAN27``."""
    return f"{_NAMES[day.month - 1]}{day:%y}"


def _in_month(month: str, today: dt.date) -> list[dt.date]:
    return [day for day in expirations(today) if month_of(day) == month.strip().upper()]
