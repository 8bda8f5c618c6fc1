"""Bad input of every kind, as fast as it is answered: HTTP that is none, JSON that is none, too much, too slowly."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import redis.asyncio
from redis.exceptions import RedisError

PATIENCE_S = 10.0

NO_HTTP = (
    b"\x00\x01\x02\x03\r\n\r\n",
    b"GET\r\n\r\n",
    b"G@T / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /%00%ff%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
NO_SIGNALS = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"buy"',
    b"\xff\xfe{}",
    b'{"symbol": "AAPL"}',
    b'{"symbol": "AAPL", "side": "buy", "qty": 0}',
    b'{"symbol": "AAPL", "side": "buy", "qty": -1}',
    b'{"symbol": "AAPL", "side": "buy", "qty": 1e400}',
    b'{"symbol": "AAPL", "side": "buy", "qty": NaN}',
    b'{"symbol": "AAPL", "side": "buy", "qty": "ten"}',
    b'{"symbol": "AAPL", "side": "buy", "qty": 0.0000000001}',
    b'{"symbol": "AAPL", "side": "up", "qty": 1}',
    b'{"symbol": "NOT-THERE", "side": "buy", "qty": 1}',
    b'{"symbol": "AAPL\\u0000", "side": "buy", "qty": 1}',
    b'{"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit"}',
    b'{"symbol": "AAPL", "side": "buy", "qty": 1, "unknown": true}',
    b'{"symbol": "AAPL", "side": "buy", "qty": 1, "reason": "\\ud800"}',
    b'{"symbol": "AAPL", "side": "buy", "qty": 1, "signal_id": "' + b"x" * 3000 + b'"}',
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b'{"reason": "' + b"x" * 70_000 + b'"}',
)
QUERIES = (
    "orders?status=nope", "orders?limit=-1", "orders?limit=1e9", "orders?since=yesterday", "orders?symbol=%00",
    "orders/not-an-id", "orders/00000000-0000-0000-0000-000000000000", "positions?include_closed=perhaps",
    "nothing?a=b",
    "orders?" + "a=b&" * 5000,
)  # fmt: skip


Counts = tuple[Counter[int], Counter[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: an address, the path of its POST, the beginning of its GETs, a Redis, headers that let one in."""

    url: str
    post: str
    gets: str
    redis_url: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Attacker:
    """One attack in a process of its own, so that it takes nothing from who measures."""

    def __init__(self, target: Target, seed: int) -> None:
        context = get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_attack, args=(target, seed, theirs), daemon=True)
        self._process.start()

    def stop(self) -> Counts:
        """How the attempts were answered (by HTTP status; 0: not), and how many of each kind there were."""
        self._ours.send("stop")
        if not self._ours.poll(60):
            raise TimeoutError("an attacker does not stop")
        counts: Counts = self._ours.recv()
        self._process.join(10)
        return counts

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()


def _attack(target: Target, seed: int, pipe: Connection) -> None:
    async def run() -> Counts:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
        attack = Attack(target, Random(seed))
        await attack.run(stop)
        return attack.statuses, attack.sent

    pipe.send(asyncio.run(run()))


