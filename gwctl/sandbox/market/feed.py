"""The topics of one WebSocket: what a client has subscribed to, and what is new for it; without I/O and clock.

Source: "WebSockets" in IBKR's Web API documentation
(https://www.interactivebrokers.com/campus/ibkr-api-page/cpapi-v1/#websockets). Market data has only the fields that
changed; ``sor`` and ``str`` send what changed since.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct, field

from gwctl.sandbox.market import account_shapes, market_data, order_shapes
from gwctl.sandbox.market.contracts import find
from gwctl.sandbox.market.market_data import HistoryWish
from gwctl.sandbox.market.tickets import Unusable
from gwctl.sandbox.market.venue import Market

Message = dict[str, Any]
PRICES_EVERY_S: Final = 0.5
ACCOUNT_EVERY_S: Final = 1.0
LOOK_S: Final = 0.1
"""How often a feed with subscriptions is asked for news."""
KINDS: Final = ("md", "mh", "or", "tr", "pl", "sd", "ld")
"""The topics after their first letter: ``s`` subscribes, ``u`` unsubscribes."""
_ENDED: Final = {"sd": "summary", "ld": "ledger"}
_LATER_ONLY: Final = ("realtimeUpdatesOnly", "realtime_updates_only")
_ALWAYS: Final = {"6119", "6509", "_updated", "conid", "conidEx", "server_id"}


class _Data(Struct):
    """One subscription of market data: the fields, and what was sent last."""

    fields: tuple[str, ...]
    sent: dict[str, Any] = field(default_factory=dict)
    next_s: float = 0.0


class Feed(Struct):
    """The subscriptions of one WebSocket; after a reset of the market they go on with the new one."""

    market_of: Callable[[], Market]
    username: str
    data: dict[int, _Data] = field(default_factory=dict)
    accounts: dict[str, float] = field(default_factory=dict)
    """``spl``, ``ssd`` and ``sld``, and when the next message is due."""
    orders_after: int | None = None
    trades_after: int | None = None
    serial: int = 0
    _market: Market | None = None

    @property
    def is_active(self) -> bool:
        """Whether there may be news."""
        return bool(self.data or self.accounts) or self.orders_after is not None or self.trades_after is not None

    def hear(self, text: str, now_s: float) -> list[Message]:
        """Take one message of the client and return the answers."""
        topic, _, rest = text.strip().partition("+")
        if topic == "tic":
            return [{"topic": "tic", "alive": True}]
        subject, options = _split(rest)
        market = self._now(now_s)
        action, kind = topic[:1], topic[1:]
        if action not in {"s", "u"} or kind not in KINDS:
            return [{"topic": "error", "error": f"not in the sandbox: {topic}"}]
        try:
            return self._begin(kind, subject, options, market) if action == "s" else self._end(kind, subject)
        except Unusable as error:
            return [{"topic": "error", "error": str(error)}]

    def _begin(self, kind: str, subject: str, options: Message, market: Market) -> list[Message]:
        match kind:
            case "md":
                self._open_data(subject, options)
            case "mh":
                return [self._history(subject, options, market)]
            case "or":
                self.orders_after = 0
            case "tr":
                self.trades_after = len(market.book.fills)
                later_only = any(options.get(key) is True for key in _LATER_ONLY)
                return [] if later_only else [self._trades(market, 0)]
            case _:
                self.accounts[kind] = 0.0
        return []

    def _end(self, kind: str, subject: str) -> list[Message]:
        match kind:
            case "md":
                contract = find(subject)
                self.data.pop(contract.conid if contract is not None else 0, None)
            case "mh":
                return [{"message": f"Unsubscribed {subject}"}]
            case "or":
                self.orders_after = None
            case "tr":
                self.trades_after = None
            case _:
                self.accounts.pop(kind, None)
        return [{"result": f"unsubscribed from {_ENDED[kind]}"}] if kind in _ENDED else []

    def news(self, now_s: float) -> list[Message]:
        """Return the messages that are due."""
        market = self._now(now_s)
        messages = [message for conid in list(self.data) if (message := self._prices(conid, market, now_s)) is not None]
        if self.orders_after is not None and self.orders_after < market.book.revision:
            changed = [order for order in market.book.orders.values() if order.revision > self.orders_after]
            self.orders_after = market.book.revision
            shown = [order_shapes.live_order(one, market.account_id) for one in changed]
            messages.append({"topic": "sor", "args": shown})
        if self.trades_after is not None and self.trades_after < len(market.book.fills):
            messages.append(self._trades(market, self.trades_after))
        for kind, due_s in self.accounts.items():
            if due_s <= now_s:
                self.accounts[kind] = now_s + ACCOUNT_EVERY_S
                messages.append(self._values(kind, market, now_s))
        return messages

    def _now(self, now_s: float) -> Market:
        """Return the market as it is now; notice one that was reset."""
        market = self.market_of()
        if market is not self._market:
            self._market = market
            self.orders_after = None if self.orders_after is None else 0
            self.trades_after = None if self.trades_after is None else 0
            for one in self.data.values():
                one.sent.clear()
        market.advance(now_s)
        return market

    def _open_data(self, subject: str, options: Message) -> None:
        contract = find(subject)
        if contract is None:
            raise Unusable(f"no contract with conid {subject} in the sandbox")
        given = options.get("fields")
        fields = tuple(map(str, given)) if isinstance(given, list) and given else market_data.DEFAULT_FIELDS
        self.data[contract.conid] = _Data(fields)

    def _prices(self, conid: int, market: Market, now_s: float) -> Message | None:
        one, contract = self.data[conid], find(conid)
        if contract is None or one.next_s > now_s:
            return None
        one.next_s = now_s + PRICES_EVERY_S
        found = market_data.update(market.prices, contract, one.fields, now_s)
        changed = {tag: value for tag, value in found.items() if tag in _ALWAYS or one.sent.get(tag) != value}
        if one.sent and changed.keys() <= _ALWAYS:
            return None
        one.sent = found
        return {"topic": f"smd+{conid}", **changed}

    def _history(self, subject: str, options: Message, market: Market) -> Message:
        wish = HistoryWish.parse({"period": "1d", **options, "conid": subject})
        self.serial += 1
        bars = wish.bars(market.prices, market.book.now_s)
        return {"topic": f"smh+{subject}", **market_data.history(wish, bars, str(20_000 + self.serial))}

    def _trades(self, market: Market, after: int) -> Message:
        self.trades_after = len(market.book.fills)
        fills = market.book.fills[after:]
        return {"topic": "str", "args": [order_shapes.trade(fill, market.account_id, self.username) for fill in fills]}

    def _values(self, kind: str, market: Market, now_s: float) -> Message:
        if kind == "pl":
            return {"topic": "spl", "args": market.profit_and_loss(now_s)}
        topic = f"s{kind}+{market.account_id}"
        if kind == "sd":
            return {"topic": topic, "result": market.summary_stream(now_s)}
        return {"topic": topic, "result": account_shapes.ledger_stream(market.ledger(now_s))}


def _split(text: str) -> tuple[str, Message]:
    """Return the subject and the options of ``265598+{"fields": ["31"]}``, of ``{}``, or of nothing."""
    subject, brace, rest = text.partition("{")
    try:
        options = json.loads(brace + rest) if brace else {}
    except ValueError:
        options = {}
    return subject.strip("+ "), options if isinstance(options, dict) else {}
