"""What a quote, a trade and a bar are.

Prices are Decimal, sizes int (shares) or Decimal (coins), instants nanoseconds UTC.
"""

from dataclasses import dataclass
from decimal import Decimal

Size = int | Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """The best bid and offer; a price of 0 means nobody offers."""

    symbol: str
    ns: int
    bid: Decimal
    ask: Decimal
    bid_size: Size
    ask_size: Size
    bid_exchange: str = "V"
    ask_exchange: str = "V"


@dataclass(frozen=True, slots=True)
class Trade:
    """One print; `buyer` says whether the taker bought (coins only)."""

    symbol: str
    ns: int
    price: Decimal
    size: Size
    id: int
    exchange: str = "V"
    buyer: bool = True


@dataclass(frozen=True, slots=True)
class Halt:
    """Trading in a stock was halted, or resumed."""

    symbol: str
    ns: int
    resumed: bool


@dataclass(slots=True)
class Bar:
    """What traded from `ns` on, for a minute or a day; `value` is price times size, summed."""

    symbol: str
    ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Size
    trades: int
    value: Decimal

    @classmethod
    def of(cls, trade: Trade, start_ns: int) -> "Bar":
        price = trade.price
        return cls(trade.symbol, start_ns, price, price, price, price, trade.size, 1, price * trade.size)

    def add(self, trade: Trade) -> None:
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.close = trade.price
        self.volume += trade.size
        self.trades += 1
        self.value += trade.price * trade.size
