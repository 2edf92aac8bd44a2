"""An order ticket as a client sends it: what the sandbox accepts, and what it refuses.

Source: "Place Order" in IBKR's Web API documentation
(https://www.interactivebrokers.com/docs/web-api/v1/endpoints/orders).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from msgspec import Struct

from gwctl.sandbox.market.contracts import Contract, find

Side = Literal["BUY", "SELL"]
Kind = Literal["MKT", "LMT", "STP", "STOP_LIMIT"]


class Unusable(Exception):
    """A request with content that cannot be used; its text says why (IBKR answers 400)."""


class Rejected(Exception):
    """An order that IBKR would not accept: 200 with its text as ``error`` ("Order Reject Object")."""


KINDS: Final = ("MKT", "LMT", "STP", "STOP_LIMIT")
TIFS: Final = ("DAY", "GTC", "IOC")
_NOT_HERE: Final = ("cashQty", "fxQty", "isCcyConv", "strategy", "trailingAmt", "allocationMethod")
_MOST: Final = Decimal(10) ** 9


class Ticket(Struct, frozen=True):
    """One order as it was sent; ``client_id`` is its ``cOID``, ``parent_id`` another order's."""

    contract: Contract
    side: Side
    quantity: Decimal
    kind: Kind
    limit: Decimal | None = None
    stop: Decimal | None = None
    tif: str = "DAY"
    client_id: str | None = None
    parent_id: str | None = None

    @property
    def sign(self) -> int:
        """1 for a purchase, -1 for a sale."""
        return 1 if self.side == "BUY" else -1

    @classmethod
    def parse(cls, raw: object) -> Ticket:
        """Return the ticket in a JSON object; raise Unusable, and Rejected for a price that is on no tick."""
        if not isinstance(raw, Mapping):
            raise Unusable("an order is a JSON object")
        for key in _NOT_HERE:
            if not (raw.get(key) is None or raw[key] is False):
                raise Unusable(f"not in the sandbox: an order with {key}")
        contract = find(raw.get("conid") if raw.get("conid") is not None else raw.get("conidex", ""))
        if contract is None:
            raise Unusable(f"no contract with conid {raw.get('conid', raw.get('conidex'))} in the sandbox")
        side, kind, tif = (str(raw.get(key, "")).upper() for key in ("side", "orderType", "tif"))
        _one_of("side", side, ("BUY", "SELL"))
        _one_of("orderType", kind, KINDS)
        _one_of("tif", tif, TIFS)
        price = _price(raw, "price", contract) if kind != "MKT" else None
        aux = _price(raw, "auxPrice", contract) if kind == "STOP_LIMIT" else None
        return cls(
            contract,
            "BUY" if side == "BUY" else "SELL",
            _quantity(raw, contract),
            _kind(kind),
            limit=price if kind in {"LMT", "STOP_LIMIT"} else None,
            stop=price if kind == "STP" else aux,
            tif=tif,
            client_id=_text(raw, "cOID"),
            parent_id=_text(raw, "parentId"),
        )

    def words(self) -> str:
        """Return the order as IBKR's questions name it: ``BUY 5 AAPL NASDAQ @ 150.0``."""
        said = f"{self.side} {self.quantity:f} {self.contract.local_symbol} {self.contract.listing}"
        return said if self.limit is None else f"{said} @ {float(self.limit)}"


def _kind(text: str) -> Kind:
    kinds: dict[str, Kind] = {"MKT": "MKT", "LMT": "LMT", "STP": "STP", "STOP_LIMIT": "STOP_LIMIT"}
    return kinds[text]


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise Unusable(f"{name} cannot be {value!r}; in the sandbox: {', '.join(known)}")


def _text(raw: Mapping[str, Any], key: str) -> str | None:
    value = raw.get(key)
    return None if value is None else str(value)


def _number(raw: Mapping[str, Any], key: str) -> Decimal:
    value = raw.get(key)
    try:
        number = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 < number <= _MOST:
        raise Unusable(f"{key} cannot be {value!r}")
    return number


def _quantity(raw: Mapping[str, Any], contract: Contract) -> Decimal:
    quantity = _number(raw, "quantity")
    if contract.sec_type == "STK" and quantity != quantity.to_integral_value():
        raise Unusable(f"quantity cannot be {quantity}: only whole shares can be traded")
    if quantity != quantity.quantize(Decimal("0.01")):
        raise Unusable(f"quantity cannot be {quantity}: two decimal places at most")
    return quantity.normalize() + 0


def _price(raw: Mapping[str, Any], key: str, contract: Contract) -> Decimal:
    price = _number(raw, key)
    if price != contract.rounded(price):
        # The text of TWS error 110.
        raise Rejected("The price does not conform to the minimum price variation for this contract.")
    return contract.rounded(price)
