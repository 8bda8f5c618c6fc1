"""What is held of one asset, and what a trade does to it."""

from decimal import Decimal
from enum import Enum

import msgspec

from paperbroker.money import TWELVE_DECIMALS, ZERO


class Effect(Enum):
    """What a trade means for a position."""

    OPENS = "opens"
    REDUCES = "reduces"


class Position(msgspec.Struct):
    """A signed quantity (negative: short) with its average entry price in USD.

    `opened_ns` is when it last left zero.
    """

    symbol: str
    qty: Decimal = ZERO
    avg_entry_price: Decimal = ZERO
    opened_ns: int = 0

    @property
    def cost_basis(self) -> Decimal:
        return self.qty * self.avg_entry_price

    def effect_of(self, signed_qty: Decimal) -> Effect:
        return Effect.REDUCES if self.qty * signed_qty < 0 else Effect.OPENS

    def trade(self, signed_qty: Decimal, price: Decimal, ns: int) -> None:
        """Add a signed quantity at a price (USD).

        Increasing makes the average the weighted one (12 decimals); reducing leaves it; what goes through zero starts
        anew at the price.
        """
        after = self.qty + signed_qty
        if self.qty == 0 or self.qty * after < 0:
            self.avg_entry_price, self.opened_ns = price, ns
        elif self.effect_of(signed_qty) is Effect.OPENS:
            value = self.qty * self.avg_entry_price + signed_qty * price
            self.avg_entry_price = (value / after).quantize(TWELVE_DECIMALS)
        self.qty = after

    def take(self, qty: Decimal) -> None:
        """Remove a quantity without a trade, as a fee does; the average stays."""
        self.qty -= qty
