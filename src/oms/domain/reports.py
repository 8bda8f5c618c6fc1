"""What a broker reports: its orders, executions, positions, account and clock, in our own terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from oms.domain.orders import OrderStatus
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """One order as the broker has it at some moment. `qty` is None for an order by notional until it is filled.

    `status` is ours; `broker_status` is the broker's own word. `filled_qty` is cumulative.
    """

    broker_order_id: str
    client_order_id: str
    symbol: str
    asset_class: AssetClass
    side: Side
    qty: Decimal | None
    type: str  # market, limit, stop, …: an external order may be of any type
    time_in_force: TimeInForce
    status: OrderStatus
    broker_status: str
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    limit_price: Decimal | None
    submitted_at: datetime
    updated_at: datetime
    replaced_by: str | None = None
    replaces: str | None = None

    @property
    def order_type(self) -> OrderType:
        """Ours, for the kinds that we know; any other counts as a limit order (it need not fill at once)."""
        return OrderType.MARKET if self.type == "market" else OrderType.LIMIT


@dataclass(frozen=True, slots=True)
class BrokerFill:
    """One execution, from the stream (`execution_id`) or the activities (`activity_id`).

    `is_bust`: the broker takes one of this quantity and price back; `cum_qty` means nothing then.
    """

    broker_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    transacted_at: datetime
    execution_id: str | None = None
    activity_id: str | None = None
    is_bust: bool = False

    @property
    def reference(self) -> str:
        """What makes the adjustment for a bust unique."""
        return f"bust:{self.activity_id}"


class UpdateKind(StrEnum):
    """What an update of the stream says; kinds that change nothing of ours are OTHER."""

    ACCEPTED = "accepted"  # new, accepted, pending_new, held, …
    FILL = "fill"  # fill and partial_fill
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"
    RESTATED = "restated"  # a fill was busted or corrected: the activities say which
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """One message of `trade_updates`: the order after it and, for a fill, the execution. `event` is Alpaca's word."""

    kind: UpdateKind
    event: str
    order: BrokerOrder
    at: datetime
    fill: BrokerFill | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FeeActivity:
    """One CFEE activity: coin (`qty` negative) or dollars (`cash` negative) taken on `day` (New York) for a symbol."""

    activity_id: str
    symbol: str
    day: str
    qty: Decimal
    price: Decimal | None
    cash: Decimal


@dataclass(frozen=True, slots=True)
class BrokerPosition:
    """One holding as the broker has it; `symbol` is the coin's USD pair, `qty` signed."""

    symbol: str
    asset_class: AssetClass
    qty: Decimal
    avg_price: Decimal


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """The account's totals in USD. `trouble`: why it cannot trade, for a person; empty when it can."""

    broker_account_id: str
    number: str
    status: str
    currency: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    trading_blocked: bool
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class MarketClock:
    """The broker's clock. `is_open` holds from `at` until `next_open` or `next_close`, whichever comes first."""

    at: datetime
    is_open: bool
    next_open: datetime
    next_close: datetime

    @property
    def next_change(self) -> datetime:
        """When `is_open` must be asked again."""
        return self.next_close if self.is_open else self.next_open


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record of a listing that could not be understood, left out of what the listing answered.

    `what` is its kind (order, fill, fee, position), `id` and `symbol` as far as they can be read, else empty.
    """

    what: str
    id: str
    symbol: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class UnreadableUpdate:
    """A message of the stream that could not be understood: nothing is guessed, a reconciliation follows."""

    reason: str
    text: str
