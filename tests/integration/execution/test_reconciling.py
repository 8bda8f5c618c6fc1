"""Reconciling on a real PostgreSQL: a coin under two pairs, and fees that are posted before their fill is booked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest
from tests.unit.execution.scripted import Broker, Clock, Prices

from oms.domain.orders import OrderStatus
from oms.domain.reports import (
    BrokerAccount,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    FeeActivity,
    MarketClock,
)
from oms.domain.values import AssetClass, Side, TimeInForce
from oms.execution.budget import RequestBudget
from oms.execution.session import Outside, Session
from oms.execution.status import EngineStatus
from oms.ports import Changes
from oms.storage.database import open_pool
from oms.storage.engine import PostgresStore
from oms.system import new_id

NOW = datetime(2026, 3, 3, 15, 0, tzinfo=UTC)
ACCOUNT = BrokerAccount("b-1", "PA1", "ACTIVE", "USD", Decimal(1), Decimal(2), Decimal(3), False)


class AtNoon(Broker):
    """Its clock stands; the lists are set by a test."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Sequence[BrokerPosition] = []
        self.orders: Sequence[BrokerOrder] = []
        self.fills: Sequence[BrokerFill] = []
        self.fees: Sequence[FeeActivity] = []

    async def clock(self) -> MarketClock:
        return MarketClock(NOW, True, NOW + timedelta(days=1), NOW + timedelta(hours=5))

    async def positions(self, *_: object) -> Sequence[Any]:
        return self.held

    async def orders_since(self, _: datetime) -> Sequence[BrokerOrder]:
        return self.orders

    async def fills_since(self, *_: object) -> Sequence[Any]:
        return self.fills

    async def fills_of(self, *_: object) -> Sequence[Any]:
        return self.fills

    async def fees_since(self, *_: object) -> Sequence[Any]:
        return self.fees


@pytest.fixture
async def store(migrated_database_url: str) -> AsyncIterator[PostgresStore]:
    pool = await open_pool(migrated_database_url, size=8, name="test")
    yield PostgresStore(pool)
    await pool.close()


async def passed(store: PostgresStore, account_id: UUID, broker: Broker) -> Session:
    """One session, until its first full pass is through."""
    epoch = await store.take_lease(account_id, "test", 60)
    assert epoch is not None
    outside = Outside(store, broker, Prices(), Clock(), new_id, Random(1), RequestBudget(0, Clock()))  # type: ignore[arg-type]
    session = Session(outside, await store.load(account_id), epoch, lambda _: None)
    stop = asyncio.Event()
    task = asyncio.ensure_future(session.run(stop))
    async with asyncio.timeout(60):
        while session.status is not EngineStatus.RUNNING:
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
    stop.set()
    await task
    return session


async def test_a_coin_under_two_pairs_is_adopted_as_one_position(store: PostgresStore) -> None:
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    broker.held = [
        BrokerPosition("BTC/USD", AssetClass.CRYPTO, Decimal(1), Decimal(5)),
        BrokerPosition("BTC/USD", AssetClass.CRYPTO, Decimal(3), Decimal(9)),
    ]
    for _ in range(2):
        session = await passed(store, account_id, broker)
        position = session.book.positions["BTC/USD"]
        assert (position.qty, position.avg_price) == (4, 8)
        assert not session.book.drift.standing


def bitcoin_bought(qty: Decimal, status: OrderStatus, filled: Decimal, at: datetime) -> BrokerOrder:
    """Somebody else's order at the broker."""
    return BrokerOrder(
        "X1", "theirs", "BTC/USD", AssetClass.CRYPTO, Side.BUY, qty, "market", TimeInForce.GTC,
        status, str(status), filled, None, None, at, at,
    )  # fmt: skip


async def test_fees_posted_before_their_fill_is_booked_come_out_right(store: PostgresStore) -> None:
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    await passed(store, account_id, broker)  # the first contact
    evening = NOW + timedelta(days=1, hours=4)
    order = bitcoin_bought(Decimal(1), OrderStatus.PARTIALLY_FILLED, Decimal("0.4"), evening)
    first = BrokerFill(
        "X1", "BTC/USD", Side.BUY, Decimal("0.4"), Decimal(50000), Decimal("0.4"), evening, activity_id="a1"
    )
    second = replace(
        first, qty=Decimal("0.6"), cum_qty=Decimal(1), transacted_at=evening + timedelta(seconds=1), activity_id="a2"
    )
    day = f"{evening:%Y-%m-%d}"
    broker.orders, broker.fills = [order], [first]
    broker.fees = [FeeActivity("20260304::1", "BTC/USD", day, Decimal("-0.0025"), None, Decimal(0))]
    session = await passed(store, account_id, broker)
    assert session.book.position_qty("BTC/USD") == Decimal("0.3975")  # the whole day's fee, as posted
    broker.orders = [replace(order, status=OrderStatus.FILLED, filled_qty=Decimal(1))]
    broker.fills = [first, second]
    for _ in range(3):
        session = await passed(store, account_id, broker)
        assert session.book.position_qty("BTC/USD") == Decimal("0.9975")


