"""`oms feed` alone: a feed whose prices go to the engine of its account through Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from uuid import UUID, uuid4

import structlog
from redis.exceptions import RedisError

from oms.domain.instruments import Instrument
from oms.domain.market import Tick
from oms.domain.values import AssetClass
from oms.marketdata import relay_wire as wire
from oms.marketdata.feed import Feed
from oms.ports import Clock
from oms.waiting import ended

TICKS_MAX = 20_000
TICKS_TO_MESSAGE = 500
GATHER_S = 0.02
RELEASE_S = 2.5  # the engine looks at the key every second, then lets its own connection go
_log = structlog.get_logger(__name__)


def instrument_of(symbol: str) -> Instrument:
    """What market data needs of an instrument, from its canonical symbol."""
    return Instrument(symbol, AssetClass.CRYPTO if "/" in symbol else AssetClass.STOCK, broker_asset_id="")


class PriceRelay:
    """Runs a feed as the account's only one, following what the engine asks for, and passes its ticks on.

    `publish` is the feed's `on_ticks`. Redis may go at any moment: the feed goes on (for the archive), what could not
    be passed on is dropped (`dropped`), and what is held is said again every second.
    """

    def __init__(
        self,
        url: str,
        account_id: UUID,
        clock: Clock,
        *,
        instrument_of: Callable[[str], Instrument] = instrument_of,
        timeout_s: float = 2.0,
    ) -> None:
        self._redis = wire.connection(url, timeout_s)
        self._channel = wire.channel_of(account_id)
        self._feed_key = wire.feed_key_of(account_id)
        self._follow_key = wire.follow_key_of(account_id)
        self._clock = clock
        self._instrument_of = instrument_of
        self._name = uuid4().hex.encode()
        self._owner: bytes | str | None = None
        self._queue: deque[Tick] = deque()
        self._gathered = asyncio.Event()
        self._follow_seen_at = clock.monotonic()
        self.dropped = 0
        self.last_error: str | None = None

    def publish(self, ticks: Sequence[Tick]) -> None:
        """Pass ticks on. Never blocks; beyond 20,000 waiting the oldest are dropped."""
        self._queue.extend(ticks)
        while len(self._queue) > TICKS_MAX:
            self._queue.popleft()
            self.dropped += 1
        self._gathered.set()

    async def run(self, feed: Feed) -> None:
        """Be the account's feed until cancelled; while another process is, wait."""
        while True:
            if await self._take_key():
                await self._serve(feed)
            await asyncio.sleep(wire.BEAT_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _serve(self, feed: Feed) -> None:
        """Feed until another process has the key."""
        tasks = [asyncio.create_task(self._beat(feed), name="relay beat")]
        try:
            await asyncio.wait(tasks, timeout=RELEASE_S)
            tasks.append(asyncio.create_task(self._publish(), name="relay ticks"))
            tasks.append(asyncio.create_task(feed.run(), name="feed"))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await ended(tasks)
            # The engine takes over at once instead of after three seconds.
            with contextlib.suppress(RedisError, OSError):
                if await self._redis.get(self._feed_key) == self._name:
                    await self._redis.delete(self._feed_key)

    async def _take_key(self) -> bool:
        """Whether the account's feed is us; `_owner` is who it is, None where Redis did not say."""
        self._owner = None
        try:
            await self._redis.set(self._feed_key, self._name, nx=True, ex=wire.FEED_TTL_S)
            self._owner = await self._redis.get(self._feed_key)
        except (RedisError, OSError) as error:
            self._note(error)
            return False
        if self._owner not in {None, self._name}:
            self._note(RuntimeError(f"another feed of this account is running ({self._feed_key})"))
        return self._owner == self._name

    async def _beat(self, feed: Feed) -> None:
        """Keep the key and say what is held, every second; returns when the key is another's."""
        while True:
            try:
                if not await self._take_key():
                    if self._owner not in {None, self._name}:
                        return
                else:
                    await self._beat_once(feed)
                    self.last_error = None
            except (RedisError, OSError) as error:
                self._note(error)
            except Exception as error:  # noqa: BLE001 - the task's edge: the key must be kept alive
                _log.exception("relay beat failed")
                self._note(error)
            await asyncio.sleep(wire.BEAT_S)

    async def _beat_once(self, feed: Feed) -> None:
        followed = {instrument.symbol for instrument in feed.followed}
        held = [(age, tick) for age, tick in feed.book.held() if tick.symbol in followed]
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(self._feed_key, self._name, ex=wire.FEED_TTL_S)
            pipe.get(self._follow_key)
            for start in range(0, max(len(held), 1), TICKS_TO_MESSAGE):
                pipe.publish(self._channel, wire.encode_held(held[start : start + TICKS_TO_MESSAGE]))
            answers = await pipe.execute()
        self._follow(feed, answers[1])

    def _follow(self, feed: Feed, payload: bytes | None) -> None:
        """Follow what the key says; its absence counts only when it lasts (Redis may have been emptied)."""
        now = self._clock.monotonic()
        if payload is None:
            if now - self._follow_seen_at > wire.FOLLOW_TTL_S:
                feed.follow(())
            return
        self._follow_seen_at = now
        try:
            symbols = wire.decode_symbols(payload)
        except ValueError as error:
            self._note(error)
            return
        feed.follow([self._instrument_of(symbol) for symbol in symbols])

    async def _publish(self) -> None:
        while True:
            await self._gathered.wait()
            await asyncio.sleep(GATHER_S)
            self._gathered.clear()
            while self._queue:
                count = min(len(self._queue), TICKS_TO_MESSAGE)
                part = list(islice(self._queue, count))
                for _ in part:
                    self._queue.popleft()
                try:
                    await self._redis.publish(self._channel, wire.encode_ticks(part))
                except (RedisError, OSError) as error:
                    # Old prices are of no use later: the next beat tells what is held then.
                    self.dropped += len(part) + len(self._queue)
                    self._queue.clear()
                    self._note(error)

    def _note(self, error: Exception) -> None:
        if str(error) != self.last_error:
            _log.warning("relay disturbed", error=str(error))
        self.last_error = str(error)
