"""The contracts of the sandbox's market, and how IBKR describes a contract.

The conids are IBKR's own. The shapes are those of "Contract" in IBKR's Web API documentation
(https://www.interactivebrokers.com/docs/web-api/v1/endpoints/contract).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

from msgspec import Struct

SecType = Literal["STK", "CASH"]


class Contract(Struct, frozen=True):
    """One contract; ``depth`` is how many units one step of the market fills at most."""

    conid: int
    symbol: str
    name: str
    listing: str
    start_price: Decimal
    sector: str = ""
    group: str = ""
    sec_type: SecType = "STK"
    currency: str = "USD"
    tick: Decimal = Decimal("0.01")
    daily_volatility: float = 0.015
    daily_volume: int = 20_000_000
    depth: int = 300

    @property
    def local_symbol(self) -> str:
        """The symbol that names it alone: ``EUR.USD`` for a currency pair."""
        return f"{self.symbol}.{self.currency}" if self.sec_type == "CASH" else self.symbol

    @property
    def digits(self) -> int:
        """How many decimal places a price has."""
        return -int(self.tick.as_tuple().exponent)

    def rounded(self, price: float | Decimal) -> Decimal:
        """Return the nearest price on a tick."""
        return ((Decimal(price) / self.tick).to_integral_value() * self.tick).quantize(self.tick)


def _stock(conid: int, symbol: str, name: str, start_price: int, group: str, **more: str | float) -> Contract:
    facts: dict[str, Any] = {"listing": "NASDAQ", "sector": "Technology", **more}
    return Contract(conid, symbol, name, start_price=Decimal(start_price), group=group, **facts)


_ALL: Final = (
    _stock(265598, "AAPL", "APPLE INC", 200, "Computers"),
    _stock(272093, "MSFT", "MICROSOFT CORP", 450, "Software"),
    _stock(208813720, "GOOG", "ALPHABET INC-CL C", 180, "Internet", sector="Communications"),
    _stock(3691937, "AMZN", "AMAZON.COM INC", 220, "Internet", sector="Communications"),
    _stock(
        76792991, "TSLA", "TESLA INC", 300, "Auto Manufacturers", sector="Consumer, Cyclical", daily_volatility=0.03
    ),
    _stock(8314, "IBM", "INTL BUSINESS MACHINES CORP", 250, "Computers", listing="NYSE", daily_volume=4_000_000),
    _stock(
        *(756733, "SPY", "SS SPDR S&P 500 ETF TRUST-US", 600, "Equity Fund"),
        listing="ARCA",
        sector="Funds",
        daily_volatility=0.008,
        daily_volume=60_000_000,
    ),
    _stock(265768, "ADBE", "ADOBE INC", 350, "Software", daily_volume=4_000_000),
    _stock(4391, "AMD", "ADVANCED MICRO DEVICES", 160, "Semiconductors", daily_volatility=0.025),
    _stock(10098, "BAC", "BANK OF AMERICA CORP", 45, "Banks", listing="NYSE", sector="Financial"),
    _stock(
        481691285, "COIN", "COINBASE GLOBAL INC -CLASS A", 280, "Internet", sector="Financial", daily_volatility=0.035
    ),
    _stock(6459, "DIS", "WALT DISNEY CO/THE", 110, "Media", listing="NYSE", sector="Communications"),
    _stock(169544810, "HUBS", "HUBSPOT INC", 500, "Software", listing="NYSE", daily_volume=1_000_000),
    _stock(8894, "KO", "COCA-COLA CO/THE", 70, "Beverages", listing="NYSE", sector="Consumer, Non-cyclical"),
    _stock(107113386, "META", "META PLATFORMS INC-CLASS A", 650, "Internet", sector="Communications"),
    _stock(49462172, "V", "VISA INC-CLASS A SHARES", 340, "Diversified Finan Serv", listing="NYSE", sector="Financial"),
    _stock(13824, "WMT", "WALMART INC", 95, "Retail", listing="NYSE", sector="Consumer, Cyclical"),
    _stock(13977, "XOM", "EXXON MOBIL CORP", 110, "Oil&Gas", listing="NYSE", sector="Energy"),
    Contract(
        *(12087792, "EUR", "European Monetary Union Euro", "IDEALPRO", Decimal("1.10000")),
        sec_type="CASH",
        tick=Decimal("0.00005"),
        daily_volatility=0.004,
        daily_volume=900_000_000,
        depth=1_000_000,
    ),
)
CONTRACTS: Final = {contract.conid: contract for contract in _ALL}
_ELSEWHERE: Final = {
    "AAPL": (
        ("APPLE INC", ((38708077, "MEXI"), (273982664, "EBS"))),
        ("LS 1X AAPL", ((493546048, "LSEETF"),)),
        ("APPLE INC-CDR", ((532640894, "AEQLIT"),)),
    ),
    "GOOG": (("ALPHABET INC-CL C", ((210810667, "MEXI"),)), ("ALPHABET INC - CDR", ((532638805, "AEQLIT"),))),
}
"""The same companies' other listings, in other currencies, which only ``/trsrv/stocks`` names: the market has no
prices of them. AAPL's are the example in IBKR's documentation of that path, GOOG's are what clients were answered."""
_LONGEST_NUMBER: Final = 20
EUR_USD: Final = CONTRACTS[12087792]


