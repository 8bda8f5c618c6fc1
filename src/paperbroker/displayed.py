"""`--fills displayed`: a quote fills no more than the size it shows, for all orders of the broker together."""

from decimal import Decimal

from paperbroker.matching import part_of
from paperbroker.money import ZERO
from paperbroker.orders import Order, Side, TimeInForce
from paperbroker.prices.quotes import Quote


class Displayed:
    """How much of each symbol's current quote has been taken, on either side."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, Side], tuple[Quote, Decimal]] = {}

    def part(self, order: Order, quote: Quote, rest: Decimal) -> Decimal:
        """What the quote still offers of a rest; nothing for a FOK order that it cannot fill completely."""
        shown = Decimal(quote.ask_size if order.side is Side.BUY else quote.bid_size)
        left = max(shown - self._used(order, quote), ZERO)
        if rest <= left:
            return rest
        return ZERO if order.time_in_force is TimeInForce.FOK else part_of(order, left)

    def take(self, order: Order, quote: Quote, qty: Decimal) -> None:
        self._taken[(order.symbol, order.side)] = (quote, self._used(order, quote) + qty)

    def _used(self, order: Order, quote: Quote) -> Decimal:
        of, used = self._taken.get((order.symbol, order.side), (None, ZERO))
        return used if of is quote else ZERO
