"""The order book: orders are placed, filled at the walk's prices, changed, cancelled; without I/O and clock.

Time passes in steps, at whole multiples of ``STEP_S``, and only when ``advance`` says so: what happens to an order
depends on when it was placed and on the prices since, not on when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.sandbox.market.contracts import Contract, number_in
from gwctl.sandbox.market.prices import Quote
from gwctl.sandbox.market.tickets import Rejected, Ticket

Status = Literal["PreSubmitted", "Submitted", "Filled", "Cancelled"]
QuoteAt = Callable[[Contract, float], Quote]

STEP_S: Final = 0.25
ACCEPTED_AFTER_S: Final = 0.2
"""How long an order stays as it was placed, before it can be filled: a client can see it, and cancel it."""
MOST_STEPS: Final = 20_000
"""In one call, more than an hour; after a longer time without a request, the steps are longer."""
FIRST_ID: Final = 1_000_000_001
_FEE: Final = {"STK": (Decimal("0.005"), Decimal("1.00")), "CASH": (Decimal("0.00002"), Decimal("2.00"))}
"""IBKR's fixed pricing in USD: for each share, or for each dollar of a currency pair; and the least for an order."""


class Fill(Struct, frozen=True):
    """One execution; ``commission`` is in USD."""

    execution_id: str
    order_id: int
    ticket: Ticket
    quantity: Decimal
    price: Decimal
    commission: Decimal
    at_s: float