def number_in(text: str) -> int | None:
    """Return the number that a text consists of, None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER else None


def find(conid: object) -> Contract | None:
    """Return the contract with this conid, an integer or a text such as ``265598@SMART``; None if there is none."""
    return CONTRACTS.get(number_in(str(conid).partition("@")[0].strip()) or 0)


def search(text: str, *, by_name: bool = False, sec_type: str | None = None) -> list[Contract]:
    """Return the contracts with this symbol, or with this text in their name."""
    wanted = text.strip().upper()
    return [
        contract
        for contract in _ALL
        if wanted
        and (wanted in contract.name.upper() if by_name else wanted in {contract.symbol, contract.local_symbol})
        and sec_type in {None, "", contract.sec_type}
    ]


def search_entry(contract: Contract, *, by_name: bool) -> dict[str, Any]:
    """Return an entry of ``/iserver/secdef/search``; by name, IBKR sends four fields only."""
    header = f"{contract.name} - {contract.listing}"
    entry = {
        "conid": str(contract.conid),
        "companyHeader": header,
        "companyName": contract.name,
        "symbol": contract.symbol,
    }
    if by_name:
        return entry
    return entry | {
        "description": contract.listing,
        "restricted": None,
        "sections": [{"secType": contract.sec_type}],
        "secType": contract.sec_type,
    }


def stocks(symbol: str) -> list[dict[str, Any]]:
    """Return the list of ``/trsrv/stocks`` for a symbol: a company's listings together, the one in the US first."""
    listings: dict[str, list[dict[str, Any]]] = {}
    for one in search(symbol, sec_type="STK"):
        listings.setdefault(one.name, []).append({"conid": one.conid, "exchange": one.listing, "isUS": True})
    for name, others in _ELSEWHERE.get(symbol.strip().upper(), ()):
        more = [{"conid": conid, "exchange": exchange, "isUS": False} for conid, exchange in others]
        listings.setdefault(name, []).extend(more)
    return [
        {"name": name, "chineseName": None, "assetClass": "STK", "contracts": found} for name, found in listings.items()
    ]


