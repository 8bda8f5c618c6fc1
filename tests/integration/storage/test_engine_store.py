"""The engine's store on a real PostgreSQL: fencing, compare-and-set, exact numbers, gap-free sequences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from oms.domain.errors import Fenced, StoreConflict, StoreUnavailable
from oms.domain.instruments import Instrument, Symbols
from oms.domain.orders import Order, OrderStatus
from oms.domain.positions import Valuation
from oms.domain.reports import BrokerAccount, BrokerFill, BrokerOrder, BrokerPosition
from oms.domain.signals import Signal
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.execution.book import Book
from oms.ports import Changes
from oms.risk.gate import ApprovedOrder
from oms.storage.database import Pool, open_pool, unavailable
from oms.storage.engine import PostgresStore, connections_of
from oms.storage.signals import PostgresSignalStore
from oms.system import new_id

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ACCOUNT = BrokerAccount("b-1", "PA1", "ACTIVE", "USD", Decimal("1.10"), Decimal("2.20"), Decimal("3.30"), False)


@pytest.fixture
async def pool(migrated_database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(migrated_database_url, size=8, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def account_id(pool: Pool) -> UUID:
    return await PostgresStore(pool).register_account(ACCOUNT, "hash", "address", NOW)


def signal(signal_id: str, qty: str = "10") -> Signal:
    return Signal(
        signal_id, "rest", "AAPL", AssetClass.STOCK, Side.BUY, Decimal(qty), OrderType.MARKET, TimeInForce.DAY
    )


async def accepted(pool: Pool, account_id: UUID, *signal_ids: str) -> list[Order]:
    arrivals = [(new_id(), signal(one), NOW) for one in signal_ids]
    return [one.order for one in await PostgresSignalStore(pool).accept(account_id, arrivals)]


async def test_accepting_is_idempotent_also_within_one_batch(pool: Pool, account_id: UUID) -> None:
    store = PostgresSignalStore(pool)
    arrivals = [(new_id(), signal(one), NOW) for one in ("a", "b", "a")]
    first = await store.accept(account_id, arrivals)
    again = await store.accept(account_id, [(new_id(), signal("b"), NOW)])
    assert [one.created for one in first] == [True, True, False]
    assert first[0].order.id == first[2].order.id
    assert again[0].order.id == first[1].order.id
    assert not again[0].created
    assert await PostgresStore(pool).last_event(account_id) == 2


async def test_sequences_have_no_gaps_and_appear_in_order(pool: Pool, account_id: UUID) -> None:
    """Many writers at once, and a reader that must never see a sequence before the one below it."""
    store = PostgresStore(pool)
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 400:
            seen.extend(seq for seq, _ in await store.events(account_id, seen[-1] if seen else 0, 1000))
            await asyncio.sleep(0)

    async def write(writer: int) -> None:
        for place in range(20):
            await accepted(pool, account_id, *(f"{writer}-{place}-{one}" for one in range(5)))

    await asyncio.gather(read(), *(write(writer) for writer in range(4)))
    assert seen == list(range(1, 401))


async def test_an_engine_that_lost_its_lease_writes_nothing(pool: Pool, account_id: UUID) -> None:
    store = PostgresStore(pool)
    [order] = await accepted(pool, account_id, "a")
    epoch = await store.take_lease(account_id, "one", 60)
    assert epoch is not None
    assert await store.take_lease(account_id, "two", 60) is None
    await store.renew_lease(account_id, epoch, 0.05)
    await asyncio.sleep(0.1)
    later = await store.take_lease(account_id, "two", 60)
    assert later == epoch + 1
    changes = Changes()
    changes.order(order, order.moved(OrderStatus.REJECTED, NOW))
    with pytest.raises(Fenced):
        await store.commit(account_id, epoch, changes)
    with pytest.raises(Fenced):
        await store.renew_lease(account_id, epoch, 60)
    await store.commit(account_id, later, changes)


async def test_who_takes_over_ends_the_former_engines_connections(
    migrated_database_url: str, pool: Pool, account_id: UUID
) -> None:
    """It is frozen in the middle of something, and holds the account's row."""
    frozen = await open_pool(migrated_database_url, size=2, name=connections_of("one:1:host"))
    other = await open_pool(migrated_database_url, size=1, name=connections_of("another:1:host"))
    assert await PostgresStore(frozen).take_lease(account_id, "one:1:host", 0.05) is not None
    held, bystander = await frozen.acquire(), await other.acquire()
    await held.execute("begin")
    await held.execute("select * from accounts where id = $1 for update", account_id)
    await asyncio.sleep(0.1)
    store = PostgresStore(pool)
    epoch = await store.take_lease(account_id, "two:1:host", 60)
    assert epoch is not None
    await store.commit(account_id, epoch, Changes(watermark=NOW))  # the row is free
    with pytest.raises(StoreUnavailable):  # whichever way asyncpg learns of it: there are several, by timing
        async with unavailable():
            await held.execute("select 1")
    assert await bystander.fetchval("select 1") == 1
    assert await store.take_lease(account_id, "two:1:host", 60) == epoch + 1  # its own: nothing is ended
    for opened in (frozen, other):
        opened.terminate()


