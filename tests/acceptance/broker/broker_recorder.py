"""A small server that records what it is sent and answers as told; nothing of Alpaca's logic is in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Self

from aiohttp import web

from oms.broker import AlpacaBroker, AlpacaMarketData, Patience, connect
from oms.ports import Purpose
from oms.settings import Settings

KEY, SECRET = "PKTEST0123456789", "secret-0123456789-secret"
USUAL = Patience(request_s=5, heartbeat_s=5)
IMPATIENT = Patience(request_s=0.3, heartbeat_s=1)


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: object


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Recorder:
    """`answer` makes the response to each request; `seen` has the requests, `frames` what websockets were sent."""

    answer: Answer
    seen: list[Seen] = field(default_factory=list)
    frames: list[object] = field(default_factory=list)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text, parse_float=str, parse_int=str) if text else None
        self.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), body))
        return await self.answer(request)

    async def next_frame(self, ws: web.WebSocketResponse) -> object:
        """The next JSON frame of a client, recorded."""
        message = await ws.receive()
        frame = json.loads(message.data)
        self.frames.append(frame)
        return frame


@dataclass
class FreeBudget:
    """A budget that lets everything through and remembers what it was told."""

    acquired: list[Purpose] = field(default_factory=list)
    observed: list[tuple[int, int, float]] = field(default_factory=list)
    refusals: list[float | None] = field(default_factory=list)

    async def acquire(self, purpose: Purpose) -> None:
        self.acquired.append(purpose)

    def observe(self, limit: int, remaining: int, resets_in_s: float) -> None:
        self.observed.append((limit, remaining, resets_in_s))

    def refused(self, retry_after_s: float | None) -> None:
        self.refusals.append(retry_after_s)


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return monotonic()


def gateway(
    url: str, budget: FreeBudget | None = None, patience: Patience = USUAL
) -> tuple[AlpacaBroker, AlpacaMarketData]:
    """Our gateway, pointed at a server of the tests."""
    settings = Settings(alpaca_api_key=KEY, alpaca_api_secret=SECRET, alpaca_base_url=url, alpaca_data_url=url)
    return connect(settings, budget or FreeBudget(), RealClock(), patience)


def answering(status: int, body: bytes | str, headers: dict[str, str] | None = None) -> Answer:
    """The same response to everything."""

    async def answer(_: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, bytes) else body.encode()
        return web.Response(status=status, body=text, headers=headers, content_type="application/json")

    return answer


def an_order(number: int = 1, **changes: object) -> dict[str, object]:
    """An order as Alpaca would send it."""
    return {
        "id": f"00000000-0000-4000-8000-{number:012}", "client_order_id": f"t1-{number}",
        "created_at": "2026-07-01T13:30:00Z", "updated_at": "2026-07-01T13:30:00Z",
        "submitted_at": "2026-07-01T13:30:00Z", "filled_at": None, "expired_at": None, "canceled_at": None,
        "failed_at": None, "replaced_at": None, "replaced_by": None, "replaces": None,
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "symbol": "AAPL", "asset_class": "us_equity",
        "notional": None, "qty": "1", "filled_qty": "0", "filled_avg_price": None, "order_class": "",
        "order_type": "market", "type": "market", "side": "buy", "time_in_force": "day", "limit_price": None,
        "stop_price": None, "status": "new", "extended_hours": False, "legs": None, **changes,
    }  # fmt: skip


class Hole:
    """A TCP relay that can swallow everything from some moment on: a half-open connection."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._swallows = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def swallow(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._swallows = True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not self._swallows:
                sink.write(data)
