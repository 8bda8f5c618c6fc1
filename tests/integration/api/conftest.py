"""An API on real sockets over a database of its own, without an engine: tests play the engine by SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from oms.api.app import Dependencies, create_app
from oms.api.server import run_server
from oms.ports import Bus
from oms.settings import key_hash
from oms.signals.bus import RedisBus
from oms.signals.intake import Intake
from oms.storage.database import Pool, open_pool
from oms.storage.decisions import Decisions
from oms.storage.queries import Queries
from oms.storage.signals import CommitUnanswered, PostgresSignalStore

KEY = key_hash("mock")
SIGNAL = "/api/v1/trading/signal"
ORDERS = "/api/v1/trading/orders"


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any
    text: str


@dataclass
class Running:
    """A served API, its database, and requests to it."""

    url: str
    pool: Pool
    account_id: UUID
    http: aiohttp.ClientSession
    intake: Intake
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self, method: str, path: str, **kwargs: Any) -> Answer:
        async with self.http.request(method, path if "://" in path else self.url + path, **kwargs) as response:
            text = await response.text()
            is_json = "json" in response.headers.get("Content-Type", "")
            body = await response.json(loads=loads, content_type=None) if is_json and text else None
            return Answer(response.status, response.headers, body, text)

    async def get(self, path: str, **kwargs: Any) -> Answer:
        return await self.request("GET", path, **kwargs)

    async def post(self, body: Any, query: str = "", **headers: str) -> Answer:
        import json

        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await self.request("POST", SIGNAL + query, data=data, headers=sent)

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        return await self.pool.fetch(statement, *values)

    async def becomes(self, order_id: Any, status: str, **columns: Any) -> None:
        """What the engine does: move an order and tell of it, under the account's lock."""
        async with self.pool.acquire() as db, db.transaction():
            seq = await db.fetchval(
                "update accounts set event_seq = event_seq + 1 where id = $1 returning event_seq", self.account_id
            )
            sets = "".join(f", {name} = ${place}" for place, name in enumerate(columns, start=3))
            query = f"update orders set status = $2, updated_at = now(){sets} where id = $1"
            await db.execute(query, UUID(str(order_id)), status, *columns.values())
            await db.execute(
                "insert into order_events values ($1, $2, $3, $4, $4, now(), '{\"price\": 0.1}')",
                self.account_id, seq, UUID(str(order_id)), status,
            )  # fmt: skip


def loads(text: str) -> Any:
    """JSON with exact numbers."""
    import json

    return json.loads(text, parse_float=Decimal)


class NoBus:
    """A bus for tests that are not about Redis."""

    def __init__(self) -> None:
        self.published: list[bytes] = []

    async def publish_signals(self, messages: Any) -> None:
        self.published += messages


ServeApi = Callable[..., Awaitable[Running]]


async def fill_database(pool: Pool) -> UUID:
    """An account that the key opened, a running engine, some assets."""
    account_id = uuid4()
    await pool.execute(
        "insert into accounts (id, name, broker_account_id, number, cash, equity, buying_power, as_of, created_at)"
        " values ($1, 'alpaca PA1', 'b-1', 'PA1', 100000, 100000.50, 200000, now(), now())",
        account_id,
    )
    await pool.execute("insert into account_keys values ($1, $2, now())", KEY, account_id)
    await pool.execute(
        "insert into engines values ($1, $2, 'running', $3, now() + interval '1 hour')",  # not to grow old in a test
        KEY, account_id, '{"broker": {"ok": true}, "stream": {"connected": true}, "budget": {"left": 199.5}}',
    )  # fmt: skip
    await pool.executemany(
        "insert into instruments (symbol, asset_class, broker_asset_id) values ($1, $2, $3)",
        [("AAPL", "stock", "1"), ("MSFT", "stock", "2"), ("BTC/USD", "crypto", "3"), ("ETH/USD", "crypto", "4")],
    )
    return account_id


@pytest.fixture
async def serve_api() -> AsyncIterator[ServeApi]:
    """Serve an API: `await serve_api(database_url, bus=…, token=…)`."""
    async with AsyncExitStack() as stack:

        async def serve(
            database_url: str, *, bus: Bus | None = None, fill: bool = True, store: Any = None, **given: Any
        ) -> Running:
            pool = await open_pool(database_url, size=8, name="api tests")
            stack.push_async_callback(pool.close)
            account_id = await fill_database(pool) if fill else uuid4()
            clock = WallClock()
            intake = Intake(
                store or PostgresSignalStore(pool),
                bus or NoBus(),
                clock,
                uuid4,
                doubtful=(CommitUnanswered,),  # type: ignore[arg-type]
            )
            given.setdefault("key_hash", KEY)
            app = create_app(Dependencies(Queries(pool), Decisions(pool), intake, clock, uuid4, **given))
            port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            stop = asyncio.Event()
            committing = asyncio.create_task(intake.run())
            serving = asyncio.create_task(run_server(app, "127.0.0.1", 0, stop=stop, started=port.set_result))
            http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=300)))

            async def end() -> None:
                await http.close()
                stop.set()
                await serving
                committing.cancel()
                await asyncio.gather(committing, return_exceptions=True)

            stack.push_async_callback(end)
            return Running(f"http://127.0.0.1:{await port}", pool, account_id, http, intake, stop)

        yield serve


@pytest.fixture
async def api(migrated_database_url: str, serve_api: ServeApi) -> Running:
    """An API without Redis."""
    return await serve_api(migrated_database_url)


@pytest.fixture
async def bus(redis_clean_url: str) -> AsyncIterator[RedisBus]:
    """The bus on an empty Valkey."""
    bus = RedisBus(redis_clean_url)
    yield bus
    await bus.close()


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)
