"""How long a signal takes on an idle system, one at a time: to the broker, and to the committed fill.

.venv/bin/python -m bench.latency [--signals 300] [--pin]

Times are of one clock: the wall clock of this machine, which the broker stamps orders and fills with as well. The
broker's own delays (it accepts and fills after a random few milliseconds, as a broker does) are taken out where the
name says so. In the same run, between the signals, the limits: a bare POST and a bare commit on the same servers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
import uvloop
from bench.common import (
    KEY,
    SIGNAL_PATH,
    SYMBOLS,
    Connection,
    bare_server,
    connect,
    line,
    quantile,
    request,
    running_stack,
)
from tests.acceptance.replay.paper import Broker
from tests.stack import Stack

PAUSE_S = 0.03  # between signals: the system comes to rest
Times = dict[str, list[float]]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--signals", type=int, default=300)
    parser.add_argument("--pin", action="store_true", help="servers and OMS on core 0, the caller on core 1")
    given = parser.parse_args()
    if given.pin:
        os.sched_setaffinity(0, {0})  # what is started from here inherits it
    with bare_server() as bare, running_stack() as stack:
        if given.pin:
            os.sched_setaffinity(0, {1})
        times = uvloop.run(measured(stack, bare, given.signals))
    pinned = "pinned" if given.pin else "not pinned"
    print(f"{given.signals} signals, one at a time, {pinned}; load {os.getloadavg()[0]:.1f}")
    show(times)


async def measured(stack: Stack, bare: str, signals: int) -> Times:
    """Signals, bare POSTs and bare commits in turn."""
    addresses = stack.addresses
    broker = Broker(addresses["paperbroker_url"], KEY)
    database = await asyncpg.connect(addresses["database_url"])
    aside = await _bench_database(addresses["database_url"])
    api, plain = await connect(stack.url), await connect(bare)
    times: Times = {name: [] for name in ("post", "commit", "accepted", "broker", "acknowledged", "booked")}
    sent: dict[str, int] = {}
    booked: dict[str, int] = {}
    warm_up = 2 * len(SYMBOLS)
    for number in range(-warm_up, signals):
        # Each symbol is bought, and the next time sold: whether the first order of a symbol pays for asking for a price
        # is left to the warm-up.
        symbol = SYMBOLS[number % len(SYMBOLS)]
        side = "buy" if (number + warm_up) // len(SYMBOLS) % 2 == 0 else "sell"
        begun = time.time_ns()
        order_id = await _signal(api, stack.url, symbol, side)
        answered = time.time_ns()
        await _until_filled(database, order_id)
        seen = time.time_ns()
        if number >= 0:
            sent[order_id], booked[order_id] = begun, seen
            times["accepted"].append((answered - begun) / 1e9)
            times["post"].append(await _bare_post(plain, bare))
            times["commit"].append(await _bare_commit(aside))
        await asyncio.sleep(PAUSE_S)
    rows = await database.fetch("select id::text, client_order_id, submitted_at from orders")
    names = {row["client_order_id"]: row["id"] for row in rows}
    fills = {fill["client_order_id"]: fill for fill in broker.fills()}
    for order in broker.orders():
        order_id = names[order["client_order_id"]]
        if order_id not in sent:
            continue
        arrived, filled = _ns(order["created_at"]), _ns(fills[order["client_order_id"]]["time"])
        times["broker"].append((arrived - sent[order_id]) / 1e9)
        times["acknowledged"].append((booked[order_id] - sent[order_id]) / 1e9)
        times["booked"].append((booked[order_id] - filled) / 1e9)
    for connection in (api, plain):
        connection.close()
    await database.close()
    await aside.close()
    return times


async def _signal(api: Connection, url: str, symbol: str, side: str) -> str:
    body = {"symbol": symbol, "side": side, "qty": 1, "reason": "latency"}
    status, content = await api.post(request(url, SIGNAL_PATH, body))
    assert status == 202, content
    order_id: str = msgspec.json.decode(content)["id"]
    return order_id


async def _until_filled(database: asyncpg.Connection[Any], order_id: str) -> None:
    """Until another connection sees the order filled: then it is committed. Asks every half a millisecond."""
    question = await database.prepare("select status from orders where id = $1")
    end = time.monotonic() + 10
    while (status := await question.fetchval(order_id)) != "filled":
        assert status in {"pending", "submitted"}, (order_id, status)
        assert time.monotonic() < end, (order_id, status)
        await asyncio.sleep(0.0005)


async def _bare_post(connection: Connection, url: str) -> float:
    whole = request(url, "/", {"symbol": "BAC", "side": "buy", "qty": 1, "reason": "latency"})
    begun = time.perf_counter()
    status, _ = await connection.post(whole)
    taken = time.perf_counter() - begun
    assert status == 202
    return taken


async def _bare_commit(database: asyncpg.Connection[Any]) -> float:
    begun = time.perf_counter()
    await database.execute("insert into one_row_each (text) values ($1)", "x" * 200)
    return time.perf_counter() - begun


async def _bench_database(url: str) -> asyncpg.Connection[Any]:
    """A table of our own in a database of our own on the same server."""
    owner = await asyncpg.connect(url)
    await owner.execute("create database bench")
    await owner.close()
    database = await asyncpg.connect(url.rpartition("/")[0] + "/bench")
    await database.execute("create table one_row_each (id bigint generated always as identity primary key, text text)")
    return database


def _ns(text: str) -> int:
    """RFC 3339 with up to nine decimals, as nanoseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1_000_000_000 + int(f"{fraction:0<9}")


def show(times: Times) -> None:
    """A table of milliseconds; ratios of p50 to the sum of what cannot be avoided."""
    post, commit = quantile(times["post"], 0.5), quantile(times["commit"], 0.5)
    print(f"{'milliseconds':<52}{'p50':>8}  {'p90':>8}  {'p99':>8}   ratio")
    print(line("limit: a bare POST to Starlette, answered", times["post"]))
    print(line("limit: one insert committed by PostgreSQL", times["commit"]))
    print(line("signal → 202, committed       (limit: POST + commit)", times["accepted"], post + commit))
    print(line("signal → order at the broker  (2 POSTs + 2 commits)", times["broker"], 2 * post + 2 * commit))
    print(line("fill at the broker → committed here     (1 commit)", times["booked"], commit))
    print(line("signal → committed fill, broker's delays included", times["acknowledged"]))


if __name__ == "__main__":
    main()
