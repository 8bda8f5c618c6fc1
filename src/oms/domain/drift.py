"""A difference between our record and the broker's: what, since when, why, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class DriftKind(StrEnum):
    """Where the two differ. With `subject` it identifies a difference while it stands."""

    POSITION = "position"  # subject: the symbol
    ORDER = "order"  # subject: the broker's order id
    FILL = "fill"  # subject: the broker's order id, or the fill's own
    FEE = "fee"  # subject: day and symbol
    RECORD = "record"  # subject: what it is and its id at the broker


class Cause(StrEnum):
    """Why, as far as is known."""

    IN_FLIGHT = "in_flight"  # seen once, or while fills came in: it may only be on its way
    UNEXPLAINED = "unexplained"  # two full passes, with fills, fees and external trades accounted for
    EXTERNAL_TRADE = "external_trade"  # an order of somebody else's in the same account
    MISSED = "missed"  # the update stream did not tell; a reconciliation found it
    MISSING = "missing"  # the broker counts it as filled and does not list the fill
    LATE = "late"  # a fill after its order's end
    OVERLAP = "overlap"  # a fill that contradicts those that are booked: never applied
    BUST = "bust"  # a fill that the broker took back
    ORDER_GONE = "order_gone"  # open here, unknown to the broker
    APPEARED = "appeared"  # proven absent, and alive after all: cancelled at the broker
    CONTRADICTION = "contradiction"  # a status that cannot follow ours, or other terms than ours
    FEE = "fee"  # the posted fee is not the expected one
    UNREADABLE = "unreadable"  # a record of the broker's that cannot be understood


class DriftState(StrEnum):
    """An ignored difference stands, known to be there; it blocks nothing until it changes."""

    OPEN = "open"
    IGNORED = "ignored"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """How it ended."""

    SETTLED_ITSELF = "settled_itself"
    CHANGED = "changed"  # an ignored or a blocking one became another difference, which has a row of its own
    ADOPTED = "adopted"  # a person took over the broker's word
    IGNORED = "ignored"  # a person accepted it as it is
    TAKEN_IN = "taken_in"  # somebody else's order, in our books now
    BACKFILLED = "backfilled"  # booked by the reconciliation
    BOOKED = "booked"  # booked as an adjustment, or as a late fill
    CANCELLED = "cancelled"  # at the broker
    ENDED = "ended"  # the order was ended here


@dataclass(frozen=True, slots=True)
class Drift:
    """One row of the drift ledger. `id` is counted for each account, for a person to name it by.

    `ours` and `theirs` are what each side says, as text: quantities, statuses, terms. `passes` counts the full
    reconciliations that saw it. While it `blocks`, orders that increase risk in `symbol` are refused.
    """

    id: int
    account_id: UUID
    kind: DriftKind
    subject: str
    symbol: str
    cause: Cause
    ours: str
    theirs: str
    first_seen: datetime
    last_seen: datetime
    passes: int = 1
    order_id: UUID | None = None
    blocks: bool = False
    state: DriftState = DriftState.OPEN
    resolution: Resolution | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    reason: str | None = None

    @property
    def delta(self) -> Decimal:
        """What the broker holds beyond ours, for a difference of positions: it stays while both sides trade on."""
        return Decimal(self.theirs) - Decimal(self.ours)

    @property
    def stands(self) -> bool:
        """Whether the two still differ, as far as is known."""
        return self.state is not DriftState.RESOLVED