class Order(Struct):
    """One order; ``revision`` grows with every change of any order, so that a listener knows what is new."""

    order_id: int
    ticket: Ticket
    placed_s: float
    parent_id: int | None = None
    status: Status = "PreSubmitted"
    filled: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    triggered: bool = False
    changed_s: float = 0.0
    revision: int = 0

    @property
    def remaining(self) -> Decimal:
        """What is still to be filled."""
        return self.ticket.quantity - self.filled

    @property
    def is_over(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.status in {"Filled", "Cancelled"}

    @property
    def average(self) -> Decimal | None:
        """The average price of what was filled."""
        return None if not self.filled else self.spent / self.filled


class Book(Struct):
    """All orders of one account since the market began."""

    quote_at: QuoteAt
    now_s: float
    orders: dict[int, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    revision: int = 0

    def place(self, tickets: Sequence[Ticket]) -> list[Order]:
        """Add orders, a parent before its children; raise Rejected, and add none, for an id in use or unknown."""
        ids = {one.ticket.client_id: one.order_id for one in self.orders.values() if one.ticket.client_id is not None}
        placed: list[Order] = []
        for order_id, ticket in enumerate(tickets, FIRST_ID + len(self.orders)):
            if ticket.client_id is not None and ticket.client_id in ids:
                # IBKR's text, as ibind expects it.
                text = f"Order couldn't be submitted: Local order ID={ticket.client_id} is already registered."
                raise Rejected(text)
            parent_id = None if ticket.parent_id is None else self._parent_of(ticket.parent_id, ids)
            if ticket.client_id is not None:
                ids[ticket.client_id] = order_id
            placed.append(Order(order_id, ticket, self.now_s, parent_id, changed_s=self.now_s))
        for order in placed:
            self.orders[order.order_id] = order
            waits = order.ticket.kind != "LMT" or order.parent_id is not None
            self._set(order, "PreSubmitted" if waits else "Submitted", self.now_s)
        return placed

    def _parent_of(self, named: str, ids: Mapping[str, int]) -> int:
        """Return the order that a child names by its parent's own id, or by the number of its order."""
        known = self.find(named)
        if named in ids:
            return ids[named]
        if known is None:
            raise Rejected(f"Invalid parent order: {named}")
        return known.order_id

    def find(self, text: str) -> Order | None:
        """Return an order by its number, None if there is none."""
        return self.orders.get(number_in(text) or 0)

    def cancel(self, order: Order) -> bool:
        """Cancel what is not filled yet; return whether there was anything left to cancel."""
        if order.is_over:
            return False
        self._set(order, "Cancelled", self.now_s)
        for child in self._children(order):
            self.cancel(child)
        return True

    def modify(self, order: Order, ticket: Ticket) -> None:
        """Give an order new terms; raise Rejected if it is over or the new quantity is already filled."""
        if order.is_over:
            raise Rejected(f"Order {order.order_id} cannot be modified: it is {order.status}")
        same = (order.ticket.contract, order.ticket.side) == (ticket.contract, ticket.side)
        if not same:
            raise Rejected("An order's contract and side cannot be modified")
        if ticket.quantity <= order.filled:
            raise Rejected(f"{order.filled:f} of order {order.order_id} are already filled")
        order.ticket = replace(ticket, client_id=order.ticket.client_id, parent_id=order.ticket.parent_id)
        self._set(order, order.status, self.now_s)

    def advance(self, now_s: float) -> list[Fill]:
        """Let time pass, and return what was filled meanwhile."""
        before = len(self.fills)
        step_s = max(STEP_S, (now_s - self.now_s) / MOST_STEPS)
        number = int(self.now_s // step_s) + 1
        while number * step_s <= now_s:
            active = [order for order in self.orders.values() if not order.is_over]
            if not active:
                break
            self._step(active, max(number * step_s, self.now_s))
            number += 1
        self.now_s = max(self.now_s, now_s)
        return self.fills[before:]

    def _step(self, active: Iterable[Order], at_s: float) -> None:
        self.now_s = at_s
        for order in active:
            # An earlier order of this step may have cancelled it.
            if not order.is_over and at_s - order.placed_s >= ACCEPTED_AFTER_S and self._parent_is_filled(order):
                self._match(order, at_s)

    def _match(self, order: Order, at_s: float) -> None:
        ticket = order.ticket
        quote = self.quote_at(ticket.contract, at_s)
        if ticket.stop is not None and not order.triggered:
            order.triggered = (quote.last - ticket.stop) * ticket.sign >= 0
            if not order.triggered:
                return
        if order.status == "PreSubmitted":
            self._set(order, "Submitted", at_s)
        price = quote.ask if ticket.side == "BUY" else quote.bid
        if ticket.limit is None or (ticket.limit - price) * ticket.sign >= 0:
            self._fill(order, min(order.remaining, Decimal(ticket.contract.depth)), price, at_s)
        if ticket.tif == "IOC" and not order.is_over:
            self.cancel(order)

    def _fill(self, order: Order, quantity: Decimal, price: Decimal, at_s: float) -> None:
        order.filled += quantity
        order.spent += quantity * price
        commission = commission_of(order.ticket.contract, order.filled, order.spent) - order.commission
        order.commission += commission
        execution_id = f"0000e0d5.{order.order_id:08x}.01.{len(self.fills) + 1:02d}"
        self.fills.append(Fill(execution_id, order.order_id, order.ticket, quantity, price, commission, at_s))
        self._set(order, "Submitted" if order.remaining else "Filled", at_s)
        if order.status == "Filled" and order.parent_id is not None:
            for sibling in self._children(self.orders[order.parent_id]):
                self.cancel(sibling)

    def _parent_is_filled(self, order: Order) -> bool:
        return order.parent_id is None or self.orders[order.parent_id].status == "Filled"

    def _children(self, order: Order) -> list[Order]:
        return [child for child in self.orders.values() if child.parent_id == order.order_id]

    def _set(self, order: Order, status: Status, at_s: float) -> None:
        self.revision += 1
        order.status, order.changed_s, order.revision = status, at_s, self.revision


def commission_of(contract: Contract, quantity: Decimal, value: Decimal) -> Decimal:
    """Return the commission in USD for ``quantity`` units of one order, worth ``value``."""
    rate, least = _FEE[contract.sec_type]
    base = quantity if contract.sec_type == "STK" else value
    return max(least, (rate * base).quantize(Decimal("0.01")))
