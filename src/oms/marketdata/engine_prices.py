"""Prices as the engine asks for them (the port `Prices`): the book's, one question to the broker, what to follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import structlog

from oms.domain.errors import BrokerError
from oms.domain.instruments import Instrument
from oms.domain.market import Price
from oms.marketdata.feed import PriceFeed
from oms.marketdata.prices import PriceBook

log = structlog.get_logger(__name__)


class EnginePrices:
    """The book and the feed that fills it, which may change with the account."""

    def __init__(self, book: PriceBook, feed: PriceFeed) -> None:
        self._book = book
        self.feed = feed

    def price(self, symbol: str, max_age_s: Decimal) -> Price:
        """What is known now."""
        return self._book.price(symbol, max_age_s)

    async def ask(self, instruments: Iterable[Instrument]) -> None:
        """One REST request; what does not come stays as it was, and says so in the log."""
        wanted = list(instruments)
        try:
            await self.feed.ask(wanted)
        except BrokerError as error:
            log.warning("no_price", symbols=[one.symbol for one in wanted], reason=str(error))

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Stream these, the most important first."""
        self.feed.follow(instruments)
