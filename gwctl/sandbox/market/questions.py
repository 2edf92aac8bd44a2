"""The questions that IBKR asks before it takes an order ("order reply messages").

Source: "Place Order", "Place Order Reply Confirmation" and "Suppressible Message IDs" in IBKR's Web API documentation
(https://www.interactivebrokers.com/docs/web-api/v1/endpoints/orders), with its texts and its usual limits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from typing import Final

from msgspec import Struct

from gwctl.sandbox.market.contracts import Contract
from gwctl.sandbox.market.tickets import Ticket

PRICE_PERCENT: Final = 3
MOST_SHARES: Final = 500
MOST_VALUE: Final = 100_000
SUPPRESSIBLE: Final = (
    *("o163", "o354", "o382", "o383", "o403", "o451", "o2136", "o2137", "o2165", "o10082", "o10138", "o10151"),
    *("o10152", "o10153", "o10164", "o10223", "o10288", "o10331", "o10332", "o10333", "o10334", "o10335", "o10336"),
    *("p6", "p12"),
)
"""The ids in IBKR's list; the sandbox asks four of them."""
_SURE: Final = "Are you sure you want to submit this order?"


class Question(Struct, frozen=True):
    """One question with IBKR's id for its kind."""

    message_id: str
    text: str


def questions_for(
    tickets: Iterable[Ticket], last: Callable[[Contract], Decimal], suppressed: Collection[str] = ()
) -> list[Question]:
    """Return the questions about these orders, one of each kind; ``last`` returns a contract's price."""
    found: dict[str, Question] = {}
    for ticket in tickets:
        for question in _about(ticket, last(ticket.contract)):
            if question.message_id not in suppressed:
                found.setdefault(question.message_id, question)
    return list(found.values())


def _about(ticket: Ticket, last: Decimal) -> Iterable[Question]:
    order = f'The following order "{ticket.words()}"'
    if ticket.limit is not None and abs(ticket.limit - last) * 100 > PRICE_PERCENT * last:
        yield Question("o163", f"{order} price exceeds \nthe Percentage constraint of {PRICE_PERCENT}%.\n{_SURE}")
    if ticket.contract.sec_type == "STK":
        if ticket.quantity > MOST_SHARES:
            yield Question("o383", f"{order} size exceeds the Size Limit of {MOST_SHARES}.\n{_SURE}")
        value = ticket.quantity * (ticket.limit or last)
        if value > MOST_VALUE:
            estimate = f"value estimate of {value:,.2f} {ticket.contract.currency} exceeds"
            limit = f"the Total Value Limit of {MOST_VALUE:,} {ticket.contract.currency}"
            yield Question("o451", f"{order} {estimate} \n{limit}.\n{_SURE}")
    if ticket.stop is not None:
        yield Question(
            "o10331",
            "You are about to submit a stop order. Please be aware of the various stop order types available and the "
            f"risks associated with each one.\n{_SURE}",
        )
