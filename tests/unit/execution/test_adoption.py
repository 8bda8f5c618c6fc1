"""The first contact with an account: what was executed while it was looked at is part of what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.unit.execution.scripted import ONE, Running, at_broker

from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerFill, BrokerOrder, BrokerPosition, OrderUpdate, UpdateKind
from oms.domain.values import AssetClass, Side
from oms.execution.adoption import adopt


async def test_it_was_when_the_last_execution_that_the_positions_hold() -> None:
    """Else a coin's fee of the next day, which the adopted position has already paid, would be booked once more."""
    async with Running() as running:
        later = datetime.now(UTC) + timedelta(seconds=5)
        theirs = replace(at_broker("theirs", OrderStatus.FILLED, ONE), submitted_at=later, updated_at=later)

        async def orders() -> Sequence[Any]:
            return [theirs]

        async def fills(*_: object) -> Sequence[Any]:
            return [BrokerFill(theirs.broker_order_id, "AAPL", Side.BUY, ONE, Decimal(100), ONE, later, None, "a-1")]

        async def held(*_: object) -> Sequence[Any]:
            return [BrokerPosition("AAPL", AssetClass.STOCK, ONE, Decimal(100))]

        broker = running.broker
        broker.on_list, broker.fills_since, broker.positions = orders, fills, held  # type: ignore[method-assign,assignment]
        assert await adopt(running.session.reconciler._desk) == later
        [adopted] = [one for changes in running.store.commits for one in changes.adjustments]
        assert (adopted.qty, adopted.at) == (1, later)
        assert not [one for changes in running.store.commits for one in changes.fills]


async def test_an_order_of_before_it_brings_no_executions_that_the_positions_hold() -> None:
    """Yesterday's order was done before the account was taken in; today one of its executions is taken back."""
    async with Running() as running:
        broker, book, now = running.broker, running.session.book, datetime.now(UTC)
        yesterday, taken_back_at = now - timedelta(days=1), now + timedelta(seconds=1)
        theirs = replace(
            at_broker("theirs", OrderStatus.FILLED, ONE), qty=Decimal(2), submitted_at=yesterday, updated_at=now
        )
        first = BrokerFill(
            theirs.broker_order_id, "AAPL", Side.BUY, ONE, Decimal(100), ONE, yesterday, None, "a-1"
        )  # fmt: skip
        second = replace(first, cum_qty=Decimal(2), activity_id="a-2")
        bust = replace(second, cum_qty=Decimal(0), transacted_at=taken_back_at, activity_id="a-3", is_bust=True)

        async def known(_: str) -> BrokerOrder:
            return theirs

        async def executions(*_: object) -> Sequence[Any]:
            return [first, second, bust]

        async def lately(*_: object) -> Sequence[Any]:
            return [bust]

        broker.on_order, broker.fills_of, broker.fills_since = known, executions, lately  # type: ignore[method-assign,assignment]
        broker.updates_queue.put_nowait(OrderUpdate(UpdateKind.RESTATED, "trade_bust", theirs, now))
        await running.until(lambda: book.position_qty("AAPL") != 0)
        await running.until(lambda: not book.awaiting_fills)
        await asyncio.sleep(1)
        assert book.position_qty("AAPL") == -1
        assert not [one for changes in running.store.commits for one in changes.fills]
        taken_in = book.by_broker_id(theirs.broker_order_id)
        assert taken_in is not None
        assert (taken_in.filled_qty, taken_in.baseline_qty, taken_in.busted_qty) == (2, 2, 1)


async def test_a_late_fill_of_an_order_of_before_it_is_booked_alone() -> None:
    """Half of it was executed yesterday, which the positions hold, and it was cancelled; the other half comes today."""
    async with Running() as running:
        broker, book, now = running.broker, running.session.book, datetime.now(UTC) + timedelta(seconds=1)
        yesterday = now - timedelta(days=1)
        theirs = at_broker("theirs", OrderStatus.CANCELLED, Decimal(2))
        theirs = replace(theirs, qty=Decimal(2), submitted_at=yesterday, updated_at=now)
        early = BrokerFill(theirs.broker_order_id, "AAPL", Side.BUY, ONE, Decimal(100), ONE, yesterday, None, "a-1")
        late = replace(early, cum_qty=Decimal(2), transacted_at=now, activity_id="a-2")

        async def executions(*_: object) -> Sequence[Any]:
            return [early, late]

        broker.fills_of = executions  # type: ignore[method-assign,assignment]
        broker.updates_queue.put_nowait(OrderUpdate(UpdateKind.FILL, "fill", theirs, now, late))
        await running.until(lambda: book.position_qty("AAPL") != 0)
        await running.until(lambda: not book.awaiting_fills)
        assert book.position_qty("AAPL") == 1
        [booked] = [one for changes in running.store.commits for one in changes.fills]
        assert (booked.cum_qty, booked.transacted_at) == (2, now)
