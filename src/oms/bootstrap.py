"""Wires everything, once, for each process: API, engine, feed. Nothing is built elsewhere, nothing at import."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random, SystemRandom
from typing import TypeVar
from uuid import UUID

import structlog
import uvloop

from oms.alerts.alerter import FINISH_S, Alerter
from oms.alerts.conditions import Condition
from oms.alerts.news import EVENTS
from oms.alerts.receivers import receivers_of
from oms.broker import connect
from oms.domain.errors import ConfigurationError, StoreUnavailable
from oms.execution.budget import RequestBudget
from oms.execution.desk import Outside
from oms.execution.engine import Engine, Identity
from oms.execution.event_relay import EventRelay
from oms.execution.session import Session
from oms.marketdata.archive import QuestArchive
from oms.marketdata.engine_prices import EnginePrices
from oms.marketdata.feed import Feed
from oms.marketdata.prices import PriceBook
from oms.marketdata.relay import PriceRelay
from oms.marketdata.relayed import RelayedFeed
from oms.marketdata.writer import TickWriter
from oms.portfolio.revaluation import Revaluation
from oms.ports import Row
from oms.room import trouble_of
from oms.settings import Settings, key_hash
from oms.signals.bus import RedisBus
from oms.signals.intake import Intake
from oms.signals.redis_intake import RedisIntake
from oms.storage.alerts import PostgresAlerts
from oms.storage.database import Pool, open_pool
from oms.storage.decisions import Decisions
from oms.storage.engine import PostgresStore, connections_of
from oms.storage.queries import Queries
from oms.storage.schema import check_schema
from oms.storage.signals import CommitUnanswered, PostgresSignalStore
from oms.system import SystemClock, log_to_stderr, new_id
from oms.upkeep import failing_work
from oms.waiting import ended, happens

log = structlog.get_logger(__name__)

T = TypeVar("T")

STORE_PATIENCE_S = 6.0  # what was sent is drained for 5 s; the whole end takes 10 s at most


def run_engine(settings: Settings) -> None:
    """The execution engine, until SIGTERM or Ctrl-C."""
    log_to_stderr("engine")
    uvloop.run(_engine(settings))


def run_feed(settings: Settings) -> None:
    """The price feed alone, until SIGTERM or Ctrl-C."""
    log_to_stderr("feed")
    uvloop.run(_feed(settings))


def run_api(settings: Settings) -> None:
    """The API, until SIGTERM or Ctrl-C."""
    log_to_stderr("api")
    uvloop.run(_api(settings))


async def _engine(settings: Settings) -> None:
    stop = _stop_on_signals()
    clock, random = SystemClock(), SystemRandom()
    database_url, redis_url = _address(settings.database_url, "DATABASE_URL"), _address(settings.redis_url, "REDIS_URL")
    holder = f"{str(new_id())[-12:]}:{os.getpid()}:{socket.gethostname()}"
    pool = await _patiently(lambda: _open_checked(database_url, size=8, name=connections_of(holder)), stop)
    if pool is None:
        return
    store, bus = PostgresStore(pool), RedisBus(redis_url)
    signal_store = PostgresSignalStore(pool)
    budget = RequestBudget(settings.alpaca_requests_per_minute, clock)
    broker, data = connect(settings, budget, clock)
    archive = QuestArchive(settings.questdb_url, clock) if settings.questdb_url else None
    writer = TickWriter(archive, clock, _own(random)) if archive else None
    book = PriceBook(clock)
    feed = Feed(data, book, clock, _own(random), sink=writer)
    prices = EnginePrices(book, feed)
    intake = Intake(signal_store, bus, clock, new_id, doubtful=(CommitUnanswered,))
    valuing: list[Revaluation] = []
    listening: list[RedisIntake] = []

    def companions(account_id: UUID, session: Session) -> Sequence[Coroutine[None, None, None]]:
        relayed = RelayedFeed(feed, redis_url, account_id, clock)
        prices.feed = relayed
        revaluation = Revaluation(session, prices, archive, session.write_values)
        redis_intake = RedisIntake(
            account_id=account_id, bus=bus, intake=intake, store=signal_store, symbols=lambda: session.book.symbols,
            on_wake=session.wake, random=_own(random),
        )  # fmt: skip
        valuing[:], listening[:] = [revaluation], [redis_intake]
        relay = EventRelay(account_id, store, bus, _own(random))
        return [_closing(relayed), revaluation.run(), redis_intake.run(), relay.run()]

    def more_detail() -> Row:
        questdb = {"ok": False, "error": "no QuestDB is configured: prices come from memory"}
        if writer is not None:
            health = writer.health()
            error = health.last_error or (valuing[0].archive_error if valuing else "")
            questdb = {"ok": not error, **asdict(health), "error": error or ""}
        feed_health = prices.feed.health()
        return {
            "prices": {"newest_age_s": book.newest_age_s()},
            "feed": {"ok": not feed_health.trouble, "error": feed_health.trouble, **asdict(feed_health)},
            "questdb": questdb,
            "redis": {"listening": bool(listening) and listening[0].connected},
        }

    outside = Outside(store, broker, prices, clock, new_id, _own(random), budget)
    identity = Identity(
        _key_hash(settings),
        settings.trading_url if settings.is_configured else "",
        holder,
    )
    engine = Engine(outside, identity, companions, more_detail)
    helpers = [_vital(intake.run(), stop)]
    if writer is not None:
        helpers.append(_vital(writer.run(), stop))
    impatience = asyncio.ensure_future(_cut_off(stop, pool))
    try:
        await engine.run(stop)
    finally:
        await ended(helpers)
        for close in (broker.close, data.close, bus.close, store.close):
            await close()
        if writer is not None and archive is not None:
            await writer.close()
            await archive.close()
        impatience.cancel()
        log.info("OMS execution engine stopped")


async def _api(settings: Settings) -> None:
    # The engine needs no web framework: imported here, its start is a second shorter.
    from oms.api.app import Dependencies, create_app  # noqa: PLC0415
    from oms.api.server import run_server  # noqa: PLC0415

    stop = _stop_on_signals()
    database_url, redis_url = _address(settings.database_url, "DATABASE_URL"), _address(settings.redis_url, "REDIS_URL")
    pool = await open_pool(database_url, size=8, name="oms api", eager=False)
    bus, clock = RedisBus(redis_url), SystemClock()
    intake = Intake(PostgresSignalStore(pool), bus, clock, new_id, doubtful=(CommitUnanswered,))
    receivers = receivers_of(settings.alert_urls)
    # A pool of its own: whoever holds the desk keeps its connection.
    alert_pool = await open_pool(database_url, size=1, name="oms alerts", eager=False)
    app = create_app(
        Dependencies(
            queries=Queries(pool),
            decisions=Decisions(pool),
            intake=intake,
            clock=clock,
            ids=new_id,
            key_hash=_key_hash(settings),
            redis_url=redis_url,
            questdb_url=settings.questdb_url,
            token=settings.api_token,
            host=settings.host,
            allowed_hosts=settings.allowed_hosts,
            receivers={receiver.id: receiver.name for receiver in receivers},
            local=lambda: {"disk": trouble_of(settings.data) or "ok", **failing_work(settings.data)},
        )
    )
    helpers = [_vital(intake.run(), stop)]
    # The API listens also while PostgreSQL is away; of another schema it must not read.
    checking = asyncio.ensure_future(_patiently(lambda: check_schema(pool), stop))
    checking.add_done_callback(lambda task: stop.set() if not task.cancelled() and task.exception() else None)
    impatience = asyncio.ensure_future(_cut_off(stop, pool, alert_pool))
    alerting: list[asyncio.Future[None]] = []
    if receivers and (key := _key_hash(settings)):
        record = PostgresAlerts(alert_pool, key, EVENTS)
        alerter = Alerter(
            record, receivers, clock, _own(SystemRandom()), local=lambda: _local_troubles(settings.data, intake)
        )
        alerting.append(asyncio.ensure_future(alerter.run(stop)))
    try:
        await run_server(app, settings.host, settings.port, stop=stop, started=_listening(settings.host))
        if alerting:
            await asyncio.wait(alerting, timeout=FINISH_S)
        if checking.done():
            checking.result()
    finally:
        await ended([*helpers, *alerting, checking])
        await bus.close()
        await alert_pool.close()
        await pool.close()
        impatience.cancel()


def _local_troubles(data: Path, intake: Intake) -> dict[str, Condition]:
    """Each told once, not at each attempt or for each signal: the value stays the same."""
    found = {name: Condition("failing", f"{name} {line}") for name, line in failing_work(data).items()}
    for name, trouble in (("disk", trouble_of(data)), ("intake", intake.trouble)):
        if trouble:
            found[name] = Condition("trouble", trouble)
    return found


def _listening(host: str) -> Callable[[int], None]:
    def started(port: int) -> None:
        log.info("OMS API started", url=f"http://{host}:{port}")

    return started


def _key_hash(settings: Settings) -> str | None:
    return key_hash(settings.alpaca_api_key) if settings.is_configured and settings.alpaca_api_key else None


async def _feed(settings: Settings) -> None:
    stop = _stop_on_signals()
    clock, random = SystemClock(), SystemRandom()
    if not settings.is_configured:
        raise ConfigurationError(
            "The feed needs keys: set ALPACA_API_KEY and ALPACA_API_SECRET, or ALPACA_API_KEY=mock."
        )
    database_url, redis_url = _address(settings.database_url, "DATABASE_URL"), _address(settings.redis_url, "REDIS_URL")
    pool = await _patiently(lambda: _open_checked(database_url, size=2, name="oms feed"), stop)
    if pool is None:
        return
    store = PostgresStore(pool)
    broker, data = connect(settings, RequestBudget(settings.alpaca_requests_per_minute, clock), clock)
    archive = QuestArchive(settings.questdb_url, clock) if settings.questdb_url else None
    writer = TickWriter(archive, clock, _own(random)) if archive else None
    account_id = await _patiently(lambda: _known_account(store, settings), stop)
    if account_id is None:
        return
    relay = PriceRelay(redis_url, account_id, clock)
    feed = Feed(data, PriceBook(clock), clock, _own(random), sink=writer, on_ticks=relay.publish)
    tasks = [asyncio.ensure_future(relay.run(feed))]
    if writer is not None:
        tasks.append(asyncio.ensure_future(writer.run()))
    log.info("OMS feed started")
    try:
        await asyncio.wait([*tasks, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(tasks)
        for close in (relay.close, feed.close, broker.close, data.close, store.close):
            await close()
        log.info("OMS feed stopped")


async def _cut_off(stop: asyncio.Event, *pools: Pool) -> None:
    """A PostgreSQL that is silent must not hold up our end: some time after `stop` its connections are cut off."""
    await stop.wait()
    await asyncio.sleep(STORE_PATIENCE_S)
    log.warning("database_cut_off", reason=f"it did not let us end within {STORE_PATIENCE_S:.0f} s")
    for pool in pools:
        pool.terminate()


def _vital(work: Coroutine[None, None, None], stop: asyncio.Event) -> asyncio.Task[None]:
    """A task that the process cannot do without: when it fails, the process stops and is started again."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("a vital task ended", exc_info=task.exception())
            stop.set()

    task = asyncio.ensure_future(work)
    task.add_done_callback(ended)
    return task


