"""Orders that are open here and that the broker says it does not know: ended with proof, and never without."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from tests.unit.execution.scripted import Running, at_broker

from oms.domain.drift import Cause, DriftState, Resolution
from oms.domain.errors import BrokerNotFound, BrokerUnknown
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerOrder
from oms.execution import executions, gone, reconcile


@pytest.fixture(autouse=True)
def quick_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same logic, in fractions of a second."""
    monkeypatch.setattr(gone, "PROVEN_AFTER_S", 0.3)
    for module in (reconcile, executions):
        monkeypatch.setattr(module, "SETTLES_IN", executions.SETTLES_IN * 0)


async def bound(running: Running) -> UUID:
    """An order that the broker took, and then shows in no listing."""
    order_id = running.accept()
    await running.until(lambda: order_id in running.session.book.orders)
    await running.until(lambda: running.order(order_id).alpaca_id is not None)
    return order_id


async def looked(running: Running, times: int = 1) -> None:
    for _ in range(times):
        await running.session.reconciler.full()
        await asyncio.sleep(0.05)


async def test_it_is_told_at_once_and_ended_only_after_the_proof() -> None:
    async with Running() as running:
        order_id = await bound(running)
        await looked(running, 2)
        assert running.order(order_id).is_open
        [row] = running.session.book.drift.standing
        assert (row.cause, row.order_id, row.theirs) == (Cause.ORDER_GONE, order_id, "no such order")
        await asyncio.sleep(0.3)
        await looked(running)
        order = running.order(order_id)
        assert (order.status, order.error_code) == (OrderStatus.EXPIRED, "ORDER_GONE")
        assert running.session.book.drift.standing == []
        assert running.rows()[row.id].resolution is Resolution.ENDED


async def test_a_listing_that_shows_it_settles_the_difference_and_the_proof_begins_anew() -> None:
    """The simulation found it: an order that rests, and was not shown for a moment, was told as gone for ever."""
    async with Running() as running:
        order_id = await bound(running)
        await looked(running)
        [row] = running.session.book.drift.standing
        shown = [at_broker(running.order(order_id).client_order_id)]

        async def listed() -> Sequence[BrokerOrder]:
            return shown

        running.broker.on_list = listed
        await looked(running)
        assert running.session.book.drift.standing == []
        assert running.rows()[row.id].resolution is Resolution.SETTLED_ITSELF
        await asyncio.sleep(0.4)
        shown.clear()
        await looked(running)
        assert running.order(order_id).is_open


async def test_a_query_that_fails_proves_nothing() -> None:
    async with Running() as running:
        order_id = await bound(running)
        await looked(running)

        async def fails(_: str) -> BrokerOrder:
            raise BrokerUnknown("timeout")

        running.broker.on_lookup = fails
        await asyncio.sleep(0.4)
        with pytest.raises(BrokerUnknown):
            await looked(running)
        assert running.order(order_id).is_open


@pytest.mark.parametrize("where", ["by our id", "in the listing"])
async def test_whatever_still_shows_it_keeps_it(where: str) -> None:
    async with Running() as running:
        order_id = await bound(running)
        await looked(running)
        seen = at_broker(running.order(order_id).client_order_id)
        asked = 0

        async def lookup(_: str) -> BrokerOrder:
            if where == "by our id":
                return seen
            raise BrokerNotFound("no such order")

        async def listing() -> Sequence[BrokerOrder]:
            nonlocal asked
            asked += 1
            # The pass itself lists first; the proof lists once more.
            return [seen] if where == "in the listing" and asked % 2 == 0 else []

        running.broker.on_lookup, running.broker.on_list = lookup, listing
        await asyncio.sleep(0.4)
        await looked(running, 3)
        assert running.order(order_id).is_open


async def test_once_it_is_shown_again_the_proof_begins_anew() -> None:
    async with Running() as running:
        order_id = await bound(running)
        await looked(running)
        seen = at_broker(running.order(order_id).client_order_id)

        async def found(_: str) -> BrokerOrder:
            return seen

        running.broker.on_order = found
        await asyncio.sleep(0.4)
        await looked(running)
        assert running.session.book.drift.standing == []
        running.broker.on_order = running.broker.knows_nothing
        await looked(running)
        assert running.order(order_id).is_open  # 404 once more, for the first time since
        [row] = running.session.book.drift.standing
        assert row.state is DriftState.OPEN


async def test_an_order_that_was_given_up_and_appears_is_cancelled_and_then_settled() -> None:
    """The stream tells of it, and the end of it comes by no stream: a full pass asks."""
    async with Running() as running:
        order_id = await bound(running)
        await asyncio.sleep(0.4)
        await looked(running)
        await asyncio.sleep(0.4)
        await looked(running)
        assert running.order(order_id).error_code == "ORDER_GONE"
        seen = at_broker(running.order(order_id).client_order_id)
        await running.session.ledger.observe(seen)
        [row] = running.session.book.drift.standing
        assert row.cause is Cause.APPEARED
        await running.until(lambda: running.broker.cancels == [seen.broker_order_id])

        async def cancelled(_: str) -> BrokerOrder:
            return at_broker(running.order(order_id).client_order_id, OrderStatus.CANCELLED)

        running.broker.on_order = cancelled
        await looked(running)
        assert running.session.book.drift.standing == []
        assert running.rows()[row.id].resolution is Resolution.CANCELLED
        assert running.order(order_id).status is OrderStatus.EXPIRED  # an end never goes back


async def test_an_order_of_others_under_our_id_is_told_and_never_followed() -> None:
    """The broker has an order with our id and other terms: not ours, however it is seen."""
    async with Running() as running:

        async def lost(_: object) -> BrokerOrder:
            raise BrokerUnknown("timeout")

        running.broker.on_submit = lost
        order_id = running.accept(valid_for_s=Decimal(3600))
        await running.until(lambda: order_id in running.session.book.orders)
        client_order_id = running.order(order_id).client_order_id
        filled = at_broker(client_order_id, OrderStatus.FILLED, Decimal(7))
        others = replace(filled, qty=Decimal(7))

        async def lookup(_: str) -> BrokerOrder:
            return others

        async def listing() -> Sequence[BrokerOrder]:
            return [others]

        running.broker.on_lookup, running.broker.on_list = lookup, listing
        await running.until(lambda: bool(running.rows()))
        await looked(running)
        order = running.order(order_id)
        assert (order.alpaca_id, order.filled_qty, order.status) == (None, 0, OrderStatus.PENDING)
        assert running.session.book.position_qty("AAPL") == 0
        assert {row.cause for row in running.rows().values()} == {Cause.CONTRADICTION}
