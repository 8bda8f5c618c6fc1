"""What both benchmarks use: a lean HTTP client, the bare server, a running stack, percentiles."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
from tests.stack import ROOT, Stack, eventually, free_port

KEY = "mock-bench"
SIGNAL_PATH = "/api/v1/trading/signal"
SYMBOLS = ("BAC", "DIS", "F", "INTC", "KO", "PFE", "T", "UBER", "WMT", "XOM")
_encode = msgspec.json.Encoder().encode


class Connection(asyncio.Protocol):
    """One keep-alive HTTP connection, one request at a time; costs a fraction of aiohttp, which would be what is
    measured where load and server share two cores."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, gap, body = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        length = int(lower[at:].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._buffer = b""
        assert self._answered is not None
        self._answered.set_result((int(head[9:12]), body))

    async def post(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request; status and body of the answer."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        """Close it."""
        assert self._transport is not None
        self._transport.close()


async def connect(url: str) -> Connection:
    """A connection to a server."""
    parts = urlsplit(url)
    _, protocol = await asyncio.get_running_loop().create_connection(Connection, parts.hostname, parts.port)
    return protocol


def request(url: str, path: str, body: object) -> bytes:
    """The bytes of a POST."""
    content = _encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def requests_per_second(
    url: str, path: str, connections: int, seconds: float, body: Callable[[], object]
) -> float:
    """How many POSTs are answered with 202 by a closed loop over so many connections."""
    end = time.perf_counter() + seconds
    answered = 0

    async def one() -> None:
        nonlocal answered
        connection = await connect(url)
        while time.perf_counter() < end:
            status, content = await connection.post(request(url, path, body()))
            assert status == 202, content
            answered += 1
        connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return answered / (time.perf_counter() - begun)


@contextmanager
def bare_server() -> Iterator[str]:
    """The minimal Starlette application in a process of its own; its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "bench.bare", str(port)], cwd=ROOT)
    try:
        eventually(lambda: _listens(url), 20, why="the bare server did not start")
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running_stack() -> Iterator[Stack]:
    """A fresh `oms up` with everything, budgets off, limits out of the way."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Stack(
            Path(folder) / "data",
            ALPACA_API_KEY=KEY,
            ALPACA_REQUESTS_PER_MINUTE="0",
            PAPERBROKER_REQUESTS_PER_MINUTE="0",
        ) as stack,
    ):
        stack.sql("update configs set value = '100000000' where key = 'max_position_size_usd'")
        yield stack


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which so much of them lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def line(name: str, values: Sequence[float], limit: float | None = None) -> str:
    """p50, p90 and p99 in milliseconds of values in seconds, and the ratio of the p50 to a limit."""
    shares = "  ".join(f"{1000 * quantile(values, share):8.2f}" for share in (0.5, 0.9, 0.99))
    ratio = "" if limit is None else f"  {quantile(values, 0.5) / limit:6.1f}"
    return f"{name:<52}{shares}{ratio}"


def _listens(url: str) -> bool:
    async def attempt() -> bool:
        try:
            (await connect(url)).close()
        except OSError:
            return False
        return True

    return asyncio.run(attempt())


def cpu_seconds(root: int) -> dict[str, float]:
    """The processor time so far of each part of a tree of processes, by a short name; of this process as `load`."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total: dict[str, float] = {"load": used[os.getpid()]}
    for pid, seconds in used.items():
        if _descends(pid, root, parents):
            name = _short_name(pid)
            total[name] = total.get(name, 0.0) + seconds
    return total


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = parents.get(pid, 0)
    return False


def _short_name(pid: int) -> str:
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return "ended"
    names = ("postgres", "valkey", "questdb", "paperbroker", "engine", "serve", "feed")
    return next((name for name in names if name in words.lower()), "oms up")
