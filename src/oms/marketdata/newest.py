"""The newest trade and quote of symbols in `market_ticks`, without reading a month of ticks every five seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog

from oms.domain.errors import Unavailable
from oms.domain.instruments import spellings
from oms.domain.values import trimmed
from oms.marketdata.questdb_http import QuestQueries, Rows, StatementRefused
from oms.marketdata.ticktable import TABLE, TableShape
from oms.ports import Clock, LatestTicks

RECENT = timedelta(days=1)
SPELLINGS_MAX = 400  # to a query: it travels in an address, which has a limit
DUTY_MAX = 0.02  # of the time for looking through the whole table
_log = structlog.get_logger(__name__)


class Newest:
    """Looks in the table's last day first, and in all of it for what is not there.

    A symbol without a trade (or without a quote) makes QuestDB read the table to its beginning: 35 ms for 10 million
    rows, seconds for a busy month. So that is done as often as it takes at most 2 % of the time, and its result kept
    in between: rows that old do not change by themselves.
    """

    def __init__(self, queries: QuestQueries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock
        self._old: dict[str, LatestTicks] = {}
        self._old_asked: frozenset[str] = frozenset()
        self._old_again_at = 0.0

    async def latest(self, symbols: Iterable[str]) -> Mapping[str, LatestTicks]:
        """By canonical symbol. Raises Unavailable."""
        owners = owners_of(symbols)
        if not owners:
            return {}
        try:
            shape = TableShape.of_columns(await self._queries.run(f"SHOW COLUMNS FROM {TABLE}"))
            if shape.time_column is None:
                raise Unavailable(f"QuestDB's table {TABLE} has no designated timestamp")
            since = await self._recent_since(shape.time_column)
            if since is None:
                return {}
            found = await self._read(shape, owners, since)
        except StatementRefused as error:
            if error.is_missing_table:
                return {}
            raise Unavailable(f"QuestDB refuses to read {TABLE}: {error}") from error
        wanting = frozenset(
            symbol
            for symbol in set(owners.values())
            if symbol not in found or found[symbol].last is None or found[symbol].quote_at is None
        )
        if wanting:
            await self._look_further(shape, {text: symbol for text, symbol in owners.items() if symbol in wanting})
            for symbol in wanting & self._old.keys():
                found[symbol] = _merged(found.get(symbol), self._old[symbol])
        return found

    async def _look_further(self, shape: TableShape, owners: Mapping[str, str]) -> None:
        """Look through the whole table, unless that was done lately for these symbols. Its failure costs nothing."""
        asked = frozenset(owners.values())
        started = self._clock.monotonic()
        if started < self._old_again_at and asked <= self._old_asked:
            return
        try:
            self._old = await self._read(shape, owners, None)
        except (Unavailable, StatementRefused) as error:
            _log.warning("older ticks not read", error=str(error))
        self._old_asked = asked
        now = self._clock.monotonic()
        self._old_again_at = now + (now - started) / DUTY_MAX

    async def _recent_since(self, time_column: str) -> datetime | None:
        """A day before the newest row, or before now where rows lie in the future; None for an empty table."""
        rows = await self._queries.run(f'SELECT max("{time_column}") newest FROM {TABLE}')  # noqa: S608 - a column's name
        newest = rows[0]["newest"] if rows else None
        return None if newest is None else min(_time(newest), self._clock.now()) - RECENT

    async def _read(
        self, shape: TableShape, owners: Mapping[str, str], since: datetime | None
    ) -> dict[str, LatestTicks]:
        found: dict[str, LatestTicks] = {}
        texts = list(owners)
        for start in range(0, len(texts), SPELLINGS_MAX):
            part = texts[start : start + SPELLINGS_MAX]
            trades, quotes = await asyncio.gather(
                self._run(shape, part, since, is_trade=True), self._run(shape, part, since, is_trade=False)
            )
            for row in trades:
                symbol, at = owners[str(row["symbol"])], _time(row["at"])
                trade = LatestTicks(symbol, _number(row["price"]), at, None, None, None)
                found[symbol] = _merged(found.get(symbol), trade)
            for row in quotes:
                symbol, at = owners[str(row["symbol"])], _time(row["at"])
                quote = LatestTicks(symbol, None, None, _number(row["bid"]), _number(row["ask"]), at)
                found[symbol] = _merged(found.get(symbol), quote)
        return found

    async def _run(self, shape: TableShape, texts: Sequence[str], since: datetime | None, *, is_trade: bool) -> Rows:
        price, bid, ask = map(shape.column, ("price", "bid", "ask"))
        at = f'"{shape.time_column}"'
        if (price == "null") if is_trade else (bid == ask == "null"):
            return []
        # A quote row without either side is an empty book, which is news too.
        kind = f"{price} IS NOT NULL" if is_trade else f"({price} IS NULL OR {bid} IS NOT NULL OR {ask} IS NOT NULL)"
        names = ",".join("'" + text.replace("'", "''") + "'" for text in texts)
        recent = f" AND {at} >= '{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'" if since is not None else ""
        return await self._queries.run(
            f"SELECT symbol, {price} price, {bid} bid, {ask} ask, {at} at FROM {TABLE} "  # noqa: S608 - quoted above
            f"WHERE symbol IN ({names}){recent} AND {kind} LATEST ON {at} PARTITION BY symbol"
        )


def owners_of(symbols: Iterable[str]) -> dict[str, str]:
    """Which symbol each spelling belongs to; one that is itself asked for belongs to itself alone."""
    asked = dict.fromkeys(symbols)
    owners: dict[str, str] = {}
    for symbol in asked:
        for text in spellings(symbol):
            if text == symbol or text not in asked:
                owners.setdefault(text, symbol)
    return owners


def _merged(one: LatestTicks | None, other: LatestTicks) -> LatestTicks:
    """The newer trade and the newer quote of two; the first where both have one time."""
    if one is None:
        return other
    if other.last_at is not None and (one.last_at is None or other.last_at > one.last_at):
        one = replace(one, last=other.last, last_at=other.last_at)
    if other.quote_at is not None and (one.quote_at is None or other.quote_at > one.quote_at):
        one = replace(one, bid=other.bid, ask=other.ask, quote_at=other.quote_at)
    return one


def _number(value: object) -> Decimal | None:
    """A number of any column type, by its text; None for null and for what is no finite number."""
    if value is None:
        return None
    number = Decimal(str(value))
    return trimmed(number) if number.is_finite() else None


def _time(value: object) -> datetime:
    """`2026-11-23T14:00:00.000000Z`, or with nanoseconds, which are cut off."""
    return datetime.fromisoformat(str(value))
