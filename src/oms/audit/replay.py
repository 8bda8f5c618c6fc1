"""An order built again from nothing but its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from oms.audit.trail import TrailEvent, moment, number
from oms.domain.events import EventKind
from oms.domain.orders import FINAL, TRANSITIONS, OrderStatus
from oms.domain.values import ZERO

_NUMBERS = frozenset({"qty", "limit_price", "valid_for_s", "fee_rate", "baseline_qty", "busted_qty"})
_TIMES = frozenset({"created_at", "attempted_at", "submitted_at"})
_PLAIN = frozenset(
    {
        "client_order_id", "symbol", "asset_class", "side", "type", "time_in_force", "signal_id", "terms",
        "source", "strategy", "reason", "configs_version", "alpaca_id", "outcome_unknown", "error_code",
        "error_message", "checks",
    }
)  # fmt: skip
_NAMED = {"code": "error_code", "message": "error_message"}
# Words of an event that mean something else than the order's column of that name.
_OWN_WORDS = {
    str(EventKind.FILLED): {"qty"},
    str(EventKind.BUSTED): {"qty"},
    str(EventKind.OUTCOME_UNKNOWN): {"reason"},
}
_FIRST = {str(EventKind.ACCEPTED): "signal", str(EventKind.ADOPTED): "external"}
# Where a kind of event leaves an order; after `filled` and what an answer tells it depends.
_LEADS_TO = {
    str(EventKind.APPROVED): "pending", str(EventKind.CANCELLED): "cancelled", str(EventKind.EXPIRED): "expired",
    str(EventKind.REJECTED): "rejected", str(EventKind.REPLACED): "replaced", str(EventKind.HELD): "held",
}  # fmt: skip
_UNCHANGING = {str(EventKind.CANCEL_REQUESTED)}

# What events told before they told everything (they had no client_order_id then).
OLD_SIGNAL = frozenset(
    {
        "symbol", "side", "type", "limit_price", "source", "seq", "origin", "created_at", "status", "filled_qty",
        "filled_value", "filled_price", "alpaca_id", "outcome_unknown", "error_code", "error_message", "version",
    }
)  # fmt: skip
OLD_EXTERNAL = frozenset({"symbol", "side", "alpaca_id", "status", "seq", "origin"})


@dataclass(slots=True)
class Replayed:
    """`values` by column. `told` are the columns that these events say enough about, None where it is all of them."""

    values: dict[str, Any] = field(default_factory=dict)
    told: frozenset[str] | None = None
    faults: list[tuple[int, str]] = field(default_factory=list)  # sequence, what cannot be


def replay(events: Iterable[TrailEvent]) -> Replayed:
    """Go through the events of one order, oldest first."""
    result = Replayed()
    for event in events:
        if not result.values:
            _begin(result, event)
        else:
            _go_on(result, event)
    if result.values:
        values = result.values
        filled = values["filled_qty"] - values["baseline_qty"]
        average = values["filled_value"] / filled if filled > 0 else None
        values["filled_price"] = None if average is None else average.quantize(Decimal("1e-12"))
    return result


def _begin(result: Replayed, event: TrailEvent) -> None:
    origin = _FIRST.get(event.kind)
    if origin is None:
        result.faults.append((event.seq, f"the first event is {event.kind}"))
        return
    data = dict(event.data)
    if data.get("qty") == "all":
        data["qty"] = None
    result.values = {
        **dict.fromkeys(_PLAIN | _NUMBERS | _TIMES),
        "seq": event.seq, "origin": origin, "status": event.status, "created_at": event.at, "updated_at": event.at,
        "version": 0 if origin == "signal" else 1, "configs_version": 0, "outcome_unknown": False, "checks": [],
        "filled_value": ZERO, "baseline_qty": ZERO, "busted_qty": ZERO, "ended_at": None, "attempt_epoch": None,
    }  # fmt: skip
    if "client_order_id" not in data:
        result.told = OLD_SIGNAL if origin == "signal" else OLD_EXTERNAL
    _take(result.values, event.kind, data)
    result.values["filled_qty"] = result.values["baseline_qty"]


def _go_on(result: Replayed, event: TrailEvent) -> None:
    values = result.values
    if event.kind in _FIRST:
        result.faults.append((event.seq, f"{event.kind} a second time"))
        return
    before, after = OrderStatus(values["status"]), OrderStatus(event.status)
    if after is not before and after not in TRANSITIONS[before]:
        result.faults.append((event.seq, f"from {before} to {after}"))
    if _LEADS_TO.get(event.kind, event.status) != event.status:
        result.faults.append((event.seq, f"{event.kind}, {event.status}"))
    if event.kind in _UNCHANGING:
        if after is not before:
            result.faults.append((event.seq, f"{event.kind} changed {before} to {after}"))
        return
    if after in FINAL and before not in FINAL:
        values["ended_at"] = event.at
    if result.told is not None:  # later trails say themselves when it is known again
        values["outcome_unknown"] = event.kind == EventKind.OUTCOME_UNKNOWN
    values |= {"status": event.status, "updated_at": event.at, "version": values["version"] + 1}
    _take(values, event.kind, event.data)
    if is_fill(event):
        qty, price = Decimal(event.data["qty"]), Decimal(event.data["price"])
        values["filled_qty"] += qty
        values["filled_value"] += qty * price


def is_fill(event: TrailEvent) -> bool:
    """Whether it tells of an execution; `filled` alone can also be the broker's word that there will be no more."""
    return event.kind == EventKind.FILLED and "price" in event.data


def _take(values: dict[str, Any], kind: str, data: Mapping[str, Any]) -> None:
    foreign = _OWN_WORDS.get(kind, set())
    for word, value in data.items():
        name = _NAMED.get(word, word)
        if word in foreign:
            continue
        if name in _NUMBERS:
            values[name] = number(value)
        elif name in _TIMES:
            values[name] = moment(value)
        elif name in _PLAIN:
            values[name] = value
    if values["attempted_at"] is not None and values["attempt_epoch"] is None:
        values["attempt_epoch"] = data.get("epoch")
