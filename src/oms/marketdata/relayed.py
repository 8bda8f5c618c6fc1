"""The engine's prices: from an `oms feed` through Redis while one runs, from a feed of its own otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from oms.domain.instruments import Instrument
from oms.domain.market import Tick
from oms.marketdata import relay_wire as wire
from oms.marketdata.feed import Feed, FeedHealth
from oms.ports import Clock
from oms.waiting import ended

SILENCE_MAX_S = 5.0  # a feed beats every second
_log = structlog.get_logger(__name__)


class RelayedFeed:
    """A `PriceFeed` that runs the engine's own feed only while no other process feeds the account.

    Both fill the same book. `on_ticks` gets relayed ticks; the own feed has a callback of its own. Without Redis
    nothing can be relayed, so the own feed runs.
    """

    def __init__(
        self,
        feed: Feed,
        url: str,
        account_id: UUID,
        clock: Clock,
        *,
        on_ticks: Callable[[Sequence[Tick]], None] | None = None,
        timeout_s: float = 2.0,
    ) -> None:
        self._feed = feed
        self._redis = wire.connection(url, timeout_s)
        self._channel = wire.channel_of(account_id)
        self._feed_key = wire.feed_key_of(account_id)
        self._follow_key = wire.follow_key_of(account_id)
        self._clock = clock
        self._on_ticks = on_ticks
        self._own: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._last_error: str | None = None

    @property
    def is_relayed(self) -> bool:
        """Whether prices come from another process at present."""
        return self._listening is not None

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Follow just these from now on, the important ones first; a feed elsewhere learns it within a second."""
        self._feed.follow(instruments)

    async def ask(self, instruments: Iterable[Instrument]) -> None:
        """Ask REST for these now. Raises BrokerError."""
        await self._feed.ask(instruments)

    async def run(self) -> None:
        """Look every second where prices come from, until cancelled."""
        try:
            while True:
                await self._switch(relayed=await self._is_fed())
                await asyncio.sleep(wire.BEAT_S)
        finally:
            await self._end(self._own)
            await self._end(self._listening)
            self._own = self._listening = None

    def health(self) -> FeedHealth:
        """The own feed's; `relayed` says that another process streams."""
        health = self._feed.health()
        if not self.is_relayed:
            return health
        return replace(health, relayed=True, polled=0, last_error=self._last_error)

    async def close(self) -> None:
        """Close the connections."""
        await self._feed.close()
        await self._redis.aclose()

    async def _is_fed(self) -> bool:
        """Say what to follow, and learn whether a feed is alive."""
        symbols = [instrument.symbol for instrument in self._feed.followed]
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._follow_key, wire.encode_symbols(symbols), ex=wire.FOLLOW_TTL_S)
                pipe.exists(self._feed_key)
                answers = await pipe.execute()
        except (RedisError, OSError) as error:
            self._note(error)
            return False
        return bool(answers[1])

    async def _switch(self, *, relayed: bool) -> None:
        for task in (self._own, self._listening):
            if task is not None and task.done() and not task.cancelled() and (error := task.exception()):
                _log.error("price source ended", error=str(error))
        if relayed:
            if self._own is not None:
                _log.info("prices come from another process now: own data streams closed")
            await self._end(self._own)
            self._own = None
            if self._listening is None or self._listening.done():
                self._listening = asyncio.create_task(self._listen(), name="relayed prices")
        else:
            if self._listening is not None:
                _log.info("no feed is running: own data streams opened")
            await self._end(self._listening)
            self._listening = None
            if self._own is None or self._own.done():
                self._own = asyncio.create_task(self._feed.run(), name="own feed")

    async def _listen(self) -> None:
        while True:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(self._channel)
                await self._receive(pubsub)
            except (RedisError, OSError) as error:
                self._note(error)
                await asyncio.sleep(wire.BEAT_S)
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _receive(self, pubsub: PubSub) -> None:
        """Take in what comes; returns when nothing came for so long that the connection must be mute."""
        last_at = self._clock.monotonic()
        while self._clock.monotonic() - last_at < SILENCE_MAX_S:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=wire.BEAT_S)
            if message is None:
                continue
            last_at = self._clock.monotonic()
            try:
                ticks, held = wire.decode(message["data"])
            except ValueError as error:
                self._note(error)
                continue
            self._last_error = None
            self._take(ticks, held)

    def _take(self, ticks: Sequence[Tick], held: Sequence[tuple[float, Tick]]) -> None:
        book = self._feed.book
        book.apply(ticks)
        now = self._clock.monotonic()
        new = list(ticks)
        for age, tick in held:
            new += book.apply_asked((tick,), now - age)
        if new and self._on_ticks is not None:
            self._on_ticks(new)

    async def _end(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            await ended([task])

    def _note(self, error: Exception) -> None:
        if str(error) != self._last_error:
            _log.warning("relayed prices disturbed", error=str(error))
        self._last_error = str(error)
