"""Records of the broker's that cannot be understood: told, their symbol blocked, and the rest goes on."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from tests.unit.execution.scripted import Running, at_broker

from oms.domain.drift import Cause, DriftKind, DriftState, Resolution
from oms.domain.errors import BrokerUnreadable
from oms.domain.instruments import Instrument
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerOrder, UnreadableRecord, UnreadableUpdate
from oms.domain.values import AssetClass
from oms.execution.status import EngineStatus

ODD = UnreadableRecord("fill", "20260302::1", "AAPL", "qty is no number", '{"qty": "many"}')


async def test_one_blocks_its_symbol_and_nothing_else() -> None:
    async with Running(instruments=[Instrument("MSFT", AssetClass.STOCK, "2")]) as running:
        running.broker.unreadable = [ODD]
        await running.session.reconciler.full()
        [row] = running.session.book.drift.standing
        assert (row.kind, row.cause, row.symbol, row.blocks) == (DriftKind.RECORD, Cause.UNREADABLE, "AAPL", True)
        assert "qty is no number" in row.theirs
        blocked = await running.ended(running.accept())
        assert blocked.error_code == "SYMBOL_BLOCKED"
        other = running.accept(symbol="MSFT")
        await running.until(lambda: other in running.session.book.orders)
        await running.until(lambda: running.order(other).status is OrderStatus.SUBMITTED)
        assert running.session.status is EngineStatus.RUNNING
        in_sync_at = running.session.reconciler.findings.in_sync_at
        assert in_sync_at is not None  # the pass at the start found nothing
        assert in_sync_at < row.first_seen

        running.broker.unreadable = []  # it can be read, or is listed no more
        await running.session.reconciler.full()
        assert running.session.book.drift.standing == []
        assert running.rows()[row.id].resolution is Resolution.SETTLED_ITSELF
        passes = running.accept()
        await running.until(lambda: passes in running.session.book.orders)
        await running.until(lambda: running.order(passes).status is OrderStatus.SUBMITTED)


async def test_a_light_pass_blocks_too_and_does_not_settle() -> None:
    async with Running() as running:
        running.broker.unreadable = [ODD]
        await running.session.reconciler.light()
        running.broker.unreadable = []
        await running.session.reconciler.light()  # it reads open orders only: that it saw nothing says nothing
        assert running.session.book.drift.blocker("AAPL") is not None


async def test_one_without_a_symbol_is_told_and_blocks_nothing() -> None:
    async with Running() as running:
        running.broker.unreadable = [replace(ODD, id="", symbol="")]
        await running.session.reconciler.full()
        [row] = running.session.book.drift.standing
        assert (row.blocks, row.symbol) == (False, "")
        order = running.accept()
        await running.until(lambda: order in running.session.book.orders)
        await running.until(lambda: running.order(order).status is OrderStatus.SUBMITTED)


async def test_one_that_is_ignored_blocks_no_more_until_it_changes() -> None:
    async with Running() as running:
        running.broker.unreadable = [ODD]
        await running.session.reconciler.full()
        [row] = running.session.book.drift.standing
        running.session.book.drift.ignore(row, "ann", "known")
        await running.session.reconciler.full()
        assert [one.state for one in running.session.book.drift.standing] == [DriftState.IGNORED]
        running.broker.unreadable = [replace(ODD, text='{"qty": "more"}')]
        await running.session.reconciler.full()
        [again] = running.session.book.drift.standing
        assert (again.state, again.blocks, again.id > row.id) == (DriftState.OPEN, True, True)


async def test_an_order_that_cannot_be_read_alone_keeps_no_other_from_being_looked_up() -> None:
    """Two orders that no listing shows: one is unreadable by its id, the other was filled."""
    async with Running() as running:
        first, second = running.accept(), running.accept()
        for order_id in (first, second):
            await running.until(lambda order_id=order_id: order_id in running.session.book.orders)
            await running.until(lambda order_id=order_id: running.order(order_id).alpaca_id is not None)

        async def order(broker_order_id: str) -> BrokerOrder:
            if broker_order_id == running.order(first).alpaca_id:
                raise BrokerUnreadable("what is this?")
            return at_broker(running.order(second).client_order_id, OrderStatus.CANCELLED)

        running.broker.on_order = order
        await running.until(lambda: not running.order(second).is_open, 20)
        assert running.order(first).is_open
        assert running.session.status is EngineStatus.RUNNING


async def test_a_message_of_the_stream_that_cannot_be_read_starts_a_full_pass() -> None:
    async with Running() as running:
        passes = running.session.fulls
        running.broker.updates_queue.put_nowait(UnreadableUpdate("no JSON", "\x00"))
        await running.until(lambda: running.session.fulls > passes, 20)
        assert running.session.status is EngineStatus.RUNNING
        order = running.accept(qty=Decimal(2))
        await running.until(lambda: order in running.session.book.orders)
