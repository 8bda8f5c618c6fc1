"""The writer never blocks, never grows, writes each tick once under one number."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from oms.domain.errors import Unavailable
from oms.domain.market import Tick, Trade
from oms.marketdata.writer import TickWriter

AT = datetime(2026, 1, 5, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return 0.0


def tick(n: int) -> Trade:
    return Trade("A", Decimal(n), Decimal(1), AT)


@dataclass
class FakeArchive:
    """`fails`: for how many calls it is away, after having written all the same."""

    next_seq: int = 100
    fails: int = 0
    rows: dict[int, Tick] = field(default_factory=dict)
    calls: int = 0
    poison: bool = False

    def number(self, count: int) -> int:
        self.next_seq += count
        return self.next_seq - count

    async def write_numbered(self, first_seq: int, ticks: Sequence[Tick]) -> None:
        self.calls += 1
        if self.poison:
            self.poison = False
            raise ValueError("odd")
        for seq, one in enumerate(ticks, first_seq):
            assert self.rows.setdefault(seq, one) is one, "a number was given twice"
        if self.fails:
            self.fails -= 1
            raise Unavailable("away")


def writer_of(archive: FakeArchive, ticks_max: int = 1000, batch_max: int = 10) -> TickWriter:
    return TickWriter(archive, Clock(), random.Random(1), ticks_max=ticks_max, batch_max=batch_max, flush_s=0.01)


async def test_what_gathers_is_written_in_order() -> None:
    archive = FakeArchive()
    writer = writer_of(archive)
    task = asyncio.create_task(writer.run())
    ticks = [tick(n) for n in range(35)]
    writer.put(ticks[:5])
    writer.put(ticks[5:])
    async with asyncio.timeout(60):
        while len(archive.rows) < 35:
            await asyncio.sleep(0.01)
    task.cancel()
    assert list(archive.rows.values()) == ticks
    health = writer.health()
    assert (health.queued, health.written, health.dropped, health.last_error, health.last_write_at) == (
        0, 35, 0, None, AT,
    )  # fmt: skip


async def test_a_batch_of_doubtful_fate_is_written_again_under_its_numbers() -> None:
    archive = FakeArchive(fails=2)
    writer = writer_of(archive)
    task = asyncio.create_task(writer.run())
    ticks = [tick(n) for n in range(25)]
    writer.put(ticks)
    async with asyncio.timeout(60):
        while writer.health().written < 25:
            await asyncio.sleep(0.01)
    task.cancel()
    assert list(archive.rows.values()) == ticks
    assert archive.calls == 5
    assert writer.health().last_error is None


async def test_an_unexpected_failure_drops_its_batch_and_goes_on() -> None:
    archive = FakeArchive(poison=True)
    writer = writer_of(archive)
    task = asyncio.create_task(writer.run())
    writer.put([tick(n) for n in range(15)])
    async with asyncio.timeout(60):
        while writer.health().written < 5:
            await asyncio.sleep(0.01)
    task.cancel()
    assert writer.health().dropped == 10


async def test_at_the_end_what_is_left_is_written_or_given_up_in_time() -> None:
    archive = FakeArchive()
    writer = writer_of(archive)
    writer.put([tick(n) for n in range(25)])
    await writer.close()
    assert len(archive.rows) == 25
    archive.fails = 1
    writer.put([tick(1)])
    await writer.close()
    assert writer.health().queued == 1


@given(st.lists(st.one_of(st.integers(1, 40), st.just("others"), st.just("flush"), st.just("fail")), max_size=30))
def test_memory_is_bounded_the_oldest_give_way_and_no_number_is_given_twice(steps: list[int | str]) -> None:
    async def run() -> None:
        archive = FakeArchive()
        writer = writer_of(archive, ticks_max=50, batch_max=20)
        count = 0
        for step in steps:
            if isinstance(step, int):
                writer.put([tick(count + n) for n in range(step)])
                count += step
            elif step == "others":
                first = archive.number(3)
                archive.rows.update((first + n, tick(-1)) for n in range(3))
            else:
                archive.fails = 1 if step == "fail" else 0
                await writer.close()
            health = writer.health()
            assert health.queued <= 50
            assert health.queued + health.written + health.dropped == count
        archive.fails = 0
        await writer.close()
        kept = [int(one.price) for _, one in sorted(archive.rows.items()) if isinstance(one, Trade) and one.price >= 0]
        assert kept == sorted(kept)
        assert len(set(kept)) == len(kept) >= writer.health().written

    asyncio.run(run())
