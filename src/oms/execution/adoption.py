"""The first contact with an account: what it holds becomes ours to follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from oms.domain.errors import BrokerError, BrokerNotFound, BrokerUnreadable
from oms.domain.orders import rounded_price
from oms.domain.reports import BrokerFill, BrokerOrder, BrokerPosition
from oms.domain.values import ZERO
from oms.execution.desk import Desk
from oms.ports import Broker, Changes

log = structlog.get_logger(__name__)

LOOKED_BACK = timedelta(minutes=20)
TRIES = 10


async def adopt(desk: Desk) -> datetime:
    """Take in what the account holds: positions as adjustments, orders as external; when that was.

    Executions may come in while this is read. The positions are taken between two equal looks at orders and
    executions: what those name is in the positions and is marked as the orders' baseline, whatever comes later is not.
    Orders are asked as well as executions, whose list can lag behind.
    """
    broker, book, at = desk.outside.broker, desk.book, desk.time.now()
    before = await _traded(broker, at - LOOKED_BACK)
    for _ in range(TRIES):
        positions = await broker.positions()
        orders, fills = after = await _traded(broker, at - LOOKED_BACK)
        if _filled(*after) == _filled(*before):
            break
        before = after
    else:
        raise BrokerError("the account trades too much elsewhere to be taken in; trying again")
    # Whatever was executed or taken back by then is in the positions, be it later than when the looking began.
    at = max([at, *(fill.transacted_at for fill in fills)])
    changes = Changes(watermark=at)
    for seen, baseline, busted in await _foreign_orders(broker, orders, fills):
        if book.find(seen) is None:
            changes.merge(book.adopt(seen, baseline=baseline, busted=busted))
    for held in by_symbol(positions).values():
        if held.qty:
            changes.merge(book.adopt_position(held, at))
    log.info("account_adopted", positions=len(positions), orders=len(changes.created))
    await desk.journal.record(changes)
    return at


async def _traded(broker: Broker, since: datetime) -> tuple[Sequence[BrokerOrder], Sequence[BrokerFill]]:
    """Orders that are open or were sent lately, and the executions since then."""
    recent = {order.broker_order_id: order for order in await broker.orders_since(since)}
    recent |= {order.broker_order_id: order for order in await broker.open_orders()}
    return list(recent.values()), await broker.fills_since(since)


def _filled(orders: Sequence[BrokerOrder], fills: Sequence[BrokerFill]) -> tuple[object, ...]:
    """What tells whether anything was executed between two looks."""
    return {order.broker_order_id: order.filled_qty for order in orders if order.filled_qty}, fills


async def _foreign_orders(
    broker: Broker, orders: Sequence[BrokerOrder], fills: Sequence[BrokerFill]
) -> list[tuple[BrokerOrder, Decimal, Decimal]]:
    """Each order that is open or was filled lately, with what of it has been filled so far, and taken back of that."""
    baselines: dict[str, Decimal] = {}
    busted: dict[str, Decimal] = {}
    for fill in fills:
        of = busted if fill.is_bust else baselines
        before = of.get(fill.broker_order_id, ZERO)
        of[fill.broker_order_id] = before + fill.qty if fill.is_bust else max(fill.cum_qty, before)
    known = {
        order.broker_order_id: order
        for order in orders
        if order.filled_qty or not order.status.is_final or order.broker_order_id in {**baselines, **busted}
    }
    for broker_order_id in {**baselines, **busted}:
        if broker_order_id not in known:
            try:
                known[broker_order_id] = await broker.order(broker_order_id)
            except (BrokerNotFound, BrokerUnreadable) as error:
                log.error("order_not_adopted", broker_order_id=broker_order_id, reason=str(error))
    adopted = []
    for broker_order_id, seen in known.items():
        taken_back = busted.get(broker_order_id, ZERO)
        filled = max(baselines.get(broker_order_id, ZERO), seen.filled_qty + taken_back)
        adopted.append((seen, filled, taken_back))
    return adopted


def by_symbol(positions: Sequence[BrokerPosition]) -> dict[str, BrokerPosition]:
    """One position for each symbol: a coin may be held under two of its pairs."""
    summed: dict[str, BrokerPosition] = {}
    for held in positions:
        other = summed.get(held.symbol)
        if other is not None:
            qty = other.qty + held.qty
            cost = other.qty * other.avg_price + held.qty * held.avg_price
            held = replace(held, qty=qty, avg_price=rounded_price(cost / qty) if qty else ZERO)  # noqa: PLW2901
        summed[held.symbol] = held
    return summed
