"""Quotes, trades, and the price of a position."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """The best bid and ask of a symbol; None on a side without an offer. `at` is the exchange's time."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    at: datetime
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    exchange: str = ""


@dataclass(frozen=True, slots=True)
class Trade:
    """One print. `size` in units of the symbol."""

    symbol: str
    price: Decimal
    size: Decimal
    at: datetime
    exchange: str = ""


Tick = Quote | Trade


@dataclass(frozen=True, slots=True)
class Price:
    """What is known of a symbol's price: last trade, bid and ask, when the newest of them was made, and its freshness.

    Fresh: received within `max_price_age_s`, or the newest of a symbol subscribed to on a live stream, or just asked.
    """

    symbol: str
    last: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    at: datetime | None
    fresh: bool

    @property
    def valuation(self) -> Decimal | None:
        """The price of a position: the last trade clamped into bid and ask; their middle where no trade is known."""
        return clamped(self.last, self.bid, self.ask)


def clamped(last: Decimal | None, bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    """The last trade, moved into the current bid and ask; without a trade their middle, or the one side there is."""
    if last is None:
        if bid is not None and ask is not None:
            return (bid + ask) / 2
        return bid if ask is None else ask
    if bid is not None and ask is not None and bid > ask:
        return last  # a crossed quote says nothing
    if bid is not None and last < bid:
        return bid
    if ask is not None and last > ask:
        return ask
    return last