async def test_an_execution_that_is_listed_late_is_not_booked_beside_the_adopted_position(store: PostgresStore) -> None:
    """The simulation found it: the position and the order tell of an execution before the list of activities does."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    broker.held = [BrokerPosition("AAPL", AssetClass.STOCK, Decimal(3), Decimal(100))]
    broker.orders = [
        BrokerOrder(
            "X1", "theirs", "AAPL", AssetClass.STOCK, Side.BUY, Decimal(3), "market", TimeInForce.DAY,
            OrderStatus.FILLED, "filled", Decimal(3), Decimal(100), None, NOW, NOW,
        )
    ]  # fmt: skip
    await passed(store, account_id, broker)
    broker.fills = [
        BrokerFill("X1", "AAPL", Side.BUY, Decimal(3), Decimal(100), Decimal(3), NOW, activity_id="a1"),
    ]
    session = await passed(store, account_id, broker)
    assert session.book.position_qty("AAPL") == 3
    assert not session.book.drift.standing


async def test_a_bust_before_the_first_contact_is_part_of_what_is_taken_in(store: PostgresStore) -> None:
    """The simulation found it: the order counted as filled with what the broker had taken back already."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    fill = BrokerFill("X1", "AAPL", Side.BUY, Decimal(3), Decimal(100), Decimal(3), NOW, activity_id="a1")
    bust = replace(fill, cum_qty=Decimal(0), activity_id="a2", is_bust=True)
    broker.fills = [bust, fill]
    broker.orders = [
        BrokerOrder(
            "X1", "theirs", "AAPL", AssetClass.STOCK, Side.BUY, Decimal(3), "market", TimeInForce.DAY,
            OrderStatus.FILLED, "filled", Decimal(0), None, None, NOW, NOW,
        )
    ]  # fmt: skip
    for _ in range(2):
        session = await passed(store, account_id, broker)
        assert session.book.position_qty("AAPL") == 0
        assert not session.book.drift.standing
    found = await store.find_order(account_id, "X1", None)
    assert found is not None
    assert (found.order.filled_qty, found.order.busted_qty, found.order.status) == (3, 3, OrderStatus.FILLED)


@pytest.mark.parametrize("listed", ["bust alone", "bust after the looking began"])
async def test_a_bust_during_the_first_contact_is_not_booked_beside_it(store: PostgresStore, listed: str) -> None:
    """The simulation found both: the execution listed late, and the bust between the first and the second look."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    fill = BrokerFill("X1", "AAPL", Side.BUY, Decimal(3), Decimal(100), Decimal(3), NOW, activity_id="a1")
    bust = replace(fill, cum_qty=Decimal(0), activity_id="a2", is_bust=True)
    if listed == "bust after the looking began":
        bust = replace(bust, transacted_at=NOW + timedelta(seconds=5))
    broker.orders = [
        BrokerOrder(
            "X1", "theirs", "AAPL", AssetClass.STOCK, Side.BUY, Decimal(3), "market", TimeInForce.DAY,
            OrderStatus.FILLED, "filled", Decimal(0), None, None, NOW, NOW,
        )
    ]  # fmt: skip
    broker.fills = [bust] if listed == "bust alone" else [bust, fill]
    await passed(store, account_id, broker)
    broker.fills = [bust, fill]
    session = await passed(store, account_id, broker)
    assert session.book.position_qty("AAPL") == 0
    assert not session.book.drift.standing


async def test_the_fee_of_a_busted_fill_counts_on_the_day_of_the_fill(store: PostgresStore) -> None:
    """The simulation found it: filled before midnight and taken back after it, the fee was given back twice."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    await passed(store, account_id, broker)  # the first contact
    evening, morning = NOW + timedelta(days=1, hours=4), NOW + timedelta(days=2)
    order = bitcoin_bought(Decimal(1), OrderStatus.FILLED, Decimal(1), evening)
    fill = BrokerFill("X1", "BTC/USD", Side.BUY, Decimal(1), Decimal(50000), Decimal(1), evening, activity_id="a1")
    later = replace(fill, broker_order_id="X2", qty=Decimal(2), cum_qty=Decimal(2), activity_id="a2")
    broker.orders, broker.fills = [order], [fill]
    await passed(store, account_id, broker)
    bust = replace(fill, cum_qty=Decimal(0), transacted_at=morning, activity_id="a3", is_bust=True)
    broker.orders = [
        replace(order, filled_qty=Decimal(0)),
        replace(order, broker_order_id="X2", client_order_id="theirs too", qty=Decimal(2), filled_qty=Decimal(2)),
    ]
    broker.fills = [bust, fill, replace(later, transacted_at=morning)]
    broker.fees = [FeeActivity("20260305::1", "BTC/USD", f"{morning:%Y-%m-%d}", Decimal("-0.005"), None, Decimal(0))]
    broker.held = [BrokerPosition("BTC/USD", AssetClass.CRYPTO, Decimal("1.995"), Decimal(50000))]
    for _ in range(3):
        session = await passed(store, account_id, broker)
        assert session.book.position_qty("BTC/USD") == Decimal("1.995")
        assert not session.book.drift.standing
    position = session.book.positions["BTC/USD"]
    assert (position.realized_pnl, position.fees) == (-250, 250)  # of the second order alone


