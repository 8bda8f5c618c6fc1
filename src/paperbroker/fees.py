"""What Alpaca takes for crypto (tier 1), from what is credited: the coin on buys, the quote currency on sells.

Rounding, the same for coin and money: the fee is rounded **up** to 9 decimals, so what is credited is rounded down.
Stocks cost nothing. Source: Alpaca, "Crypto trading fees".
"""

from datetime import date
from decimal import Decimal

import msgspec

from paperbroker.money import ZERO, round_up

MAKER = Decimal("0.0015")
TAKER = Decimal("0.0025")


def fee(credited: Decimal, *, maker: bool) -> Decimal:
    """The part of a credit that is kept back; `maker` when the order rested before it was filled."""
    return round_up(credited * (MAKER if maker else TAKER))


class DayFees(msgspec.Struct):
    """The fees of one coin on one New York day, until they are posted as an activity.

    `coin` in the base coin, `quote` in the quote currency; `value` is the coin fees' worth at the prices of their
    fills.
    """

    day: date
    symbol: str
    coin: Decimal = ZERO
    dollars: Decimal = ZERO
    value: Decimal = ZERO

    def forget(self, coin: Decimal, dollars: Decimal) -> None:
        """Take fees back that are not posted yet; the worth of the coins in proportion."""
        self.value = self.value * (self.coin - coin) / self.coin if self.coin else ZERO
        self.coin -= coin
        self.dollars -= dollars
