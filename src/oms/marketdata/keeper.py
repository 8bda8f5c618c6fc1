"""One data stream kept open: connect, follow, read, and again after a loss."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from oms.domain.errors import BrokerError, BrokerRefused
from oms.domain.market import Tick
from oms.domain.values import AssetClass
from oms.marketdata.prices import PriceBook
from oms.ports import Clock, MarketData, TickStream

BACKOFF_S = (0.25, 30.0)
REFUSALS_FIRST = 3  # a refusal does not go away in a moment: its backoff begins at 2 s
STEADY_S = 10.0  # a connection that lived so long was a good one
SYMBOL_LIMIT = 405
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """One stream. `last_message_age_s` is None before the first message; `losses` counts connections that ended."""

    asset_class: AssetClass
    connected: bool
    followed: int
    last_message_age_s: float | None
    refused: bool
    losses: int
    last_error: str | None


class StreamKeeper:
    """Keeps the stream of one asset class following what is wanted; connects only when anything is.

    `on_ticks` gets each frame's ticks (they are in the book already), `on_followed` the symbols newly carried,
    `on_limit` how many symbols the stream was asked to follow when it said that they are too many.
    """

    def __init__(
        self,
        asset_class: AssetClass,
        data: MarketData,
        book: PriceBook,
        clock: Clock,
        rng: random.Random,
        *,
        on_ticks: Callable[[Sequence[Tick]], None],
        on_followed: Callable[[frozenset[str]], None],
        on_limit: Callable[[AssetClass, int], None],
    ) -> None:
        self._asset_class = asset_class
        self._data = data
        self._book = book
        self._clock = clock
        self._rng = rng
        self._on_ticks = on_ticks
        self._on_followed = on_followed
        self._on_limit = on_limit
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._connected = False
        self._refused = False
        self._losses = 0
        self._failures = 0
        self._asked_to_follow = 0
        self._last_error: str | None = None
        self._last_message_at: float | None = None

    def want(self, symbols: frozenset[str]) -> None:
        """Follow just these from now on."""
        if symbols != self._wanted:
            self._wanted = symbols
            self._changed.set()

    async def run(self) -> None:
        """Keep it, until cancelled."""
        try:
            while True:
                while not self._wanted:
                    self._changed.clear()
                    await self._changed.wait()
                await self._keep_once()
                low, high = BACKOFF_S
                await asyncio.sleep(self._rng.uniform(0, min(high, low * 2 ** min(self._failures, 10))))
        finally:
            self._lost()

    def health(self) -> StreamHealth:
        """How it is doing."""
        last = self._last_message_at
        return StreamHealth(
            self._asset_class,
            self._connected,
            len(self._book.live(self._asset_class)),
            None if last is None else self._clock.monotonic() - last,
            self._refused,
            self._losses,
            self._last_error,
        )

    async def _keep_once(self) -> None:
        """One connection from beginning to end; its end is noted, and how long to wait follows from it."""
        started = self._clock.monotonic()
        try:
            async with self._data.stream(self._asset_class) as stream:
                self._connected = True
                await self._serve(stream)
            error: Exception | None = None
        except BrokerRefused as refused:
            error = refused
            self._refused = True
            self._failures = max(self._failures, REFUSALS_FIRST)
            if SYMBOL_LIMIT in {refused.code, refused.status} and self._asked_to_follow:
                self._on_limit(self._asset_class, self._asked_to_follow)
        except BrokerError as lost:
            error = lost
        except Exception as unexpected:  # noqa: BLE001 - the task's edge: one odd frame must not end the prices
            _log.exception("data stream failed", asset_class=self._asset_class)
            error = unexpected
        if self._connected and self._clock.monotonic() - started >= STEADY_S:
            self._failures = 0
        self._failures += 1
        text = str(error) if error else "the stream ended"
        if text != self._last_error:
            _log.warning("data stream lost", asset_class=self._asset_class, error=text)
        self._last_error = text
        self._lost()

    async def _serve(self, stream: TickStream) -> None:
        """Read and follow at the same time; whichever ends first ends both."""
        tasks = [
            asyncio.create_task(self._follow(stream), name=f"follow {self._asset_class}"),
            asyncio.create_task(self._read(stream), name=f"read {self._asset_class}"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        # A refusal says more than the loss that comes with it.
        errors = [error for task in done if not task.cancelled() and (error := task.exception()) is not None]
        for error in sorted(errors, key=lambda one: not isinstance(one, BrokerRefused)):
            raise error

    async def _follow(self, stream: TickStream) -> None:
        while True:
            self._changed.clear()
            wanted = self._wanted
            self._asked_to_follow = len(wanted)
            await stream.follow(wanted)
            before = self._book.live(self._asset_class)
            self._book.set_live(self._asset_class, wanted)
            self._on_followed(wanted - before)
            self._back()
            await self._changed.wait()

    async def _read(self, stream: TickStream) -> None:
        async for ticks in stream:
            self._last_message_at = self._clock.monotonic()
            self._book.apply(ticks)
            self._on_ticks(ticks)

    def _back(self) -> None:
        if self._last_error is not None:
            _log.info("data stream is back", asset_class=self._asset_class)
        self._refused, self._last_error = False, None

    def _lost(self) -> None:
        if self._connected:
            self._losses += 1
        self._connected = False
        self._book.stream_lost(self._asset_class)
