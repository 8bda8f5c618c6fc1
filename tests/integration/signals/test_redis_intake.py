"""Signals from Redis become orders, on real servers; what cannot is recorded with the reason and stops nothing."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from oms.domain.instruments import Instrument, Symbols
from oms.domain.values import AssetClass
from oms.signals.bus import RedisBus
from oms.signals.intake import Intake
from oms.signals.redis_intake import RedisIntake
from oms.storage.database import open_pool
from oms.storage.migrate import migrate
from oms.storage.signals import CommitUnanswered, PostgresSignalStore

SYMBOLS = Symbols([Instrument("AAPL", AssetClass.STOCK, "1"), Instrument("BTC/USD", AssetClass.CRYPTO, "2")], {})
GOOD = {"symbol": "AAPL", "side": "buy", "qty": 10}


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Listening:
    pool: Any
    redis: Any
    intake: RedisIntake
    woken: list[int]

    async def sql(self, statement: str) -> list[Any]:
        return [dict(row) for row in await self.pool.fetch(statement)]

    async def until(self, holds: Callable[[], Any], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not await holds():
                await asyncio.sleep(0.02)

    async def orders(self, count: int) -> list[Any]:
        async def there() -> bool:
            return len(await self.sql("select 1 from orders")) >= count

        await self.until(there)
        return await self.sql("select * from orders order by seq")

    async def errors(self, count: int) -> list[Any]:
        async def there() -> bool:
            return len(await self.sql("select 1 from signal_errors")) >= count

        await self.until(there)
        return await self.sql("select * from signal_errors order by id")


async def listen(database_url: str, redis_url: str) -> AsyncIterator[Listening]:
    pool = await open_pool(database_url, size=4, name="redis intake tests")
    account_id: UUID = uuid4()
    await pool.execute(
        "insert into accounts (id, name, broker_account_id, created_at) values ($1, 'a', 'b', now())", account_id
    )
    bus, store, woken = RedisBus(redis_url), PostgresSignalStore(pool), [0]
    intake = Intake(store, bus, WallClock(), uuid4, doubtful=(CommitUnanswered,))

    def wake() -> None:
        woken[0] += 1

    listener = RedisIntake(
        account_id=account_id, bus=bus, intake=intake, store=store, symbols=lambda: SYMBOLS, on_wake=wake,
        random=random.Random(7),
    )  # fmt: skip
    tasks = [asyncio.create_task(intake.run()), asyncio.create_task(listener.run())]
    redis = Redis.from_url(redis_url)
    listening = Listening(pool, redis, listener, woken)

    async def connected() -> bool:
        return listener.connected

    await listening.until(connected)
    await asyncio.sleep(0.1)
    yield listening
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await redis.aclose()
    await bus.close()
    await pool.close()


@pytest.fixture
async def listening(migrated_database_url: str, redis_clean_url: str) -> AsyncIterator[Listening]:
    async for one in listen(migrated_database_url, redis_clean_url):
        yield one


async def test_a_foreign_signal_on_the_channel_becomes_an_order(listening: Listening) -> None:
    await listening.redis.publish("trade_signals", json.dumps({**GOOD, "qty": "0.5", "reason": "mine"}))
    (order,) = await listening.orders(1)
    assert (order["source"], str(order["qty"]), order["reason"]) == ("channel", "0.5", "mine")
    assert order["signal_id"] == f"channel:{order['id']}"

    async def woken() -> bool:  # after the commit that the order was seen by
        return listening.woken[0] == 1

    await listening.until(woken)


async def test_our_own_message_only_wakes(listening: Listening) -> None:
    await listening.redis.publish("trade_signals", json.dumps({"order_id": str(uuid4()), "source": "rest", **GOOD}))

    async def woken() -> bool:
        return listening.woken[0] == 1

    await listening.until(woken)
    assert await listening.sql("select 1 from orders") == []


async def test_a_foreign_message_with_an_order_id_is_recorded_not_taken_for_ours(listening: Listening) -> None:
    await listening.redis.publish("trade_signals", json.dumps({"order_id": "theirs", **GOOD}))

    async def recorded() -> bool:
        return bool(await listening.sql("select 1 from signal_errors where reason like '%order_id%'"))

    await listening.until(recorded)
    assert await listening.sql("select 1 from orders") == []


async def test_the_stream_brings_orders_once_and_tells_the_channel(listening: Listening) -> None:
    async with listening.redis.pubsub() as channel:
        await channel.subscribe("trade_signals")
        await channel.get_message(timeout=60)
        entry = await listening.redis.xadd("trade_signals", {"signal": json.dumps(GOOD)})
        await listening.redis.xadd("trade_signals", {**{k: str(v) for k, v in GOOD.items()}, "signal_id": "mine"})
        first, second = await listening.orders(2)
        message = await channel.get_message(timeout=60)
    assert (first["source"], first["signal_id"]) == ("stream", f"stream:{entry.decode()}")
    assert second["signal_id"] == "mine"
    assert message is not None
    assert json.loads(message["data"])["order_id"] == str(first["id"])

    async def acknowledged() -> bool:
        pending = await listening.redis.xpending("trade_signals", "oms")
        return bool(pending["pending"] == 0)

    await listening.until(acknowledged)


async def test_malformed_messages_are_recorded_and_stop_nothing(listening: Listening) -> None:
    redis = listening.redis
    bad = [
        b"hello",
        b"\xff\xfe\x00",
        b"[" * 60_000,
        b"null",
        json.dumps({**GOOD, "qty": "NaN"}).encode(),
        b"x" * 100_000,
    ]
    for payload in bad:
        await redis.publish("trade_signals", payload)
    await redis.xadd("trade_signals", {"signal": "not json"})
    await redis.xadd("trade_signals", {"signal": json.dumps({**GOOD, "signal_id": "one"})})
    await redis.xadd("trade_signals", {"signal": json.dumps({**GOOD, "signal_id": "one", "qty": 11})})
    await redis.publish("trade_signals", json.dumps({**GOOD, "reason": "the last"}))
    orders = await listening.orders(2)
    errors = await listening.errors(8)
    assert sorted(order["source"] for order in orders) == ["channel", "stream"]
    assert {error["code"] for error in errors} == {
        "not_json", "not_an_object", "invalid_number", "body_too_large", "signal_conflict",
    }  # fmt: skip
    assert max(len(error["payload"]) for error in errors) <= 4096
    assert all(error["reason"] for error in errors)


async def test_with_postgresql_away_stream_signals_wait_and_become_one_order_each(
    own_server: Any, redis_clean_url: str
) -> None:
    postgres = await own_server("postgres")
    await asyncio.to_thread(migrate, postgres.url)
    async for listening in listen(postgres.url, redis_clean_url):
        postgres.kill()
        for number in range(30):
            await listening.redis.xadd("trade_signals", {"signal": json.dumps({**GOOD, "signal_id": f"s{number}"})})
        await listening.redis.xadd("trade_signals", {"signal": "broken"})

        async with asyncio.timeout(60):  # until they are read
            while not (await listening.redis.xpending("trade_signals", "oms"))["pending"]:
                await asyncio.sleep(0.02)
        await postgres.start()
        orders = await listening.orders(30)
        assert len({order["signal_id"] for order in orders}) == len(orders) == 30
        assert [error["code"] for error in await listening.errors(1)] == ["not_json"]


async def test_redis_away_and_back_is_listened_to_again(migrated_database_url: str, own_server: Any) -> None:
    valkey = await own_server("valkey")
    async for listening in listen(migrated_database_url, valkey.url):
        await goes_away_and_comes_back(listening, valkey)


async def goes_away_and_comes_back(listening: Listening, valkey: Any) -> None:
    valkey.kill()

    async def disconnected() -> bool:
        return not listening.intake.connected

    async def reached() -> bool:
        try:
            return bool(await listening.redis.publish("trade_signals", json.dumps(GOOD)))
        except RedisError:
            return False

    await listening.until(disconnected)
    await valkey.start()
    await listening.until(reached)
    assert await listening.orders(1)
    assert listening.intake.counts.reconnects >= 1
