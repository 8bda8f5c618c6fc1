"""What happened to an order: past tense, frozen, written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from uuid import UUID

from oms.domain.orders import Order


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
    BUSTED = "busted"  # the broker took a fill back
    ADOPTED = "adopted"  # found at the broker, made by somebody else


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One line of the append-only trail. `data` holds JSON values; numbers as Decimal. `seq` is given by the store."""

    order_id: UUID
    kind: EventKind
    at: datetime
    status: str
    data: Mapping[str, object] = field(default_factory=dict)


# What replaying works out by itself, from the kind, time and status of an event and from the fills.
_WORKED_OUT = {"status", "updated_at", "ended_at", "version", "filled_qty", "filled_value"}
_TOLD = tuple(one.name for one in fields(Order) if one.name not in _WORKED_OUT)
_values = attrgetter(*_TOLD)
_ALIASES = {"error_code": "code", "error_message": "message"}


def told(before: Order, after: Order, data: Mapping[str, object]) -> Mapping[str, object]:
    """`data` and whatever else of the order changed: the trail must be able to build every order again."""
    more = {
        name: new
        for name, old, new in zip(_TOLD, _values(before), _values(after), strict=True)
        if old is not new and old != new and name not in data and _ALIASES.get(name) not in data
    }
    return {**data, **more} if more else data