def definition(contract: Contract) -> dict[str, Any]:
    """Return an entry of ``/trsrv/secdef``; positions have the same fields."""
    step = {"decimalDigits": contract.digits, "lowerEdge": 0.0, "wholeDigits": 4}
    return {
        "conid": contract.conid,
        "currency": contract.currency,
        "time": 1,
        "chineseName": None,
        "allExchanges": f"SMART,{contract.listing}",
        "listingExchange": contract.listing,
        "countryCode": "US",
        "name": contract.name,
        "assetClass": contract.sec_type,
        "expiry": None,
        "lastTradingDay": None,
        "group": contract.group or None,
        "putOrCall": None,
        "sector": contract.sector or None,
        "sectorGroup": contract.group or None,
        "strike": "0",
        "ticker": contract.symbol,
        "undConid": 0,
        "multiplier": 0.0,
        "type": "COMMON" if contract.sec_type == "STK" else None,
        "hasOptions": False,
        "fullName": contract.local_symbol,
        "isUS": contract.sec_type == "STK",
        "incrementRules": [{"lowerEdge": 0.0, "increment": float(contract.tick)}],
        "displayRule": {"magnification": 0, "displayRuleStep": [step]},
        "isEventContract": False,
        "pageSize": 100,
    }


def info(contract: Contract) -> dict[str, Any]:
    """Return the object of ``/iserver/contract/{conid}/info``."""
    return {
        "cfi_code": "",
        "symbol": contract.symbol,
        "cusip": None,
        "expiry_full": None,
        "con_id": contract.conid,
        "maturity_date": None,
        "industry": contract.group,
        "instrument_type": contract.sec_type,
        "trading_class": contract.local_symbol,
        "valid_exchanges": f"SMART,{contract.listing}",
        "allow_sell_long": False,
        "is_zero_commission_security": False,
        "local_symbol": contract.local_symbol,
        "contract_clarification_type": None,
        "classifier": None,
        "currency": contract.currency,
        "text": None,
        "underlying_con_id": 0,
        "r_t_h": True,
        "multiplier": None,
        "underlying_issuer": None,
        "contract_month": None,
        "company_name": contract.name,
        "smart_available": contract.sec_type == "STK",
        "exchange": "SMART" if contract.sec_type == "STK" else contract.listing,
        "category": contract.group,
    }


def info_entry(contract: Contract) -> dict[str, Any]:
    """Return an entry of ``/iserver/secdef/info``."""
    return {
        "conid": contract.conid,
        "ticker": contract.symbol,
        "secType": contract.sec_type,
        "listingExchange": contract.listing,
        "exchange": "SMART" if contract.sec_type == "STK" else contract.listing,
        "companyName": contract.name,
        "currency": contract.currency,
        "validExchanges": f"SMART,{contract.listing}",
        "priceRendering": None,
        "maturityDate": None,
        "right": "?",
        "strike": 0.0,
    }


def rules(contract: Contract, account_id: str, price: Decimal) -> dict[str, Any]:
    """Return the object of ``/iserver/contract/rules``: only what the sandbox can do."""
    kinds = ["limit", "market", "stop", "stop_limit"]
    return {
        "algoEligible": False,
        "overnightEligible": True,
        "costReport": False,
        "canTradeAcctIds": [account_id],
        "error": None,
        "orderTypes": kinds,
        "ibAlgoTypes": [],
        "fraqTypes": [],
        "forceOrderPreview": False,
        "cqtTypes": [],
        "orderDefaults": {"LMT": {"LP": str(price)}},
        "orderTypesOutside": kinds,
        "defaultSize": 100,
        "cashSize": 0.0,
        "sizeIncrement": 1,
        "tifTypes": ["IOC/MARKET,LIMIT", "GTC/o,a", "DAY/o,a"],
        "tifDefaults": {"TIF": "DAY", "SIZE": "100.00"},
        "limitPrice": float(price),
        "stopprice": float(price),
        "preview": True,
        "cashCcy": contract.currency,
        "negativeCapable": False,
        "incrementType": 1,
        "incrementRules": [{"lowerEdge": 0.0, "increment": float(contract.tick)}],
        "hasSecondary": True,
        "increment": float(contract.tick),
        "incrementDigits": contract.digits,
    }
