"""Stops wait here until the price reaches them; trailing stops follow it.

The price is the last trade, clamped into the bid and ask: a stop to buy is triggered at its stop price or above, a stop
to sell at it or below. Source: Alpaca, "Orders at Alpaca" (stop orders are elected by trades).
"""

from collections import defaultdict
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

from paperbroker.orders import Order, OrderType, Side

_CENT, _FINE = Decimal("0.01"), Decimal("0.0001")


def is_triggered(order: Order, price: Decimal) -> bool:
    if order.stop_price is None:
        return False
    return price >= order.stop_price if order.side is Side.BUY else price <= order.stop_price


def trail(order: Order, price: Decimal) -> bool:
    """Follow the price with a trailing stop; True when its high (buying: low) water mark and stop price moved."""
    if order.type is not OrderType.TRAILING_STOP:
        return False
    selling = order.side is Side.SELL
    if order.hwm is not None and (price <= order.hwm if selling else price >= order.hwm):
        return False
    order.hwm = price
    set_trailing_stop(order)
    return True


def set_trailing_stop(order: Order) -> None:
    """The stop price lies the trail below the high water mark (buying: above the low one)."""
    if order.hwm is None:
        return
    distance = order.trail_price or order.hwm * (order.trail_percent or 0) / 100
    stop = order.hwm - distance if order.side is Side.SELL else order.hwm + distance
    order.stop_price = stop.quantize(_CENT if stop >= 1 else _FINE, ROUND_HALF_UP)


class Stops:
    """The orders of all symbols that wait for their trigger."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Order]] = defaultdict(dict)

    def add(self, order: Order) -> None:
        self._waiting[order.symbol][order.id] = order

    def discard(self, order: Order) -> None:
        self._waiting[order.symbol].pop(order.id, None)

    def of(self, symbol: str) -> list[Order]:
        """Those of a symbol, the earliest first."""
        waiting = self._waiting.get(symbol)
        return list(waiting.values()) if waiting else []

    def __iter__(self) -> Iterator[Order]:
        for waiting in list(self._waiting.values()):
            yield from list(waiting.values())
