"""Signals accepted per second (answered after the commit), against a bare Starlette + msgspec POST in the same run.

    .venv/bin/python bench/intake.py [seconds]

64 connections from a process of its own; PostgreSQL with fsync on; rounds alternate; medians.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oms.api.app import Dependencies, create_app
from oms.api.server import run_server
from oms.embedded.postgres import Postgres
from oms.settings import key_hash
from oms.signals.intake import Intake
from oms.storage.database import open_pool
from oms.storage.migrate import migrate
from oms.storage.queries import Queries
from oms.storage.signals import CommitUnanswered, PostgresSignalStore

CONNECTIONS = 64
ROUNDS = 5
PATH = "/api/v1/trading/signal"
BODY = b'{"symbol": "AAPL", "side": "buy", "qty": 10, "reason": "Technical breakout"}'


class Body(msgspec.Struct, forbid_unknown_fields=True):
    symbol: str
    side: str
    qty: float
    reason: str


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class NoBus:
    async def publish_signals(self, messages: Any) -> None: ...


class Bare:
    """The limit: the same body validated and answered, nothing stored."""

    def __init__(self) -> None:
        async def post(request: Request) -> Response:
            msgspec.json.decode(await request.body(), type=Body)
            return Response(b'{"status":"accepted"}', 202, media_type="application/json")

        self._app = Starlette(routes=[Route(PATH, post, methods=["POST"])])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    def stop_waiting(self) -> None: ...


class Caller(asyncio.Protocol):
    """One connection: the next request goes out when the answer is in."""

    def __init__(self, request: bytes, until: float, latencies: list[float]) -> None:
        self._request, self._until, self._latencies = request, until, latencies
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 202"):
            raise SystemExit(self._buffer)
        self._buffer = b""
        now = time.perf_counter()
        self._latencies.append(now - self._sent)
        if now < self._until:
            self._send()
        elif not self.done.done():
            self._transport.close()
            self.done.set_result(None)


async def call(port: int, seconds: float) -> tuple[float, float, float]:
    request = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    latencies: list[float] = []
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: Caller(request, started + seconds, latencies), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    took = time.perf_counter() - started
    latencies.sort()
    return len(latencies) / took, latencies[len(latencies) // 2] * 1e3, latencies[int(len(latencies) * 0.99)] * 1e3


def caller_process(pipe: Any) -> None:
    while job := pipe.recv():
        pipe.send(uvloop.run(call(*job)))


async def measure(database_url: str, seconds: float, pipe: Any) -> None:
    pool = await open_pool(database_url, size=4, name="bench")
    account, key = uuid4(), key_hash("mock")
    await pool.execute(
        "insert into accounts (id, name, broker_account_id, created_at) values ($1, 'a', 'b', now())", account
    )
    await pool.execute("insert into account_keys values ($1, $2, now())", key, account)
    await pool.execute("insert into instruments (symbol, asset_class, broker_asset_id) values ('AAPL', 'stock', '1')")
    clock = WallClock()
    bus: Any = NoBus()
    intake = Intake(PostgresSignalStore(pool), bus, clock, uuid4, doubtful=(CommitUnanswered,))
    bare: Any = Bare()
    apps = {"bare": bare, "intake": create_app(Dependencies(Queries(pool), intake, clock, uuid4, key))}
    stop = asyncio.Event()
    tasks = [asyncio.create_task(intake.run())]
    ports: dict[str, int] = {}
    for name, app in apps.items():
        started = asyncio.get_running_loop().create_future()
        tasks.append(asyncio.create_task(run_server(app, "127.0.0.1", 0, stop=stop, started=started.set_result)))
        ports[name] = await started
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in apps}
    for number in range(ROUNDS + 1):
        for name, port in ports.items():
            # The engine is away: without it every order would stay pending, and counting them grows dearer.
            await pool.execute("update orders set status = 'rejected' where status = 'pending'")
            pipe.send((port, seconds))
            result = await asyncio.to_thread(pipe.recv)
            if number:  # the first round warms up
                results[name].append(result)
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in results.items()
    }
    for name, (rate, p50, p99) in medians.items():
        print(f"{name:7} {rate:9,.0f} req/s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms")
    stored = await pool.fetchval("select count(*) from orders")
    print(f"ratio   {medians['intake'][0] / medians['bare'][0]:9.3f}   ({stored:,} orders stored)")
    stop.set()
    await asyncio.gather(*tasks[1:])
    tasks[0].cancel()
    pipe.send(None)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    multiprocessing.get_context("spawn").Process(target=caller_process, args=(theirs,), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder) / "postgres", fixed_ports=False)
        try:
            asyncio.run(postgres.start())
            migrate(postgres.url)
            uvloop.run(measure(postgres.url, seconds, ours))
        finally:
            postgres.kill()


if __name__ == "__main__":
    main()
