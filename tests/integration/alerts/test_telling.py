"""Alerts from a real record to a real receiver: told once, folded, kept while nobody takes them, never shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import pytest
from tests.alert_receiver import AlertReceiver, alert_receiver
from tests.faults.proxy import Proxy

from oms.alerts import courier
from oms.alerts.alerter import Alerter
from oms.alerts.news import EVENTS
from oms.alerts.receivers import receivers_of
from oms.storage.alerts import PostgresAlerts
from oms.storage.database import Pool, open_pool
from oms.storage.queries import Queries
from oms.system import SystemClock
from oms.waiting import ended

KEY = "hash-of-a-key"


class Record:
    """The tables that an engine would write, written by the test."""

    def __init__(self, url: str, pool: Pool) -> None:
        self.url = url
        self.pool = pool
        self.account_id = uuid4()

    async def account(self) -> None:
        await self.pool.execute(
            "insert into accounts (id, name, broker_account_id, created_at) values ($1, 'a', $2, now())",
            self.account_id, str(self.account_id),
        )  # fmt: skip
        await self.pool.execute("insert into account_keys values ($1, $2, now())", KEY, self.account_id)

    async def engine(self, status: str, detail: dict[str, Any] | None = None, age_s: float = -600) -> None:
        """What an engine says; of the future, so that it does not grow old on a busy machine."""
        await self.pool.execute(
            "insert into engines values ($1, $2, $3, $4, now() - make_interval(secs => $5))"
            " on conflict (key_hash) do update set status = $3, detail = $4, heartbeat_at = excluded.heartbeat_at",
            KEY, self.account_id, status, json.dumps(detail or {}), age_s,
        )  # fmt: skip

    async def events(self, kind: str, count: int = 1, origin: str = "signal", message: str = "too many") -> None:
        """So many orders, each with one event."""
        async with self.pool.acquire() as db, db.transaction():
            last = await db.fetchval(
                "update accounts set event_seq = event_seq + $2 where id = $1 returning event_seq",
                self.account_id,
                count,
            )
            ids: list[UUID] = [uuid4() for _ in range(count)]
            await db.executemany(
                "insert into orders (id, account_id, seq, client_order_id, origin, symbol, asset_class, side, qty,"
                " type, time_in_force, status, error_code, error_message, created_at, updated_at)"
                " values ($1, $2, 1, $3, $4, 'AAPL', 'stock', 'buy', 10, 'market', 'day', 'rejected',"
                " 'MAX_ORDER_QTY', $5, now(), now())",
                [(one, self.account_id, str(one), origin, message) for one in ids],
            )
            await db.executemany(
                "insert into order_events values ($1, $2, $3, $4, 'rejected', now())",
                [(self.account_id, last - count + place + 1, one, kind) for place, one in enumerate(ids)],
            )


@pytest.fixture
async def record(migrated_database_url: str) -> AsyncIterator[Record]:
    pool = await open_pool(migrated_database_url, size=4, name="alert tests")
    yield Record(migrated_database_url, pool)
    await pool.close()


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    with alert_receiver() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "GATHER_S", 0.1)
    monkeypatch.setattr(courier, "BACKOFF_S", (0.05, 0.2))


@asynccontextmanager
async def alerting(record: Record, *urls: str, through: Proxy | None = None) -> AsyncIterator[None]:
    """An alerter as the API runs it, only in more of a hurry; to its database through a proxy where one is given."""
    pool = await open_pool(through_proxy(record.url, through) if through else record.url, size=1, name="alerts")
    alerter = Alerter(
        PostgresAlerts(pool, KEY, EVENTS), receivers_of(urls), SystemClock(), Random(1),
        look_every_s=0.05, message_every_s=0.2, try_every_s=0.1, outage_s=0.5,
    )  # fmt: skip
    stop = asyncio.Event()
    task = asyncio.ensure_future(alerter.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task
        await pool.close()


async def until(what: Callable[[], Any], within_s: float = 60) -> Any:
    end = asyncio.get_running_loop().time() + within_s
    while not (found := what()):
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.02)
    return found


async def cursor_at(record: Record, seq: int) -> None:
    async with asyncio.timeout(30):
        while await record.pool.fetchval("select seq from alert_cursors") != seq:
            await asyncio.sleep(0.02)


async def test_a_rejected_order_and_an_external_trade_are_told(record: Record, receiver: AlertReceiver) -> None:
    await record.account()
    async with alerting(record, receiver.url):
        await cursor_at(record, 0)
        await record.events("rejected")
        await until(lambda: receiver.told("order rejected: buy 10 AAPL: MAX_ORDER_QTY: too many"))
        await record.events("filled")
        await record.events("adopted", origin="external")
        await until(lambda: receiver.told("external trade: buy 10 AAPL"))
    assert len(receiver.lines) == 2


async def test_the_first_order_of_an_account_that_was_not_known_yet_is_not_lost(
    record: Record, receiver: AlertReceiver
) -> None:
    async with alerting(record, receiver.url):
        await cursor_at(record, 0)
        await record.account()
        await record.events("rejected")
        await until(lambda: receiver.told("order rejected"))


async def test_what_was_before_the_first_start_is_history(record: Record, receiver: AlertReceiver) -> None:
    await record.account()
    await record.events("rejected", 500)
    async with alerting(record, receiver.url):
        await cursor_at(record, 500)
        await record.events("rejected", message="new")
        await until(lambda: receiver.lines)
    assert len(receiver.lines) == 1
    assert receiver.told("new")


async def test_a_burst_is_a_few_messages_that_count_every_one(record: Record, receiver: AlertReceiver) -> None:
    await record.account()
    async with alerting(record, receiver.url):
        await cursor_at(record, 0)
        for _ in range(10):
            await record.events("rejected", 500)
        queries = Queries(record.pool)

        async def delivered() -> int:
            return (await queries.receivers(KEY))[0].delivered

        async with asyncio.timeout(60):
            while await delivered() < 5000:
                await asyncio.sleep(0.1)
        assert await delivered() == 5000
    assert len(receiver.messages) <= 10
    assert max(len(message) for message in receiver.messages) < 5000
    assert await record.pool.fetchval("select count(*) from alerts") <= 10 * 21  # writing them is bounded too


async def test_a_restart_neither_loses_nor_repeats(record: Record, receiver: AlertReceiver) -> None:
    await record.account()
    await record.engine("cancel_only")
    async with alerting(record, receiver.url):
        await cursor_at(record, 0)
        await record.events("rejected", message="first")
        await until(lambda: receiver.told("first") and receiver.told("cancel_only"))
    await record.events("rejected", message="meanwhile")
    await record.engine("cancel_only")
    async with alerting(record, receiver.url):
        await until(lambda: receiver.told("meanwhile"))
        await record.engine("running")
        await until(lambda: receiver.told("running again"))
    assert len(receiver.lines) == 4


async def test_a_receiver_that_fails_is_tried_again_counted_and_holds_up_no_other(
    record: Record, receiver: AlertReceiver
) -> None:
    await record.account()
    with alert_receiver() as other:
        receiver.status = 500
        async with alerting(record, receiver.url, other.url):
            await cursor_at(record, 0)
            await record.events("rejected", message="one")
            await until(lambda: other.told("one"))
            await until(lambda: receiver.refused >= 3)
            states = {one.receiver: one for one in await Queries(record.pool).receivers(KEY)}
            failing, well = (states[one.id] for one in receivers_of([receiver.url, other.url]))
            assert failing.failures >= 3
            assert failing.failing_since is not None
            assert (failing.last_error, failing.waiting, failing.delivered) == ("answered HTTP 500", 1, 0)
            assert (well.failures, well.waiting, well.delivered) == (0, 0, 1)
            receiver.status = 200
            await until(lambda: receiver.told("one"))
    assert other.told("one") == receiver.told("one") == 1


async def test_what_a_receiver_missed_it_gets_after_a_restart_and_the_other_does_not(
    record: Record, receiver: AlertReceiver
) -> None:
    await record.account()
    with alert_receiver() as other:
        receiver.status = 503
        async with alerting(record, receiver.url, other.url):
            await cursor_at(record, 0)
            await record.events("rejected", message="one")
            await until(lambda: other.told("one") and receiver.refused)
        receiver.status = 200
        async with alerting(record, receiver.url, other.url):
            await until(lambda: receiver.told("one"))
            await record.events("rejected", message="two")
            await until(lambda: other.told("two"))
        assert other.told("one") == 1


async def test_a_new_receiver_begins_with_what_comes_next(record: Record, receiver: AlertReceiver) -> None:
    await record.account()
    with alert_receiver() as newcomer:
        async with alerting(record, receiver.url):
            await cursor_at(record, 0)
            await record.events("rejected", message="before")
            await until(lambda: receiver.told("before"))
        async with alerting(record, receiver.url, newcomer.url):
            async with asyncio.timeout(30):
                while len(await Queries(record.pool).receivers(KEY)) < 2:
                    await asyncio.sleep(0.02)
            await record.events("rejected", message="after")
            await until(lambda: newcomer.told("after"))
        assert not newcomer.told("before")


async def test_of_two_processes_one_alerts_and_the_other_takes_over(record: Record, receiver: AlertReceiver) -> None:
    await record.account()
    async with alerting(record, receiver.url):
        async with alerting(record, receiver.url):
            await cursor_at(record, 0)
            await record.events("rejected", 3)
            await until(lambda: len(receiver.lines) >= 3)
        await record.events("rejected", message="after the other has gone")
        await until(lambda: receiver.told("after the other has gone"))
    assert len(receiver.lines) == 4


async def test_nothing_of_an_address_is_shown(
    record: Record, receiver: AlertReceiver, capfd: pytest.CaptureFixture[str]
) -> None:
    await record.account()
    gone = "json://user:t0ken-in-url@127.0.0.1:1/s3cret-path"
    receiver.status = 500
    async with alerting(record, receiver.url, gone, "json://t0ken-in-url:bad-port/"):
        await cursor_at(record, 0)
        await record.events("rejected")
        await until(lambda: receiver.refused >= 2)
        states = await Queries(record.pool).receivers(KEY)
    rows = await record.pool.fetch("select * from alert_receivers")
    seen = "".join((repr(states), repr(rows), *capfd.readouterr()))
    assert "alert_not_taken" in seen
    for secret in ("t0ken", "s3cret"):
        assert secret not in seen


async def test_the_engines_states_and_a_stream_that_is_down_are_told(record: Record, receiver: AlertReceiver) -> None:
    await record.account()
    await record.engine("unauthorized", {"error": "forbidden."})
    async with alerting(record, receiver.url):
        beating = asyncio.ensure_future(_beat(record))
        try:
            await until(lambda: receiver.told("the engine is unauthorized"))
            await until(lambda: receiver.told("the stock price stream is down: connection limit exceeded"))
        finally:
            await ended([beating])


async def _beat(record: Record) -> None:
    stream = {"connected": False, "last_error": "connection limit exceeded"}
    while True:
        await record.engine("unauthorized", {"error": "forbidden.", "feed": {"streams": {"stock": stream}}})
        await asyncio.sleep(0.5)


async def tried_in_vain(record: Record) -> None:
    """Until a process has asked for the desk, not got it, and asked again: the last words of its connection change."""
    query = "select query_start from pg_stat_activity where application_name = 'alerts' and query ilike '%advisory%'"
    words: set[datetime] = set()
    async with asyncio.timeout(60):
        while len(words) < 3:  # the second may be what a pool says that takes the connection back unused
            words |= {one["query_start"] for one in await record.pool.fetch(query)}
            await asyncio.sleep(0.02)


def through_proxy(url: str, proxy: Proxy) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}"))


@pytest.fixture
async def proxy(record: Record) -> AsyncIterator[Proxy]:
    found = await Proxy(urlsplit(record.url).port or 5432).start()
    yield found
    await found.stop()


async def test_postgresql_away_is_told_without_it_and_that_it_answers_again(
    record: Record, receiver: AlertReceiver, proxy: Proxy
) -> None:
    await record.account()
    with alert_receiver() as other:
        async with alerting(record, receiver.url, other.url, through=proxy):
            await cursor_at(record, 0)
            other.status = 500
            proxy.is_refusing = True
            proxy.cut()
            await until(lambda: receiver.told("PostgreSQL has not answered since"))
            await until(lambda: other.refused >= 2)
            other.status = 200  # one that did not take it at first is tried again
            await until(lambda: other.told("PostgreSQL has not answered since"))
            await record.events("rejected", message="meanwhile")
            proxy.is_refusing = False
            await until(lambda: receiver.told("PostgreSQL answers again") and other.told("PostgreSQL answers again"))
            await until(lambda: receiver.told("meanwhile") and other.told("meanwhile"))
        assert len(receiver.lines) == len(other.lines) == 3, "each once"


async def test_a_silent_postgresql_is_told_too(record: Record, receiver: AlertReceiver, proxy: Proxy) -> None:
    await record.account()
    async with alerting(record, receiver.url, through=proxy):
        await cursor_at(record, 0)
        proxy.delay_s = 1000  # connections are taken, and nothing comes back
        await until(lambda: receiver.told("PostgreSQL has not answered since"), within_s=90)
        proxy.clear()
        await until(lambda: receiver.told("PostgreSQL answers again"), within_s=90)
    assert len(receiver.lines) == 2


async def test_an_outage_is_told_by_the_process_at_the_desk_only(
    record: Record, receiver: AlertReceiver, proxy: Proxy
) -> None:
    await record.account()
    with alert_receiver() as of_the_other:
        async with alerting(record, receiver.url, through=proxy):
            await cursor_at(record, 0)
            waits = await Proxy(proxy.target).start()
            try:
                async with alerting(record, of_the_other.url, through=waits):
                    await tried_in_vain(record)
                    for one in (waits, proxy):
                        one.is_refusing = True
                        one.cut()
                    await until(lambda: receiver.told("PostgreSQL has not answered since"))
                    assert not of_the_other.lines
                    for one in (proxy, waits):
                        one.is_refusing = False
                    await until(lambda: receiver.told("PostgreSQL answers again"))
            finally:
                await waits.stop()
