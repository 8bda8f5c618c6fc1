"""Alpaca's market data behind the port `MarketData`: the latest quotes and trades by REST, and its request budget."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import msgspec

from oms.broker import ticks, wire
from oms.broker.advice import about_prices
from oms.broker.tickstream import AlpacaTickStream, connected
from oms.broker.transport import T, Transport, advise
from oms.broker.wire import Unreadable
from oms.domain.errors import BrokerBusy, BrokerRefused, BrokerUnknown
from oms.domain.instruments import Instrument
from oms.domain.market import Tick
from oms.domain.values import AssetClass
from oms.ports import Clock, Purpose

SYMBOLS_PER_REQUEST = 200
REQUESTS_PER_MINUTE = 200
_WINDOW_S = 60.0


@dataclass(slots=True)
class DataBudget:
    """The data API's own limit, apart from the trading API's: so many requests within any minute.

    It never waits: a price that comes a minute late is of no use, so what is beyond it is BrokerBusy.
    """

    clock: Clock
    per_minute: int = REQUESTS_PER_MINUTE
    _sent: deque[float] = field(default_factory=deque)
    _shut_until: float = 0.0

    async def acquire(self, purpose: Purpose) -> None:
        """Count one more request. Raises BrokerBusy when the minute's are used up."""
        now = self.clock.monotonic()
        while self._sent and self._sent[0] <= now - _WINDOW_S:
            self._sent.popleft()
        free_at = self._shut_until
        if len(self._sent) >= self.per_minute:
            free_at = max(free_at, self._sent[0] + _WINDOW_S)
        if free_at > now:
            raise BrokerBusy("the request budget for market data is used up", free_at - now)
        self._sent.append(now)

    def observe(self, limit: int, remaining: int, resets_in_s: float) -> None:
        """What the headers say is not needed: the window is stricter, and 429 is obeyed."""

    def refused(self, retry_after_s: float | None) -> None:
        """The broker answered 429: ask nothing until it said (5 s where it did not)."""
        self._shut_until = self.clock.monotonic() + (5.0 if retry_after_s is None else retry_after_s)


class AlpacaMarketData:
    """Quotes and trades of stocks and coins. `feed` is the stocks' feed: iex or sip."""

    def __init__(self, transport: Transport, feed: str) -> None:
        self._transport = transport
        self._feed = feed

    def stream(self, asset_class: AssetClass) -> AbstractAsyncContextManager[AlpacaTickStream]:
        """Connect and authenticate, one attempt. Raises BrokerUnauthorized, BrokerRefused (406), BrokerUnknown."""
        path = "/v1beta3/crypto/us" if asset_class is AssetClass.CRYPTO else f"/v2/{self._feed}"
        return connected(self._transport, path)

    async def latest(self, instruments: Iterable[Instrument]) -> Sequence[Tick]:
        """Latest quotes and trades of the symbols, as many as there are: two requests for 200 symbols of a class.

        Raises BrokerError; BrokerBusy also when the budget of our own is used up.
        """
        stocks: dict[str, None] = {}
        coins: dict[str, None] = {}
        for instrument in instruments:
            (coins if instrument.is_crypto else stocks)[instrument.symbol] = None
        answers = await asyncio.gather(
            *(self._latest_stocks(symbols) for symbols in _chunks(list(stocks))),
            *(self._latest_coins(symbols) for symbols in _chunks(list(coins))),
        )
        return [tick for answer in answers for tick in answer]

    async def close(self) -> None:
        """Drop all connections."""
        await self._transport.close()

    async def _latest_stocks(self, symbols: Sequence[str]) -> list[Tick]:
        query = {"symbols": ",".join(symbols), "feed": self._feed}
        return await self._latest("/v2/stocks/quotes/latest", "/v2/stocks/trades/latest", query, symbols)

    async def _latest_coins(self, symbols: Sequence[str]) -> list[Tick]:
        query = {"symbols": ",".join(symbols)}
        path = "/v1beta3/crypto/us/latest"
        return await self._latest(f"{path}/quotes", f"{path}/trades", query, symbols)

    async def _latest(
        self, quotes_path: str, trades_path: str, query: Mapping[str, str], symbols: Sequence[str]
    ) -> list[Tick]:
        quotes, trades = await asyncio.gather(
            self._get(wire.LATEST_QUOTES, quotes_path, query), self._get(wire.LATEST_TRADES, trades_path, query)
        )
        try:
            return ticks.latest(quotes.quotes, trades.trades, symbols)
        except Unreadable as error:
            raise BrokerUnknown(f"GET {quotes_path}: the answer cannot be read: {error}") from None

    async def _get(self, decoder: msgspec.json.Decoder[T], path: str, query: Mapping[str, str]) -> T:
        try:
            return await self._transport.fetch(decoder, "GET", path, Purpose.RECONCILE, query=query)
        except BrokerRefused as error:
            advise(error, about_prices(error.message))
            raise


def _chunks(symbols: Sequence[str]) -> list[Sequence[str]]:
    return [symbols[start : start + SYMBOLS_PER_REQUEST] for start in range(0, len(symbols), SYMBOLS_PER_REQUEST)]
