"""Row 29: bad input at full rate, in its short form (the long one is `make flood`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from redis.asyncio import Redis
from tests.faults.bench import Site
from tests.faults.matrix import row
from tests.faults.parts import Part
from tests.faults.rig import SIGNAL, Rig

SECONDS = 10.0
BOUND_MB = 150
BODIES = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"symbol": "KO"}', b'{"symbol": "KO", "side": "up", "qty": 1}',
    b'{"symbol": "KO", "side": "buy", "qty": -1}', b'{"symbol": "KO", "side": "buy", "qty": 1e400}',
    b'{"symbol": "\\u0000", "side": "buy", "qty": 1}', b"[" * 5_000, b'{"reason": "' + b"x" * 200_000 + b'"}',
)  # fmt: skip
RAW = (
    b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n",
    b"POST /api/v1/trading/signal HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n" * 50,
)  # fmt: skip


@row(29, "flood of bad input", "bounded 413/422/429", alone=True)
async def flood(site: Site) -> str:
    """Ten seconds over REST, raw sockets, the Redis channel and the stream, with good signals among them."""
    rig = await site.rig()
    stop = asyncio.Event()
    answers: Counter[int] = Counter()
    before = {part.name: _rss_mb(part) for part in (rig.api, rig.engine)}
    work = [
        *(asyncio.ensure_future(_bad_requests(rig, stop, answers, Random(seed))) for seed in range(8)),
        *(asyncio.ensure_future(_raw(rig, stop, Random(seed))) for seed in range(4)),
        asyncio.ensure_future(_redis(rig, stop, Random(1))),
    ]
    times, orders = await _good_signals(rig)
    stop.set()
    await asyncio.gather(*work)
    for order_id in orders:
        await rig.ended(order_id)
    grown = {part.name: _rss_mb(part) - before[part.name] for part in (rig.api, rig.engine)}
    assert max(grown.values()) < BOUND_MB, f"memory has grown by {grown} MB"
    assert set(answers) <= {400, 413, 415, 422, 429}, answers
    assert answers
    kept = await rig.value("select count(*) from signal_errors")
    assert kept, "nothing of the channel and the stream was kept with its reason"
    times.sort()
    p99 = times[int(len(times) * 0.99)] * 1000
    shown = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
    memory = ", ".join(f"{name} +{size:.0f} MB" for name, size in grown.items())
    return f"{len(times)} good signals, p99 {p99:.0f} ms; {shown}; {kept} errors kept; RSS {memory}"


async def _good_signals(rig: Rig) -> tuple[list[float], list[str]]:
    """One every tenth of a second; how long each took to be accepted."""
    end = time.monotonic() + SECONDS
    times, orders = [], []
    while time.monotonic() < end:
        begun = time.monotonic()
        orders.append(await rig.accept_at_last(f"good-{len(orders)}", symbol=("KO", "F")[len(orders) % 2]))
        times.append(time.monotonic() - begun)
        await asyncio.sleep(0.1)
    return times, orders


async def _bad_requests(rig: Rig, stop: asyncio.Event, answers: Counter[int], random: Random) -> None:
    while not stop.is_set():
        answers[await rig.post_raw(SIGNAL, random.choice(BODIES))] += 1


async def _raw(rig: Rig, stop: asyncio.Event, random: Random) -> None:
    port = urlsplit(rig.url).port
    while not stop.is_set():
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(random.choice(RAW))
                    await writer.drain()
                    await reader.read(4096)
                finally:
                    writer.transport.abort()


async def _redis(rig: Rig, stop: asyncio.Event, random: Random) -> None:
    async with Redis.from_url(rig.at.redis_url) as redis:
        while not stop.is_set():
            body = random.choice(BODIES)[:2_000]
            await redis.publish("trade_signals", body)
            await redis.xadd("trade_signals", {"signal": body})
            await asyncio.sleep(0.002)


def _rss_mb(part: Part) -> float:
    for line in Path(f"/proc/{part.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{part.name} has no memory")
