"""Rows 18 to 23: PostgreSQL, Redis and QuestDB go away, answer half, or are full."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from uuid import uuid4

from redis.asyncio import Redis
from tests.faults.bench import Site
from tests.faults.matrix import row
from tests.faults.proxy import Do
from tests.faults.rig import Rig, field_text

from oms.embedded.questdb import QuestDB
from oms.embedded.valkey import Valkey


async def _callers(rig: Rig, stop: asyncio.Event, number: int) -> list[str]:
    """A careful caller: signal after signal, each until it is accepted."""
    orders = []
    while not stop.is_set():
        orders.append(await rig.accept_at_last(f"caller-{number}-{len(orders)}", symbol=("KO", "PFE", "F")[number % 3]))
        await asyncio.sleep(0.2)
    return orders


@row(18, "PostgreSQL `stop -m immediate`", "pause, reconnect, converge", long=True)
async def postgresql_stopped(site: Site) -> str:
    """SIGQUIT to the postmaster (what pg_ctl does), two seconds without it, with three callers all the time."""
    postgres = await site.own_postgres()
    rig = await site.rig(database_url=postgres.url)
    stop = asyncio.Event()
    callers = [asyncio.ensure_future(_callers(rig, stop, number)) for number in range(3)]
    await asyncio.sleep(2)
    assert postgres.process is not None
    postgres.process.send(signal.SIGQUIT)
    await postgres.ended()
    answer = await rig.signal()
    assert (answer.status, answer.headers.get("Retry-After")) == (503, "2"), answer
    await asyncio.sleep(2)
    await postgres.start()
    back = time.monotonic()
    stop.set()
    for orders in await asyncio.gather(*callers):
        for order_id in orders:
            await rig.ended(order_id)
    await rig.converged()
    return f"converged {time.monotonic() - back:.1f} s after PostgreSQL was back"


@row(19, "acknowledgement of a COMMIT lost", "retry is idempotent")
async def commit_unanswered(site: Site) -> str:
    """The API's (as one statement, and as a transaction) and each of the engine's: intent, bind, fill."""
    rig = await site.rig()
    trap = rig.api_to_postgres.trap(field_text("unanswered-1"), Do.LOSE_ANSWER)
    await rig.ended(await rig.accept_at_last("unanswered-1"))
    assert trap.hits == 1
    await rig.accept("unanswered-1")  # met again: from now on accepting is a transaction of several statements
    trap = rig.api_to_postgres.trap(b"COMMIT", Do.LOSE_ANSWER)
    await rig.ended(await rig.accept_at_last("unanswered-2"))
    assert trap.hits == 1
    for kind in ("approved", "submitted", "filled"):
        trap = rig.to_postgres.trap(field_text(kind), Do.LOSE_ANSWER)
        order_id = await rig.accept()
        await trap.sprung()
        await rig.ended(order_id)
        executed = [post for post in await rig.posts_of(order_id) if post["status"] == 200]
        assert len(executed) == 1, executed
    return "duplicates = 0 for 2 of the API, 3 of the engine"


@row(21, "Redis killed and restarted", "nothing lost")
async def redis_killed(site: Site) -> str:
    """Signals by REST before, while it is away and after; by its own stream before and after."""
    valkey = Valkey(site.folder / "valkey", fixed_ports=False)
    await site.own(valkey)
    rig = await site.rig(redis_url=valkey.url)
    before = [await rig.accept() for _ in range(3)]
    await _by_stream(valkey.url, "stream-before")
    await _taken(rig, "stream-before")
    valkey.kill()
    without = [await rig.accept() for _ in range(3)]
    for order_id in [*before, *without]:
        await rig.ended(order_id)
    await valkey.start()
    begun = time.monotonic()
    await _by_stream(valkey.url, "stream-after")
    await _taken(rig, "stream-after")
    took = time.monotonic() - begun
    last = await rig.value("select max(seq) from order_events")
    await _relayed(valkey.url, last)
    return f"lost = 0; stream and events go on {took:.1f} s after it is back"


@row(22, "Redis FLUSHALL", "group recreated")
async def redis_flushed(site: Site) -> str:
    """The stream and its group vanish under a running engine."""
    valkey = Valkey(site.folder / "valkey", fixed_ports=False)
    await site.own(valkey)
    rig = await site.rig(redis_url=valkey.url)
    await _by_stream(valkey.url, "stream-1")
    await _taken(rig, "stream-1")
    orders = [await rig.accept() for _ in range(3)]
    async with Redis.from_url(valkey.url) as redis:
        await redis.flushall()
    begun = time.monotonic()
    await _by_stream(valkey.url, "stream-2")
    await _taken(rig, "stream-2")
    took = time.monotonic() - begun
    for order_id in [*orders, await rig.accept()]:
        await rig.ended(order_id)
    async with Redis.from_url(valkey.url) as redis:
        groups = await redis.xinfo_groups("trade_signals")
    assert groups
    return f"lost accepted = 0; the next signal of the stream is taken after {took:.1f} s"


async def _by_stream(redis_url: str, signal_id: str) -> None:
    """A signal of somebody who only knows Redis, added again until Redis has it."""
    message = {"symbol": "PFE", "side": "buy", "qty": 1, "signal_id": signal_id, "valid_for_s": 300}
    async with Redis.from_url(redis_url) as redis:
        await redis.xadd("trade_signals", {"signal": json.dumps(message)})


async def _taken(rig: Rig, signal_id: str) -> None:
    """Wait until the engine has made an order of it, and that is filled."""
    order_id = str(await rig.until("select id from orders where signal_id = $1", signal_id))
    rig.accepted[signal_id] = order_id
    await rig.ended(order_id)


async def _relayed(redis_url: str, last: int, within_s: float = 90) -> None:
    """Wait until the stream of events holds the last one, and everything before without gaps."""
    end = time.monotonic() + within_s
    while True:
        async with Redis.from_url(redis_url, decode_responses=True) as redis:
            found = [int(fields["seq"]) for _, fields in await redis.xrange("order_events")]
        if found and found[-1] >= last:
            break
        assert time.monotonic() < end, f"order_events ends at {found[-1:]} and not at {last}"
        await asyncio.sleep(0.2)
    assert found == list(range(found[0], found[-1] + 1))


@row(23, "QuestDB down", "trading by price age", long=True)
async def questdb_down(site: Site) -> str:
    """Killed while orders flow; then it comes back."""
    questdb = QuestDB(site.folder / "questdb", fixed_ports=False)
    await site.own(questdb)
    rig = await site.rig(questdb_url=questdb.http_url)
    await rig.ended(await rig.accept())
    questdb.kill()
    orders = [
        await rig.accept(symbol=symbol, signal_id=f"{symbol}-{uuid4().hex}") for symbol in ("KO", "PFE", "F", "GE")
    ]
    for order_id in orders:
        await rig.ended(order_id)
    await _questdb_is(rig, "ok", wanted=False)
    valued = "select count(*) >= 4 from positions where unrealized_pnl is not null and qty <> 0"
    await rig.until(valued, why="positions are not valued without QuestDB")
    await questdb.start()
    await _questdb_is(rig, "ok", wanted=True)
    return f"blocked orders = 0 of {len(orders)}"


async def _questdb_is(rig: Rig, status: str, *, wanted: bool, within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while ((found := (await rig.health())["components"]["questdb"]["status"]) == status) != wanted:
        assert time.monotonic() < end, f"health says of QuestDB {found!r}"
        await asyncio.sleep(0.2)
