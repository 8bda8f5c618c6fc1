"""Whether PostgreSQL and the broker tell one story, and what is lost, doubled or falsely refused where they do not.

This is invariants 1 to 9 of the design, checked from outside: by the tables, and by the paper broker's own word
(its orders, its log of fills, its positions).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]

OURS = "tm1-"  # what our orders' ids at the broker begin with
_SPELLED = {
    "submitted": {"new", "accepted", "pending_new", "partially_filled", "pending_cancel", "held"},
    "partially_filled": {"partially_filled", "pending_cancel"},
    "filled": {"filled"},
    "cancelled": {"canceled"},
    "expired": {"expired"},
    "rejected": {"rejected"},
    "replaced": {"replaced"},
    "held": {"held"},
}


@dataclass(frozen=True)
class Ours:
    """The record of one account."""

    orders: Sequence[Row]
    fills: Sequence[Row]
    positions: Sequence[Row]
    adjustments: Sequence[Row]


@dataclass(frozen=True)
class Theirs:
    """The account at the broker."""

    orders: Sequence[Row]
    fills: Sequence[Row]
    positions: Sequence[Row]


@dataclass
class Differences:
    """What does not agree, in words. `unsettled` may settle by itself; the others are counted in the matrix."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    false_rejects: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.false_rejects or self.unsettled)

    def __str__(self) -> str:
        named = {name: found for name, found in vars(self).items() if found}
        return "; ".join(f"{name}: {', '.join(found[:5])}" for name, found in named.items()) or "none"


def compare(
    ours: Ours, theirs: Theirs, accepted: Mapping[str, str], refusals: Collection[str] = (), unhurried: bool = True
) -> Differences:
    """Everything that does not agree.

    `accepted`: the identities of the signals that a caller was told are accepted, with the order's id. `refusals`: the
    codes with which an order may rightly have been refused. `unhurried`: nothing may be under way any more.
    """
    found = Differences()
    _signals(found, ours, accepted)
    _orders(found, ours, theirs, refusals, unhurried)
    _fills(found, ours, theirs)
    _sums(found, ours)
    _positions(found, ours, theirs)
    return found


def _signals(found: Differences, ours: Ours, accepted: Mapping[str, str]) -> None:
    """Invariant 1: one order for each accepted signal, the one that its caller was told."""
    counted = Counter(order["signal_id"] for order in ours.orders if order["signal_id"] is not None)
    found.doubled += [f"{count} orders for signal {signal_id}" for signal_id, count in counted.items() if count > 1]
    by_signal = {order["signal_id"]: str(order["id"]) for order in ours.orders}
    for signal_id, order_id in accepted.items():
        if signal_id not in by_signal:
            found.lost.append(f"accepted signal {signal_id} has no order")
        elif by_signal[signal_id] != order_id:
            found.doubled.append(f"signal {signal_id} was answered with {order_id}, stored is {by_signal[signal_id]}")


def _orders(found: Differences, ours: Ours, theirs: Theirs, refusals: Collection[str], unhurried: bool) -> None:
    """Invariants 2, 4, 5 and 9: one broker order for each of ours, in the same state."""
    names = Counter(order["client_order_id"] for order in theirs.orders)
    found.doubled += [f"{count} broker orders {name}" for name, count in names.items() if count > 1]
    known = {order["client_order_id"] for order in ours.orders}
    missing = [name for name in names if name not in known]
    found.lost += [f"broker order {name} is not in the record" for name in missing if name.startswith(OURS)]
    found.unsettled += [f"external order {name} is not shown" for name in missing if not name.startswith(OURS)]
    by_name = {order["client_order_id"]: order for order in theirs.orders}
    for order in ours.orders:
        other, status = by_name.get(order["client_order_id"]), order["status"]
        name = f"order {order['id']}"
        if other is None:
            if order["alpaca_id"] is not None:
                found.lost.append(f"{name} is {order['alpaca_id']} at the broker, who does not have it")
            elif status in {"pending", "submitted", "partially_filled", "filled"} and unhurried:
                found.unsettled.append(f"{name} is {status} and not at the broker")
        else:
            lives_there = other["status"] not in {"rejected", "canceled", "expired", "replaced"}
            if status in {"rejected", "expired"} and lives_there:
                found.false_rejects.append(f"{name} is {status} here and {other['status']} at the broker")
            elif order["alpaca_id"] != other["id"]:
                found.unsettled.append(f"{name} is bound to {order['alpaca_id']}, at the broker it is {other['id']}")
            elif other["status"] not in _SPELLED.get(status, set()):
                found.unsettled.append(f"{name} is {status} here and {other['status']} at the broker")
            if order["outcome_unknown"]:
                found.unsettled.append(f"{name} is still unknown")
        if status == "rejected" and order["error_code"] not in refusals and order["origin"] == "signal":
            found.false_rejects.append(f"{name} was refused: {order['error_code']} {order['error_message']}")