async def _open_checked(database_url: str, size: int, name: str) -> Pool:
    """A pool on a database of our schema. Raises StoreUnavailable, ConfigurationError."""
    pool = await open_pool(database_url, size=size, name=name)
    try:
        await check_schema(pool)
    except BaseException:
        await pool.close()
        raise
    return pool


async def _known_account(store: PostgresStore, settings: Settings) -> UUID:
    found = await store.account_of_key(key_hash(settings.alpaca_api_key or ""))
    if found is None:
        raise StoreUnavailable("no engine has reached the broker with this key yet: start `oms engine` too")
    return found


async def _closing(feed: RelayedFeed) -> None:
    try:
        await feed.run()
    finally:
        await feed.close()


async def _patiently(attempt: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T | None:
    """Until the server answers; None when asked to stop first. Says every few seconds what it waits for."""
    while not stop.is_set():
        try:
            return await attempt()
        except StoreUnavailable as error:
            log.warning("OMS waits", reason=str(error))
        await happens(stop, 2.0)
    return None


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _own(random: SystemRandom) -> Random:
    """A generator of its own for each part, so that none disturbs another's sequence."""
    return Random(random.getrandbits(64))


def _address(value: str | None, variable: str) -> str:
    if value is None:
        raise ConfigurationError(f"{variable} is not set. `oms up` starts a server of its own; alone, name one.")
    return value
