"""Ticks there and back through a real QuestDB, whoever wrote them, also when it goes away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from questdb import Sender
from tests.servers import OwnServer

from oms.domain.errors import Unavailable
from oms.domain.market import Quote, Tick, Trade
from oms.marketdata.archive import QuestArchive
from oms.marketdata.questdb_http import QuestQueries, Rows
from oms.marketdata.writer import TickWriter
from oms.ports import LatestTicks

D = Decimal
AT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def trade(symbol: str, price: str, at: datetime = AT, size: str = "1") -> Trade:
    return Trade(symbol, D(price), D(size), at, "V")


def quote(symbol: str, bid: str | None, ask: str | None, at: datetime = AT) -> Quote:
    return Quote(symbol, None if bid is None else D(bid), None if ask is None else D(ask), at, exchange="V")


@pytest.fixture
async def sql(questdb_url: str) -> AsyncIterator[Callable[[str], Awaitable[Rows]]]:
    queries = QuestQueries(questdb_url, 60)
    await queries.run("DROP TABLE IF EXISTS market_ticks")
    yield queries.run
    await queries.close()


@pytest.fixture
async def archive(questdb_url: str, sql: object) -> AsyncIterator[QuestArchive]:
    one = QuestArchive(questdb_url, RealClock(), timeout_s=60)
    yield one
    await one.close()


async def until(holds: Callable[[], Awaitable[object]], timeout_s: float = 60) -> None:
    """Rows are visible a moment after they were taken."""
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(0.02)


async def rows_of(sql: Callable[[str], Awaitable[Rows]], count: int) -> Rows:
    found: Rows = []

    async def enough() -> bool:
        found[:] = await sql("SELECT * FROM market_ticks ORDER BY timestamp, seq")
        return len(found) >= count

    await until(enough)
    await asyncio.sleep(0.1)
    assert await sql("SELECT count() n FROM market_ticks") == [{"n": count}]
    return found


async def test_no_table_and_an_empty_one_have_nothing(archive: QuestArchive) -> None:
    assert await archive.latest(["AAPL", "BTC/USD"]) == {}
    await archive.prepare()
    assert await archive.latest(["AAPL"]) == {}
    assert await archive.latest([]) == {}


async def test_decimals_come_back_as_they_went(archive: QuestArchive, sql: Any) -> None:
    ticks: list[Tick] = [
        trade("AAPL", "189.23"),
        quote("AAPL", "189.2", "189.249999999"),
        trade("BTC/USD", "86123.123456789", size="0.000000001"),
        trade("SHIB/USD", "0.000000012", size="123456789012.5"),
        quote("SHIB/USD", None, "0.1"),
    ]
    await archive.write(ticks)
    await rows_of(sql, 5)
    assert await archive.latest(["AAPL", "BTC/USD", "SHIB/USD", "MSFT"]) == {
        "AAPL": LatestTicks("AAPL", D("189.23"), AT, D("189.2"), D("189.249999999"), AT),
        "BTC/USD": LatestTicks("BTC/USD", D("86123.123456789"), AT, None, None, None),
        "SHIB/USD": LatestTicks("SHIB/USD", D("0.000000012"), AT, None, D("0.1"), AT),
    }
    (columns,) = [await sql("SHOW COLUMNS FROM market_ticks")]
    assert {row["column"]: row["type"] for row in columns}["price"] == "DECIMAL(38,18)"
    (table,) = await sql("SELECT ttlValue, ttlUnit, walEnabled, dedup FROM tables() WHERE table_name='market_ticks'")
    assert table == {"ttlValue": 30, "ttlUnit": "DAY", "walEnabled": True, "dedup": True}


async def test_equal_ticks_are_kept_and_a_batch_written_twice_is_not(archive: QuestArchive, sql: Any) -> None:
    ticks = [trade("AAPL", "10"), trade("AAPL", "10"), trade("AAPL", "11")]  # one symbol, one timestamp
    first = archive.number(3)
    await archive.write_numbered(first, ticks)
    await archive.write_numbered(first, ticks)
    await archive.write([trade("AAPL", "12")])
    rows = await rows_of(sql, 4)
    assert [row["seq"] for row in rows] == [first, first + 1, first + 2, first + 3]
    assert (await archive.latest(["AAPL"]))["AAPL"].last == D(12)  # of one time the last written


async def test_a_restart_gives_other_numbers(questdb_url: str) -> None:
    one = QuestArchive(questdb_url, RealClock())
    last = one.number(1000) + 999
    await asyncio.sleep(0.001)
    assert QuestArchive(questdb_url, RealClock()).number(1) > last


async def test_rows_of_others_count_in_any_spelling_and_type(archive: QuestArchive, sql: Any, questdb_url: str) -> None:
    await archive.write([trade("BTC/USD", "1"), quote("BTC/USD", "1", "2"), trade("AAPL", "1")])
    later = AT + timedelta(seconds=1)
    with Sender.from_conf(f"http::addr={questdb_url.removeprefix('http://')};") as sender:
        sender.row("market_ticks", symbols={"symbol": "BTCUSDT"}, columns={"price": 86123.1, "volume": 0.1}, at=later)
        sender.row("market_ticks", symbols={"symbol": "AAPL"}, columns={"price": 189.22999572753906}, at=later)
    await sql(
        "INSERT INTO market_ticks (symbol, bid, ask, timestamp) "
        f"VALUES ('BTC-USD', 86100.5m, '86101', '{later:%FT%TZ}')"
    )
    await rows_of(sql, 6)
    assert (await archive.latest(["AAPL"]))["AAPL"].last == D("189.22999572753906")
    found = (await archive.latest(["BTC/USD"]))["BTC/USD"]
    assert found == LatestTicks("BTC/USD", D("86123.1"), later, D("86100.5"), D("86101"), later)
    # Asked for beside it, the real USDT pair keeps its own spelling to itself.
    await archive.write([trade("BTC/USDT", "5", later + timedelta(seconds=1))])
    await rows_of(sql, 7)
    both = await archive.latest(["BTC/USD", "BTC/USDT"])
    assert (both["BTC/USD"].last, both["BTC/USDT"].last) == (D("86123.1"), D(5))


async def test_a_table_of_others_is_written_into_as_it_is(archive: QuestArchive, sql: Any) -> None:
    await sql(
        "CREATE TABLE market_ticks (symbol SYMBOL, exchange VARCHAR, price DOUBLE, volume LONG, ts TIMESTAMP) "
        "timestamp(ts) PARTITION BY DAY WAL"
    )
    await sql(f"INSERT INTO market_ticks VALUES ('AAPL', 'V', 189.23, 10, '{AT - timedelta(days=3):%FT%TZ}')")

    async def old_is_found() -> bool:
        return (await archive.latest(["AAPL"])) == {
            "AAPL": LatestTicks("AAPL", D("189.23"), AT - timedelta(days=3), None, None, None)
        }

    await until(old_is_found)
    await archive.write([trade("MSFT", "410.07", size="3"), quote("MSFT", "410.06", "410.0800001")])

    async def new_is_found() -> bool:
        return (await archive.latest(["MSFT"])) == {
            "MSFT": LatestTicks("MSFT", D("410.07"), AT, D("410.06"), D("410.0800001"), AT)
        }

    await until(new_is_found)
    assert archive.refused == 0


async def test_old_prices_are_found_beside_recent_ones(archive: QuestArchive, sql: Any) -> None:
    await archive.write([trade("OLD", "1", AT - timedelta(days=9)), trade("NEW", "2"), quote("OLD", "3", "4")])
    await rows_of(sql, 3)
    found = await archive.latest(["OLD", "NEW"])
    assert found["OLD"] == LatestTicks("OLD", D(1), AT - timedelta(days=9), D(3), D(4), AT)
    assert await archive.latest(["NEW", "OLD"]) == found


async def test_a_row_that_cannot_be_taken_does_not_take_the_others_along(archive: QuestArchive, sql: Any) -> None:
    huge = trade("HUGE", "1e20")
    await archive.write([trade("A", "1"), huge, trade("B", "0.1234567890123456789"), replace(huge), trade("C", "3")])
    rows = await rows_of(sql, 3)
    assert [(row["symbol"], row["price"]) for row in rows] == [
        ("A", "1.000000000000000000"),
        ("B", "0.123456789012345679"),
        ("C", "3.000000000000000000"),
    ]
    assert archive.refused == 2


async def test_many_symbols_are_asked_in_parts(archive: QuestArchive, sql: Any) -> None:
    symbols = [f"C{n}/USD" for n in range(300)]
    await archive.write([trade(symbol, "1") for symbol in symbols])
    await rows_of(sql, 300)
    assert set(await archive.latest(symbols)) == set(symbols)


async def test_a_server_that_is_away_or_mute_is_unavailable_in_time() -> None:
    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://127.0.0.1:1"):
        archive = QuestArchive(url, RealClock(), timeout_s=0.3)
        started = time.monotonic()
        for call in (archive.latest(["A"]), archive.write([trade("A", "1")]), archive.ping()):
            with pytest.raises(Unavailable):
                await call
        assert time.monotonic() - started < 30
        await archive.close()
    server.close()


async def test_a_killed_server_is_written_to_again_when_it_is_back(own_server: OwnServer) -> None:
    server: Any = await own_server("questdb")
    archive = QuestArchive(server.http_url, RealClock(), timeout_s=20)
    writer = TickWriter(archive, RealClock(), random.Random(1), flush_s=0.05)
    running = asyncio.create_task(writer.run())
    ticks = [trade("AAPL", str(n + 1), AT + timedelta(microseconds=n // 2)) for n in range(900)]
    longest = 0.0

    async def put(some: list[Trade]) -> None:
        nonlocal longest
        for start in range(0, len(some), 10):
            writer.put(some[start : start + 10])
            before = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - before)

    async def written(count: int) -> None:
        async def enough() -> bool:
            return writer.health().written >= count

        await until(enough, 120)

    await put(ticks[:300])
    await written(300)
    server.kill()
    await put(ticks[300:600])

    async def failed() -> bool:
        return writer.health().last_error is not None

    await until(failed)
    with pytest.raises(Unavailable):
        await archive.latest(["AAPL"])
    await server.start()
    await put(ticks[600:])
    await written(900)
    queries = QuestQueries(server.http_url, 60)
    await rows_of(queries.run, 900)
    assert (await archive.latest(["AAPL"]))["AAPL"].last == D(900)
    health = writer.health()
    assert (health.dropped, health.queued, health.last_error) == (0, 0, None)
    assert longest < 15  # nobody waits for the server: that would be until its timeout
    running.cancel()
    await queries.close()
    await archive.close()


async def test_a_table_that_was_dropped_is_made_anew_with_its_keys(archive: QuestArchive, sql: Any) -> None:
    await archive.write([trade("A", "1")])
    await rows_of(sql, 1)
    await sql("DROP TABLE market_ticks")
    assert await archive.latest(["A"]) == {}
    await archive.prepare()
    await archive.write([trade("A", "2")])
    await rows_of(sql, 1)
