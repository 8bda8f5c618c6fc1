"""Prices of a changing set of instruments: streamed where a stream carries them, asked for by REST where not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from oms.domain.errors import BrokerBusy, BrokerError
from oms.domain.instruments import Instrument
from oms.domain.market import Tick
from oms.domain.values import AssetClass
from oms.marketdata.asker import Asker
from oms.marketdata.keeper import StreamHealth, StreamKeeper
from oms.marketdata.plan import SYMBOLS_MAX, Plan, planned
from oms.marketdata.prices import PriceBook
from oms.ports import Clock, MarketData

POLL_S = 3.0
POLL_BACKOFF_MAX_S = 60.0
_log = structlog.get_logger(__name__)


class TickSink(Protocol):
    """What keeps ticks (TickWriter). Never blocks."""

    def put(self, ticks: Sequence[Tick]) -> None: ...


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """`polled`: how many symbols are asked for by REST at present; `price_age_s`: since anything was received."""

    streams: Mapping[AssetClass, StreamHealth]
    followed: int
    polled: int
    price_age_s: float | None
    last_error: str | None
    relayed: bool = False

    @property
    def trouble(self) -> str:
        """Everything that is the matter, in one line; empty when all is well."""
        lines = [
            f"{asset_class} stream: {stream.last_error}"
            for asset_class, stream in self.streams.items()
            if stream.last_error and not stream.connected
        ]
        if self.last_error:
            lines.append(f"prices by REST: {self.last_error}")
        return "; ".join(lines)


class PriceFeed(Protocol):
    """What the engine sees of prices, wherever they come from (Feed, RelayedFeed)."""

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Follow just these from now on, the important ones first. Cheap when nothing changes."""

    async def ask(self, instruments: Iterable[Instrument]) -> None:
        """Have the book know prices of now. Raises BrokerError."""

    async def run(self) -> None:
        """Work until cancelled."""

    def health(self) -> FeedHealth: ...

    async def close(self) -> None: ...


class Feed:
    """One data connection for each asset class that is wanted, at most `symbols_max` symbols over all of them.

    `on_ticks` is called with every frame, after the book has it and `sink` keeps it; of what REST answers, with what
    was new. It must not block.
    """

    def __init__(
        self,
        data: MarketData,
        book: PriceBook,
        clock: Clock,
        rng: random.Random,
        *,
        sink: TickSink | None = None,
        on_ticks: Callable[[Sequence[Tick]], None] | None = None,
        symbols_max: int = SYMBOLS_MAX,
        poll_s: float = POLL_S,
    ) -> None:
        self.book = book
        self._clock = clock
        self._rng = rng
        self._sink = sink
        self._on_ticks = on_ticks
        self._symbols_max = symbols_max
        self._poll_s = poll_s
        self._limits: dict[AssetClass, int] = {}
        self._plan: Plan = planned((), symbols_max, {})
        self._asker = Asker(data, book, clock, self._pass_on)
        self._poll_now = asyncio.Event()
        self._last_error: str | None = None
        self._keepers = {
            asset_class: StreamKeeper(
                asset_class,
                data,
                book,
                clock,
                rng,
                on_ticks=self._pass_on,
                on_followed=self._on_followed,
                on_limit=self._on_limit,
            )
            for asset_class in AssetClass
        }
        # Newly carried symbols are asked for once: what came before the subscription is missing in the stream.
        self._to_seed: set[str] = set()

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Follow just these from now on, the important ones first. Cheap when nothing changes."""
        if tuple(instruments) != self._plan.followed:
            self._replan(instruments)

    @property
    def followed(self) -> Sequence[Instrument]:
        """What is followed, each once."""
        return self._plan.followed

    async def ask(self, instruments: Iterable[Instrument]) -> None:
        """Ask REST for these now, together with whoever asks for the same. Raises BrokerError."""
        await self._asker.ask(instruments)

    async def run(self) -> None:
        """Stream and poll until cancelled; may be run again afterwards."""
        tasks = [asyncio.create_task(keeper.run(), name=f"stream {name}") for name, keeper in self._keepers.items()]
        tasks.append(asyncio.create_task(self._poll(), name="poll prices"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give up what is being asked. `run` must have ended; what it is given to is closed by who made it."""
        await self._asker.close()

    def health(self) -> FeedHealth:
        """How it is doing."""
        return FeedHealth(
            {asset_class: keeper.health() for asset_class, keeper in self._keepers.items()},
            len(self._plan.followed),
            len(self._not_live()),
            self.book.newest_age_s(),
            self._last_error,
        )

    def _replan(self, instruments: Sequence[Instrument]) -> None:
        self._plan = planned(instruments, self._symbols_max, self._limits)
        for asset_class, symbols in self._plan.streamed.items():
            self._keepers[asset_class].want(symbols)
        if self._not_live():
            self._poll_now.set()

    def _on_followed(self, symbols: frozenset[str]) -> None:
        self._to_seed |= symbols
        self._poll_now.set()

    def _on_limit(self, asset_class: AssetClass, followed: int) -> None:
        """The stream does not take that many: half of them, the first ones, the rest by REST."""
        self._limits[asset_class] = followed // 2
        _log.warning("data stream takes fewer symbols", asset_class=asset_class, symbols_max=followed // 2)
        self._replan(self._plan.followed)

    def _pass_on(self, ticks: Sequence[Tick]) -> None:
        if self._sink is not None:
            self._sink.put(ticks)
        if self._on_ticks is not None:
            self._on_ticks(ticks)

    def _not_live(self) -> list[Instrument]:
        return [one for one in self._plan.followed if one.symbol not in self.book.live(one.asset_class)]

    async def _poll(self) -> None:
        """Ask for what no stream carries, every few seconds, and at once for what has just been added."""
        failures = 0
        while True:
            if self._to_seed and not self._not_live():
                # The broker takes a moment to begin after it was told to: an earlier answer would leave a gap.
                await asyncio.sleep(self._poll_s / 10)
            wanted = self._not_live()
            wanted += [one for one in self._plan.followed if one.symbol in self._to_seed and one not in wanted]
            self._to_seed.clear()
            self._poll_now.clear()
            if not wanted:
                await self._poll_now.wait()
                continue
            wait_s = self._poll_s
            try:
                # Not joined: a question from before the subscription would not tell what was missed.
                await self._asker.ask(wanted, join=False)
                failures, self._last_error = 0, None
            except BrokerError as error:
                failures += 1
                wait_s = self._after_failure(error, failures)
            except Exception as error:  # noqa: BLE001 - the task's edge: one odd answer must not end the prices
                _log.exception("asking for prices failed")
                failures += 1
                wait_s = self._after_failure(error, failures)
            if failures:
                self._to_seed |= {one.symbol for one in wanted}
            await self._pause(wait_s, interruptible=not failures)

    def _after_failure(self, error: Exception, failures: int) -> float:
        """How long to wait after a failed poll, in seconds."""
        if str(error) != self._last_error:
            _log.warning("prices not answered", error=str(error))
        self._last_error = str(error)
        asked_s = error.retry_after_s if isinstance(error, BrokerBusy) else None
        longest = min(POLL_BACKOFF_MAX_S, self._poll_s * 2 ** min(failures - 1, 10))
        return max(asked_s or 0.0, self._rng.uniform(self._poll_s / 2, longest))

    async def _pause(self, wait_s: float, *, interruptible: bool) -> None:
        if not interruptible:
            await asyncio.sleep(wait_s)
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._poll_now.wait()
        except TimeoutError:
            pass
