"""A broker without its API, for tests: prices and time are in the test's hand; the store is a real one."""

import heapq
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from paperbroker.accounts import Account
from paperbroker.activities import Execution
from paperbroker.assets import Assets
from paperbroker.clock import Clock, Hours
from paperbroker.core import Fills, build_core
from paperbroker.errors import Refusal
from paperbroker.orders import Order
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote, Size, Trade
from paperbroker.replacing import read_changes
from paperbroker.rules import parse_order
from paperbroker.statuses import Event
from paperbroker.timestamps import SECOND, parse
from paperbroker.trade_events import TradeEvents
from paperbroker.updates import Update

D = Decimal


class Hand(Clock):
    """Time that passes when it is told to; also the timers that wait for it."""

    def __init__(self, start: str) -> None:
        super().__init__(0)
        self._now = parse(start)
        self._waiting: list[tuple[float, int, Callable[..., object], tuple[object, ...]]] = []
        self._count = 0

    def peek(self) -> int:
        return self._now

    def now(self) -> int:
        self._now += 1
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> object:
        self._count += 1
        heapq.heappush(self._waiting, (self._now + int(delay * SECOND), self._count, callback, args))
        return None

    def seconds_until(self, ns: int) -> float:
        return max(0.0, (ns - self._now) / SECOND)

    def set(self, ns: int) -> None:
        self._now = ns

    def pass_by(self, seconds: float) -> None:
        end = self._now + int(seconds * SECOND)
        while self._waiting and self._waiting[0][0] <= end:
            due, _, callback, args = heapq.heappop(self._waiting)
            self._now = max(self._now, due)
            callback(*args)
        self._now = max(self._now, end)


class House:
    """A broker without its API; a fresh account holds half a bitcoin."""

    def __init__(
        self, folder: Path, *, start: str = "2026-11-23T12:00:00-05:00", hours: Hours = "all", fills: Fills = "paper"
    ) -> None:
        self.hand = Hand(start)
        self.assets, self.prices = Assets(), Prices()
        self.core = build_core(
            folder,
            clock=self.hand,
            timers=self.hand,
            assets=self.assets,
            prices=self.prices,
            hours=hours,
            fills=fills,
            opening={"BTC/USD": D("0.5")},
        )
        self.store, self.ledger, self.desk = self.core.store, self.core.ledger, self.core.desk
        self.told: list[tuple[Event, Execution | None]] = []
        self.events: list[tuple[str, str]] = []
        self.ledger.listeners.append(self._note)
        TradeEvents(self.ledger, self.store)
        self.core.start()
        self.account: Account = self.ledger.account("mock")
        ((self._before,),) = self.store.read("select count(*) from orders")
        self._sent = 0

    def _note(self, update: Update) -> None:
        self.told.append((update.event, update.execution))
        self.events.append((update.order_id, update.event.value))

    def quote(self, symbol: str, bid: str, ask: str, size: Size = 100) -> None:
        self.prices.quote(Quote(symbol, self.hand.peek(), D(bid), D(ask), size, size))

    def trade(self, symbol: str, price: str) -> None:
        self.prices.trade(Trade(symbol, self.hand.peek(), D(price), 100, 1))

    def replace(self, order: Order, **changes: object) -> Order:
        wire = self.core.replacing.replace(self.account, order.id, read_changes(changes))
        return self.account.open_orders[msgspec.json.decode(wire)["id"]]

    def legs(self, order: Order) -> list[Order]:
        return [self.account.open_orders[leg] for leg in order.legs]

    def send(self, symbol: str, side: str, qty: object, **fields: object) -> Order:
        """Send an order and give it back. Its id is counted where none is given, because luck depends on it."""
        crypto = "/" in symbol
        self._sent += 1
        kind = {"type": "limit"} if "limit_price" in fields else {"type": "market"}
        body = {
            "symbol": symbol,
            "side": side,
            "qty": qty,
            "time_in_force": "gtc" if crypto else "day",
            "client_order_id": f"house-{self._before}-{self._sent}",
            **kind,
            **fields,
        }
        before = set(self.account.open_orders)
        self.desk.submit(self.account, parse_order(body, self.assets))
        fresh = [order for order_id, order in self.account.open_orders.items() if order_id not in before]
        return min(fresh, key=lambda order: order.seq)

    def refused(self, symbol: str, side: str, qty: object, **fields: object) -> Refusal:
        with pytest.raises(Refusal) as refusal:
            self.send(symbol, side, qty, **fields)
        return refusal.value

    def not_replaced(self, order: Order, **changes: object) -> str:
        with pytest.raises(Refusal) as refusal:
            self.replace(order, **changes)
        return refusal.value.message
