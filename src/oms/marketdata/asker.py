"""The latest prices by REST, asked at most once at a time for a symbol however many want them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from oms.domain.errors import BrokerUnknown
from oms.domain.instruments import Instrument
from oms.domain.market import Tick
from oms.marketdata.prices import PriceBook
from oms.ports import Clock, MarketData


class Asker:
    """Asks for quotes and trades in batches and puts the answers into the book."""

    def __init__(
        self, data: MarketData, book: PriceBook, clock: Clock, on_new: Callable[[Sequence[Tick]], None]
    ) -> None:
        self._data = data
        self._book = book
        self._clock = clock
        self._on_new = on_new
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def ask(self, instruments: Iterable[Instrument], *, join: bool = True) -> None:
        """Return when the book has answers for all of them, as far as there are any. Raises BrokerError.

        A symbol that is being asked for is waited for (unless not to `join`: the question must be one of now), the
        others are asked in one batch. A caller that is cancelled leaves the question to those who wait with it.
        """
        wanted = {instrument.symbol: instrument for instrument in instruments}
        new = [instrument for symbol, instrument in wanted.items() if not join or symbol not in self._asking]
        if new:
            task = asyncio.create_task(self._ask(new), name="ask for prices")
            self._asking.update((instrument.symbol, task) for instrument in new)
            task.add_done_callback(self._done)
        tasks = {self._asking[symbol] for symbol in wanted}
        if tasks:
            # Not gather: cancelled, it would take the others' question with it.
            await asyncio.wait(tasks)
        for task in tasks:
            if task.cancelled():
                raise BrokerUnknown("The feed was closed while prices were being asked for.")
            task.result()

    async def close(self) -> None:
        """Give up what is being asked."""
        tasks = set(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, instruments: Sequence[Instrument]) -> None:
        asked_at = self._clock.monotonic()
        ticks = await self._data.latest(instruments)
        new = self._book.apply_asked(ticks, asked_at)
        if new:
            self._on_new(new)

    def _done(self, task: asyncio.Task[None]) -> None:
        for symbol in [symbol for symbol, asking in self._asking.items() if asking is task]:
            del self._asking[symbol]
        if not task.cancelled():
            task.exception()  # told to those who wait; nobody may be left to hear it
