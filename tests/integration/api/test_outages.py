"""PostgreSQL and Redis go away and come back: nothing accepted is lost, nothing is doubled, callers are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from oms.domain.errors import StoreUnavailable
from oms.signals import intake as intake_module
from oms.signals.bus import RedisBus
from oms.storage.migrate import migrate
from oms.storage.signals import CommitUnanswered, PostgresSignalStore

GOOD = {"symbol": "AAPL", "side": "buy", "qty": 10}


async def test_postgresql_stopped_and_back(own_server: Any, serve_api: Any) -> None:
    postgres = await own_server("postgres")
    await asyncio.to_thread(migrate, postgres.url)
    api = await serve_api(postgres.url)
    assert (await api.post({**GOOD, "signal_id": "before"})).status == 202

    stop = asyncio.Event()
    accepted: dict[str, str] = {}
    refused: set[str] = set()

    async def caller(name: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            signal_id = f"{name}-{number}"
            answer = await api.post({**GOOD, "signal_id": signal_id})
            if answer.status == 202:
                accepted[signal_id] = answer.body["id"]
            else:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), answer.text
                assert answer.body["code"] in {"store_unavailable", "outcome_unknown"}
                refused.add(signal_id)
            await asyncio.sleep(0.01)

    callers = [asyncio.create_task(caller(name)) for name in range(20)]
    await asyncio.sleep(0.5)
    postgres.kill()
    await asyncio.sleep(1.2)
    down = await api.post(GOOD)
    assert (down.status, down.body["code"]) == (503, "store_unavailable")
    assert (await api.get("/api/v1/trading/orders")).status == 503
    while not refused:  # those who were in doubt when it went away ask again for seconds first
        await asyncio.sleep(0.05)
    assert (await api.get("/api/health")).body["status"] == "down"
    assert (await api.get("/api/health/detailed")).body["execution_engine_status"] == "reconnecting"
    assert [(await api.get(path)).status for path in ("/livez", "/readyz")] == [200, 503]
    await postgres.start()
    async with asyncio.timeout(60):
        while (await api.post({**GOOD, "signal_id": "after"})).status != 202:
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.3)
    stop.set()
    await asyncio.gather(*callers)
    stored = {row["signal_id"]: str(row["id"]) for row in await api.sql("select signal_id, id from orders")}
    assert accepted.items() <= stored.items()
    assert refused
    # what was refused for certain is not stored; giving it again makes one order
    again = await asyncio.gather(*(api.post({**GOOD, "signal_id": one}) for one in sorted(refused)[:20]))
    assert {answer.status for answer in again} == {202}
    (count,) = await api.sql("select count(*) as orders, count(distinct signal_id) as signals from orders")
    assert count["orders"] == count["signals"]


class LosesAnswers:
    """A store whose COMMITs are executed but not answered, for a while."""

    def __init__(self, store: PostgresSignalStore, losses: int) -> None:
        self._store = store
        self.losses = losses

    async def accept(self, account_id: Any, signals: Sequence[Any]) -> Any:
        answers = await self._store.accept(account_id, signals)
        if self.losses:
            self.losses -= 1
            raise CommitUnanswered("the connection was lost")
        return answers

    async def record_error(self, *_: Any) -> None:
        raise StoreUnavailable("not here")


async def test_a_lost_answer_to_a_commit_is_asked_for_again(
    migrated_database_url: str, serve_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = await serve_api(migrated_database_url)
    store = LosesAnswers(PostgresSignalStore(plain.pool), 2)
    api = await serve_api(migrated_database_url, fill=False, store=store)
    answer = await api.post(GOOD)
    assert answer.status == 202
    assert "Idempotent-Replayed" not in answer.headers
    assert [str(row["id"]) for row in await api.sql("select id from orders")] == [answer.body["id"]]

    monkeypatch.setattr(intake_module, "DOUBT_S_MAX", 0.3)
    store.losses = 1000
    answer = await api.post({**GOOD, "qty": 7})
    assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (503, "outcome_unknown", "2")
    store.losses = 0
    again = await api.post({**GOOD, "qty": 7}, Idempotency_Key=answer.body["signal_id"])
    assert (again.status, again.body["id"]) == (202, answer.body["id"])
    assert len(await api.sql("select 1 from orders")) == 2


async def test_accepted_signals_are_published(
    migrated_database_url: str, serve_api: Any, bus: RedisBus, redis_clean_url: str
) -> None:
    api = await serve_api(migrated_database_url, bus=bus, redis_url=redis_clean_url)
    async with Redis.from_url(redis_clean_url) as redis, redis.pubsub() as channel:
        await channel.subscribe("trade_signals")
        await channel.get_message(timeout=60)
        answer = await api.post(b'{"symbol":"BTCUSDT","side":"buy","qty":0.0000001,"reason":"dip"}')
        await api.post(b'{"symbol":"NOPE","side":"buy","qty":1}')
        message = await channel.get_message(timeout=60)
    assert message is not None
    assert b'"qty":0.0000001' in message["data"]
    fields = json.loads(message["data"])
    assert fields["order_id"] == answer.body["id"]
    assert (fields["symbol"], fields["source"], fields["reason"]) == ("BTC/USD", "rest", "dip")
    assert (await api.get("/api/health")).body["checks"]["redis"] == "ok"


async def test_redis_down_does_not_matter(migrated_database_url: str, own_server: Any, serve_api: Any) -> None:
    valkey = await own_server("valkey")
    bus = RedisBus(valkey.url)
    api = await serve_api(migrated_database_url, bus=bus, redis_url=valkey.url)
    assert (await api.post(GOOD)).status == 202
    valkey.kill()
    answers = await asyncio.gather(*(api.post(GOOD) for _ in range(50)))
    assert {answer.status for answer in answers} == {202}
    async with asyncio.timeout(60):
        while not api.intake.unpublished:
            await asyncio.sleep(0.02)
    health = (await api.get("/api/health")).body
    assert health["status"] == "degraded"
    assert health["checks"]["redis"].startswith("does not answer")
    await bus.close()


class Full:
    """A store whose disk is full, for a while; what it says is what PostgreSQL's store says then."""

    def __init__(self, store: PostgresSignalStore) -> None:
        self._store = store
        self.is_full = True

    async def accept(self, account_id: Any, signals: Sequence[Any]) -> Any:
        if self.is_full:
            raise StoreUnavailable("PostgreSQL's disk is full, make room there: could not extend file")
        return await self._store.accept(account_id, signals)

    async def record_error(self, *_: Any) -> None:
        raise StoreUnavailable("not here")


async def test_signals_that_cannot_be_stored_are_counted_and_shown(migrated_database_url: str, serve_api: Any) -> None:
    plain = await serve_api(migrated_database_url)
    store = Full(PostgresSignalStore(plain.pool))
    api = await serve_api(migrated_database_url, fill=False, store=store, local=lambda: {"disk": "0.1 GB free"})
    for _ in range(3):
        assert (await api.post(GOOD)).status == 503
    health = (await api.get("/api/health")).body
    assert health["status"] == "degraded"
    assert health["checks"]["disk"] == "0.1 GB free"
    assert health["checks"]["intake"].startswith("3 signals could not be stored since the start")
    assert "make room" in health["checks"]["intake"]
    assert (await api.get("/api/health/detailed")).body["components"]["intake"]["refused"] == 3
    store.is_full = False
    assert (await api.post(GOOD)).status == 202
    await asyncio.sleep(1.1)  # health may be a second old
    assert (await api.get("/api/health")).body["checks"]["intake"] == "ok"
    assert (await api.get("/api/health/detailed")).body["components"]["intake"]["refused"] == 3
