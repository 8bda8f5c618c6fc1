"""The pure rules of filling: what is marketable, at which price, how much of it, when; resting orders by price.

Source: Alpaca's description of paper trading: orders are filled only when marketable, against the quote, whose size
is not looked at; 10 % of eligible orders are filled partially, by a random size, and the rest is evaluated again.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal
from hashlib import blake2b

from paperbroker.money import NINE_DECIMALS, ZERO, floor_to
from paperbroker.orders import Order, Side, TimeInForce
from paperbroker.prices.quotes import Quote

PARTIAL_SHARE = 0.10
ACCEPT_MS = (1.0, 5.0)
FILL_MS = (5.0, 30.0)
CANCEL_MS = (1.0, 8.0)


def fill_price(order: Order, quote: Quote) -> Decimal | None:
    """The price at which a quote would fill an order now: the ask for buys, the bid for sells.

    None when the order is not marketable. A side of 0 is no offer (as in Alpaca's quotes).
    """
    price = quote.ask if order.side is Side.BUY else quote.bid
    if price <= 0 or order.awaits_trigger:
        return None
    if order.limit_price is None:
        return price
    inside = order.limit_price >= price if order.side is Side.BUY else order.limit_price <= price
    return price if inside else None


def rest_of(order: Order, price: Decimal) -> Decimal:
    """The quantity that is not filled yet; for a notional order what its money buys, rounded down to 9 decimals."""
    if order.qty is not None:
        return order.qty - order.filled_qty
    return (max(order.open_notional, ZERO) / price).quantize(NINE_DECIMALS, ROUND_DOWN)


class Dice:
    """Randomness that a seed and an order's client_order_id decide, not the moment.

    The same orders meet the same luck. Those whose client names none are told apart by their number at this broker:
    an id made up for them is another one each time.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _roll(self, order: Order, purpose: str) -> tuple[float, int]:
        """A number from 0 to 1, and another from 10 to 90: cheaper than a generator of random numbers for each."""
        name = f"order {order.seq}" if order.unnamed else order.client_order_id
        key = f"{self._seed}/{name}/{purpose}/{order.executions}".encode()
        digest = int.from_bytes(blake2b(key, digest_size=16).digest())
        return (digest >> 75) / (1 << 53), 10 + digest % (1 << 60) % 81

    def delay(self, order: Order, purpose: str, bounds_ms: tuple[float, float]) -> float:
        """Seconds to wait, within bounds given in milliseconds."""
        least, most = bounds_ms
        return (least + (most - least) * self._roll(order, purpose)[0]) / 1000

    def portion(self, order: Order, rest: Decimal) -> Decimal:
        """How much of the rest is filled now: mostly all of it. FOK is never split, whole shares stay whole."""
        chance, percent = self._roll(order, "portion")
        if order.time_in_force is TimeInForce.FOK or chance >= PARTIAL_SHARE:
            return rest
        return part_of(order, rest * percent / 100) or rest


def part_of(order: Order, qty: Decimal) -> Decimal:
    """The most of a quantity that can be executed: whole shares stay whole, the rest has 9 decimals."""
    whole = order.qty is not None and order.qty == order.qty.to_integral_value() and "/" not in order.symbol
    return floor_to(qty, Decimal(1) if whole else NINE_DECIMALS)


class RestingOrders:
    """The orders of one symbol that wait for a better price, best first on either side."""

    def __init__(self) -> None:
        self._sides: dict[Side, list[tuple[Decimal, int, Order]]] = {Side.BUY: [], Side.SELL: []}

    def __bool__(self) -> bool:
        return any(self._sides.values())

    def __iter__(self) -> Iterator[Order]:
        for side in self._sides.values():
            yield from (entry[2] for entry in side)

    def add(self, order: Order) -> None:
        insort(self._sides[order.side], self._entry(order), key=_rank)

    def discard(self, order: Order) -> None:
        """Remove an order, if it is among them."""
        side = self._sides[order.side]
        index = bisect_left(side, _rank(self._entry(order)), key=_rank)
        if index < len(side) and side[index][2] is order:
            del side[index]

    def take_marketable(self, quote: Quote) -> Iterator[Order]:
        """Remove and yield the orders that a quote makes marketable."""
        for side in self._sides.values():
            while side and fill_price(side[0][2], quote) is not None:
                yield side.pop(0)[2]

    @staticmethod
    def _entry(order: Order) -> tuple[Decimal, int, Order]:
        """Market orders first (they wait for any price), then the highest buy or the lowest sell, then the earliest."""
        if order.limit_price is None:
            return (Decimal("-Infinity"), order.seq, order)
        return (-order.limit_price if order.side is Side.BUY else order.limit_price, order.seq, order)


def _rank(entry: tuple[Decimal, int, Order]) -> tuple[Decimal, int]:
    return entry[:2]
