"""Ticks in QuestDB: written in batches, the newest of each symbol read back, whoever wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from oms.domain.errors import Unavailable
from oms.domain.market import Tick
from oms.marketdata.newest import Newest
from oms.marketdata.questdb_http import QuestQueries, StatementRefused
from oms.marketdata.ticktable import TABLE, TableShape, create_sql
from oms.marketdata.tickwrite import RowWriter
from oms.ports import Clock, LatestTicks

LOOK_EVERY_S = 60.0  # so long may rows be lost when somebody drops the table under us
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.get_logger(__name__)


class QuestArchive:
    """Implements `ports.TickArchive` on QuestDB's HTTP address. Every call ends within a few times `timeout_s`.

    Nothing is connected before the first call; after a failure the table is looked at again, so that a server that
    came back empty gets its table before its first row.
    """

    def __init__(self, url: str, clock: Clock, *, ttl_days: int = 30, timeout_s: float = 5.0) -> None:
        self._clock = clock
        self._ttl_days = ttl_days
        self._queries = QuestQueries(url, timeout_s)
        self._rows = RowWriter(url, timeout_s)
        self._newest = Newest(self._queries, clock)
        self._shape: TableShape | None = None  # known to be fit for writing, until looked at again
        self._look_at = 0.0
        # Nanoseconds of the clock: a later process begins above whatever this one will give, below 10^9 ticks/s.
        self._next_seq = (clock.now() - _EPOCH) // timedelta(microseconds=1) * 1000
        self.refused = 0  # rows that QuestDB would never take

    def number(self, count: int) -> int:
        """The first of `count` sequence numbers that no other tick has."""
        first = self._next_seq
        self._next_seq += count
        return first

    async def write(self, ticks: Sequence[Tick]) -> None:
        """Write ticks under new numbers. Raises Unavailable: then it is not known whether they are in."""
        await self.write_numbered(self.number(len(ticks)), ticks)

    async def write_numbered(self, first_seq: int, ticks: Sequence[Tick]) -> None:
        """Write ticks numbered from `first_seq`; the same call again changes nothing. Raises Unavailable.

        Rows that QuestDB refuses for what they are (never for being away) are logged and counted in `refused`.
        """
        if not ticks:
            return
        try:
            shape = self._shape
            if shape is None or self._clock.monotonic() >= self._look_at:
                shape = await self.prepare()
            rows = list(enumerate(ticks, first_seq))
            refused = await asyncio.to_thread(self._rows.write, rows, shape.converters())
        except Unavailable:
            self._shape = None
            raise
        if refused:
            self.refused += refused
            self._shape = None  # perhaps somebody made another table of it

    async def latest(self, symbols: Iterable[str]) -> Mapping[str, LatestTicks]:
        """The newest trade and quote of each canonical symbol, over all its spellings; absent where there is none.

        A table that does not exist yet has nothing. Raises Unavailable.
        """
        return await self._newest.latest(symbols)

    async def prepare(self) -> TableShape:
        """Make the table, or take the one that is there, adding columns it lacks. Raises Unavailable."""
        try:
            await self._queries.run(create_sql(self._ttl_days))
            shape = await self._look()
            for name, kind in shape.missing().items():
                await self._queries.run(f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS {name} {kind}")
            if shape.missing():
                shape = await self._look()
        except StatementRefused as error:
            raise Unavailable(f"QuestDB refuses the table {TABLE}: {error}") from error
        if shape.time_column is None:
            raise Unavailable(f"QuestDB's table {TABLE} has no designated timestamp: rename it, ours is made anew")
        if shape.keys != {shape.time_column, "symbol", "seq"} and shape != self._shape:
            _log.warning("market_ticks was made by others", de_duplicated_by=sorted(shape.keys))
        # A connection goes on writing into a table that was dropped, and nobody is told: begin a new one.
        await asyncio.to_thread(self._rows.close)
        self._shape = shape
        self._look_at = self._clock.monotonic() + LOOK_EVERY_S
        return shape

    async def ping(self) -> None:
        """Raises Unavailable when QuestDB does not answer."""
        try:
            await self._queries.run("SELECT 1")
        except StatementRefused as error:
            raise Unavailable(f"QuestDB: {error}") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._queries.close()
        await asyncio.to_thread(self._rows.close)

    async def _look(self) -> TableShape:
        return TableShape.of_columns(await self._queries.run(f"SHOW COLUMNS FROM {TABLE}"))
