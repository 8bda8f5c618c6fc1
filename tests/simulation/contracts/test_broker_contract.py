"""The same tests for the simulated broker and for the paper broker over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from oms.broker.trading import AlpacaBroker
from oms.broker.transport import Keys, Transport
from oms.domain.errors import BrokerDuplicateId, BrokerNotFound, BrokerRefused
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerOrder
from oms.domain.values import OrderType, Side, TimeInForce
from oms.execution.budget import RequestBudget
from oms.ports import Ticket
from oms.system import SystemClock
from tests.simulation.broker import SimBroker, Streams, WireFaults
from tests.simulation.exchange import Exchange, Habits
from tests.simulation.loop import Process
from tests.simulation.venue import Venue
from tests.simulation.world import World

T = TypeVar("T")
WITHIN_S = 60.0


@dataclass(slots=True)
class Subject:
    """A broker under test; `do` runs a call to its end, `pause` lets a little of its time pass."""

    broker: Any
    world: World | None = None
    venue: Venue | None = None
    paper: Any = None

    async def bust_all(self) -> None:
        """The broker takes every execution back."""
        if self.venue is not None:
            for _, fill in list(self.venue.fills):
                self.venue.bust(fill)
            return
        account_id = (await self.broker.account()).broker_account_id
        for fill in await asyncio.to_thread(lambda: self.paper.control.fills(account_id=account_id)):
            await asyncio.to_thread(self.paper.control.bust, fill["execution_id"])

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
            while not outcome:
                loop.at(1.0, lambda: None)
                loop.run(lambda: bool(outcome), loop.steps + 10_000)

        await asyncio.to_thread(simulate)
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    async def until(self, client_order_id: str, holds: Callable[[BrokerOrder], bool]) -> BrokerOrder:
        async with asyncio.timeout(WITHIN_S):
            while True:
                order: BrokerOrder = await self.do(self.broker.order_by_client_id(client_order_id))
                if holds(order):
                    return order
                await (self.do(asyncio.sleep(0.1)) if self.world else asyncio.sleep(0.05))


@pytest.fixture(params=["simulated", "paper"])
def paper(request: pytest.FixtureRequest) -> Any:
    """The paper broker; None for the simulated one."""
    return None if request.param == "simulated" else request.getfixturevalue("paper_broker")


@pytest.fixture
async def subject(paper: Any) -> AsyncIterator[Subject]:
    if paper is None:
        world = World(1, datetime(2026, 3, 3, 17, 0, tzinfo=UTC), in_order=True)
        world.calm = True
        venue, faults = Venue(world), WireFaults()
        exchange, streams = Exchange(world, venue, Habits()), Streams(world, faults)
        yield Subject(SimBroker(world, venue, exchange, faults, streams, RequestBudget(0, world.clock)), world, venue)
        return
    clock = SystemClock()
    broker = AlpacaBroker(Transport(paper.url, Keys(paper.key), RequestBudget(0, clock), clock))
    await broker.instruments()
    yield Subject(broker, paper=paper)
    await broker.close()


def ticket(qty: str = "3", limit: str | None = None, side: Side = Side.BUY, symbol: str = "BTC/USD") -> Ticket:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Ticket(
        f"c-{uuid4().hex[:20]}", symbol, side, Decimal(qty), kind, TimeInForce.GTC, Decimal(limit) if limit else None
    )


async def test_an_id_is_taken_once(subject: Subject) -> None:
    resting = ticket("0.01", limit="1000")
    order = await subject.do(subject.broker.submit(resting))
    with pytest.raises(BrokerDuplicateId):
        await subject.do(subject.broker.submit(resting))
    found = await subject.do(subject.broker.order_by_client_id(resting.client_order_id))
    assert found.broker_order_id == order.broker_order_id
    assert (found.symbol, found.side, found.qty) == (resting.symbol, resting.side, resting.qty)


async def test_what_it_does_not_have_is_not_found(subject: Subject) -> None:
    with pytest.raises(BrokerNotFound):
        await subject.do(subject.broker.order_by_client_id("c-nobody"))
    with pytest.raises(BrokerNotFound):
        await subject.do(subject.broker.order(str(uuid4())))
    with pytest.raises(BrokerNotFound):
        await subject.do(subject.broker.cancel(str(uuid4())))


async def test_a_resting_order_is_listed_until_it_is_cancelled(subject: Subject) -> None:
    resting = ticket("0.01", limit="1000")
    order = await subject.do(subject.broker.submit(resting))
    assert order.broker_order_id in {one.broker_order_id for one in await subject.do(subject.broker.open_orders())}
    await subject.do(subject.broker.cancel(order.broker_order_id))
    ended = await subject.until(resting.client_order_id, lambda one: one.status.is_final)
    assert (ended.status, ended.filled_qty) == (OrderStatus.CANCELLED, 0)
    assert order.broker_order_id not in {one.broker_order_id for one in await subject.do(subject.broker.open_orders())}
    since = order.submitted_at - timedelta(seconds=5)
    assert order.broker_order_id in {
        one.broker_order_id for one in await subject.do(subject.broker.orders_since(since))
    }
    await subject.do(subject.broker.cancel(order.broker_order_id))  # a second one does no harm


async def test_executions_add_up_and_the_fee_is_taken_in_the_coin(subject: Subject) -> None:
    market = ticket("0.01")
    before = {one.symbol: one.qty for one in await subject.do(subject.broker.positions())}
    await subject.do(subject.broker.submit(market))
    filled = await subject.until(market.client_order_id, lambda one: one.status is OrderStatus.FILLED)
    assert filled.filled_qty == market.qty
    fills = await subject.do(subject.broker.fills_of(filled.broker_order_id))
    cumulative = Decimal(0)
    for fill in fills:
        cumulative += fill.qty
        assert fill.cum_qty == cumulative
    assert cumulative == market.qty
    with pytest.raises(BrokerRefused):
        await subject.do(subject.broker.cancel(filled.broker_order_id))
    held = {one.symbol: one.qty for one in await subject.do(subject.broker.positions())}
    assert held["BTC/USD"] - before.get("BTC/USD", Decimal(0)) == market.qty - Decimal("0.000025")


async def test_crypto_that_is_not_held_cannot_be_sold(subject: Subject) -> None:
    with pytest.raises(BrokerRefused):
        await subject.do(subject.broker.submit(ticket("50", side=Side.SELL)))


async def test_a_trade_that_is_taken_back_is_listed_beside_it_with_its_fee_given_back(subject: Subject) -> None:
    market = ticket("0.01")
    before = {one.symbol: one.qty for one in await subject.do(subject.broker.positions())}
    await subject.do(subject.broker.submit(market))
    filled = await subject.until(market.client_order_id, lambda one: one.status is OrderStatus.FILLED)
    fills = await subject.do(subject.broker.fills_of(filled.broker_order_id))
    await subject.bust_all()
    after = await subject.until(market.client_order_id, lambda one: not one.filled_qty)
    assert after.status is OrderStatus.FILLED
    listed = await subject.do(subject.broker.fills_of(filled.broker_order_id))
    assert [one for one in listed if not one.is_bust] == fills
    busts = [one for one in listed if one.is_bust]
    assert sorted((one.qty, one.price) for one in busts) == sorted((one.qty, one.price) for one in fills)
    assert len({one.reference for one in busts}) == len(fills)
    held = {one.symbol: one.qty for one in await subject.do(subject.broker.positions())}
    assert held.get("BTC/USD", Decimal(0)) == before.get("BTC/USD", Decimal(0))
