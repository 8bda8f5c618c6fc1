"""The read side: what the API shows, and the commands it leaves for the engine. Rows are mappings of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from oms.domain.alerts import ReceiverState
from oms.domain.instruments import Symbols
from oms.storage.database import Pool, connection, to_json
from oms.storage.rows import instrument_of

Row = asyncpg.Record

_PUBLIC = """
id, symbol, asset_class, side, qty, type, limit_price, time_in_force, status, filled_qty, filled_price, busted_qty,
alpaca_id, client_order_id, origin, source, reason, strategy, signal_id, valid_for_s, error_code, error_message, checks,
outcome_unknown, created_at, submitted_at, ended_at, updated_at, seq
"""
_ORDERS = f"""
select {_PUBLIC} from orders where account_id = $1
    and ($2::text[] is null or status = any($2)) and ($3::text is null or symbol = $3)
    and ($4::timestamptz is null or created_at >= $4)
    and ($5::timestamptz is null or (created_at, seq) < ($5, $6::bigint))
order by created_at desc, seq desc limit $7
"""  # noqa: S608
_ORDER = f"select {_PUBLIC} from orders where account_id = $1 and id = $2"  # noqa: S608
_EVENTS_OF = "select seq, order_id, kind, status, at, data from order_events where order_id = $1 order by seq"
_FILLS_OF = """
select id, qty, price, cum_qty, transacted_at, execution_id, activity_id, booked_at from fills
where order_id = $1 order by cum_qty
"""
_AHEAD = """
select count(*) from orders where account_id = $1 and status = 'pending' and attempted_at is null and seq < $2
"""
_POSITIONS = """
select id, symbol, asset_class, qty, avg_price, last_price, price_time, stale, market_value, unrealized_pnl,
    realized_pnl, fees, opened_at, closed_at, updated_at
from positions where account_id = $1 and (qty <> 0 or $2) order by symbol
"""
_ACCOUNT = """
select name, number, currency, cash, equity, buying_power, as_of as account_as_of, now() as as_of,
    (select coalesce(sum(realized_pnl), 0) from positions where account_id = $1) as realized_pnl,
    (select coalesce(sum(fees), 0) from positions where account_id = $1) as fees
from accounts where id = $1
"""
_EVENTS = """
select seq, order_id, kind, status, at, data from order_events where account_id = $1 and seq > $2 order by seq limit $3
"""
_HEADS = "select seq, order_id from order_events where account_id = $1 and seq > $2 order by seq limit 5000"
_KEY = """
select coalesce(k.account_id, e.account_id) as account_id, e.status, e.detail, e.heartbeat_at
from (select $1::text as key_hash) x
left join account_keys k on k.key_hash = x.key_hash left join engines e on e.key_hash = x.key_hash
"""
_BACKLOG = """
select count(*) filter (where status = 'pending') as pending, count(*) filter (where outcome_unknown) as outcome_unknown
from orders where account_id = $1 and status in ('pending', 'submitted', 'partially_filled', 'held')
"""
# A cancel that still waits for the engine is not asked for twice.
_CANCEL = """
with waiting as (
    select id from commands where account_id = $2 and order_id = $3 and kind = 'cancel' and done_at is null limit 1
), added as (
    insert into commands (id, account_id, kind, order_id, data, created_at)
    select $1, $2, 'cancel', $3, $4::jsonb, $5 where not exists (select from waiting) returning id
)
select id from waiting union all select id from added
"""
_SIGNAL_ERRORS = """
select id, source, code, reason, payload, at from signal_errors
where (account_id = $1 or account_id is null) and ($2::bigint is null or id < $2) order by id desc limit $3
"""

_RECEIVERS = """
select r.receiver, r.delivered, r.failures, r.last_error, r.delivered_at, r.failing_since,
    (select coalesce(sum(a.count), 0) from alerts a where a.key_hash = r.key_hash and a.id > r.last_id) as waiting
