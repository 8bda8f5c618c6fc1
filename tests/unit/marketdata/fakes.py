"""A scripted broker's market data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from oms.domain.errors import BrokerError, BrokerRefused
from oms.domain.instruments import Instrument
from oms.domain.market import Tick, Trade
from oms.domain.values import AssetClass

STOCK, CRYPTO = AssetClass.STOCK, AssetClass.CRYPTO
EARLIER = datetime(2026, 1, 5, tzinfo=UTC)  # REST knows nothing newer than what a test streams


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def one(symbol: str) -> Instrument:
    return Instrument(symbol, CRYPTO if "/" in symbol else STOCK, "")


def tick(symbol: str, price: int = 1) -> Trade:
    return Trade(symbol, Decimal(price), Decimal(1), datetime.now(UTC))


@dataclass
class FakeStream:
    frames: asyncio.Queue[Sequence[Tick] | BrokerError] = field(default_factory=asyncio.Queue)
    followed: list[frozenset[str]] = field(default_factory=list)
    symbols_max: int = 1000

    async def follow(self, symbols: frozenset[str]) -> None:
        if len(symbols) > self.symbols_max:
            raise BrokerRefused(405, 405, "symbol limit exceeded")
        self.followed.append(symbols)

    async def __aiter__(self) -> AsyncIterator[Sequence[Tick]]:
        while True:
            frame = await self.frames.get()
            if isinstance(frame, BrokerError):
                raise frame
            yield frame


@dataclass
class FakeData:
    """Streams by asset class; `refusal` is raised on connecting; `latest` answers the symbols' ticks."""

    streams: dict[AssetClass, list[FakeStream]] = field(default_factory=lambda: {STOCK: [], CRYPTO: []})
    open: int = 0
    refusal: BrokerError | None = None
    symbols_max: int = 1000
    asked: list[tuple[str, ...]] = field(default_factory=list)
    answer: Callable[[str], Sequence[Tick]] = lambda symbol: [replace(tick(symbol), at=EARLIER)]
    error: BrokerError | None = None
    gate: asyncio.Event | None = None

    @asynccontextmanager
    async def stream(self, asset_class: AssetClass) -> AsyncIterator[FakeStream]:
        if self.refusal is not None:
            raise self.refusal
        stream = FakeStream(symbols_max=self.symbols_max)
        self.streams[asset_class].append(stream)
        self.open += 1
        try:
            yield stream
        finally:
            self.open -= 1

    async def latest(self, instruments: Iterable[Instrument]) -> Sequence[Tick]:
        symbols = tuple(instrument.symbol for instrument in instruments)
        self.asked.append(symbols)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [answer for symbol in symbols for answer in self.answer(symbol)]

    async def close(self) -> None: ...
