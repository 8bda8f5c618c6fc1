"""The shapes of answers for the OpenAPI document only; `shapes.py` and the queries make them. A test compares both."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

Status = Literal[
    "pending", "submitted", "partially_filled", "filled", "rejected", "cancelled", "expired", "replaced", "held"
]


class Shape(BaseModel):
    """An answer."""


class Order(Shape):
    """An order. `qty` is "all" while the whole position is meant and not yet resolved."""

    id: UUID
    symbol: str
    asset_class: Literal["stock", "crypto"]
    side: Literal["buy", "sell"]
    qty: float | Literal["all"] | None
    type: Literal["market", "limit"]
    limit_price: float | None
    time_in_force: str
    status: Status
    filled_qty: float
    filled_price: float | None
    busted_qty: float
    alpaca_id: str | None
    client_order_id: str
    origin: Literal["signal", "external"]
    source: str | None
    reason: str | None
    strategy: str | None
    signal_id: str | None
    valid_for_s: float | None
    error_code: str | None
    error_message: str | None
    checks: list[dict[str, Any]]
    outcome_unknown: bool
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime


class Event(Shape):
    """One line of the append-only trail; `seq` grows by one for each event of the account."""

    seq: int
    order_id: UUID
    kind: str
    status: Status
    at: datetime
    data: dict[str, Any]


class Fill(Shape):
    """One execution."""

    id: UUID
    qty: float
    price: float
    cum_qty: float
    transacted_at: datetime
    execution_id: str | None
    activity_id: str | None
    booked_at: datetime


class OrderWithTrail(Order):
    """An order with all that happened to it."""

    events: list[Event]
    fills: list[Fill]


class Cancelling(Shape):
    """The answer to a cancel: whether the engine has taken it up, and the order as it is now."""

    status: Literal["accepted"]
    id: UUID
    order: Order
    acknowledged: bool
    outcome: str | None
    message: str | None


class Drift(Shape):
    """One difference between the record and the broker. While it `blocks`, only orders that reduce the symbol pass."""

    id: int
    kind: Literal["position", "order", "fill", "fee", "record"]
    subject: str
    symbol: str
    cause: str
    ours: str
    theirs: str
    first_seen: datetime
    last_seen: datetime
    passes: int
    order_id: UUID | None
    blocks: bool
    state: Literal["open", "ignored", "resolved"]
    resolution: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    reason: str | None


class DriftLedger(Shape):
    """Newest first. `in_sync_as_of`: when a full reconciliation last found nothing open."""

    in_sync_as_of: datetime | None
    drift: list[Drift]


class Halt(Shape):
    """Whether trading is halted, and who last halted or resumed it."""

    halted: bool
    at: datetime | None
    by: str | None
    reason: str | None


class Decided(Shape):
    """The answer to a command: whether the engine has taken it up, and what it said."""

    status: Literal["accepted"]
    id: UUID
    acknowledged: bool
    outcome: str | None
    message: str


class Accepted(Shape):
    """The answer to a signal, given after the commit. `ahead` orders wait to be sent before this one."""

    status: Literal["accepted"]
    id: UUID
    order: Order
    ahead: int = 0


class Position(Shape):
    """What is held of one symbol. Price, value and unrealised P&L are null while there is no price."""

    id: UUID
    symbol: str
    asset_class: Literal["stock", "crypto"]
    qty: float
    avg_price: float
    last_price: float | None
    price_time: datetime | None
    stale: bool
    market_value: float | None
    unrealized_pnl: float | None
    realized_pnl: float
    fees: float
    opened_at: datetime | None
    closed_at: datetime | None
    updated_at: datetime


class Portfolio(Shape):
    """Money, profit and loss. The sums are of the positions that have a price; `unpriced` names the others."""

    account: str
    account_number: str
    currency: str
    cash: float | None
    equity: float | None
    buying_power: float | None
    account_as_of: datetime | None
    market_value: float | None
    unrealized_pnl: float | None
    realized_pnl: float
    total_pnl: float | None
    fees: float
    unpriced: list[str]
    positions: list[Position]
    as_of: datetime


class SignalError(Shape):
    """A message from Redis that could not become an order."""

    id: int
    source: str
    code: str
    reason: str
    payload: str
    at: datetime


class Refusal(Shape):
    """One refused value."""

    field: str | None
    code: str
    reason: str


class ProblemDetails(Shape):
    """RFC 9457, with a stable `code`; `errors` has every refused value."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None
    errors: list[Refusal] = []


class SignalBody(Shape):
    """A trade signal. `qty` is a number, or "all" for the whole position."""

    symbol: str
    side: Literal["buy", "sell"]
    qty: Decimal | Literal["all"]
    reason: str | None = None
    type: Literal["market", "limit"] = "market"
    limit_price: Decimal | None = None
    time_in_force: Literal["day", "gtc", "ioc", "fok", "opg", "cls"] | None = None
    strategy: str | None = None
    signal_id: str | None = None
    valid_for_s: Decimal | None = None


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ProblemDetails, "description": "The request was refused"},
    "5XX": {"model": ProblemDetails, "description": "A dependency is away"},
}
