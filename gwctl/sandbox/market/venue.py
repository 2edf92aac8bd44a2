"""One market: prices, a book, an account, and the questions about an order that wait for a reply.

It has no clock and does no I/O. Every method that needs the time takes it, in seconds since 1970, and first lets the
orders fill until then.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from gwctl.sandbox.market import account_shapes, order_shapes
from gwctl.sandbox.market.account_shapes import Mode
from gwctl.sandbox.market.book import Book, Order
from gwctl.sandbox.market.contracts import EUR_USD, Contract
from gwctl.sandbox.market.market_data import Snapshots
from gwctl.sandbox.market.portfolio import MARGIN, Portfolio, Worth
from gwctl.sandbox.market.prices import Prices
from gwctl.sandbox.market.questions import Question, questions_for
from gwctl.sandbox.market.tickets import Rejected, Ticket, Unusable

SEED: Final = 1
CASH: Final = 1_000_000
"""What IBKR's paper accounts begin with, in USD."""


class NoSuchReply(Exception):
    """Nothing waits for this reply: IBKR answers 503."""


class _Waiting(Struct):
    """An order, or a change of one, between its questions."""

    reply_id: str
    questions: list[Question]
    go: Callable[[], list[Order]]


class Market:
    """What the sandbox has in place of exchanges and an account, from one reset to the next."""

    def __init__(self, account_id: str, mode: Mode, *, began_s: float, seed: int = SEED, cash: int = CASH) -> None:
        self.account_id = account_id
        self.mode = mode
        self.seed = seed
        self.prices = Prices(seed, began_s)
        self.book = Book(self.prices.quote, began_s)
        self.portfolio = Portfolio.with_cash(Decimal(cash))
        self.snapshots = Snapshots()
        self.suppressed: set[str] = set()
        self._begun_with = Decimal(cash)
        self._waiting: _Waiting | None = None
        self._replies = 0

    def advance(self, now_s: float) -> None:
        """Let time pass: orders fill, and the account changes with them."""
        for fill in self.book.advance(now_s):
            self.portfolio.apply(fill)

    def outline(self) -> dict[str, int]:
        """Return what the admin sees: the seed, and how much has happened."""
        active = sum(not order.is_over for order in self.book.orders.values())
        counts = {"orders": len(self.book.orders), "active_orders": active, "fills": len(self.book.fills)}
        return {"seed": self.seed, **counts, "positions": len(self.portfolio.held())}

    # Orders.

    def order(self, tickets: Sequence[Ticket], now_s: float) -> list[dict[str, Any]]:
        """Place one order, or one with its children; return IBKR's answer: the orders, or a question.

        Raise Unusable for more than that, and Rejected. An order that still waits for a reply is gone.
        """
        self._waiting = None
        self.advance(now_s)
        if not tickets:
            raise Unusable("orders is empty")
        if any(ticket.parent_id is None for ticket in tickets[1:]):
            raise Unusable("only one order at a time, or one order and its children")
        self._afford(tickets[0])
        return self._ask(tickets, lambda: self.book.place(tickets))

    def modify(self, order: Order, ticket: Ticket, now_s: float) -> list[dict[str, Any]]:
        """Change an order; return IBKR's answer: the order, or a question. Raise Rejected."""

        def go() -> list[Order]:
            self.book.modify(order, ticket)
            return [order]

        self._waiting = None
        self.advance(now_s)
        return self._ask([ticket], go)

    def reply(self, reply_id: str, now_s: float, *, confirmed: bool) -> list[dict[str, Any]]:
        """Answer the question with this id; return the orders or the next question, nothing for an order given up.

        Raise NoSuchReply if no order waits for this reply, and Rejected.
        """
        self.advance(now_s)
        waiting = self._waiting
        if waiting is None or waiting.reply_id != reply_id:
            raise NoSuchReply(reply_id)
        self._waiting = None
        if not confirmed:
            return []
        return self._next(waiting.questions[1:], waiting.go)

    def _ask(self, tickets: Sequence[Ticket], go: Callable[[], list[Order]]) -> list[dict[str, Any]]:
        return self._next(questions_for(tickets, self._last, self.suppressed), go)

    def _next(self, questions: list[Question], go: Callable[[], list[Order]]) -> list[dict[str, Any]]:
        if not questions:
            return [dict(order_shapes.placed(order)) for order in go()]
        self._replies += 1
        name = hashlib.blake2b(f"{self.seed}/{self._replies}".encode(), digest_size=16).digest()
        self._waiting = _Waiting(str(uuid.UUID(bytes=name, version=4)), questions, go)
        return [
            {
                "id": self._waiting.reply_id,
                "message": [questions[0].text],
                "isSuppressed": False,
                "messageIds": [questions[0].message_id],
            }
        ]

    def cancel_all(self) -> None:
        """Cancel every order that is not over."""
        for order in self.book.orders.values():
            self.book.cancel(order)

    def preview(self, ticket: Ticket, now_s: float) -> dict[str, Any]:
        """Return what an order would cost; raise Rejected."""
        self.advance(now_s)
        price = ticket.limit or self._last(ticket.contract)
        questions = questions_for([ticket], self._last, self.suppressed)
        warning = f"21/{questions[0].text}" if questions else None
        held = self.portfolio.quantity_of(ticket.contract)
        return account_shapes.preview(ticket, price, self._worth(), held, warning)

    def _afford(self, ticket: Ticket) -> None:
        """Raise Rejected if the account's margin does not suffice for this order."""
        held = self.portfolio.quantity_of(ticket.contract)
        grown = abs(held + ticket.quantity * ticket.sign) - abs(held)
        worth, price = self._worth(), ticket.limit or self._last(ticket.contract)
        needed = grown * price * MARGIN
        if needed > worth.available:
            # IBKR's text, as users report it.
            raise Rejected(
                "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH LOAN VALUE "
                f"[{worth.net:.2f} USD] MUST EXCEED THE INITIAL MARGIN [{worth.margin + needed:.2f} USD]"
            )

    # The account.

    def positions(self, now_s: float) -> list[dict[str, Any]]:
        """Return the positions."""
        self.advance(now_s)
        return [
            account_shapes.position(held, self.account_id, self._last(held.contract)) for held in self.portfolio.held()
        ]

    def positions2(self, now_s: float) -> list[dict[str, Any]]:
        """Return the positions in the shape of ``/portfolio2``."""
        self.advance(now_s)
        return [account_shapes.position2(one, self._last(one.contract), now_s) for one in self.portfolio.held()]

    def ledger(self, now_s: float) -> dict[str, dict[str, Any]]:
        """Return the cash by currency."""
        self.advance(now_s)
        return account_shapes.ledger(self.portfolio, self._worth(), self._rates(), self.account_id, now_s)

    def summary(self, now_s: float) -> dict[str, dict[str, Any]]:
        """Return the account's values."""
        self.advance(now_s)
        return account_shapes.summary(self._worth(), self.account_id, self.mode, now_s)

    def brokerage_summary(self, now_s: float) -> dict[str, Any]:
        """Return the account's values in the shape of ``/iserver``."""
        self.advance(now_s)
        return account_shapes.brokerage_summary(self._worth(), self.portfolio)

    def profit_and_loss(self, now_s: float) -> dict[str, dict[str, Any]]:
        """Return what was won and lost since the reset."""
        self.advance(now_s)
        return account_shapes.profit_and_loss(self._worth(), self._begun_with, self.account_id)

    def allocation(self, now_s: float) -> dict[str, Any]:
        """Return the positions by kind, sector and group."""
        self.advance(now_s)
        held = [(one, self._last(one.contract)) for one in self.portfolio.held()]
        return account_shapes.allocation(held, self._worth().cash)

    def summary_stream(self, now_s: float) -> list[dict[str, Any]]:
        """Return the account's values in the shape of the WebSocket."""
        self.advance(now_s)
        return account_shapes.summary_stream(self._worth(), self.account_id, now_s)

    # What it is worth.

    def _last(self, contract: Contract) -> Decimal:
        return self.prices.last(contract, self.book.now_s)

    def _rates(self) -> dict[str, Decimal]:
        return account_shapes.rates(self._last(EUR_USD))

    def _worth(self) -> Worth:
        return self.portfolio.worth(self._last, self._rates())
