"""Every five seconds: the latest price of each open position, and what it is worth by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import structlog

from oms.domain.errors import Unavailable
from oms.domain.market import Price
from oms.domain.positions import Position, Valuation
from oms.portfolio.valuation import revalued
from oms.ports import LatestTicks, Prices, TickArchive
from oms.waiting import happens

log = structlog.get_logger(__name__)

EVERY_S = 5.0
AFTER_FILL_S = 0.25  # a position that moved is valued soon, many at once in one pass


class Valued(Protocol):
    """The engine's session, as far as valuing needs it."""

    @property
    def positions(self) -> Sequence[Position]: ...

    @property
    def max_price_age_s(self) -> Decimal: ...

    @property
    def moved(self) -> asyncio.Event: ...

    def broker_now(self) -> datetime: ...

    def value(self, valuations: Sequence[Valuation], symbols: Mapping[UUID, str]) -> None: ...


Write = Callable[[Sequence[Valuation]], Awaitable[None]]


class Revaluation:
    """Takes prices from the archive, and from memory where that is newer or the archive is away."""

    def __init__(self, session: Valued, prices: Prices, archive: TickArchive | None, write: Write) -> None:
        self._session = session
        self._prices = prices
        self._archive = archive
        self._write = write
        self.archive_error = "" if archive else "no QuestDB: prices come from memory"

    async def run(self) -> None:
        """Value until cancelled. What the store refuses ends the engine's session, as everywhere."""
        while True:
            self._session.moved.clear()
            await self.once()
            await asyncio.sleep(AFTER_FILL_S)
            await happens(self._session.moved, EVERY_S - AFTER_FILL_S)

    async def once(self) -> int:
        """One pass; how many positions changed."""
        held = [position for position in self._session.positions if position.qty]
        if not held:
            return 0
        stored = await self._stored(position.symbol for position in held)
        prices = {position.symbol: self._best(position.symbol, stored.get(position.symbol)) for position in held}
        changed = revalued(held, prices)
        if changed:
            await self._write(changed)
            self._session.value(changed, {position.id: position.symbol for position in held})
        return len(changed)

    async def _stored(self, symbols: Iterable[str]) -> Mapping[str, LatestTicks]:
        if self._archive is None:
            return {}
        try:
            found = await self._archive.latest(symbols)
        except Unavailable as error:
            if not self.archive_error:
                log.warning("valuing_from_memory", reason=str(error))
            self.archive_error = str(error)
            return {}
        self.archive_error = ""
        return found

    def _best(self, symbol: str, stored: LatestTicks | None) -> Price:
        """Memory and archive combined: of trade and of quote the newer one counts; the archive's at the same time."""
        age = self._session.max_price_age_s
        known = self._prices.price(symbol, age)
        if stored is None:
            return known
        last, last_at = known.last, known.at
        bid, ask, quote_at = known.bid, known.ask, known.at
        if stored.last is not None and _not_older(stored.last_at, last_at if last is not None else None):
            last, last_at = stored.last, stored.last_at
        if stored.quote_at is not None and _not_older(
            stored.quote_at, quote_at if bid is not None or ask is not None else None
        ):
            bid, ask, quote_at = stored.bid, stored.ask, stored.quote_at
        newest = max((at for at in (last_at, quote_at) if at is not None), default=None)
        recent = newest is not None and self._session.broker_now() - newest <= timedelta(seconds=float(age))
        return Price(symbol, last, bid, ask, newest, fresh=known.fresh or recent)


def _not_older(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and (other is None or one >= other)
