"""What `oms audit` reads: everything at one moment, in streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg

from oms.storage.database import Connection, Pool, connection

ROWS_AT_ONCE = 2000

_ACCOUNTS = """
select a.*, coalesce(e.events, 0) as events, e.first_seq, e.last_seq from accounts a left join (
    select account_id, count(*) as events, min(seq) as first_seq, max(seq) as last_seq from order_events group by 1
) e on e.account_id = a.id order by a.name
"""
_ORDERS = "select * from orders order by id"
_EVENTS = "select account_id, order_id, seq, kind, status, at, data from order_events order by order_id, seq"
# What a bust gives back stands at the place of its fill, and is no fee of that fill.
_NOT_GIVEN_BACK = """not exists (
    select from adjustments b
    where b.account_id = a.account_id and b.kind = 'bust' and a.reference = 'fee:' || b.reference
)"""
_FILLS = f"""
select f.*, a.qty as fee_qty, a.cash as fee_cash from fills f left join adjustments a on a.account_id = f.account_id
    and a.kind = 'fee' and a.broker_order_id = f.broker_order_id and a.cum_qty = f.cum_qty and {_NOT_GIVEN_BACK}
order by f.order_id, f.cum_qty
"""  # noqa: S608
_STRAY_FEES = f"""
select a.* from adjustments a where a.kind = 'fee' and not exists (
    select from fills f where f.account_id = a.account_id and f.broker_order_id = a.broker_order_id
        and f.cum_qty = a.cum_qty and f.transacted_at = a.at
) and {_NOT_GIVEN_BACK} limit 1000
"""  # noqa: S608
# A fill is of the pair that was traded, its position of the coin's USD pair.
_STEPS = """
select account_id, symbol, at, broker_order_id, cum_qty, rank, qty, price, cash, is_fee from (
    select account_id,
        case when symbol like '%/%' then split_part(symbol, '/', 1) || '/USD' else symbol end as symbol,
        transacted_at as at, broker_order_id, cum_qty, 0 as rank, case side when 'buy' then qty else -qty end as qty,
        price, 0::numeric as cash, false as is_fee
    from fills
    union all
    select account_id, symbol, at, broker_order_id, cum_qty, 1, qty, price, cash, kind in ('fee', 'fee_true_up')
    from adjustments
) steps order by account_id, symbol, at, broker_order_id collate "C", cum_qty, rank
"""
_OPEN = "select * from orders where account_id = $1 and status in ('pending', 'submitted', 'partially_filled', 'held')"
_AT_BROKER = """
select * from orders where account_id = $1 and (alpaca_id = any($2::text[]) or client_order_id = any($3::text[]))
"""
_FILLS_SINCE = "select * from fills where account_id = $1 and transacted_at > $2"


class PostgresSnapshot:
    """The record at one moment: one transaction that sees nothing of what is written meanwhile."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    async def moment(self) -> datetime:
        """When it was taken, by PostgreSQL's clock."""
        at: datetime = await self._db.fetchval("select now()")
        return at

    async def accounts(self) -> Sequence[asyncpg.Record]:
        """Accounts, with what the trail counts of each."""
        return await self._all(_ACCOUNTS)

    def orders(self) -> AsyncIterator[asyncpg.Record]:
        """All orders by id."""
        return self._stream(_ORDERS)

    def events(self) -> AsyncIterator[asyncpg.Record]:
        """All events by order and sequence."""
        return self._stream(_EVENTS)

    def fills(self) -> AsyncIterator[asyncpg.Record]:
        """All fills by order and cumulative quantity, with their fees."""
        return self._stream(_FILLS)

    def steps(self) -> AsyncIterator[asyncpg.Record]:
        """The steps of all positions, in their order."""
        return self._stream(_STEPS)

    async def stray_fees(self) -> Sequence[asyncpg.Record]:
        """Fees that belong to no fill."""
        return await self._all(_STRAY_FEES)

    async def positions(self) -> Sequence[asyncpg.Record]:
        """All positions."""
        return await self._all("select * from positions")

    async def open_orders(self, account_id: UUID) -> Sequence[asyncpg.Record]:
        """Orders that have not ended."""
        return await self._all(_OPEN, account_id)

    async def orders_at_broker(
        self, account_id: UUID, ids: Sequence[str], client_ids: Sequence[str]
    ) -> Sequence[asyncpg.Record]:
        """Orders by either id."""
        return await self._all(_AT_BROKER, account_id, ids, client_ids)

    async def fills_since(self, account_id: UUID, since: datetime) -> Sequence[asyncpg.Record]:
        """Fills after that time."""
        return await self._all(_FILLS_SINCE, account_id, since)

    async def _all(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        found: Sequence[asyncpg.Record] = await self._db.fetch(query, *arguments, timeout=600)
        return found

    async def _stream(self, query: str) -> AsyncIterator[asyncpg.Record]:
        # A cursor's first rows may need all of a sort, so that the pool's usual ten seconds are too short.
        async for row in self._db.cursor(query, prefetch=ROWS_AT_ONCE, timeout=600):
            yield row


class PostgresRecord:
    """The port Record of the audit on PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PostgresSnapshot]:
        """One read-only transaction at one moment. Raises StoreUnavailable."""
        async with connection(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            yield PostgresSnapshot(db)
