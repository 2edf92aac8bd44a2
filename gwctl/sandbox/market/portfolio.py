"""What an account holds: cash by currency and positions, as its fills make them; without I/O and clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from msgspec import Struct, field

from gwctl.sandbox.market.book import Fill
from gwctl.sandbox.market.contracts import Contract

BASE: Final = "USD"
MARGIN: Final = Decimal("0.25")
"""Of the positions' value."""


class Position(Struct):
    """One contract's position; ``cost`` is the average price of what is held."""

    contract: Contract
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    realized: Decimal = Decimal(0)

    def take(self, change: Decimal, price: Decimal) -> None:
        """Add a purchase, or with a negative number a sale."""
        held = self.quantity
        grows = held * change >= 0
        if grows:
            self.cost = (abs(held) * self.cost + abs(change) * price) / abs(held + change)
        else:
            closed = min(abs(held), abs(change))
            self.realized += closed * (price - self.cost) * (1 if held > 0 else -1)
            if abs(change) > abs(held):
                self.cost = price
        self.quantity = held + change
        if not self.quantity:
            self.cost = Decimal(0)


class Worth(Struct, frozen=True):
    """What an account is worth at one moment, in its base currency."""

    cash: Decimal
    positions: Decimal
    gross: Decimal
    unrealized: Decimal
    realized: Decimal

    @property
    def net(self) -> Decimal:
        """The net liquidation value."""
        return self.cash + self.positions

    @property
    def margin(self) -> Decimal:
        """The margin that the positions need."""
        return self.gross * MARGIN

    @property
    def available(self) -> Decimal:
        """What can still be used as margin."""
        return self.net - self.margin


class Portfolio(Struct):
    """Cash and positions of one account."""

    cash: dict[str, Decimal]
    positions: dict[int, Position] = field(default_factory=dict)

    @classmethod
    def with_cash(cls, amount: Decimal) -> Portfolio:
        """Return a portfolio of nothing but cash in the base currency."""
        return cls({BASE: amount})

    def apply(self, fill: Fill) -> None:
        """Book one execution: a currency pair changes two kinds of cash, everything else cash and a position."""
        contract, change = fill.ticket.contract, fill.quantity * fill.ticket.sign
        self._add(contract.currency, -change * fill.price)
        self._add(BASE, -fill.commission)
        if contract.sec_type == "CASH":
            self._add(contract.symbol, change)
            return
        self.positions.setdefault(contract.conid, Position(contract)).take(change, fill.price)

    def _add(self, currency: str, amount: Decimal) -> None:
        self.cash[currency] = self.cash.get(currency, Decimal(0)) + amount

    def held(self) -> list[Position]:
        """Return the positions that are not closed."""
        return [position for position in self.positions.values() if position.quantity]

    def quantity_of(self, contract: Contract) -> Decimal:
        """Return what is held of a contract: of a currency pair, the cash."""
        if contract.sec_type == "CASH":
            return self.cash.get(contract.symbol, Decimal(0))
        return self.positions[contract.conid].quantity if contract.conid in self.positions else Decimal(0)

    def worth(self, price_of: Callable[[Contract], Decimal], rates: Mapping[str, Decimal]) -> Worth:
        """Return what everything is worth at these prices; ``rates`` are in the base currency."""
        values = {position.contract.conid: position.quantity * price_of(position.contract) for position in self.held()}
        return Worth(
            cash=sum((amount * rates[currency] for currency, amount in self.cash.items()), Decimal(0)),
            positions=sum(values.values(), Decimal(0)),
            gross=sum(map(abs, values.values()), Decimal(0)),
            unrealized=sum((values[one.contract.conid] - one.quantity * one.cost for one in self.held()), Decimal(0)),
            realized=sum((one.realized for one in self.positions.values()), Decimal(0)),
        )
