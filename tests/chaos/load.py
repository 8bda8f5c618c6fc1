"""Signals at a steady rate, sent as a careful client sends them: again, under the same identity, until it is sure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import aiohttp
import redis.asyncio
from redis.exceptions import RedisError

PER_SECOND = 20
BOUGHT_AND_SOLD = (
    "AAPL", "AIG", "AMD", "BAC", "DIS", "F", "GE", "INTC", "IWM", "JNJ", "JPM", "MSFT", "NVDA", "PEP", "PFE", "WMT",
)  # fmt: skip
RESTING = ("IBM", "KO", "XOM", "QQQ")  # bought at half their price: they rest until they are cancelled
COIN = "BTC/USD"
A_TURN = 40  # so many buys of a symbol follow so many sells
PATIENCE_S = 10.0
CANCELLED_WITHIN_S = 20.0

Row = dict[str, Any]


@dataclass(slots=True)
class Sent:
    """What the clients know: the answers by signal, and how often they had to ask again."""

    signals: dict[str, Row] = field(default_factory=dict)
    answers: dict[str, set[str]] = field(default_factory=dict)  # signal → the order ids it was answered
    by_stream: set[str] = field(default_factory=set)
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    retries: int = 0
    cancels: int = 0
    latencies_s: list[float] = field(default_factory=list)


class Load:
    """Sends signals until told to stop; `settle` waits until every one of them has been answered."""

    def __init__(self, url: str, redis_url: str, random: Random, rests_at: Mapping[str, Decimal]) -> None:
        self._url = url
        self._random = random
        self._rests_at = rests_at
        self._redis = redis.asyncio.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=PATIENCE_S)
        )
        self._turns: dict[str, int] = {}
        self._clients: set[asyncio.Task[None]] = set()
        self._cancels: set[asyncio.Task[None]] = set()
        self.sent = Sent()

    async def run(self, stop: asyncio.Event) -> None:
        """`PER_SECOND` signals a second until `stop`."""
        loop = asyncio.get_running_loop()
        begun, number = loop.time(), 0
        while not stop.is_set():
            self._start(self._clients, self._client(f"chaos-{number}"))
            number += 1
            await asyncio.sleep(max(0.0, begun + number / PER_SECOND - loop.time()))

    async def settle(self, within_s: float) -> None:
        """Until every client knows the answer. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while self._clients or self._cancels:
                await asyncio.wait({*self._clients, *self._cancels})

    async def send_again(self, signal_ids: set[str]) -> None:
        """What Redis took and lost when it was killed: its client sends it again."""
        for signal_id in signal_ids:
            await self._add(self.sent.signals[signal_id])

    async def close(self) -> None:
        for task in [*self._clients, *self._cancels]:
            task.cancel()
        await asyncio.gather(*self._clients, *self._cancels, return_exceptions=True)
        await self._http.close()
        await self._redis.aclose()

    def _start(self, among: set[asyncio.Task[None]], work: Any) -> None:
        task = asyncio.ensure_future(work)
        among.add(task)
        task.add_done_callback(among.discard)

    async def _client(self, signal_id: str) -> None:
        body = self._signal(signal_id)
        self.sent.signals[signal_id] = body
        dice = self._random.random()
        if dice < 0.1:
            self.sent.by_stream.add(signal_id)
            await self._add(body)
        elif dice < 0.15:  # two clients that do not know of each other
            await asyncio.gather(self._post(body), self._post(body))
        else:
            await self._post(body)

    def _signal(self, signal_id: str) -> Row:
        dice = self._random.random()
        common = {"signal_id": signal_id, "reason": "chaos"}
        if dice < 0.1:
            symbol = self._random.choice(RESTING)
            limit = str(self._rests_at[symbol])
            return {**common, "symbol": symbol, "side": "buy", "qty": 1, "type": "limit", "limit_price": limit}
        symbol = COIN if dice < 0.2 else self._random.choice(BOUGHT_AND_SOLD)
        turn = self._turns[symbol] = self._turns.get(symbol, -1) + 1
        side = "buy" if turn // A_TURN % 2 == 0 else "sell"
        return {**common, "symbol": symbol, "side": side, "qty": "0.001" if symbol == COIN else 1}

    async def _post(self, body: Row) -> None:
        """Ask until the answer is definite."""
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            try:
                async with self._http.post(f"{self._url}/api/v1/trading/signal", json=body) as answer:
                    text, status = await answer.text(), answer.status
            except (aiohttp.ClientError, TimeoutError, OSError):
                status, text = 0, ""
            if status == 202:
                self.sent.latencies_s.append(loop.time() - asked)
                order_id = json.loads(text)["id"]
                self.sent.answers.setdefault(body["signal_id"], set()).add(order_id)
                if body["symbol"] in RESTING and self._random.random() < 0.8:
                    self._start(self._cancels, self._cancel(order_id))
                return
            if status not in {0, 503}:
                self.sent.refused.append((body["signal_id"], status, text))
                return
            self.sent.retries += 1
            await asyncio.sleep(self._random.uniform(0.2, 1.0))

    async def _cancel(self, order_id: str) -> None:
        """Ask until the order has ended: a cancel that was taken may still be answered by a dead engine."""
        await asyncio.sleep(self._random.uniform(0.1, CANCELLED_WITHIN_S))
        self.sent.cancels += 1
        while True:
            try:
                async with self._http.delete(f"{self._url}/api/v1/trading/orders/{order_id}") as answer:
                    if answer.status in {202, 409}:
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(self._random.uniform(0.2, 1.0))

    async def _add(self, body: Row) -> None:
        while True:
            try:
                await self._redis.xadd("trade_signals", {"signal": json.dumps(body)})
                return
            except (RedisError, OSError, TimeoutError):
                self.sent.retries += 1
                await asyncio.sleep(self._random.uniform(0.2, 1.0))
