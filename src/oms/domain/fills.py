"""Executions, and how it is known that one is new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from oms.domain.values import Side


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution. It covers the interval (cum_qty - qty, cum_qty] of its broker order.

    `execution_id` comes with the stream, `activity_id` with the activities; nobody knows whether they are equal, so
    the cumulative quantity is what identifies a fill.
    """

    id: UUID
    order_id: UUID
    broker_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    transacted_at: datetime
    execution_id: str | None = None
    activity_id: str | None = None

    @property
    def begins(self) -> Decimal:
        """The cumulative quantity before it."""
        return self.cum_qty - self.qty


class Novelty(Enum):
    """What a reported fill is, beside those already booked."""

    NEW = "new"
    KNOWN = "known"
    OVERLAPS = "overlaps"  # contradicts what is booked: never applied, always reported


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of an order's quantity that has been booked, with the execution that did it."""

    begins: Decimal
    ends: Decimal
    execution_id: str | None = None


def novelty(begins: Decimal, ends: Decimal, execution_id: str | None, booked: Iterable[Interval]) -> Novelty:
    """Whether a fill over (begins, ends] is new beside the booked ones."""
    for other in booked:
        if (other.begins, other.ends) == (begins, ends):
            return Novelty.KNOWN
        if execution_id is not None and other.execution_id == execution_id:
            return Novelty.KNOWN
    if any(begins < other.ends and other.begins < ends for other in booked):
        return Novelty.OVERLAPS
    return Novelty.NEW
