"""A position worked out from its steps: fills and adjustments, in the order in which they happened.

Average cost. A step the same way as what is held averages in; a step the other way realises against the average, and
what goes beyond zero begins anew at its own price. A step without a price happens at the average. A fee costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from oms.audit.reading import Row
from oms.domain.values import ZERO

Place = tuple[datetime, str, Decimal, int]
_TWELVE = Decimal("1e-12")  # averages are kept to twelve decimals, by definition


@dataclass(slots=True)
class Holding:
    """What the steps come to. The names are the columns of `positions`, `last` and `flat` the places of steps."""

    qty: Decimal = ZERO
    avg_price: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    last: Place | None = None
    flat: Place | None = None
    flat_realized: Decimal = ZERO
    flat_fees: Decimal = ZERO
    steps: int = 0

    def take(self, step: Row) -> None:
        """One more step: `at`, `broker_order_id`, `cum_qty`, `rank`, signed `qty`, `price`, `cash`, `is_fee`."""
        place = (step["at"], step["broker_order_id"], step["cum_qty"], step["rank"])
        moved, cash = step["qty"], step["cash"]
        price = self.avg_price if step["price"] is None else step["price"]
        was_long, before = self.qty > 0, abs(self.qty)
        if moved:
            with_it = not before or was_long == (moved > 0)
            if with_it:
                self.avg_price = ((before * self.avg_price + abs(moved) * price) / (before + abs(moved))).quantize(
                    _TWELVE
                )
            else:
                closed = min(before, abs(moved))
                per_unit = price - self.avg_price if was_long else self.avg_price - price
                self.realized_pnl += closed * per_unit
                if abs(moved) > before:
                    self.avg_price = price
            if not before or (not with_it and abs(moved) > before):
                self.opened_at = step["at"]
        self.qty += moved
        cost = moved * price + cash if step["is_fee"] else ZERO
        self.realized_pnl += cost if step["is_fee"] else cash
        self.fees -= cost
        self.last, self.closed_at, self.steps = place, None, self.steps + 1
        if not self.qty:
            self.avg_price, self.closed_at, self.flat = ZERO, step["at"], place
            self.flat_realized, self.flat_fees = self.realized_pnl, self.fees


def worked_out(steps: Iterable[Row]) -> Holding:
    """The position after all the steps."""
    holding = Holding()
    for step in steps:
        holding.take(step)
    return holding
