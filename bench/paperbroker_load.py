"""A server on a core of its own, and a client that sends it market orders: for the benchmarks of the paper broker."""

import asyncio
import itertools
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

IN_FLIGHT = 64
HEADERS = {"APCA-API-KEY-ID": "mock-bench", "APCA-API-SECRET-KEY": "any"}


class Server:
    """A server on a core of its own, which it has only while it has its turn."""

    def __init__(self, name: str, command: list[str], core: int) -> None:
        self.name = name
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self._process.pid, {core})  # before it has threads, which inherit it
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]

    @property
    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def cpu_seconds(self) -> float:
        """Of all its threads; other processes on the machine do not add to it, but make it slower."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def go(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def halt(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        self.go()
        self._process.terminate()
        self._process.wait()


def an_order(number: int) -> bytes:
    symbol = ("BAC", "F", "T", "PFE")[number % 4]
    body = {"symbol": symbol, "qty": "0.1", "side": "buy", "type": "market", "time_in_force": "day"}
    return msgspec.json.encode({**body, "client_order_id": f"bench-{number}"})


class Client:
    """Sends orders, many at once, and counts the fills that arrive."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count()
        self._filled = 0
        self._wanted = 0
        self._enough = asyncio.Event()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
        async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as self._session:
            ready = asyncio.Event()
            self._listening = asyncio.create_task(self._listen(ready))
            await ready.wait()
            yield
            self._listening.cancel()

    async def _listen(self, ready: asyncio.Event) -> None:
        async with self._session.ws_connect(self._url.replace("http", "ws") + "/stream", max_msg_size=0) as socket:
            await socket.send_bytes(msgspec.json.encode({"action": "auth", "key": "mock-bench", "secret": "any"}))
            await socket.receive()
            data = {"streams": ["trade_updates"]}
            await socket.send_bytes(msgspec.json.encode({"action": "listen", "data": data}))
            await socket.receive()
            ready.set()
            async for message in socket:
                if b'"event":"fill"' in message.data:
                    self._filled += 1
                    if self._filled >= self._wanted:
                        self._enough.set()

    async def send(self, orders: int) -> None:
        """Returns when all are answered and filled."""
        self._wanted += orders
        self._enough.clear()
        numbers = itertools.islice(self._numbers, orders)
        await asyncio.gather(*(self._send_each(numbers) for _ in range(IN_FLIGHT)))
        wait = asyncio.create_task(self._enough.wait())
        await asyncio.wait({wait, self._listening}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if not wait.done():
            how = "ended" if self._listening.done() else "goes on"
            raise SystemExit(f"{self._filled} of {self._wanted} fills were streamed; the stream {how}")

    async def _send_each(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            async with self._session.post(f"{self._url}/v2/orders", data=an_order(number)) as answer:
                content = await answer.read()
                assert answer.status == 200, content
