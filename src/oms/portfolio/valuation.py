"""What positions are worth at the latest prices: one pass over many, pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from oms.domain.market import Price
from oms.domain.positions import Position
from oms.domain.values import ZERO

TIME_STEP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PositionValue:
    """The price columns of one position (the shape of `ports.Valuation`), in USD.

    `market_value` is signed. None where there is no price, never 0. `stale`: the price is the last that was known.
    """

    position_id: UUID
    last_price: Decimal | None
    price_time: datetime | None
    stale: bool
    market_value: Decimal | None
    unrealized_pnl: Decimal | None


def revalued(positions: Sequence[Position], prices: Mapping[str, Price]) -> list[PositionValue]:
    """The values of those positions whose price or staleness differs from what they have now.

    A price that stays the same is written again only when its time has moved on by a minute: writing is what costs.
    A position whose price is gone keeps the last one as stale; one that never had a price stays unpriced.
    """
    changed = []
    for position in positions:
        price = prices.get(position.symbol)
        last = None if price is None else price.valuation
        if price is None or last is None:
            if position.last_price is not None and not position.stale:
                changed.append(_valued(position, position.last_price, position.price_time, stale=True))
        elif last != position.last_price or price.fresh is position.stale or _moved_on(position.price_time, price.at):
            changed.append(_valued(position, last, price.at, stale=not price.fresh))
    return changed


def _moved_on(before: datetime | None, now: datetime | None) -> bool:
    return now is not None and (before is None or now - before >= TIME_STEP)


def _valued(position: Position, last: Decimal, at: datetime | None, *, stale: bool) -> PositionValue:
    qty = position.qty
    pnl = (last - position.avg_price) * qty if qty else ZERO
    return PositionValue(position.id, last, at, stale, qty * last, pnl)
