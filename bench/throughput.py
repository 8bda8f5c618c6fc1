"""Signals a second through the whole way: POST → commit → publish → risk → broker → fill → committed.

.venv/bin/python -m bench.throughput [--seconds 20] [--connections 64]

Load, OMS, servers and broker share the machine; nothing is pinned. The load is a closed loop that holds back while more
than `--backlog` orders are open, so that what is counted (orders filled and committed) is what the whole way sustains.
In the same run the limits: POSTs that a bare Starlette answers, and signals that are only accepted (the engine is
stopped).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import asyncpg
import uvloop
from bench.common import (
    SIGNAL_PATH,
    SYMBOLS,
    bare_server,
    connect,
    cpu_seconds,
    quantile,
    request,
    requests_per_second,
    running_stack,
)
from tests.stack import Stack

WARM_UP_S = 3.0
OPEN = "status in ('pending', 'submitted', 'partially_filled', 'held')"
LATENCIES = "extract(epoch from (f.booked_at - o.created_at))::float8"


@dataclass(frozen=True)
class Sustained:
    """What the whole way did in the measured seconds."""

    filled_per_second: float
    accepted_per_second: float
    refused: int
    open_most: int
    latencies_s: list[float]
    cpu_ms_per_order: dict[str, float]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--backlog", type=int, default=500)
    given = parser.parse_args()
    with bare_server() as bare, running_stack() as stack:
        uvloop.run(run(stack, bare, given))


async def run(stack: Stack, bare: str, given: argparse.Namespace) -> None:
    """Bare, whole way, bare, accept only."""
    body = buying()
    before = await requests_per_second(bare, "/", given.connections, 4, body)
    whole = await sustained(stack, given, body)
    after = await requests_per_second(bare, "/", given.connections, 4, body)
    accepted = await accept_only(stack, given, body)
    post = (before + after) / 2
    print(f"{given.connections} connections, {given.seconds:.0f} s, nothing pinned; load {os.getloadavg()[0]:.1f}")
    print(f"limit: bare POST to Starlette          {post:8.0f} /s ({before:.0f} before, {after:.0f} after)")
    print(f"accepted only, the engine stopped      {accepted:8.0f} /s   {accepted / post:6.3f} of the bare POST")
    rate = whole.filled_per_second
    print(f"whole way, orders filled and committed {rate:8.0f} /s   {rate / post:6.3f} of the bare POST, "
          f"{rate / accepted:.3f} of accepting")  # fmt: skip
    shares = ", ".join(f"p{share} {1000 * quantile(whole.latencies_s, share / 100):.0f}" for share in (50, 99))
    print(
        f"signal to committed fill meanwhile     {shares} ms; at most {whole.open_most} open, {whole.refused} refused"
    )
    spent = sorted(whole.cpu_ms_per_order.items(), key=lambda part: -part[1])
    parts = ", ".join(f"{name} {ms:.2f}" for name, ms in spent if ms >= 0.01)
    print(f"processor time of one order            {sum(whole.cpu_ms_per_order.values()):8.2f} ms: {parts}")


def buying() -> Callable[[], object]:
    """Bodies of signals: a hundredth of a share, so that the account's money lasts for all of them."""
    bodies = cycle({"symbol": symbol, "side": "buy", "qty": 0.01, "reason": "throughput"} for symbol in SYMBOLS)
    return lambda: next(bodies)


async def sustained(stack: Stack, given: argparse.Namespace, body: Callable[[], object]) -> Sustained:
    """A closed loop, held back by what is open."""
    database = await asyncpg.connect(stack.addresses["database_url"])
    begun = time.perf_counter()
    end = begun + WARM_UP_S + given.seconds
    free = asyncio.Event()
    free.set()
    accepted = 0

    async def one() -> None:
        nonlocal accepted
        connection = await connect(stack.url)
        while time.perf_counter() < end:
            await free.wait()
            status, content = await connection.post(request(stack.url, SIGNAL_PATH, body()))
            assert status == 202, content
            accepted += 1
        connection.close()

    posting = [asyncio.create_task(one()) for _ in range(given.connections)]
    open_most = 0
    first: tuple[float, int, int] | None = None
    cpu_before: dict[str, float] = {}
    while time.perf_counter() < end:
        opened = await database.fetchval(f"select count(*) from orders where {OPEN}")
        open_most = max(open_most, opened)
        free.set() if opened < given.backlog else free.clear()
        if first is None and time.perf_counter() - begun >= WARM_UP_S:
            first = (time.perf_counter(), await _filled(database), accepted)
            cpu_before = cpu_seconds(stack.pid)
        await asyncio.sleep(0.02)
    last = (time.perf_counter(), await _filled(database), accepted)
    cpu_after = cpu_seconds(stack.pid)
    free.set()
    await asyncio.gather(*posting)
    assert first is not None
    await _until_nothing_is_open(database)
    seconds = last[0] - first[0]
    rows = await database.fetch(f"select {LATENCIES} as s from fills f join orders o on o.id = f.order_id")
    refused = await database.fetchval("select count(*) from orders where status = 'rejected'")
    await database.close()
    filled = last[1] - first[1]
    cpu = {name: 1000 * (cpu_after.get(name, 0.0) - cpu_before[name]) / filled for name in cpu_before}
    return Sustained(
        filled / seconds,
        (last[2] - first[2]) / seconds,
        refused,
        open_most,
        [row["s"] for row in rows],
        cpu,
    )


async def accept_only(stack: Stack, given: argparse.Namespace, body: Callable[[], object]) -> float:
    """With the engine stopped nothing but accepting happens. Comes last: what is accepted is never traded."""
    engine = stack.child("oms.cli", "engine")
    os.kill(engine, signal.SIGSTOP)
    try:
        return await requests_per_second(stack.url, SIGNAL_PATH, given.connections, 5, body)
    finally:
        os.kill(engine, signal.SIGKILL)


async def _filled(database: asyncpg.Connection[Any]) -> int:
    count: int = await database.fetchval("select count(*) from orders where status = 'filled'")
    return count


async def _until_nothing_is_open(database: asyncpg.Connection[Any]) -> None:
    end = time.monotonic() + 60
    while await database.fetchval(f"select count(*) from orders where {OPEN}"):
        assert time.monotonic() < end, "orders are still open after a minute"
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
