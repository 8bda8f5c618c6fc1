"""Ticks on their way to the archive: a bounded queue that never blocks who fills it, emptied four times a second."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

import structlog

from oms.domain.errors import Unavailable
from oms.domain.market import Tick
from oms.ports import Clock

TICKS_MAX = 200_000
BATCH_MAX = 2_000  # 4 ms of building rows, in which the event loop has to share the interpreter
FLUSH_S = 0.25
BACKOFF_S = (0.25, 10.0)
_log = structlog.get_logger(__name__)


class NumberedArchive(Protocol):
    """Where ticks go: the same numbers written again change nothing."""

    def number(self, count: int) -> int:
        """The first of `count` numbers that follow each other."""

    async def write_numbered(self, first_seq: int, ticks: Sequence[Tick]) -> None:
        """Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class WriterHealth:
    """Counts since the start; `queued` now. `last_error` is None while writing works."""

    queued: int
    written: int
    dropped: int
    last_error: str | None
    last_write_at: datetime | None


class TickWriter:
    """Takes ticks from a stream and writes them to the archive, in order, each once.

    While the archive is away it tries again with backoff and keeps at most `ticks_max`; then the oldest give way.
    """

    def __init__(
        self,
        archive: NumberedArchive,
        clock: Clock,
        rng: random.Random,
        *,
        ticks_max: int = TICKS_MAX,
        flush_s: float = FLUSH_S,
        batch_max: int = BATCH_MAX,
    ) -> None:
        self._archive = archive
        self._clock = clock
        self._rng = rng
        self._ticks_max = ticks_max
        self._flush_s = flush_s
        self._batch_max = batch_max
        self._queue: deque[Tick] = deque()
        self._queue_seq = 0  # the number of the queue's first tick; the others follow
        self._flying: tuple[int, list[Tick]] | None = None  # a batch that may or may not have been written
        self._written = 0
        self._dropped = 0
        self._failures = 0
        self._last_error: str | None = None
        self._last_write_at: datetime | None = None

    def put(self, ticks: Sequence[Tick]) -> None:
        """Queue ticks. Never blocks, never fails; where there is no room the oldest are dropped and counted."""
        first = self._archive.number(len(ticks))
        if not self._queue:
            self._queue_seq = first
        elif first != self._queue_seq + len(self._queue):
            # Somebody else took numbers in between: the queue's own are still unused, so it moves up behind them.
            self._queue_seq = self._archive.number(len(self._queue) + len(ticks))
        self._queue.extend(ticks)
        flying = len(self._flying[1]) if self._flying else 0
        excess = len(self._queue) + flying - self._ticks_max
        for _ in range(min(excess, len(self._queue))):
            self._queue.popleft()
            self._queue_seq += 1
            self._dropped += 1

    async def run(self) -> None:
        """Write what gathers, until cancelled."""
        while True:
            await asyncio.sleep(self._flush_s)
            try:
                while await self._write_batch():
                    pass
            except Unavailable as error:
                self._note(error)
                low, high = BACKOFF_S
                await asyncio.sleep(self._rng.uniform(0, min(high, low * 2 ** min(self._failures, 10))))
            except Exception as error:  # noqa: BLE001 - the task's edge: ticks of one kind must not end the archive
                _log.exception("tick batch dropped")
                self._note(error)
                self._dropped += len(self._flying[1]) if self._flying else 0
                self._flying = None

    async def close(self, patience_s: float = 2.0) -> None:
        """Write what is left, if it goes within `patience_s`. `run` must have ended."""
        try:
            async with asyncio.timeout(patience_s):
                while await self._write_batch():
                    pass
        except (Unavailable, TimeoutError) as error:
            _log.warning("ticks not written at the end", count=self.health().queued, error=str(error))

    def health(self) -> WriterHealth:
        """How it is doing."""
        flying = len(self._flying[1]) if self._flying else 0
        return WriterHealth(
            len(self._queue) + flying, self._written, self._dropped, self._last_error, self._last_write_at
        )

    async def _write_batch(self) -> bool:
        """Write one batch; whether it was a full one, so that there may be more. Raises Unavailable."""
        if self._flying is None:
            if not self._queue:
                return False
            count = min(len(self._queue), self._batch_max)
            self._flying = (self._queue_seq, list(islice(self._queue, count)))
            for _ in range(count):
                self._queue.popleft()
            self._queue_seq += count
        first, ticks = self._flying
        await self._archive.write_numbered(first, ticks)
        self._flying = None
        self._written += len(ticks)
        self._last_write_at = self._clock.now()
        if self._last_error is not None:
            _log.info("archive is back", queued=len(self._queue), dropped=self._dropped)
        self._failures, self._last_error = 0, None
        return len(ticks) == self._batch_max

    def _note(self, error: Exception) -> None:
        if self._last_error is None:
            _log.warning("ticks not written", error=str(error), queued=self.health().queued)
        self._failures += 1
        self._last_error = str(error)
