"""One order's row and fills beside its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import ROUND_UP, Decimal
from itertools import pairwise

from oms.audit.findings import Difference, agree
from oms.audit.reading import Row
from oms.audit.replay import is_fill, replay
from oms.audit.trail import TrailEvent, moment, read_data
from oms.domain.orders import FINAL
from oms.domain.values import ZERO

FEE_STEP = Decimal("1e-9")


def check_order(order: Row, events: Sequence[TrailEvent], fills: Sequence[Row]) -> Iterator[Difference]:
    """Every way in which the row `order`, its `events` and its `fills` (by cumulative quantity) disagree."""
    subject = str(order["id"])
    yield from _row(subject, order, events)
    yield from _fills_told(subject, events, fills)
    yield from _fills_add_up(subject, order, fills)
    for fill in fills:
        yield from _fee(order, fill)


def _row(subject: str, order: Row, events: Sequence[TrailEvent]) -> Iterator[Difference]:
    built = replay(events)
    for seq, fault in built.faults:
        yield Difference("event", f"{subject} #{seq}", fault, "recorded", "impossible")
    if not built.values:
        yield Difference("order", subject, "events", len(events), "at least its first")
        return
    for name, expected in built.values.items():
        if built.told is not None and name not in built.told:
            continue
        recorded = read_data(order[name]) if name == "checks" else order[name]
        if not (agree(recorded, expected) if name == "filled_value" else recorded == expected):
            yield Difference("order", subject, name, recorded, expected)


def _fills_told(subject: str, events: Sequence[TrailEvent], fills: Sequence[Row]) -> Iterator[Difference]:
    told = {Decimal(event.data["cum_qty"]): event for event in events if is_fill(event)}
    for fill in fills:
        event = told.pop(fill["cum_qty"], None)
        name = f"{subject} up to {fill['cum_qty'].normalize():f}"
        if event is None:
            yield Difference("fill", name, "event", "none", "one")
            continue
        said = (
            Decimal(event.data["qty"]), Decimal(event.data["price"]), moment(event.data.get("transacted_at")),
            event.data.get("execution_id"), event.data.get("activity_id"),
        )  # fmt: skip
        names = ("qty", "price", "transacted_at", "execution_id", "activity_id")
        for what, expected in zip(names, said, strict=True):
            if fill[what] != expected:
                yield Difference("fill", name, what, fill[what], expected)
    for cum_qty, event in told.items():
        yield Difference("fill", f"{subject} up to {cum_qty:f}", "row", "none", f"as event #{event.seq} says")


def _fills_add_up(subject: str, order: Row, fills: Sequence[Row]) -> Iterator[Difference]:
    baseline = order["baseline_qty"]
    total = baseline + sum((fill["qty"] for fill in fills), ZERO)
    value = sum((fill["qty"] * fill["price"] for fill in fills), ZERO)
    if order["filled_qty"] != total:
        yield Difference("order", subject, "filled_qty, of its fills", order["filled_qty"], total)
    if not agree(order["filled_value"], value):
        yield Difference("order", subject, "filled_value, of its fills", order["filled_value"], value)
    if order["qty"] is not None and total > order["qty"]:
        yield Difference("order", subject, "filled beyond its quantity", total, order["qty"])
    ends = [baseline, *(fill["cum_qty"] for fill in fills)]
    for fill, (before, _) in zip(fills, pairwise(ends), strict=True):
        begins = fill["cum_qty"] - fill["qty"]
        if begins < before or (begins > before and order["status"] in FINAL):
            yield Difference("fill", f"{subject} up to {fill['cum_qty'].normalize():f}", "begins", begins, before)
    for fill in fills:
        for what, expected in (
            ("broker_order_id", order["alpaca_id"]), ("symbol", order["symbol"]), ("side", order["side"])
        ):  # fmt: skip
            if fill[what] != expected:
                yield Difference("fill", f"{subject} up to {fill['cum_qty'].normalize():f}", what, fill[what], expected)


def _fee(order: Row, fill: Row) -> Iterator[Difference]:
    """A crypto fill carries its expected fee: coin of what was bought, dollars of what was sold."""
    if order["asset_class"] != "crypto" or not order["fee_rate"]:
        expected = (ZERO, ZERO)
    elif order["side"] == "buy":
        expected = (-(fill["qty"] * order["fee_rate"]).quantize(FEE_STEP, ROUND_UP), ZERO)
    else:
        expected = (ZERO, -(fill["qty"] * fill["price"] * order["fee_rate"]).quantize(FEE_STEP, ROUND_UP))
    for what, one in zip(("fee_qty", "fee_cash"), expected, strict=True):
        recorded = fill[what] or ZERO
        if not agree(recorded, one):
            yield Difference("fee", f"{order['id']} up to {fill['cum_qty'].normalize():f}", what, recorded, one)