def _fills(found: Differences, ours: Ours, theirs: Theirs) -> None:
    """Invariant 7: each fill of the broker's log once, and nothing else."""
    booked = Counter((fill["broker_order_id"], fill["cum_qty"]) for fill in ours.fills)
    found.doubled += [f"fill {key} is booked {count} times" for key, count in booked.items() if count > 1]
    log = {(fill["order_id"], Decimal(str(fill["cum_qty"]))): fill for fill in theirs.fills}
    baselines = {order["alpaca_id"]: order["baseline_qty"] for order in ours.orders}
    for key, line in log.items():
        if key not in booked and key[1] > baselines.get(key[0], Decimal(0)):
            found.lost.append(f"fill {line['symbol']} {line['side']} {line['qty']} of {key} is not booked")
    found.doubled += [f"booked fill {key} is not in the broker's log" for key in booked if key not in log]
    for fill in ours.fills:
        line = log.get((fill["broker_order_id"], fill["cum_qty"]))
        if line and (fill["qty"], fill["price"]) != (Decimal(str(line["qty"])), Decimal(str(line["price"]))):
            found.unsettled.append(f"fill {line['seq']} is booked as {fill['qty']} at {fill['price']}")


def _sums(found: Differences, ours: Ours) -> None:
    """Invariants 6, 7: an order's quantity is the sum of its fills, whose intervals follow each other."""
    by_order: dict[Any, list[Row]] = {}
    for fill in ours.fills:
        by_order.setdefault(fill["order_id"], []).append(fill)
    for order in ours.orders:
        done = order["baseline_qty"]
        for fill in sorted(by_order.get(order["id"], []), key=lambda one: one["cum_qty"]):
            if fill["cum_qty"] - fill["qty"] < done:
                found.doubled.append(f"the fills of order {order['id']} overlap at {fill['cum_qty']}")
            elif fill["cum_qty"] - fill["qty"] > done:
                found.lost.append(f"the fills of order {order['id']} have a gap before {fill['cum_qty']}")
            done = fill["cum_qty"]
        total = sum((fill["qty"] for fill in by_order.get(order["id"], [])), order["baseline_qty"])
        if order["filled_qty"] != total:
            found.unsettled.append(f"order {order['id']} has filled {order['filled_qty']}, its fills say {total}")
        if order["qty"] is not None and total > order["qty"]:
            found.doubled.append(f"order {order['id']} for {order['qty']} has filled {total}")


def position_error(ours: Ours) -> Decimal:
    """How far positions are from the sum of fills and adjustments, all together (invariant 6)."""
    counted = _counted(ours)
    held = {position["symbol"]: position["qty"] for position in ours.positions}
    symbols = counted.keys() | held.keys()
    return sum((abs(counted.get(symbol, Decimal(0)) - held.get(symbol, Decimal(0))) for symbol in symbols), Decimal(0))


def _counted(ours: Ours) -> dict[str, Decimal]:
    counted: dict[str, Decimal] = {}
    for fill in ours.fills:
        signed = fill["qty"] if fill["side"] == "buy" else -fill["qty"]
        counted[fill["symbol"]] = counted.get(fill["symbol"], Decimal(0)) + signed
    for adjustment in ours.adjustments:
        counted[adjustment["symbol"]] = counted.get(adjustment["symbol"], Decimal(0)) + adjustment["qty"]
    return counted


def _positions(found: Differences, ours: Ours, theirs: Theirs) -> None:
    """Invariants 6 and 9: positions are fills and adjustments, and what the broker holds."""
    error = position_error(ours)
    if error:
        found.unsettled.append(f"positions are off the sum of fills and adjustments by {error}")
    held = {position["symbol"].replace("/", ""): position["qty"] for position in ours.positions if position["qty"]}
    other = {position["symbol"]: Decimal(str(position["qty"])) for position in theirs.positions}
    for symbol in held.keys() | other.keys():
        mine, his = held.get(symbol, Decimal(0)), other.get(symbol, Decimal(0))
        if mine != his:
            found.unsettled.append(f"position {symbol} is {mine} here and {his} at the broker")
