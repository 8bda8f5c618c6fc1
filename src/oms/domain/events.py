"""What happened to an order: past tense, frozen, written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class EventKind(StrEnum):
    """What can happen to an order."""

    ACCEPTED = "accepted"  # stored, answered to the caller
    APPROVED = "approved"  # passed the risk gate; the intent to send is committed
    REJECTED = "rejected"  # refused by a control of ours or by the broker
    SUBMITTED = "submitted"  # the broker has it
    FILLED = "filled"  # one fill, partial or last
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    HELD = "held"
    OUTCOME_UNKNOWN = "outcome_unknown"  # sent, and nobody knows: being asked for
    OUTCOME_KNOWN = "outcome_known"
    ADOPTED = "adopted"  # found at the broker, made by somebody else


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One line of the append-only trail. `data` holds JSON values; numbers as Decimal. `seq` is given by the store."""

    order_id: UUID
    kind: EventKind
    at: datetime
    status: str
    data: Mapping[str, object] = field(default_factory=dict)
