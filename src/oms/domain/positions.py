"""A position as the fold of its fills and adjustments, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from oms.domain.fills import Fill
from oms.domain.orders import rounded_price
from oms.domain.values import ZERO, AssetClass

# transaction time, broker's order id, cumulative quantity, then 0 for the fill and 1 for what came of it
EntryKey = tuple[datetime, str, Decimal, int]


class AdjustmentKind(StrEnum):
    """What moves a position without an order of ours."""

    ADOPTED = "adopted"  # what the account held at the first contact
    FEE = "fee"  # a crypto fee expected with its fill
    FEE_TRUE_UP = "fee_true_up"  # what the day's CFEE activity said beyond that
    BUST = "bust"
    SPLIT = "split"
    CORRECTION = "correction"  # by a person


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One such movement. `qty` is signed; `price` counts where the quantity has a cost (adopted, correction);
    `cash` is money taken (negative) or given beside it, such as a fee in USD. `reference` makes it unique."""

    id: UUID
    account_id: UUID
    symbol: str
    kind: AdjustmentKind
    qty: Decimal
    price: Decimal | None
    cash: Decimal
    at: datetime
    reference: str
    broker_order_id: str = ""
    cum_qty: Decimal = ZERO

    @property
    def key(self) -> EntryKey:
        """Where it stands among the entries of its position."""
        return (self.at, self.broker_order_id, self.cum_qty, 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a position: what a fill or an adjustment does to it."""

    key: EntryKey
    qty: Decimal  # signed
    price: Decimal | None  # None: taken out at cost, the cost lost (a fee in coin)
    cash: Decimal = ZERO
    is_fee: bool = False

    @classmethod
    def of_fill(cls, fill: Fill) -> Entry:
        """The step of a fill."""
        key = (fill.transacted_at, fill.broker_order_id, fill.cum_qty, 0)
        return cls(key, fill.side.sign * fill.qty, fill.price)

    @classmethod
    def of_adjustment(cls, adjustment: Adjustment) -> Entry:
        """The step of an adjustment."""
        is_fee = adjustment.kind in {AdjustmentKind.FEE, AdjustmentKind.FEE_TRUE_UP}
        return cls(adjustment.key, adjustment.qty, adjustment.price, adjustment.cash, is_fee)


@dataclass(frozen=True, slots=True)
class Valuation:
    """The price of one position; the store derives value and P&L from the quantity that it holds at that moment."""

    position_id: UUID
    last_price: Decimal | None
    price_time: datetime | None
    stale: bool


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one symbol. `qty` is signed. `avg_price` is the average cost of what is held, 0 when flat.

    `realized_pnl` and `fees` are USD since the beginning; fees are part of realised P&L. `last_key` is the last entry's
    place; `flat_key`, `flat_realized`, `flat_fees` are what they were when it was last flat: from there a late
    entry makes it be computed again.
    """

    id: UUID
    account_id: UUID
    symbol: str
    asset_class: AssetClass
    qty: Decimal = ZERO
    avg_price: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    last_key: EntryKey | None = None
    flat_key: EntryKey | None = None
    flat_realized: Decimal = ZERO
    flat_fees: Decimal = ZERO
    last_price: Decimal | None = None
    price_time: datetime | None = None
    stale: bool = False
    updated_at: datetime | None = None
    version: int = 0

    @property
    def market_value(self) -> Decimal | None:
        """Signed value at the last price, None when unpriced."""
        return None if self.last_price is None else self.qty * self.last_price

    @property
    def unrealized_pnl(self) -> Decimal | None:
        """What closing at the last price would realise, None when unpriced (0 when flat)."""
        if self.qty == 0:
            return ZERO
        return None if self.last_price is None else (self.last_price - self.avg_price) * self.qty

    def takes(self, entry: Entry) -> bool:
        """Whether the entry follows all that were applied, so that it can simply be applied."""
        return self.last_key is None or entry.key > self.last_key

    def needs_all(self, entry: Entry) -> bool:
        """Whether a late entry lies before the last flat point, so that the position is computed from the beginning."""
        return self.flat_key is None or entry.key <= self.flat_key


def applied(position: Position, entry: Entry) -> Position:
    """The position after one entry. Average cost: increasing averages, reducing realises, a flip does both."""
    held, delta = position.qty, entry.qty
    price = position.avg_price if entry.price is None else entry.price
    same_way = held == 0 or (held > 0) == (delta > 0)
    closing = ZERO if same_way else min(abs(delta), abs(held)) * (1 if held > 0 else -1)
    gain = (price - position.avg_price) * closing + entry.cash
    qty = held + delta
    if entry.is_fee and delta:
        gain += delta * price  # a fee in coin is lost at what it cost
    if qty == 0:
        avg_price = ZERO
    elif same_way:
        avg_price = rounded_price((abs(held) * position.avg_price + abs(delta) * price) / abs(qty))
    else:
        avg_price = position.avg_price if (qty > 0) == (held > 0) else price
    realized = position.realized_pnl + gain
    fees = position.fees - ((entry.cash + delta * price) if entry.is_fee else ZERO)
    became_flat = qty == 0
    opened = position.opened_at if held != 0 and (held > 0) == (qty > 0) else entry.key[0]
    return replace(
        position,
        qty=qty,
        avg_price=avg_price,
        realized_pnl=realized,
        fees=fees,
        opened_at=opened if qty else position.opened_at,
        closed_at=entry.key[0] if qty == 0 else None,
        last_key=entry.key,
        flat_key=entry.key if became_flat else position.flat_key,
        flat_realized=realized if became_flat else position.flat_realized,
        flat_fees=fees if became_flat else position.flat_fees,
        version=position.version + 1,
    )


def recomputed(position: Position, entries: Iterable[Entry], *, from_beginning: bool) -> Position:
    """The position from its last flat point (or the beginning) with all entries since, given in any order."""
    start = replace(
        position,
        qty=ZERO,
        avg_price=ZERO,
        realized_pnl=ZERO if from_beginning else position.flat_realized,
        fees=ZERO if from_beginning else position.flat_fees,
        last_key=None if from_beginning else position.flat_key,
        flat_key=None if from_beginning else position.flat_key,
        flat_realized=ZERO if from_beginning else position.flat_realized,
        flat_fees=ZERO if from_beginning else position.flat_fees,
        opened_at=None,
    )
    result = start
    for entry in sorted(entries, key=lambda one: one.key):
        result = applied(result, entry)
    return replace(result, version=position.version + 1)
