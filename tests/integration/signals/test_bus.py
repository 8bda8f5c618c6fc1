"""The bus on a real Valkey: both ways in, nothing acknowledged is lost, nothing spoils the reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from tests.servers import OwnServer

from oms.domain.errors import Unavailable
from oms.ports import BusMessage
from oms.signals.bus import EVENTS, GROUP, RELAYED, SIGNALS, RedisBus


@pytest.fixture
async def bus(redis_clean_url: str) -> AsyncIterator[RedisBus]:
    one = RedisBus(redis_clean_url, timeout_s=30)
    yield one
    await one.close()


@pytest.fixture
async def redis(redis_clean_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_clean_url, protocol=2) as client:
        yield client


class Reader:
    """Reads in the background, so that a test may wait for what it expects."""

    def __init__(self, batches: AsyncIterator[Sequence[BusMessage]]) -> None:
        self.messages: list[BusMessage] = []
        self.sizes: list[int] = []
        self.task = asyncio.create_task(self._read(batches))

    async def _read(self, batches: AsyncIterator[Sequence[BusMessage]]) -> None:
        async for batch in batches:
            self.messages += batch
            self.sizes.append(len(batch))

    def payloads(self, source: str) -> list[bytes]:
        return [message.payload for message in self.messages if message.source == source]

    async def until(self, holds: Callable[[], bool], timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)


async def reader_of(bus: RedisBus, stack: AsyncExitStack) -> Reader:
    reader = Reader(await stack.enter_async_context(bus.signals()))

    async def stop() -> None:
        reader.task.cancel()
        await asyncio.gather(reader.task, return_exceptions=True)

    stack.push_async_callback(stop)
    return reader


async def test_channel_and_stream_come_through_one_reader(bus: RedisBus, redis: Redis) -> None:
    await redis.xadd(SIGNALS, {"signal": '{"early": 1}'})  # before there was a group
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        await bus.publish_signals([b'{"n": 1}', b"\xff not json"])
        await redis.xadd(SIGNALS, {"data": '{"n": 2}'})
        await redis.xadd(SIGNALS, {"symbol": "AAPL", "side": "buy", "qty": "10", "signal": "x"})
        await reader.until(lambda: len(reader.messages) == 5)
    assert reader.payloads("channel") == [b'{"n": 1}', b"\xff not json"]
    early, data, flat = reader.payloads("stream")
    assert (early, data) == (b'{"early": 1}', b'{"n": 2}')
    assert json.loads(flat) == {"symbol": "AAPL", "side": "buy", "qty": "10", "signal": "x"}
    assert all((message.entry_id is not None) == (message.source == "stream") for message in reader.messages)


async def test_entries_come_again_until_they_are_acknowledged(bus: RedisBus, redis: Redis) -> None:
    ids = [(await redis.xadd(SIGNALS, {"signal": str(n)})).decode() for n in range(700)]
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        await reader.until(lambda: len(reader.messages) == 700)
    await bus.acknowledge(ids[:300])
    await redis.xdel(SIGNALS, ids[300])  # gone although never acknowledged
    later = (await redis.xadd(SIGNALS, {"signal": "later"})).decode()
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        await reader.until(lambda: len(reader.messages) >= 400)
    assert [message.entry_id for message in reader.messages] == [*ids[301:], later]
    await bus.acknowledge([*ids[301:], later])
    assert (await redis.xpending(SIGNALS, GROUP))["pending"] == 0


async def test_what_another_consumer_or_a_lost_batch_left_behind_is_claimed(redis_clean_url: str, redis: Redis) -> None:
    bus = RedisBus(redis_clean_url, timeout_s=30, claim_idle_s=0.3)
    await redis.xgroup_create(SIGNALS, GROUP, id="0", mkstream=True)
    entry = (await redis.xadd(SIGNALS, {"signal": "1"})).decode()
    await redis.xreadgroup(GROUP, "somebody", {SIGNALS: ">"})
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        await reader.until(lambda: len(reader.messages) >= 2)  # and again, while we do not acknowledge it
    assert {message.entry_id for message in reader.messages} == {entry}
    await bus.close()


async def test_reading_survives_flushall_and_del(bus: RedisBus, redis: Redis) -> None:
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        for n in range(3):
            await asyncio.sleep(0.1)
            await (redis.flushall() if n % 2 else redis.delete(SIGNALS))
            await redis.xadd(SIGNALS, {"signal": f"s{n}"})
            await redis.publish(SIGNALS, f"c{n}")
            await reader.until(lambda n=n: len(reader.messages) == 2 * (n + 1))  # type: ignore[misc]
    assert reader.payloads("stream") == [b"s0", b"s1", b"s2"]
    assert reader.payloads("channel") == [b"c0", b"c1", b"c2"]


async def test_a_key_of_another_type_leaves_the_channel_alone(bus: RedisBus, redis: Redis) -> None:
    await redis.set(SIGNALS, "oops")
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        await redis.publish(SIGNALS, "one")
        await reader.until(lambda: reader.payloads("channel") == [b"one"])
        await redis.delete(SIGNALS)
        await redis.xadd(SIGNALS, {"signal": "two"})
        await reader.until(lambda: reader.payloads("stream") == [b"two"])
        await redis.set(SIGNALS, "again")  # while a read is waiting
        await redis.publish(SIGNALS, "three")
        await reader.until(lambda: reader.payloads("channel") == [b"one", b"three"])
        await asyncio.sleep(1.2)
        assert not reader.task.done()


async def test_a_flood_comes_in_bounded_batches(bus: RedisBus) -> None:
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        await bus.publish_signals([b"%d" % n for n in range(20_000)])
        await reader.until(lambda: len(reader.messages) == 20_000)
    assert reader.payloads("channel") == [b"%d" % n for n in range(20_000)]
    assert max(reader.sizes) <= 512


async def test_the_callers_own_errors_are_not_redis_errors(bus: RedisBus) -> None:
    with pytest.raises(ConnectionRefusedError):
        async with bus.signals():
            raise ConnectionRefusedError


async def test_a_restart_of_the_server_ends_the_reader_and_loses_no_entry(own_server: OwnServer) -> None:
    server: Any = await own_server("valkey")
    bus = RedisBus(server.url, timeout_s=30)
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        async with Redis.from_url(server.url) as redis:
            entry = await redis.xadd(SIGNALS, {"signal": "1"})
            await redis.execute_command("WAITAOF", 1, 0, 0)  # until the entry is in the file
            await reader.until(lambda: len(reader.messages) == 1)
        server.kill()
        with pytest.raises(Unavailable):
            await reader.until(lambda: False)
    for call in (bus.publish_signals([b"x"]), bus.acknowledge(["1-1"]), bus.events_relayed(uuid4()), bus.ping()):
        with pytest.raises(Unavailable):
            await call
    with pytest.raises(Unavailable):
        async with bus.signals():
            pass
    await server.start()
    await bus.publish_signals([b"x"])  # over a connection of the pool that was dead
    async with AsyncExitStack() as stack:
        reader = await reader_of(bus, stack)
        await reader.until(lambda: len(reader.messages) == 1)
        assert reader.messages == [BusMessage("stream", b"1", entry.decode())]
    await bus.close()


async def test_events_are_added_once_and_their_last_sequence_is_known(bus: RedisBus, redis: Redis) -> None:
    one, other = uuid4(), uuid4()
    assert await bus.events_relayed(one) is None
    await bus.append_events(one, [(n, b'{"n":%d}' % n) for n in range(1, 2501)])
    await bus.append_events(one, [(2500, b"again"), (2503, b'{"n":2503}')])
    await bus.append_events(other, [(1, b"{}")])
    assert (await bus.events_relayed(one), await bus.events_relayed(other)) == (2503, 1)
    entries: list[Any] = await redis.xrange(EVENTS)
    assert [int(fields[b"seq"]) for _, fields in entries] == [*range(1, 2501), 2503, 1]
    assert entries[0][1] == {b"account": str(one).encode(), b"seq": b"1", b"event": b'{"n":1}'}
    await redis.flushall()
    assert await bus.events_relayed(one) is None
    await bus.append_events(one, [(2504, b"{}")])
    assert await bus.events_relayed(one) == 2504


async def test_events_that_cannot_be_added_are_not_remembered(bus: RedisBus, redis: Redis) -> None:
    account = uuid4()
    await redis.set(EVENTS, "oops")
    with pytest.raises(Unavailable):
        await bus.append_events(account, [(1, b"{}")])
    assert await redis.exists(RELAYED) == 0


async def test_a_server_that_does_not_answer_is_unavailable_in_time() -> None:
    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    bus = RedisBus(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout_s=0.3)
    async with asyncio.timeout(60):
        for call in (bus.ping(), bus.publish_signals([b"x"])):
            with pytest.raises(Unavailable):
                await call
        with pytest.raises(Unavailable):
            async with bus.signals():
                pass
    await bus.close()
    server.close()