async def test_a_change_of_another_version_is_refused_whole(pool: Pool, account_id: UUID) -> None:
    store = PostgresStore(pool)
    one, two = await accepted(pool, account_id, "a", "b")
    epoch = await store.take_lease(account_id, "one", 60)
    assert epoch is not None
    stale = Changes()
    stale.order(replace(one, version=7), replace(one, version=7).moved(OrderStatus.REJECTED, NOW))
    stale.order(two, two.moved(OrderStatus.REJECTED, NOW))
    with pytest.raises(StoreConflict):
        await store.commit(account_id, epoch, stale)
    assert [order.status for order in await store.pending(account_id, 0, 10)] == [OrderStatus.PENDING] * 2


async def test_a_fill_is_stored_exactly_and_loads_again(pool: Pool, account_id: UUID) -> None:
    store = PostgresStore(pool)
    aapl = Instrument("AAPL", AssetClass.STOCK, "1", qty_increment=Decimal("0.000000001"))
    await store.save_instruments([aapl])
    epoch = await store.take_lease(account_id, "one", 60)
    assert epoch is not None
    [order] = await accepted(pool, account_id, "a")
    working = await store.load(account_id)
    assert working.instruments == [aapl]
    book = Book(working, Symbols(working.instruments, working.aliases), new_id, lambda: NOW)
    changes = book.approve(ApprovedOrder(order, Decimal(10), [{"code": "X", "verdict": "pass"}]), None)
    seen = BrokerOrder(
        "broker-1", order.client_order_id, "AAPL", AssetClass.STOCK, Side.BUY, Decimal(10), "market", TimeInForce.DAY,
        OrderStatus.SUBMITTED, "new", Decimal(0), None, None, NOW, NOW,
    )  # fmt: skip
    changes.merge(book.observe(book.orders[order.id], seen))
    fill = BrokerFill(
        "broker-1", "AAPL", Side.BUY, Decimal("3.000000001"), Decimal("189.23"), Decimal("3.000000001"), NOW, "x"
    )
    changes.merge(book.fill(book.orders[order.id], fill))
    await store.commit(account_id, epoch, changes)

    loaded = await store.load(account_id)
    assert [(one.status, one.filled_qty, one.filled_price) for one in loaded.orders] == [
        (OrderStatus.PARTIALLY_FILLED, Decimal("3.000000001"), Decimal("189.230000000000"))
    ]
    assert [(one.qty, one.avg_price) for one in loaded.positions] == [(Decimal("3.000000001"), Decimal("189.23"))]
    again = Book(loaded, Symbols([], {}), new_id, lambda: NOW)
    assert not again.fill(again.orders[order.id], fill), "a stored fill is known after a restart"
    await store.value(account_id, epoch, [Valuation(loaded.positions[0].id, Decimal(190), NOW, False)])
    valued = (await store.load(account_id)).positions[0]
    assert valued.unrealized_pnl == Decimal("3.000000001") * Decimal("0.77")


@pytest.mark.parametrize(
    ("qty", "avg"), [("3.000000001", "189.23"), ("-2", "190.5"), ("-0.000000001", "0.01"), ("0", "0")]
)
async def test_what_a_position_is_worth_is_the_same_by_sql_and_by_the_domain(
    pool: Pool, account_id: UUID, qty: str, avg: str
) -> None:
    """The store derives it from the quantity that it holds at that moment, the domain where a position is written."""
    store = PostgresStore(pool)
    epoch = await store.take_lease(account_id, "one", 60)
    assert epoch is not None
    book = Book(await store.load(account_id), Symbols([], {}), new_id, lambda: NOW)
    held = BrokerPosition("AAPL", AssetClass.STOCK, Decimal(qty), Decimal(avg))
    await store.commit(account_id, epoch, book.adopt_position(held, NOW))
    await store.value(account_id, epoch, [Valuation(book.positions["AAPL"].id, Decimal("191.07"), NOW, stale=False)])
    [row] = await pool.fetch("select * from positions")
    [position] = (await store.load(account_id)).positions
    assert (row["market_value"], row["unrealized_pnl"]) == (position.market_value, position.unrealized_pnl)
    assert position.market_value == Decimal(qty) * Decimal("191.07")


async def test_the_trail_cannot_be_rewritten(pool: Pool, account_id: UUID) -> None:
    await accepted(pool, account_id, "a")
    for statement in (
        "delete from order_events",
        "update order_events set kind = 'x'",
        "truncate order_events cascade",
    ):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await pool.execute(statement)


@pytest.mark.parametrize("value", ["20,000", "-1", "ten", "1e3", ""])
async def test_a_limit_that_is_no_number_is_refused_in_psql_itself(pool: Pool, value: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("update configs set value = $1 where key = 'max_position_size_usd'", value)


async def test_a_new_limit_is_seen_by_the_next_order(pool: Pool, account_id: UUID) -> None:
    [before] = await accepted(pool, account_id, "a")
    await pool.execute("UPDATE configs SET value = '20000' WHERE key = 'max_position_size_usd'")
    [after] = await accepted(pool, account_id, "b")
    configs = await PostgresStore(pool).configs()
    assert before.configs_version < after.configs_version == configs.version
    assert configs.values["max_position_size_usd"] == "20000"
