"""The same tests for the record in memory and for PostgreSQL: what the simulation relies on holds in both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from oms.domain.drift import Cause, Drift, DriftKind, DriftState, Resolution
from oms.domain.errors import Fenced, StoreConflict
from oms.domain.events import EventKind, OrderEvent
from oms.domain.fills import Fill
from oms.domain.orders import Order, OrderStatus
from oms.domain.positions import Adjustment, AdjustmentKind, Position
from oms.domain.reports import BrokerAccount
from oms.domain.signals import Signal
from oms.domain.values import ZERO, AssetClass, OrderType, Side, TimeInForce
from oms.ports import Changes, Halt, Store
from oms.storage.database import open_pool
from oms.storage.engine import PostgresStore
from oms.storage.signals import PostgresSignalStore
from oms.system import new_id
from tests.simulation.loop import Process
from tests.simulation.record import Record
from tests.simulation.store import SimStore, StoreFaults
from tests.simulation.world import World

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ACCOUNT = BrokerAccount("b-1", "PA1", "ACTIVE", "USD", Decimal(1), Decimal(2), Decimal(3), False)
T = TypeVar("T")


@dataclass(slots=True)
class Subject:
    """A store under test; `do` runs a call to its end."""

    store: Any
    signals: Any
    world: World | None = None
    account_id: Any = None
    epoch: int = 0

    async def do(self, work: Awaitable[T]) -> T:
        if self.world is None:
            return await work
        outcome: list[Any] = []
        loop = self.world.loop

        async def run() -> None:
            try:
                outcome.append((await work, None))
            except Exception as error:  # noqa: BLE001 — handed to the test
                outcome.append((None, error))

        def simulate() -> None:
            loop.spawn(Process("test"), run())
            loop.at(1.0, lambda: None)
            while not outcome and loop.run(lambda: bool(outcome), loop.steps + 10_000):
                pass

        await asyncio.to_thread(simulate)  # a loop of its own: this thread has pytest's
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    async def accept(self, *signal_ids: str) -> list[Order]:
        arrivals = [(new_id(), signal(one), NOW) for one in signal_ids]
        return [one.order for one in await self.do(self.signals.accept(self.account_id, arrivals))]

    async def commit(self, changes: Changes) -> None:
        await self.do(self.store.commit(self.account_id, self.epoch, changes))


def signal(signal_id: str) -> Signal:
    return Signal(signal_id, "rest", "AAPL", AssetClass.STOCK, Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY)


@pytest.fixture(params=["memory", "postgresql"])
def address(request: pytest.FixtureRequest) -> str | None:
    """PostgreSQL's address; None for the record in memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("migrated_database_url"))


@pytest.fixture
async def subject(address: str | None) -> AsyncIterator[Subject]:
    if address is None:
        world = World(1, NOW, in_order=True)
        store = SimStore(world, Record(world.loop.time), StoreFaults())
        made, pool = Subject(store, store, world), None
    else:
        pool = await open_pool(address, size=4, name="contract")
        made = Subject(PostgresStore(pool), PostgresSignalStore(pool))
    made.account_id = await made.do(made.store.register_account(ACCOUNT, "hash", "address", NOW))
    made.epoch = await made.do(made.store.take_lease(made.account_id, "one", 60.0)) or 0
    yield made
    if pool is not None:
        await pool.close()


def sent(order: Order) -> Order:
    return order.moved(
        OrderStatus.SUBMITTED, NOW, attempted_at=NOW, submitted_at=NOW, alpaca_id=f"B-{order.id.hex[-12:]}"
    )


def fill_of(order: Order, qty: int, cum: int, execution: str | None) -> Fill:
    return Fill(
        new_id(), order.id, order.alpaca_id or "", "AAPL", Side.BUY, Decimal(qty), Decimal(100), Decimal(cum), NOW,
        execution,
    )  # fmt: skip


async def test_an_identity_has_one_order_also_within_a_batch(subject: Subject) -> None:
    arrivals = [(new_id(), signal(one), NOW) for one in ("a", "b", "a")]
    first = await subject.do(subject.signals.accept(subject.account_id, arrivals))
    again = await subject.do(subject.signals.accept(subject.account_id, [(new_id(), signal("b"), NOW)]))
    same = await subject.do(subject.signals.accept(subject.account_id, arrivals[:1]))
    assert [one.created for one in first] == [True, True, False]
    assert first[2].order.id == first[0].order.id
    assert (again[0].order.id, again[0].created) == (first[1].order.id, False)
    assert (same[0].order.id, same[0].created) == (first[0].order.id, True), "a lost COMMIT that is asked for again"
    assert [one.order.seq for one in first[:2]] == [1, 2]
    assert [order.id for order in await subject.do(subject.store.pending(subject.account_id, 1, 10))] == [
        first[1].order.id
    ]


async def test_a_lease_has_one_holder_and_its_epoch_fences(subject: Subject) -> None:
    store, account_id = subject.store, subject.account_id
    [order] = await subject.accept("a")
    assert await subject.do(store.take_lease(account_id, "two", 60.0)) is None
    later = await subject.do(store.take_lease(account_id, "one", 60.0))
    assert later == subject.epoch + 1
    changes = Changes()
    changes.order(order, sent(order))
    with pytest.raises(Fenced):
        await subject.commit(changes)
    with pytest.raises(Fenced):
        await subject.do(store.renew_lease(account_id, subject.epoch, 60.0))
    with pytest.raises(Fenced):
        await subject.do(store.snapshot_account(account_id, subject.epoch, ACCOUNT, NOW))
    with pytest.raises(Fenced):
        await subject.do(store.value(account_id, subject.epoch, []))
    await subject.do(store.snapshot_account(account_id, later, ACCOUNT, NOW))
    await subject.do(store.release_lease(account_id, later))
    assert await subject.do(store.take_lease(account_id, "two", 60.0)) == later + 1