from alert_receivers r where r.key_hash = $1 and r.active
"""


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders; None is no limit. `symbol` is canonical, `before` the (created_at, seq) of the last one seen."""

    statuses: Sequence[str] | None = None
    symbol: str | None = None
    since: datetime | None = None
    before: tuple[datetime, int] | None = None


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is stored for a key: its account (None before the first contact) and what its engine last said."""

    account_id: UUID | None
    status: str | None
    detail: str
    heartbeat_at: datetime | None


@dataclass(frozen=True, slots=True)
class CommandState:
    """Whether the engine has acknowledged a command, and what it said."""

    done: bool
    outcome: str | None
    message: str | None


class Queries:
    """Reads for the API. All raise StoreUnavailable. jsonb columns (`data`, `checks`, `detail`) are JSON text."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._symbols_version: object = None
        self._symbols = Symbols((), {})

    async def orders(self, account_id: UUID, wanted: OrderFilter, limit: int) -> Sequence[Row]:
        """Orders, newest first, `limit` of them at most."""
        at, seq = wanted.before or (None, None)
        async with connection(self._pool) as db:
            return await db.fetch(
                _ORDERS, account_id, wanted.statuses, wanted.symbol, wanted.since, at, seq, limit
            )  # fmt: skip

    async def order(self, account_id: UUID, order_id: UUID) -> Row | None:
        """One order, or None."""
        async with connection(self._pool) as db:
            return await db.fetchrow(_ORDER, account_id, order_id)

    async def order_with_trail(
        self, account_id: UUID, order_id: UUID
    ) -> tuple[Row, Sequence[Row], Sequence[Row]] | None:
        """One order with its events and fills as they are at one moment, or None."""
        async with connection(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            order = await db.fetchrow(_ORDER, account_id, order_id)
            if order is None:
                return None
            return order, await db.fetch(_EVENTS_OF, order_id), await db.fetch(_FILLS_OF, order_id)

    async def ahead(self, account_id: UUID, seq: int) -> int:
        """How many orders accepted before that one wait to be sent."""
        async with connection(self._pool) as db:
            count: int = await db.fetchval(_AHEAD, account_id, seq)
            return count

    async def positions(self, account_id: UUID, *, include_closed: bool) -> Sequence[Row]:
        """Positions by symbol."""
        async with connection(self._pool) as db:
            return await db.fetch(_POSITIONS, account_id, include_closed)

    async def portfolio(self, account_id: UUID) -> tuple[Row, Sequence[Row]] | None:
        """The account's totals with realised P&L and fees of all positions, and the open positions, at one moment."""
        async with connection(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            account = await db.fetchrow(_ACCOUNT, account_id)
            return None if account is None else (account, await db.fetch(_POSITIONS, account_id, False))

    async def events(self, account_id: UUID, after: int, limit: int) -> Sequence[Row]:
        """Events after a sequence, in order, without gaps: sequences are given under the account's lock."""
        async with connection(self._pool) as db:
            return await db.fetch(_EVENTS, account_id, after, limit)

    async def event_heads(self, account_id: UUID, after: int) -> Sequence[tuple[int, UUID]]:
        """Sequence and order of the events after a sequence."""
        async with connection(self._pool) as db:
            return [(row["seq"], row["order_id"]) for row in await db.fetch(_HEADS, account_id, after)]

    async def cancel(self, command_id: UUID, account_id: UUID, order_id: UUID, now: datetime) -> UUID:
        """Leave a cancel for the engine; the id of the command, or of the one that already waits."""
        async with connection(self._pool) as db:
            stored: UUID = await db.fetchval(_CANCEL, command_id, account_id, order_id, to_json({}), now)
            return stored

    async def command(self, command_id: UUID) -> CommandState:
        """What became of a command."""
        async with connection(self._pool) as db:
            row = await db.fetchrow("select done_at, outcome, message from commands where id = $1", command_id)
        if row is None:
            return CommandState(done=False, outcome=None, message=None)
        return CommandState(row["done_at"] is not None, row["outcome"], row["message"])

    async def key(self, key_hash: str) -> KeyState:
        """What is stored for a key."""
        async with connection(self._pool) as db:
            row = await db.fetchrow(_KEY, key_hash)
        if row is None:
            return KeyState(None, None, "{}", None)
        return KeyState(row["account_id"], row["status"], row["detail"] or "{}", row["heartbeat_at"])

    async def symbols(self) -> Symbols:
        """The asset list and aliases as they are now; the same object while they are unchanged."""
        async with connection(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            version = await db.fetchrow(
                "select v.version, (select max(updated_at) from instruments) as at from config_version v"
            )
            seen = tuple(version.values()) if version is not None else None
            if seen != self._symbols_version:
                instruments = await db.fetch("select * from instruments")
                aliases = await db.fetch("select alias, symbol from symbol_aliases")
                self._symbols = Symbols(
                    map(instrument_of, instruments), {row["alias"]: row["symbol"] for row in aliases}
                )
                self._symbols_version = seen
            return self._symbols

    async def backlog(self, account_id: UUID) -> tuple[int, int]:
        """Orders that are pending, and those whose outcome is unknown."""
        async with connection(self._pool) as db:
            row = await db.fetchrow(_BACKLOG, account_id)
        return (0, 0) if row is None else (row["pending"], row["outcome_unknown"])

    async def receivers(self, key_hash: str) -> Sequence[ReceiverState]:
        """How telling each receiver of alerts goes."""
        async with connection(self._pool) as db:
            return [ReceiverState(**dict(row)) for row in await db.fetch(_RECEIVERS, key_hash)]

    async def signal_errors(self, account_id: UUID, before: int | None, limit: int) -> Sequence[Row]:
        """Malformed signals with the reason, newest first."""
        async with connection(self._pool) as db:
            return await db.fetch(_SIGNAL_ERRORS, account_id, before, limit)
