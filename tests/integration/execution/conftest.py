"""A session of the engine on a real PostgreSQL and a real paper broker, in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from tests.unit.execution.scripted import Clock, Prices

from oms.broker import AlpacaBroker, connect
from oms.domain.drift import Drift
from oms.domain.instruments import Symbols
from oms.domain.signals import Signal
from oms.domain.values import OrderType, Side, TimeInForce
from oms.execution.budget import RequestBudget
from oms.execution.desk import Outside
from oms.execution.session import Session
from oms.execution.status import EngineStatus
from oms.settings import Settings
from oms.storage.database import Pool, open_pool
from oms.storage.decisions import Decisions
from oms.storage.engine import PostgresStore
from oms.storage.signals import PostgresSignalStore
from oms.system import new_id
from paperbroker.testing import PaperBroker


class Trading:
    """The engine's session, its store and its broker. `start` and `stop` as often as wanted."""

    def __init__(self, pool: Pool, paper: PaperBroker, per_minute: int = 0) -> None:
        self.pool, self.paper = pool, paper
        self.store = PostgresStore(pool)
        self.clock = Clock()
        self.budget = RequestBudget(per_minute, self.clock)
        settings = Settings(alpaca_api_key=paper.key, paperbroker_url=paper.url)
        self.broker, self._data = connect(settings, self.budget, self.clock)
        self.account_id = UUID(int=0)
        self._session: Session | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def session(self) -> Session:
        assert self._session is not None
        return self._session

    async def start(self, *, wait: bool = True) -> Session:
        """A new session, as a new process would have it, until it runs."""
        self._session = await self.idle()
        self._stop = asyncio.Event()
        self._task = asyncio.ensure_future(self._session.run(self._stop))
        if wait:
            await self.until(lambda: self.session.status is not EngineStatus.STARTING)
        return self._session

    async def idle(self) -> Session:
        """A new session that does not run."""
        account = await self.broker.account()
        self.account_id = await self.store.register_account(account, "hash", self.paper.url, self.clock.now())
        await self.store.save_instruments(await self.broker.instruments())
        epoch = await self.store.take_lease(self.account_id, "test", 3600)
        assert epoch is not None
        outside = Outside(self.store, self.broker, Prices(), self.clock, new_id, Random(1), self.budget)  # type: ignore[arg-type]
        return Session(outside, await self.store.load(self.account_id), epoch, lambda _: None)

    async def stop(self) -> None:
        """Let the session drain and end."""
        if self._task is not None:
            self._stop.set()
            await self._task
            self._task = None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.broker.close()
        await self._data.close()

    async def signal(self, symbol: str, side: str, qty: object, **more: Any) -> UUID:
        """A signal, accepted; its order's id."""
        symbols = Symbols((await self.store.symbols())[0], {})
        instrument = symbols.get(symbol)
        assert instrument is not None
        order_id = new_id()
        signal = Signal(
            str(order_id), "rest", symbol, instrument.asset_class, Side(side), Decimal(str(qty)), OrderType.MARKET,
            TimeInForce.GTC if instrument.is_crypto else TimeInForce.DAY,
        )  # fmt: skip
        store = PostgresSignalStore(self.pool)
        await store.accept(self.account_id, [(order_id, replace(signal, **more), self.clock.now())])
        self.session.wake()
        return order_id

    async def ended(self, order_id: UUID) -> Any:
        """The stored order once it has ended."""
        found: list[Any] = []

        async def end() -> bool:
            found[:] = await self.pool.fetch("select * from orders where id = $1 and ended_at is not null", order_id)
            return bool(found)

        await self.until(end)
        return found[0]

    async def traded(self, symbol: str, side: str, qty: object, **more: Any) -> Any:
        return await self.ended(await self.signal(symbol, side, qty, **more))

    async def command(self, kind: str, **data: object) -> tuple[str, str]:
        """A command, carried out: outcome and message."""
        command_id = new_id()
        await Decisions(self.pool).ask(
            command_id, self.account_id, kind, {"by": "ann", "reason": "because", **data}, self.clock.now()
        )
        found: list[Any] = []

        async def done() -> bool:
            found[:] = await self.pool.fetch("select * from commands where id = $1 and done_at is not null", command_id)
            return bool(found)

        await self.until(done)
        return found[0]["outcome"], found[0]["message"]

    async def ask_cancel(self, order_id: UUID) -> None:
        """A cancel, asked for as the API does."""
        query = "insert into commands (id, account_id, kind, order_id, created_at) values ($1, $2, 'cancel', $3, now())"
        await self.pool.execute(query, new_id(), self.account_id, order_id)

    async def rows_of(self, client_order_ids: Collection[str]) -> list[Any]:
        """Orders by the ids that the broker knows them by."""
        return list(
            await self.pool.fetch("select * from orders where client_order_id = any($1)", list(client_order_ids))
        )

    async def drift(self) -> list[Any]:
        """The stored ledger, oldest first."""
        return list(await self.pool.fetch("select * from drift where account_id = $1 order by id", self.account_id))

    def standing(self) -> list[Drift]:
        return list(self.session.book.drift.standing)

    async def passes(self, count: int = 1) -> None:
        """So many full reconciliations from now on."""
        for _ in range(count):
            await self.session.reconciler.full()
        await self.session.journal.flush()

    async def until(self, holds: Callable[[], Any], within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            while True:
                if self._task is not None and self._task.done():
                    self._task.result()
                found = holds()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.02)

    async def position(self, symbol: str) -> Decimal:
        """As stored."""
        found = await self.pool.fetchval("select qty from positions where symbol = $1", symbol)
        return Decimal(0) if found is None else found

    async def at_broker(self, symbol: str) -> Decimal:
        held = {one.symbol: one.qty for one in await self.broker.positions()}
        return held.get(symbol, Decimal(0))

    async def post_at_broker(self, body: dict[str, Any]) -> Any:
        """An order of somebody else's, over the broker's own API."""
        headers = {"APCA-API-KEY-ID": self.paper.key}
        url = f"{self.paper.url}/v2/orders"
        async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


@pytest.fixture
async def pool(migrated_database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(migrated_database_url, size=8, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def trading(pool: Pool, paper_broker: PaperBroker) -> AsyncIterator[Trading]:
    """A running session on a fresh account with much money and no positions."""
    paper_broker.control.reset(cash=100_000_000, positions={})
    trading = Trading(pool, paper_broker)
    await trading.start()
    yield trading
    await trading.close()


__all__ = ["AlpacaBroker", "Trading"]
