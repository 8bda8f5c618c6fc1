"""Whether anything was lost or doubled: the database and the broker, each read whole when everything is over."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg

from tests.acceptance.replay.paper import Broker
from tests.chaos.load import Sent

ENDS = frozenset({"filled", "rejected", "cancelled", "expired"})
SPELLED = {"filled": "filled", "cancelled": "canceled", "expired": "expired", "rejected": "rejected"}
NOTHING = Decimal(0)

Row = dict[str, Any]


@dataclass(slots=True)
class Judgement:
    """Lines that each name one thing that is wrong; all empty is well."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    false_rejects: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> list[str]:
        """All of it."""
        return [*self.lost, *self.doubled, *self.false_rejects, *self.miscounted]


async def judge(database: asyncpg.Connection, broker: Broker, sent: Sent) -> Judgement:
    """Compare what the clients were told, what is stored, and what the broker did."""
    tables = ("orders", "fills", "adjustments", "positions")
    stored = {table: [dict(row) for row in await database.fetch(f"select * from {table}")] for table in tables}
    return compare(sent=sent, theirs=broker.orders(), log=broker.fills(), held=broker.get("/v2/positions"), **stored)


def compare(
    *,
    sent: Sent,
    orders: list[Row],
    fills: list[Row],
    adjustments: list[Row],
    positions: list[Row],
    theirs: list[Row],
    log: list[dict[str, str]],
    held: list[Row],
) -> Judgement:
    """Rows of our tables; the broker's orders, its log of fills and what it holds."""
    judgement = Judgement(
        statuses=Counter(order["status"] for order in orders),
        codes=Counter(order["error_code"] for order in orders if order["error_code"]),
    )
    _signals(judgement, sent, orders)
    _orders(judgement, orders, theirs)
    _fills(judgement, orders, fills, log)
    _positions(judgement, fills, adjustments, positions, held)
    return judgement


def _signals(judgement: Judgement, sent: Sent, orders: list[Row]) -> None:
    """Each accepted signal has one order, the one that its client was told of."""
    stored: defaultdict[str, list[str]] = defaultdict(list)
    for order in orders:
        stored[order["signal_id"]].append(str(order["id"]))
    for signal_id in sent.signals:
        ours, told = stored.pop(signal_id, []), sent.answers.get(signal_id, set())
        if not ours and (told or signal_id in sent.by_stream):
            judgement.lost.append(f"signal {signal_id} was accepted and has no order")
        if len(ours) > 1 or len(told) > 1:
            judgement.doubled.append(f"signal {signal_id} has the orders {ours}, its clients were told {told}")
        if told and ours and not told <= set(ours):
            judgement.lost.append(f"signal {signal_id} was answered {told}, and {ours} is stored")
    judgement.doubled += [f"orders {ids} are of no signal that was sent ({name})" for name, ids in stored.items()]


def _orders(judgement: Judgement, orders: list[Row], theirs: list[Row]) -> None:
    """Each order has the same end here and at the broker, or is open at both."""
    at_broker: defaultdict[str, list[Row]] = defaultdict(list)
    for one in theirs:
        at_broker[one["client_order_id"]].append(one)
    for order in orders:
        found = at_broker.pop(order["client_order_id"], [])
        name = f"order {order['id']} ({order['symbol']}, {order['status']}, {order['error_code']})"
        if len(found) > 1:
            judgement.doubled.append(f"{name} is {len(found)} orders at the broker")
        if not found:
            if order["status"] not in {"rejected", "expired", "cancelled"} or order["alpaca_id"] is not None:
                judgement.lost.append(f"{name} is not at the broker")
            continue
        seen = found[0]
        is_over = order["status"] in ENDS
        if is_over and SPELLED[order["status"]] != seen["status"]:
            judgement.false_rejects.append(f"{name} is {seen['status']} at the broker")
        if not is_over and (order["status"] == "pending" or seen["status"] not in {"new", "accepted"}):
            judgement.lost.append(f"{name} has no end and is {seen['status']} at the broker")
        if order["filled_qty"] != Decimal(seen["filled_qty"]):
            judgement.miscounted.append(f"{name} has {order['filled_qty']} filled, at the broker {seen['filled_qty']}")
    for name, found in at_broker.items():
        judgement.doubled.append(f"the broker has {len(found)} order(s) {name} that nobody here knows")


def _fills(judgement: Judgement, orders: list[Row], fills: list[Row], log: list[dict[str, str]]) -> None:
    """Each fill of the broker is booked once, and an order's quantity is the sum of its fills."""
    executed = {(line["order_id"], Decimal(line["cum_qty"])): line for line in log}
    booked = Counter((fill["broker_order_id"], fill["cum_qty"]) for fill in fills)
    judgement.doubled += [f"fill {key} is booked {count} times" for key, count in booked.items() if count > 1]
    judgement.lost += [f"fill {key} is not booked" for key in executed.keys() - booked.keys()]
    judgement.miscounted += [f"fill {key} is none of the broker's" for key in booked.keys() - executed.keys()]
    sums: defaultdict[Any, Decimal] = defaultdict(lambda: NOTHING)
    for fill in fills:
        sums[fill["order_id"]] += fill["qty"]
        line = executed.get((fill["broker_order_id"], fill["cum_qty"]))
        if line and (fill["qty"], fill["price"]) != (Decimal(line["qty"]), Decimal(line["price"])):
            judgement.miscounted.append(f"fill {fill} differs from the broker's {line}")
    for order in orders:
        if order["filled_qty"] != sums[order["id"]]:
            judgement.miscounted.append(
                f"order {order['id']}: {order['filled_qty']} filled, its fills {sums[order['id']]}"
            )


def _positions(
    judgement: Judgement, fills: list[Row], adjustments: list[Row], positions: list[Row], theirs: list[Row]
) -> None:
    """A position is its fills and adjustments, and the broker's."""
    counted: defaultdict[str, Decimal] = defaultdict(lambda: NOTHING)
    for fill in fills:
        counted[fill["symbol"]] += fill["qty"] if fill["side"] == "buy" else -fill["qty"]
    for adjustment in adjustments:
        counted[adjustment["symbol"]] += adjustment["qty"]
    held = {row["symbol"]: Decimal(row["qty"]) for row in theirs}
    for position in positions:
        symbol, qty = position["symbol"], position["qty"]
        broker_qty = held.pop(symbol.replace("/", ""), NOTHING)
        if not qty == counted[symbol] == broker_qty:
            judgement.miscounted.append(
                f"position {symbol}: {qty}, fills and adjustments {counted[symbol]}, broker {broker_qty}"
            )
    judgement.miscounted += [f"position {symbol} {qty} is only the broker's" for symbol, qty in held.items() if qty]
