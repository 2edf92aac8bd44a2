"""Orders and executions, in IBKR's shapes.

Source: "Order Monitoring" in IBKR's Web API documentation, with its examples of the live orders, the order status and
the trades (https://www.interactivebrokers.com/docs/web-api/v1/endpoints/order-monitoring); ``sor`` and ``str`` under
"WebSockets" (https://www.interactivebrokers.com/campus/ibkr-api-page/cpapi-v1/#websockets).
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, Final

from gwctl.sandbox.market.book import Fill, Order
from gwctl.sandbox.market.tickets import Ticket

_TYPES: Final = {"MKT": "Market", "LMT": "Limit", "STP": "Stop", "STOP_LIMIT": "Stop Limit"}
_ORIGINAL: Final = {"MKT": "MARKET", "LMT": "LIMIT", "STP": "STOP", "STOP_LIMIT": "STOP_LIMIT"}
_TIFS: Final = {"DAY": "Day"}
_CODES: Final = {"PreSubmitted": "0", "Submitted": "0", "Filled": "2", "Cancelled": "4"}
_COLORS: Final = {"Filled": ("#FFFFFF", "#000000"), "Cancelled": ("#FFFFFF", "#AA0000")}
FILTERS: Final = {
    "inactive": "Inactive",
    "pending_submit": "PendingSubmit",
    "pre_submitted": "PreSubmitted",
    "submitted": "Submitted",
    "filled": "Filled",
    "pending_cancel": "PendingCancel",
    "cancelled": "Cancelled",
    "warn_state": "WarnState",
}
"""The values of ``filters`` with the states that they stand for; ``sort_by_time`` is a filter, too, and no state."""


def placed(order: Order) -> dict[str, str]:
    """Return the answer to an order that was taken."""
    return {"order_id": str(order.order_id), "order_status": order.status, "encrypt_message": "1"}


def live_order(order: Order, account_id: str) -> dict[str, Any]:
    """Return an order as ``/iserver/account/orders`` lists it; ``sor`` sends the same."""
    ticket, contract = order.ticket, order.ticket.contract
    background, foreground = _COLORS.get(order.status, ("#000000", "#00F000"))
    shown: dict[str, Any] = {
        "acct": account_id,
        "exchange": "SMART",
        "conidex": str(contract.conid),
        "conid": contract.conid,
        "account": account_id,
        "orderId": order.order_id,
        "cashCcy": contract.currency,
        "sizeAndFills": _size_and_fills(order),
        "orderDesc": description(ticket, done=order.status == "Filled"),
        "description1": contract.local_symbol,
        "ticker": contract.symbol,
        "secType": contract.sec_type,
        "listingExchange": contract.listing,
        "remainingQuantity": float(order.remaining),
        "filledQuantity": float(order.filled),
        "totalSize": float(ticket.quantity),
        "companyName": contract.name,
        "status": order.status,
        "order_ccp_status": order.status,
        "origOrderType": _ORIGINAL[ticket.kind],
        "supportsTaxOpt": "1" if contract.sec_type == "STK" else "0",
        "lastExecutionTime": _compact(order.changed_s),
        "orderType": _TYPES[ticket.kind],
        "bgColor": background,
        "fgColor": foreground,
        "isEventTrading": "0",
        "price": _text(_price(ticket)),
        "timeInForce": "CLOSE" if ticket.tif == "DAY" else ticket.tif,
        "lastExecutionTime_r": int(order.changed_s * 1000),
        "side": ticket.side,
    }
    if order.average is not None:
        shown["avgPrice"] = _average(order)
    if ticket.client_id is not None:
        shown["order_ref"] = ticket.client_id
    if order.parent_id is not None:
        shown["parentId"] = order.parent_id
    return shown


def order_status(order: Order, account_id: str) -> dict[str, Any]:
    """Return the object of ``/iserver/account/order/status/{orderId}``."""
    ticket, contract = order.ticket, order.ticket.contract
    background, foreground = _COLORS.get(order.status, ("#000000", "#00F000"))
    words = description(ticket, done=order.status == "Filled")
    shown: dict[str, Any] = {
        "sub_type": None,
        "request_id": str(order.order_id % 1000),
        "server_id": "0",
        "order_id": order.order_id,
        "conidex": str(contract.conid),
        "conid": contract.conid,
        "symbol": contract.symbol,
        "side": ticket.side[0],
        "contract_description_1": contract.local_symbol,
        "listing_exchange": contract.listing,
        "option_acct": "c",
        "company_name": contract.name,
        "size": str(float(order.remaining)),
        "total_size": str(float(ticket.quantity)),
        "currency": contract.currency,
        "account": account_id,
        "order_type": _ORIGINAL[ticket.kind],
        "limit_price": _text(ticket.limit),
        "stop_price": _text(ticket.stop),
        "cum_fill": str(float(order.filled)),
        "order_status": order.status,
        "order_ccp_status": "1" if order.filled and not order.is_over else _CODES[order.status],
        "order_status_description": f"Order {order.status}",
        "tif": ticket.tif,
        "fg_color": foreground,
        "bg_color": background,
        "order_not_editable": order.is_over,
        "editable_fields": "",
        "cannot_cancel_order": order.is_over,
        "outside_rth": False,
        "deactivate_order": False,
        "sec_type": contract.sec_type,
        "available_chart_periods": "#R|1",
        "order_description": words,
        "order_description_with_contract": description(ticket, done=order.status == "Filled", named=True),
        "alert_active": 1,
        "child_order_type": "0",
        "order_clearing_account": account_id,
        "size_and_fills": _size_and_fills(order),
        "exit_strategy_tool_availability": "1",
        "allowed_duplicate_opposite": True,
        "order_time": _compact(order.placed_s),
    }
    if order.average is not None:
        shown["average_price"] = _average(order)
        shown["exit_strategy_display_price"] = _average(order)
        shown["exit_strategy_chart_description"] = f"{_done(ticket)} {order.filled:f} @ {_average(order)}"
    return shown


def trade(fill: Fill, account_id: str, username: str) -> dict[str, Any]:
    """Return an execution as ``/iserver/account/trades`` lists it; ``str`` sends the same."""
    ticket, contract = fill.ticket, fill.ticket.contract
    shown: dict[str, Any] = {
        "execution_id": fill.execution_id,
        "symbol": contract.symbol,
        "supports_tax_opt": "1" if contract.sec_type == "STK" else "0",
        "side": ticket.side[0],
        "order_description": f"{'Bot' if ticket.side == 'BUY' else 'Sold'} {fill.quantity:f} @ {fill.price} on "
        f"{contract.listing}",
        "trade_time": dt.datetime.fromtimestamp(fill.at_s, dt.UTC).strftime("%Y%m%d-%H:%M:%S"),
        "trade_time_r": int(fill.at_s * 1000),
        "size": float(fill.quantity),
        "price": str(fill.price),
        "submitter": username,
        "exchange": contract.listing,
        "commission": str(fill.commission),
        "net_amount": float(fill.quantity * fill.price),
        "account": account_id,
        "accountCode": account_id,
        "account_allocation_name": account_id,
        "company_name": contract.name,
        "contract_description_1": contract.local_symbol,
        "sec_type": contract.sec_type,
        "listing_exchange": contract.listing,
        "conid": contract.conid,
        "conidEx": str(contract.conid),
        "clearing_id": "IB",
        "clearing_name": "IB",
        "liquidation_trade": "0",
        "is_event_trading": "0",
        "order_id": fill.order_id,
    }
    if ticket.client_id is not None:
        shown["order_ref"] = ticket.client_id
    return shown


def description(ticket: Ticket, *, done: bool, named: bool = False) -> str:
    """Return an order in words: ``Buy 100 AAPL Limit 165.00, Day``, or ``Bought`` once it is done."""
    verb = _done(ticket) if done else ticket.side.capitalize()
    name = f" {ticket.contract.local_symbol}" if named else ""
    price = "" if _price(ticket) is None else f" {_price(ticket)}"
    tif = _TIFS.get(ticket.tif, ticket.tif)
    return f"{verb} {ticket.quantity:f}{name} {_TYPES[ticket.kind]}{price}, {tif}"


def _done(ticket: Ticket) -> str:
    return "Bought" if ticket.side == "BUY" else "Sold"


def _price(ticket: Ticket) -> Decimal | None:
    return ticket.stop if ticket.limit is None else ticket.limit


def _text(price: Decimal | None) -> str:
    return "" if price is None else str(price)


def _average(order: Order) -> str:
    return "" if order.average is None else str(order.average.quantize(order.ticket.contract.tick))


def _size_and_fills(order: Order) -> str:
    whole = f"{order.ticket.quantity:,f}"
    return whole if order.status == "Filled" else f"{order.filled:,f}/{whole}"


def _compact(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, dt.UTC).strftime("%y%m%d%H%M%S")
