"""What a person must know: one line each, with when and of which kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class AlertKind(StrEnum):
    """What an alert is about."""

    REJECTED = "order rejected"  # by a control of ours or by the broker
    FAILED = "order failed"  # ended without the broker, or nobody knows its outcome for long
    EXTERNAL = "external trade"  # an order in our account that is not ours
    CONDITION = "condition"  # something lasting began, changed, or is over: the engine, a stream, a blocked symbol


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell. `count` is above 1 where a burst was counted instead of told one by one."""

    kind: AlertKind
    at: datetime
    text: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """An alert as it is stored: `id` grows with time."""

    id: int
    alert: Alert


@dataclass(frozen=True, slots=True)
class OrderNews:
    """One event of an order's trail that may be worth an alert, with the order's terms."""

    seq: int
    event: str
    at: datetime
    symbol: str
    side: str
    qty: Decimal | None
    order_id: str
    origin: str
    error_code: str | None
    error_message: str | None
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Looked:
    """The record at one moment: news up to `head`, what the engine last said and how long ago (None: never)."""

    at: datetime
    head: int
    news: tuple[OrderNews, ...]
    engine_status: str | None
    engine_age_s: float | None
    engine_detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """How telling one receiver goes. `receiver` is an id that reveals nothing of its address."""

    receiver: str
    delivered: int
    failures: int
    waiting: int
    last_error: str
    delivered_at: datetime | None
    failing_since: datetime | None
