"""Which positions have another price now: one pass over many, pure. What they are worth by it, the store derives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from oms.domain.market import Price
from oms.domain.positions import Position, Valuation

TIME_STEP = timedelta(minutes=1)


def revalued(positions: Sequence[Position], prices: Mapping[str, Price]) -> list[Valuation]:
    """The prices of those positions whose price or staleness differs from what they have now.

    A price that stays the same is written again only when its time has moved on by a minute: writing is what costs.
    A position whose price is gone keeps the last one as stale; one that never had a price stays unpriced.
    """
    changed = []
    for position in positions:
        price = prices.get(position.symbol)
        last = None if price is None else price.valuation
        if price is None or last is None:
            if position.last_price is not None and not position.stale:
                changed.append(Valuation(position.id, position.last_price, position.price_time, stale=True))
        elif last != position.last_price or price.fresh is position.stale or _moved_on(position.price_time, price.at):
            changed.append(Valuation(position.id, last, price.at, stale=not price.fresh))
    return changed


def _moved_on(before: datetime | None, now: datetime | None) -> bool:
    return now is not None and (before is None or now - before >= TIME_STEP)