class Attack:
    """All kinds at once, on an HTTP address and a Redis. `statuses` counts the answers, `sent` the attempts."""

    def __init__(self, target: Target, random: Random) -> None:
        parts = urlsplit(target.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._signal = target.url + target.post
        self._queries = [f"{target.url}{target.gets}{query}" for query in QUERIES]
        self._headers = target.headers
        self._redis_url = target.redis_url
        self._random = random
        self.statuses: Counter[int] = Counter()
        self.sent: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        works: list[Any] = [self._raw(stop) for _ in range(4)]
        works += [self._slow(stop) for _ in range(100)]
        works += [self._endless_head(stop), self._endless_body(stop), self._announced(stop)]
        if self._redis_url is not None:
            works += [self._redis(stop)]
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as http:
            works += [self._bodies(http, stop) for _ in range(8)]
            works += [self._asks(http, stop) for _ in range(2)]
            await asyncio.gather(*works)

    async def _bodies(self, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        """Each once as JSON, so that even a slow machine has seen them all, then at random."""
        kinds = ("application/json", "text/plain", "application/json; charset=latin-1", "")
        first = self._random.sample(NO_SIGNALS, len(NO_SIGNALS))
        while not stop.is_set():
            kind = "application/json" if first else self._random.choice(kinds)
            body = first.pop() if first else self._random.choice(NO_SIGNALS)
            headers = {
                "Content-Type": kind,
                "Idempotency-Key": self._random.choice(("", "a" * 500)),
            }
            await self._request(http, "POST", self._signal, "body", data=body, headers=headers)

    async def _asks(self, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        while not stop.is_set():
            method = self._random.choice(("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"))
            await self._request(http, method, self._random.choice(self._queries), "query")

    async def _request(self, http: aiohttp.ClientSession, method: str, url: str, kind: str, **given: Any) -> None:
        self.sent[kind] += 1
        try:
            async with http.request(method, url, **given) as answer:
                await answer.read()
                self.statuses[answer.status] += 1
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.statuses[0] += 1
            await asyncio.sleep(0.05)

    async def _raw(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.sent["no HTTP"] += 1
            sent = self._random.choice(NO_HTTP)
            if self._random.random() < 0.2:
                sent = self._random.randbytes(self._random.randrange(1, 4000))
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                writer.write(sent)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        answer = await reader.read(64)
                        if answer.startswith(b"HTTP/1.1 ") and answer[9:12].isdigit():
                            self.statuses[int(answer[9:12])] += 1
                writer.close()

    async def _slow(self, stop: asyncio.Event) -> None:
        """A byte a second, and again when it is thrown out."""
        while not stop.is_set():
            self.sent["slow"] += 1
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self._host, self._port)
                for byte in f"POST {urlsplit(self._signal).path} HTTP/1.1\r\nHost: localhost\r\nX-A: ".encode() * 10:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), 1)
                        break
                writer.close()

    async def _endless_head(self, stop: asyncio.Event) -> None:
        line = b"X-A: " + b"x" * 4000 + b"\r\n"
        await self._endless(stop, "endless head", b"GET / HTTP/1.1\r\nHost: localhost\r\n", line)

    async def _endless_body(self, stop: asyncio.Event) -> None:
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        await self._endless(stop, "endless body", self._post_head(b"Transfer-Encoding: chunked"), chunk)

    async def _announced(self, stop: asyncio.Event) -> None:
        await self._endless(stop, "endless announced", self._post_head(b"Content-Length: 99999999999"), b" " * 4096)

    def _post_head(self, length: bytes) -> bytes:
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\n\r\n"
        return head % (urlsplit(self._signal).path.encode(), length)

    async def _endless(self, stop: asyncio.Event, kind: str, head: bytes, more: bytes) -> None:
        """100 MB, unless the server ends it."""
        while not stop.is_set():
            self.sent[kind] += 1
            with suppress(OSError, TimeoutError):
                _, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    writer.write(head)
                    for _ in range(25_000):
                        if stop.is_set() or writer.is_closing():
                            break
                        writer.write(more)
                        async with asyncio.timeout(PATIENCE_S):
                            await writer.drain()
                        await asyncio.sleep(0)  # the other attackers' turn
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    async def _redis(self, stop: asyncio.Event) -> None:
        assert self._redis_url is not None
        async with redis.asyncio.Redis.from_url(self._redis_url) as client:
            while not stop.is_set():
                with suppress(RedisError):
                    async with client.pipeline(transaction=False) as pipe:
                        for _ in range(5):
                            bad = self._random.choice(NO_SIGNALS)[:10_000]
                            pipe.publish("trade_signals", bad)
                            pipe.xadd("trade_signals", {self._random.choice(("signal", "symbol", "?")): bad or b"?"})
                        await pipe.execute()
                    self.sent["Redis"] += 10
                await asyncio.sleep(0.05)
