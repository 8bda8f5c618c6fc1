"""An order, the one table of its lifecycle, and what each thing that happens makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from oms.domain.errors import OmsError
from oms.domain.fills import Fill
from oms.domain.values import ZERO, AssetClass, OrderType, Side, TimeInForce


class OrderStatus(StrEnum):
    """The statuses in the table, in the API and in filters."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    HELD = "held"

    @property
    def is_final(self) -> bool:
        """Final states never go back; a late fill may still raise `filled_qty`."""
        return self in FINAL


FINAL = frozenset(
    {OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REPLACED}
)

_S = OrderStatus
_ENDS = frozenset({_S.FILLED, _S.REJECTED, _S.CANCELLED, _S.EXPIRED, _S.REPLACED})

# from → to. A status may always stay as it is. Oddities of the real world are marked.
TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    _S.PENDING: _ENDS | {_S.SUBMITTED, _S.PARTIALLY_FILLED, _S.HELD},  # a fill can overtake the answer to the POST
    _S.HELD: _ENDS | {_S.PENDING, _S.SUBMITTED, _S.PARTIALLY_FILLED},
    _S.SUBMITTED: _ENDS | {_S.PARTIALLY_FILLED, _S.HELD},  # rejected after it was accepted: Alpaca does
    _S.PARTIALLY_FILLED: _ENDS,
    _S.FILLED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.CANCELLED: frozenset(),  # a late fill raises filled_qty and leaves the status
    _S.EXPIRED: frozenset(),
    _S.REPLACED: frozenset(),
}


class ImpossibleTransition(OmsError):
    """An order was asked to go where its lifecycle does not lead."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order. Quantities in units of the instrument, prices in its quote currency, times UTC.

    `qty` is None until the gate has resolved "all". `client_order_id` is what the broker knows it by. `attempted_at` is
    the committed intent to send: from then on only the broker's word ends it. `version` counts stored changes.
    `baseline_qty` is what had been filled before an external order was taken in: its fills are in the adopted position.
    """

    id: UUID
    account_id: UUID
    client_order_id: str
    symbol: str
    asset_class: AssetClass
    side: Side
    qty: Decimal | None
    type: OrderType
    time_in_force: TimeInForce
    created_at: datetime
    limit_price: Decimal | None = None
    status: OrderStatus = OrderStatus.PENDING
    origin: str = "signal"  # signal or external
    signal_id: str | None = None
    terms: str | None = None  # the signal's terms as it came: "all" stays "all" here
    source: str | None = None
    strategy: str | None = None
    reason: str | None = None
    valid_for_s: Decimal | None = None
    configs_version: int = 0
    alpaca_id: str | None = None
    outcome_unknown: bool = False
    attempted_at: datetime | None = None
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO  # sum of fill quantity times price: the average is derived, so nothing rounds twice
    baseline_qty: Decimal = ZERO
    busted_qty: Decimal = ZERO  # what the broker took back of filled_qty: an adjustment of the position
    fee_rate: Decimal | None = None  # expected crypto fee of its fills
    error_code: str | None = None
    error_message: str | None = None
    checks: Sequence[Mapping[str, object]] = field(default=())
    version: int = 0
    seq: int = 0  # order of acceptance, given by the store

    @property
    def is_open(self) -> bool:
        """Whether it can still fill, as far as is known."""
        return not self.status.is_final

    @property
    def was_attempted(self) -> bool:
        """Whether it may have reached the broker."""
        return self.attempted_at is not None

    @property
    def filled_price(self) -> Decimal | None:
        """The average price of its fills, None while there are none."""
        filled = self.filled_qty - self.baseline_qty
        return None if filled <= 0 else rounded_price(self.filled_value / filled)

    @property
    def remaining(self) -> Decimal:
        """What can still fill."""
        return ZERO if self.qty is None or self.status.is_final else max(self.qty - self.filled_qty, ZERO)

    def moved(self, status: OrderStatus, at: datetime, **changes: object) -> Order:
        """This order in another status. Raises ImpossibleTransition where its lifecycle does not lead there."""
        if status is not self.status and status not in TRANSITIONS[self.status]:
            raise ImpossibleTransition(f"order {self.id} cannot go from {self.status} to {status}")
        if status.is_final and not self.status.is_final:
            changes.setdefault("ended_at", at)
            changes.setdefault("outcome_unknown", False)
        return replace(self, status=status, updated_at=at, version=self.version + 1, **changes)  # type: ignore[arg-type]

    def changed(self, at: datetime, **changes: object) -> Order:
        """This order in the same status with other fields."""
        return self.moved(self.status, at, **changes)

    def with_fill(self, fill: Fill, at: datetime) -> Order:
        """This order after one more fill, which the caller has found to be new."""
        filled = self.filled_qty + fill.qty
        complete = self.qty is not None and filled >= self.qty
        status = self.status
        if not status.is_final:
            status = OrderStatus.FILLED if complete else OrderStatus.PARTIALLY_FILLED
        return self.moved(
            status, at, filled_qty=filled, filled_value=self.filled_value + fill.qty * fill.price, outcome_unknown=False
        )


def rounded_price(value: Decimal) -> Decimal:
    """An average to twelve decimals: far below any tick, so that columns and JSON stay readable."""
    return value.quantize(Decimal("1e-12"))
