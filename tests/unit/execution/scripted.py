"""A store and a broker that do as a test says, so that a session can be led into corners that real ones seldom show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid4

import oms.ports
from oms.domain.drift import Drift
from oms.domain.errors import BrokerNotFound
from oms.domain.instruments import Instrument
from oms.domain.market import Price
from oms.domain.orders import Order, OrderStatus
from oms.domain.reports import BrokerAccount, BrokerOrder, MarketClock, UnreadableRecord
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.execution.budget import RequestBudget
from oms.execution.session import Outside, Session
from oms.execution.status import EngineStatus
from oms.ports import AccountRecord, Changes, Command, Configs, Ticket, WorkingSet

ACCOUNT = UUID(int=1)
ONE = Decimal(1)


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Prices:
    def price(self, symbol: str, _: Decimal) -> Price:
        return Price(symbol, Decimal(100), Decimal(100), Decimal(100), datetime.now(UTC), fresh=True)

    async def ask(self, _: object) -> None: ...
    def follow(self, _: object) -> None: ...


def at_broker(
    client_order_id: str, status: OrderStatus = OrderStatus.SUBMITTED, filled: Decimal = Decimal(0)
) -> BrokerOrder:
    now = datetime.now(UTC)
    return BrokerOrder(
        f"B-{client_order_id}", client_order_id, "AAPL", AssetClass.STOCK, Side.BUY, ONE, "market", TimeInForce.DAY,
        status, str(status), filled, None, None, now, now,
    )  # fmt: skip


class Broker:
    """Answers each POST with `on_submit`, each look-up with `on_lookup` (by our id) or `on_order` (by its own), each
    listing of orders with `on_list`. `unreadable` are the records that its listings leave out."""

    def __init__(self) -> None:
        self.posts: list[Ticket] = []
        self.cancels: list[str] = []
        self.updates_queue: asyncio.Queue[Any] = asyncio.Queue()
        self.on_submit: Callable[[Ticket], Awaitable[BrokerOrder]] = self._accepts
        self.on_lookup: Callable[[str], Awaitable[BrokerOrder]] = self.knows_nothing
        self.on_order: Callable[[str], Awaitable[BrokerOrder]] = self.knows_nothing
        self.unreadable: list[UnreadableRecord] = []
        self.left_out = 0
        self.on_list: Callable[[], Awaitable[Sequence[BrokerOrder]]] = self._nothing

    async def _accepts(self, ticket: Ticket) -> BrokerOrder:
        return replace(at_broker(ticket.client_order_id), symbol=ticket.symbol, side=ticket.side, qty=ticket.qty)

    async def knows_nothing(self, _: str) -> BrokerOrder:
        raise BrokerNotFound("no such order")

    async def _nothing(self, *_: object) -> Sequence[Any]:
        return []

    async def submit(self, ticket: Ticket) -> BrokerOrder:
        self.posts.append(ticket)
        return await self.on_submit(ticket)

    async def order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        return await self.on_lookup(client_order_id)

    async def orders_since(self, _: datetime) -> Sequence[BrokerOrder]:
        return await self.on_list()

    async def cancel(self, broker_order_id: str) -> None:
        self.cancels.append(broker_order_id)

    async def order(self, broker_order_id: str) -> BrokerOrder:
        return await self.on_order(broker_order_id)

    async def account(self) -> BrokerAccount:
        return BrokerAccount("b", "n", "ACTIVE", "USD", ONE, ONE, ONE, False)

    async def clock(self) -> MarketClock:
        now = datetime.now(UTC)
        return MarketClock(now, True, now + timedelta(days=1), now + timedelta(hours=1))

    open_orders = fills_since = fills_of = fees_since = positions = instruments = _nothing

    def take_unreadable(self) -> Sequence[UnreadableRecord]:
        return list(self.unreadable)

    async def close(self) -> None: ...

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[Any]:
        async def arriving() -> AsyncIterator[Any]:
            while True:
                update = await self.updates_queue.get()
                if isinstance(update, Exception):
                    raise update
                yield update

        yield arriving()


class Store:
    """Keeps what is committed in lists; `on_commit` may refuse."""

    def __init__(self) -> None:
        self.accepted: list[Order] = []
        self.asked: list[Command] = []
        self.commits: list[Changes] = []
        self.on_commit: Callable[[Changes], Awaitable[None]] = self._stores

    def accept(self, **more: object) -> Order:
        now, order_id = datetime.now(UTC), uuid4()
        order = Order(
            order_id, ACCOUNT, f"c-{order_id.hex}", "AAPL", AssetClass.STOCK, Side.BUY, ONE, OrderType.MARKET,
            TimeInForce.DAY, now, seq=len(self.accepted) + 1, configs_version=1,
        )  # fmt: skip
        self.accepted.append(replace(order, **more))  # type: ignore[arg-type]
        return self.accepted[-1]

    def ask(self, kind: str, order: Order) -> None:
        self.asked.append(Command(uuid4(), kind, order.id, {}, datetime.now(UTC)))

    async def _stores(self, _: Changes) -> None: ...

    async def commit(self, _account: UUID, _epoch: int, changes: Changes) -> None:
        await self.on_commit(changes)
        self.commits.append(changes)

    async def pending(self, _account: UUID, after_seq: int, limit: int) -> Sequence[Order]:
        return [order for order in self.accepted if order.seq > after_seq][:limit]

    async def commands(self, _account: UUID) -> Sequence[Command]:
        return list(self.asked)

    async def configs(self) -> Configs:
        return Configs(1, {})

    async def fee_totals(self, *_: object) -> tuple[Decimal, Decimal]:
        return Decimal(0), Decimal(0)

    async def booked(self, *_: object) -> frozenset[str]:
        return frozenset()

    async def _none(self, *_: object) -> None: ...

    renew_lease = find_order = snapshot_account = value = _none

    async def entries(self, *_: object) -> Sequence[Any]:
        return []


class Running:
    """A session on a scripted store and broker, running."""

    def __init__(
        self,
        configs: Configs | None = None,
        budget: RequestBudget | None = None,
        instruments: Sequence[Instrument] = (),
        clock: oms.ports.Clock | None = None,
        broker: Broker | None = None,
    ) -> None:
        clock = clock or Clock()
        self.store, self.broker = Store(), broker or Broker()
        self.budget = budget or RequestBudget(0, clock)
        now = clock.now()
        working = WorkingSet(
            AccountRecord(ACCOUNT, "b", now, now), [], [], [], configs or Configs(1, {}), {},
            [Instrument("AAPL", AssetClass.STOCK, "1"), *instruments],
        )  # fmt: skip
        outside = Outside(self.store, self.broker, Prices(), clock, uuid4, Random(1), self.budget)  # type: ignore[arg-type]
        self.session = Session(outside, working, 1, lambda _: None)
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Running:
        self.task = asyncio.ensure_future(self.session.run(self.stop))
        await self.until(lambda: self.session.status is EngineStatus.RUNNING)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def accept(self, **more: object) -> UUID:
        order = self.store.accept(**more)
        self.session.wake()
        return order.id

    def order(self, order_id: UUID) -> Order:
        return self.session.book.orders[order_id]

    def rows(self) -> dict[int, Drift]:
        """The drift ledger as stored."""
        stored: dict[int, Drift] = {}
        for changes in self.store.commits:
            stored |= changes.drift
        return stored

    async def until(self, holds: Callable[[], bool], within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.005)

    async def ended(self, order_id: UUID, within_s: float = 60) -> Order:
        await self.until(lambda: order_id in self.session.book.orders and not self.order(order_id).is_open, within_s)
        return self.order(order_id)
