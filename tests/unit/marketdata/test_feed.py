"""The feed against a scripted broker: who is streamed, what is asked, what happens after losses and refusals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from tests.unit.marketdata.fakes import CRYPTO, STOCK, FakeData, RealClock, one, tick

from oms.domain.errors import BrokerBusy, BrokerError, BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.domain.market import Tick
from oms.marketdata.feed import Feed
from oms.marketdata.plan import planned
from oms.marketdata.prices import PriceBook


@dataclass
class Sink:
    ticks: list[Tick] = field(default_factory=list)

    def put(self, ticks: Sequence[Tick]) -> None:
        self.ticks += ticks


class Running:
    """A feed that runs, with a fast poll."""

    def __init__(self, data: FakeData, symbols_max: int = 30) -> None:
        self.data = data
        self.sink = Sink()
        self.book = PriceBook(RealClock())
        self.seen: list[Tick] = []
        self.feed = Feed(
            data,
            self.book,
            RealClock(),
            random.Random(1),
            sink=self.sink,
            on_ticks=self.seen.extend,
            symbols_max=symbols_max,
            poll_s=0.05,
        )
        self.task = asyncio.create_task(self.feed.run())

    async def __aenter__(self) -> Running:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task
        await self.feed.close()
        assert self.data.open == 0
        assert self.book.live(STOCK) == self.book.live(CRYPTO) == frozenset()
        assert len(asyncio.all_tasks()) == 1

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.005)


def test_places_go_by_priority_and_a_class_that_takes_fewer_leaves_them_to_the_other() -> None:
    wanted = [one(symbol) for symbol in ("A", "BTC/USD", "B", "A", "ETH/USD", "C")]
    assert planned(wanted, 3, {}).streamed == {STOCK: {"A", "B"}, CRYPTO: {"BTC/USD"}}
    assert planned(wanted, 3, {STOCK: 1}).streamed == {STOCK: {"A"}, CRYPTO: {"BTC/USD", "ETH/USD"}}
    assert [instrument.symbol for instrument in planned(wanted, 3, {}).followed] == [
        "A",
        "BTC/USD",
        "B",
        "ETH/USD",
        "C",
    ]


async def test_nothing_is_connected_until_something_is_wanted() -> None:
    data = FakeData()
    async with Running(data) as running:
        await asyncio.sleep(0.05)
        assert (data.open, data.asked) == (0, [])
        running.feed.follow([one("AAPL")])
        await running.until(lambda: data.open == 1)
        assert data.streams[CRYPTO] == []


async def test_streamed_symbols_are_asked_once_after_they_are_carried_and_then_no_more() -> None:
    data = FakeData()
    async with Running(data) as running:
        running.feed.follow([one("AAPL"), one("BTC/USD")])
        await running.until(lambda: running.book.live(STOCK) and running.book.live(CRYPTO))
        await asyncio.sleep(0.15)
        asked = len(data.asked)
        await asyncio.sleep(0.15)
        assert len(data.asked) == asked <= 4
        assert running.book.price("AAPL", 0).fresh  # vouched for by the stream, quiet as it is
        data.streams[STOCK][0].frames.put_nowait([tick("AAPL", 7)])
        await running.until(lambda: running.book.price("AAPL", 5).last == 7)
        assert running.sink.ticks == running.seen
        health = running.feed.health()
        assert (health.streams[STOCK].connected, health.streams[STOCK].followed, health.polled) == (True, 1, 0)
        running.feed.follow([one("MSFT"), one("BTC/USD")])
        await running.until(lambda: running.book.live(STOCK) == {"MSFT"})
        assert data.streams[STOCK][0].followed == [{"AAPL"}, {"MSFT"}]


async def test_what_has_no_place_is_polled() -> None:
    data = FakeData()
    async with Running(data, symbols_max=1) as running:
        running.feed.follow([one("AAPL"), one("MSFT")])
        await running.until(lambda: data.asked.count(("MSFT",)) >= 3)
        assert running.feed.health().polled == 1
        assert running.book.price("MSFT", 5).fresh


async def test_a_lost_stream_is_polled_for_and_comes_back() -> None:
    data = FakeData()
    async with Running(data) as running:
        running.feed.follow([one("AAPL")])
        await running.until(lambda: running.book.live(STOCK))
        data.streams[STOCK][0].frames.put_nowait(BrokerUnknown("cut"))
        await running.until(lambda: not running.book.live(STOCK))
        assert running.feed.health().streams[STOCK].last_error == "cut"
        await running.until(lambda: len(data.streams[STOCK]) == 2 and running.book.live(STOCK))
        health = running.feed.health().streams[STOCK]
        assert (health.losses, health.last_error, health.connected) == (1, None, True)


@pytest.mark.parametrize(
    "refusal",
    [
        BrokerRefused(406, 406, "connection limit exceeded"),
        BrokerRefused(200, 409, "insufficient subscription"),
        BrokerUnauthorized(401, None, "no"),
    ],
)
async def test_a_refused_stream_is_polled_for_instead(refusal: BrokerError) -> None:
    data = FakeData(refusal=refusal)
    async with Running(data) as running:
        running.feed.follow([one("AAPL"), one("BTC/USD")])
        await running.until(lambda: data.asked.count(("AAPL", "BTC/USD")) >= 3)
        health = running.feed.health()
        assert (health.polled, health.streams[STOCK].refused, health.streams[STOCK].connected) == (2, True, False)


async def test_a_stream_that_takes_fewer_symbols_gets_the_first_ones() -> None:
    data = FakeData(symbols_max=2)
    async with Running(data) as running:
        running.feed.follow([one(symbol) for symbol in "ABCD"])
        await running.until(lambda: running.book.live(STOCK) == {"A", "B"})
        await running.until(lambda: data.asked.count(("C", "D")) >= 2)


async def test_many_who_ask_for_the_same_share_one_question() -> None:
    data = FakeData(gate=asyncio.Event())
    async with Running(data) as running:
        asking = [asyncio.create_task(running.feed.ask([one("AAPL")])) for _ in range(5)]
        asking.append(asyncio.create_task(running.feed.ask([one("AAPL"), one("MSFT")])))
        await asyncio.sleep(0.01)
        asking[0].cancel()  # who leaves does not take the question along
        assert data.gate is not None
        data.gate.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert data.asked == [("AAPL",), ("MSFT",)]
        assert results[1:] == [None] * 5
        assert running.book.price("AAPL", 5).fresh


async def test_an_asked_tick_that_is_known_already_is_not_kept_twice() -> None:
    known = tick("AAPL")
    data = FakeData(answer=lambda _symbol: [known])
    async with Running(data) as running:
        for _ in range(3):
            await running.feed.ask([one("AAPL")])
        assert running.sink.ticks == [known]


async def test_who_asks_is_told_of_a_failure() -> None:
    data = FakeData(error=BrokerUnknown("timeout"))
    async with Running(data) as running:
        with pytest.raises(BrokerUnknown):
            await running.feed.ask([one("AAPL")])


async def test_polling_goes_on_after_errors_of_any_kind() -> None:
    data = FakeData(refusal=BrokerRefused(406, 406, "no"), error=BrokerBusy("slowly", 0.1))
    async with Running(data) as running:
        running.feed.follow([one("AAPL")])
        await running.until(lambda: running.feed.health().last_error == "slowly")
        data.error = None
        data.answer = lambda _symbol: 1 // 0  # type: ignore[return-value]
        await running.until(lambda: "division" in (running.feed.health().last_error or ""))
        data.answer = lambda symbol: [tick(symbol)]
        await running.until(lambda: running.book.price("AAPL", 5).fresh)
        assert running.feed.health().last_error is None


async def test_a_frame_that_fails_the_callback_does_not_end_the_feed() -> None:
    data = FakeData()
    async with Running(data) as running:
        running.feed.follow([one("AAPL")])
        await running.until(lambda: running.book.live(STOCK))
        data.streams[STOCK][0].frames.put_nowait([None])  # type: ignore[list-item]
        await running.until(lambda: len(data.streams[STOCK]) == 2 and running.book.live(STOCK))


async def test_it_may_be_run_again_after_it_was_stopped() -> None:
    data = FakeData()
    async with Running(data) as running:
        running.feed.follow([one("AAPL")])
        await running.until(lambda: running.book.live(STOCK))
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        assert data.open == 0
        running.task = asyncio.create_task(running.feed.run())
        await running.until(lambda: running.book.live(STOCK))
