"""The first contact with an account: what was executed while it was looked at is part of what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.unit.execution.scripted import ONE, Running, at_broker

from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerFill, BrokerPosition
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