async def test_a_bust_waits_for_its_own_fill_and_not_for_any(store: PostgresStore) -> None:
    """The simulation found it: with others of the order booked, its fee was given back on the day of the adoption."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    await passed(store, account_id, broker)  # the first contact
    evening = NOW + timedelta(days=1, hours=4)
    order = bitcoin_bought(Decimal(3), OrderStatus.CANCELLED, Decimal(2), evening)
    first = BrokerFill("X1", "BTC/USD", Side.BUY, Decimal(2), Decimal(50000), Decimal(2), evening, activity_id="a1")
    second = replace(first, qty=Decimal(1), cum_qty=Decimal(3), activity_id="a2")
    bust = replace(second, cum_qty=Decimal(0), transacted_at=evening + timedelta(seconds=9), activity_id="a3")
    bust = replace(bust, is_bust=True)
    broker.orders, broker.fills = [order], [first, bust]
    broker.held = [BrokerPosition("BTC/USD", AssetClass.CRYPTO, Decimal("1.995"), Decimal(50000))]
    assert (await passed(store, account_id, broker)).book.position_qty("BTC/USD") == Decimal("1.995")
    broker.fills = [first, second, bust]
    broker.fees = [FeeActivity("20260304::1", "BTC/USD", f"{evening:%Y-%m-%d}", Decimal("-0.005"), None, Decimal(0))]
    for _ in range(3):
        session = await passed(store, account_id, broker)
        assert session.book.position_qty("BTC/USD") == Decimal("1.995")
        assert not session.book.drift.standing


async def test_a_difference_of_what_neither_side_holds_any_more_is_over(store: PostgresStore) -> None:
    """The simulation found it: shares that came and went without a trade blocked their symbol for ever."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    await passed(store, account_id, broker)  # the first contact
    broker.held = [BrokerPosition("MSFT", AssetClass.STOCK, Decimal(5), Decimal(50))]
    session = await passed(store, account_id, broker)
    [row] = session.book.drift.standing
    assert (row.kind, row.symbol, row.delta) == ("position", "MSFT", 5)
    broker.held = []
    assert (await passed(store, account_id, broker)).book.drift.standing == []


async def test_a_bust_that_is_listed_before_its_execution_waits_for_it(store: PostgresStore) -> None:
    """The simulation found it: the fee was given back once with the bust and once by the day's posted fees."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    await passed(store, account_id, broker)  # the first contact
    evening, morning = NOW + timedelta(days=1, hours=4), NOW + timedelta(days=2)
    broker.orders = [
        BrokerOrder(
            "X1", "theirs", "BTC/USD", AssetClass.CRYPTO, Side.BUY, Decimal(1), "market", TimeInForce.GTC,
            OrderStatus.FILLED, "filled", Decimal(0), None, None, evening, evening,
        )
    ]  # fmt: skip
    fill = BrokerFill("X1", "BTC/USD", Side.BUY, Decimal(1), Decimal(50000), Decimal(1), evening, activity_id="a1")
    bust = replace(fill, cum_qty=Decimal(0), transacted_at=morning, activity_id="a2", is_bust=True)
    broker.fills = [bust]
    session = await passed(store, account_id, broker)
    assert session.book.position_qty("BTC/USD") == 0
    broker.fills = [bust, fill]
    for _ in range(2):
        session = await passed(store, account_id, broker)
        assert session.book.position_qty("BTC/USD") == 0
        assert await store.fee_totals(account_id, f"{evening:%Y-%m-%d}", "BTC/USD") == (0, 0)
    assert not session.book.drift.standing


async def test_adopting_what_has_gone_meanwhile_books_nothing(store: PostgresStore) -> None:
    """The simulation found it: the session ended, as neither side held the symbol any more."""
    account_id = await store.register_account(ACCOUNT, "h", "a", NOW)
    broker = AtNoon()
    await passed(store, account_id, broker)  # the first contact
    broker.held = [BrokerPosition("MSFT", AssetClass.STOCK, Decimal(5), Decimal(50))]
    session = await passed(store, account_id, broker)
    [row] = session.book.drift.standing
    broker.held = []
    said = []

    def done(text: str) -> Changes:
        said.append(text)
        return Changes()

    await session.reconciler.adopt_position(row, "ann", "because", done)
    assert said == ["MSFT has come to agree by itself: nothing was booked"]
    assert session.book.drift.standing == []