async def test_a_change_of_another_version_changes_nothing(subject: Subject) -> None:
    one, two = await subject.accept("a", "b")
    stale = Changes()
    stale.order(two, sent(two))
    stale.order(replace(one, version=7), replace(sent(one), version=8))
    with pytest.raises(StoreConflict):
        await subject.commit(stale)
    assert len(await subject.do(subject.store.pending(subject.account_id, 0, 10))) == 2


@pytest.mark.parametrize(("cum", "execution"), [(3, "other"), (6, "x")])
async def test_a_fill_is_stored_once_by_quantity_and_by_execution(subject: Subject, cum: int, execution: str) -> None:
    [order] = await subject.accept("a")
    bound = sent(order)
    first = Changes(fills=[fill_of(bound, 3, 3, "x")])
    first.order(order, bound)
    await subject.commit(first)
    with pytest.raises(StoreConflict):
        await subject.commit(Changes(fills=[fill_of(bound, 3, cum, execution)]))
    await subject.commit(Changes(fills=[fill_of(bound, 3, 6, None)]))
    found = await subject.do(subject.store.find_order(subject.account_id, bound.alpaca_id, None))
    assert found is not None
    assert [fill.cum_qty for fill in found.fills] == [3, 6]


async def test_adjustments_and_positions_are_unique(subject: Subject) -> None:
    account_id = subject.account_id
    movement = Adjustment(new_id(), account_id, "AAPL", AdjustmentKind.ADOPTED, Decimal(1), Decimal(9), ZERO, NOW, "r")
    position = Position(new_id(), account_id, "AAPL", AssetClass.STOCK, updated_at=NOW)
    changes = Changes(adjustments=[movement])
    changes.position(position, replace(position, qty=Decimal(1), version=1))
    await subject.commit(changes)
    with pytest.raises(StoreConflict):
        await subject.commit(Changes(adjustments=[replace(movement, id=new_id())]))
    other = Changes()
    other.position(replace(position, id=new_id()), replace(position, id=new_id(), version=1))
    with pytest.raises(StoreConflict):
        await subject.commit(other)
    entries = await subject.do(subject.store.entries(account_id, "AAPL", NOW - timedelta(days=1)))
    assert [entry.qty for entry in entries] == [1]


async def test_what_is_open_is_loaded_and_the_trail_has_no_gap(subject: Subject) -> None:
    store: Store = subject.store
    one, two, three = await subject.accept("a", "b", "c")
    attempted, ended = one.changed(NOW, attempted_at=NOW), two.moved(OrderStatus.REJECTED, NOW, error_code="X")
    changes = Changes(events=[OrderEvent(one.id, EventKind.APPROVED, NOW, "pending")], watermark=NOW)
    changes.order(one, attempted)
    changes.order(two, ended)
    await subject.commit(changes)
    working = await subject.do(store.load(subject.account_id))
    assert [order.id for order in working.orders] == [one.id]
    assert (working.account.watermark, working.account.adopted_at) == (NOW, NOW)
    assert [order.id for order in await subject.do(store.pending(subject.account_id, 0, 10))] == [three.id]
    assert [seq for seq, _ in await subject.do(store.events(subject.account_id, 0, 10))] == [1, 2, 3, 4]
    assert await subject.do(store.last_event(subject.account_id)) == 4


async def test_differences_stand_until_they_are_resolved(subject: Subject) -> None:
    store: Store = subject.store
    first = Drift(
        1, subject.account_id, DriftKind.POSITION, "AAPL", "AAPL", Cause.UNEXPLAINED, "8", "10", NOW, NOW, blocks=True
    )
    await subject.commit(Changes(drift={1: first}))
    working = await subject.do(store.load(subject.account_id))
    assert (list(working.drift), working.last_drift_id) == ([first], 1)
    ignored = replace(first, state=DriftState.IGNORED, blocks=False, resolution=Resolution.IGNORED, resolved_by="ann")
    await subject.commit(Changes(drift={1: ignored}))
    over = replace(ignored, state=DriftState.RESOLVED, resolution=Resolution.CHANGED)
    second = replace(first, id=2, theirs="11")
    await subject.commit(Changes(drift={1: over, 2: second}))
    working = await subject.do(store.load(subject.account_id))
    assert (list(working.drift), working.last_drift_id) == ([second], 2)


async def test_a_halt_and_what_was_agreed_are_kept(subject: Subject) -> None:
    store: Store = subject.store
    assert (await subject.do(store.load(subject.account_id))).account.halt is None
    for halt in (Halt(True, NOW, "ann", "because"), Halt(False, NOW + timedelta(seconds=1), "bob", "over")):
        await subject.commit(Changes(halt=halt))
        await subject.commit(Changes(in_sync_at=NOW))
        account = (await subject.do(store.load(subject.account_id))).account
        assert (account.halt, account.in_sync_at) == (halt, NOW)


async def test_what_is_booked_is_known_by_its_reference(subject: Subject) -> None:
    movement = Adjustment(
        new_id(), subject.account_id, "AAPL", AdjustmentKind.BUST, Decimal(-1), Decimal(9), ZERO, NOW, "bust:a1"
    )
    await subject.commit(Changes(adjustments=[movement]))
    assert await subject.do(subject.store.booked(subject.account_id, ["bust:a1", "bust:a2"])) == {"bust:a1"}
