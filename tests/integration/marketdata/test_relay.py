"""`oms feed` beside an engine through a real Valkey: one data connection in all, prices all the time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from tests.servers import OwnServer
from tests.unit.marketdata.fakes import STOCK, FakeData, RealClock, one, tick

from oms.domain.market import Quote, Tick, Trade
from oms.marketdata import relay
from oms.marketdata import relay_wire as wire
from oms.marketdata.feed import Feed
from oms.marketdata.prices import PriceBook
from oms.marketdata.relay import PriceRelay
from oms.marketdata.relayed import RelayedFeed
from oms.waiting import ended

pytestmark = pytest.mark.timeout(300)


class Engine:
    """An engine's prices."""

    def __init__(self, data: FakeData, url: str, account: UUID) -> None:
        self.data = data
        self.book = PriceBook(RealClock())
        self.seen: list[Tick] = []
        own = Feed(data, self.book, RealClock(), random.Random(1), poll_s=0.2)
        self.prices = RelayedFeed(own, url, account, RealClock(), on_ticks=self.seen.extend, timeout_s=5)


class FeedProcess:
    """`oms feed`."""

    def __init__(self, data: FakeData, url: str, account: UUID) -> None:
        self.data = data
        self.relay = PriceRelay(url, account, RealClock(), timeout_s=5)
        self.book = PriceBook(RealClock())
        self.feed = Feed(data, self.book, RealClock(), random.Random(2), on_ticks=self.relay.publish, poll_s=0.2)


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await ended([task])


async def until(holds: Callable[[], object], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_the_engine_lets_go_while_a_feed_runs_and_takes_over_after_it(
    redis_clean_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RELEASE_S", 6.0)  # the engine lets go within a second, on a busy machine later
    account = uuid4()
    engine = Engine(FakeData(), redis_clean_url, account)
    engine.prices.follow([one("AAPL"), one("BTC/USD")])
    async with running(engine.prices.run()):
        await until(lambda: engine.data.open == 2)
        assert not engine.prices.health().relayed
        feed = FeedProcess(FakeData(), redis_clean_url, account)
        async with running(feed.relay.run(feed.feed)):
            await until(lambda: engine.data.open == 0)
            assert feed.data.open == 0, "the feed connects only after the engine has let go"
            await until(lambda: feed.book.live(STOCK) == {"AAPL"})
            await until(lambda: engine.prices.health().relayed)
            feed.data.streams[STOCK][0].frames.put_nowait([tick("AAPL", 42)])
            await until(lambda: engine.book.price("AAPL", 5).last == 42)
            await asyncio.sleep(2.1)
            # a quiet symbol on the feed's live stream does not become stale, though a beat may be late
            await until(lambda: engine.book.price("AAPL", 2).fresh)
            assert any(isinstance(one_tick, Trade) and one_tick.price == 42 for one_tick in engine.seen)
            engine.prices.follow([one("MSFT")])
            await until(lambda: feed.book.live(STOCK) == {"MSFT"})
        assert feed.data.open == 0
        await until(lambda: engine.data.open == 1 and engine.book.live(STOCK) == {"MSFT"})
        await feed.relay.close()
    await engine.prices.close()


async def test_a_feed_that_is_killed_is_noticed_and_its_prices_age(redis_clean_url: str) -> None:
    account = uuid4()
    engine = Engine(FakeData(), redis_clean_url, account)
    engine.prices.follow([one("AAPL")])
    async with Redis.from_url(redis_clean_url) as redis:
        await redis.set(wire.feed_key_of(account), "a feed that was killed", ex=wire.FEED_TTL_S)
    async with Redis.from_url(redis_clean_url) as redis, running(engine.prices.run()):
        await until(lambda: engine.prices.is_relayed)
        await redis.publish(wire.channel_of(account), wire.encode_held([(7.0, tick("AAPL", 5))]))
        await redis.publish(wire.channel_of(account), b"nonsense")
        await redis.publish(wire.channel_of(account), wire.encode_ticks([tick("MSFT", 6)]))
        await until(lambda: engine.book.price("MSFT", 60).fresh)
        assert (engine.book.price("AAPL", 6.9).fresh, engine.book.price("AAPL", 60).fresh) == (False, True)
        await until(lambda: not engine.prices.is_relayed and engine.data.open == 1)
    await engine.prices.close()


async def test_a_second_feed_of_the_account_waits(redis_clean_url: str) -> None:
    account = uuid4()
    first, second = (FeedProcess(FakeData(), redis_clean_url, account) for _ in range(2))
    async with Redis.from_url(redis_clean_url) as redis:
        await redis.set(wire.follow_key_of(account), wire.encode_symbols(["AAPL"]))
    async with running(second.relay.run(second.feed)) as waiting:
        await until(lambda: second.data.open == 1)
        async with running(first.relay.run(first.feed)):
            await asyncio.sleep(1.5)
            assert (first.data.open, second.data.open) == (0, 1)
            await ended([waiting])
            await until(lambda: first.data.open == 1)
    for process in (first, second):
        await process.relay.close()


async def test_redis_may_go_and_come_back(own_server: OwnServer) -> None:
    server: Any = await own_server("valkey")
    account = uuid4()
    engine, feed = Engine(FakeData(), server.url, account), FeedProcess(FakeData(), server.url, account)
    engine.prices.follow([one("AAPL")])
    async with running(engine.prices.run()), running(feed.relay.run(feed.feed)):
        await until(lambda: engine.prices.is_relayed and feed.book.live(STOCK))
        server.kill()
        await until(lambda: engine.data.open == 1)  # nothing can be relayed: the engine looks after itself
        assert feed.data.open == 1
        feed.data.streams[STOCK][0].frames.put_nowait([tick("AAPL", 1)])
        await server.start()
        await until(lambda: engine.prices.is_relayed and engine.data.open == 0)
        feed.data.streams[STOCK][0].frames.put_nowait([tick("AAPL", 43)])
        await until(lambda: engine.book.price("AAPL", 5).last == 43)
        assert feed.feed.followed == (one("AAPL"),)
    await engine.prices.close()
    await feed.relay.close()


numbers = st.decimals(0, 10**12, places=9)
times = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ticks = st.one_of(
    st.builds(Trade, st.sampled_from(["AAPL", "BTC/USD"]), numbers, numbers, times, st.text(max_size=2)),
    st.builds(
        Quote,
        st.just("AAPL"),
        st.none() | numbers,
        st.none() | numbers,
        times,
        st.none() | numbers,
        st.none() | numbers,
        st.text(max_size=2),
    ),
)


@given(st.lists(ticks, max_size=5), st.lists(st.tuples(st.integers(0, 1000).map(float), ticks), max_size=5))
def test_ticks_come_through_exactly(some: list[Tick], held: list[tuple[float, Tick]]) -> None:
    assert wire.decode(wire.encode_ticks(some)) == (some, [])
    assert wire.decode(wire.encode_held(held)) == ([], held)
