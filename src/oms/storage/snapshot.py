"""What `oms snapshot` writes down: positions and orders of all accounts at one moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from oms.storage.database import Pool, connection

POSITION_COLUMNS = (
    "symbol", "asset_class", "qty", "avg_price", "last_price", "price_time", "stale", "market_value", "unrealized_pnl",
    "realized_pnl", "fees", "opened_at", "closed_at", "updated_at", "id",
)  # fmt: skip
ORDER_COLUMNS = (
    "created_at", "symbol", "asset_class", "side", "qty", "type", "limit_price", "time_in_force", "status",
    "filled_qty", "filled_price", "error_code", "error_message", "reason", "strategy", "signal_id", "source", "origin",
    "alpaca_id", "client_order_id", "outcome_unknown", "submitted_at", "ended_at", "updated_at", "id",
)  # fmt: skip
_POSITIONS = f"""
select a.name as account, {", ".join(f"p.{name}" for name in POSITION_COLUMNS)}
from positions p join accounts a on a.id = p.account_id order by a.name, p.symbol
"""  # noqa: S608 — our names
_ORDERS = f"""
select a.name as account, {", ".join(f"o.{name}" for name in ORDER_COLUMNS)}
from orders o join accounts a on a.id = o.account_id
where o.updated_at >= $1 or o.status in ('pending', 'submitted', 'partially_filled', 'held')
order by a.name, o.created_at, o.seq
"""  # noqa: S608


class Moment:
    """The record at one moment."""

    def __init__(self, db: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], at: datetime) -> None:
        self._db = db
        self.at = at

    def positions(self) -> AsyncIterator[asyncpg.Record]:
        """All positions, also flat ones."""
        return self._stream(_POSITIONS)

    def orders(self, since: datetime) -> AsyncIterator[asyncpg.Record]:
        """Open orders, and those that changed since."""
        return self._stream(_ORDERS, since)

    async def _stream(self, query: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
        async for row in self._db.cursor(query, *arguments, prefetch=1000, timeout=600):
            yield row


@asynccontextmanager
async def moment(pool: Pool) -> AsyncIterator[Moment]:
    """One read-only transaction at one moment. Raises StoreUnavailable."""
    async with connection(pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
        yield Moment(db, await db.fetchval("select now()"))
