"""The engine's store: loads the working set, commits changes under the lease, keeps accounts and health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

import msgspec
import structlog

from oms.domain.errors import Fenced
from oms.domain.instruments import Instrument
from oms.domain.orders import Order
from oms.domain.positions import Entry, Valuation
from oms.domain.reports import BrokerAccount
from oms.ports import AccountRecord, Changes, Command, Configs, Row, StoredOrder, WorkingSet
from oms.storage.changes import commit_changes
from oms.storage.database import Connection, Pool, connection, to_json, transaction
from oms.storage.rows import (
    ORDER_COLUMNS,
    as_decimal,
    columns,
    drift_of,
    entries_of,
    event_json,
    fill_of,
    halt_of,
    instrument_of,
    order_of,
    position_of,
)

log = structlog.get_logger(__name__)

_ACCOUNTS = UUID("6f1f5c0e-6c53-4a5f-9a8e-3b9a1f0a7c11")  # namespace of our account ids

_REGISTER = """
insert into accounts (id, name, broker_account_id, number, address, currency, cash, equity, buying_power, as_of,
    created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
on conflict (id) do update set number = $4, address = $5, cash = $7, equity = $8, buying_power = $9, as_of = $10
where accounts.as_of is null or accounts.as_of <= $10
"""
_REMEMBER_KEY = """
insert into account_keys values ($1, $2, $3) on conflict (key_hash) do update set account_id = $2, used_at = $3
"""
_TAKE = """
with former as materialized (
    select account_id, holder from leases
    where account_id = $1 and (expires_at < clock_timestamp() or holder = $2) for update
)
update leases l set epoch = l.epoch + 1, holder = $2, expires_at = clock_timestamp() + make_interval(secs => $3)
from former where l.account_id = former.account_id returning l.epoch, former.holder
"""
# A role may end its own connections. The name is the whole of an engine's: no other program has it.
_END = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and usename = current_user and application_name = $1 and pid <> pg_backend_pid()
"""
_RENEW = """
update leases set expires_at = clock_timestamp() + make_interval(secs => $3)
where account_id = $1 and epoch = $2 returning epoch
"""
_RELEASE = "update leases set expires_at = '-infinity', holder = '' where account_id = $1 and epoch = $2"
_INSTRUMENTS = """
insert into instruments (symbol, asset_class, broker_asset_id, name, exchange, tradable, fractionable, shortable,
    qty_min, qty_increment, price_increment)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::bool[], $8::bool[],
    $9::numeric[], $10::numeric[], $11::numeric[])
on conflict (symbol) do update set asset_class = excluded.asset_class, broker_asset_id = excluded.broker_asset_id,
    name = excluded.name, exchange = excluded.exchange, tradable = excluded.tradable,
    fractionable = excluded.fractionable, shortable = excluded.shortable, qty_min = excluded.qty_min,
    qty_increment = excluded.qty_increment, price_increment = excluded.price_increment, updated_at = now()
"""
_OPEN = f"""
select {ORDER_COLUMNS} from orders
where account_id = $1 and status in ('submitted', 'partially_filled', 'held', 'pending')
    and (status <> 'pending' or attempted_at is not null) order by seq
"""  # noqa: S608
_FILLS_OF_OPEN = """
select f.* from fills f join orders o on o.id = f.order_id
where o.account_id = $1 and o.status in ('submitted', 'partially_filled', 'held', 'pending') order by f.cum_qty
"""
_PENDING = f"""
select {ORDER_COLUMNS} from orders
where account_id = $1 and status = 'pending' and attempted_at is null and seq > $2 order by seq limit $3
"""  # noqa: S608
_FIND = f"""
select {ORDER_COLUMNS} from orders
where account_id = $1 and (alpaca_id = $2 or client_order_id = $3 or id = $4)
order by (alpaca_id = $2) desc nulls last limit 1
"""  # noqa: S608
_VALUE = """
with lock as materialized (
    select a.id from accounts a join leases l on l.account_id = a.id
    where a.id = $1 and l.epoch = $2 for update of a for share of l
), valued as (
    update positions p set last_price = n.last_price, price_time = n.price_time, stale = n.stale,
        market_value = p.qty * n.last_price, unrealized_pnl = (n.last_price - p.avg_price) * p.qty
    from lock l cross join unnest($3::uuid[], $4::numeric[], $5::timestamptz[], $6::bool[])
        as n(id, last_price, price_time, stale)
    where p.id = n.id returning 1
)
select 1 from lock
"""
_TOTALS = """
with lock as materialized (
    select a.id from accounts a join leases l on l.account_id = a.id
    where a.id = $1 and l.epoch = $2 for update of a for share of l
)
update accounts a set cash = $3, equity = $4, buying_power = $5, as_of = $6 from lock l where a.id = l.id returning 1
"""
_FEES = """
select sum(qty) as qty, sum(cash) as cash from adjustments
where account_id = $1 and symbol = $2 and kind in ('fee', 'fee_true_up')
    and (case when kind = 'fee' then (at at time zone 'America/New_York')::date::text
         else split_part(reference, ':', 2) end) = $3
"""
_DRIFT = "select * from drift where account_id = $1 and state <> 'resolved' order by id"
_BOOKED = "select reference from adjustments where account_id = $1 and reference = any($2)"
_REPORT = """
insert into engines values ($1, $2, $3, $4, $5)
on conflict (key_hash) do update set account_id = $2, status = $3, detail = $4, heartbeat_at = $5
where $3 <> 'standby' or engines.status = 'standby' or engines.heartbeat_at < $5 - interval '5 s'
"""


def connections_of(holder: str) -> str:
    """The name that an engine's connections have in PostgreSQL, which keeps 63 characters of it."""
    return f"oms engine {holder}"[:63]


class PostgresStore:
    """The port Store on PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def register_account(self, account: BrokerAccount, key_hash: str, address: str, now: datetime) -> UUID:
        """See the port. Our id is derived from the broker's, so that every installation names it alike."""
        account_id = uuid5(_ACCOUNTS, account.broker_account_id)
        name = f"alpaca {account.number}"
        totals = (account.currency, account.cash, account.equity, account.buying_power, now)
        async with transaction(self._pool) as db:
            await db.execute(_REGISTER, account_id, name, account.broker_account_id, account.number, address, *totals)
            await db.execute("insert into leases (account_id) values ($1) on conflict do nothing", account_id)
            await db.execute(_REMEMBER_KEY, key_hash, account_id, now)
        return account_id

    async def account_of_key(self, key_hash: str) -> UUID | None:
        """The account that these keys opened before."""
        async with connection(self._pool) as db:
            found: UUID | None = await db.fetchval("select account_id from account_keys where key_hash = $1", key_hash)
            return found

    async def take_lease(self, account_id: UUID, holder: str, ttl_s: float) -> int | None:
        """See the port. Expiry is judged by PostgreSQL's clock, the only one that all engines share.

        Whoever is taken over may be frozen in the middle of something: its connections are ended, and with them every
        lock that they hold. It is fenced by its epoch all the same.
        """
        async with connection(self._pool) as db:
            taken = await db.fetchrow(_TAKE, account_id, holder, ttl_s)
            if taken is None:
                return None
            if taken["holder"] not in {"", holder}:
                ended = await db.fetchval(_END, connections_of(taken["holder"]))
                log.warning("lease_taken_over", former=taken["holder"], connections_ended=ended)
            epoch: int = taken["epoch"]
            return epoch

    async def renew_lease(self, account_id: UUID, epoch: int, ttl_s: float) -> None:
        """Stay the account's engine. Raises Fenced."""
        async with connection(self._pool) as db:
            if await db.fetchval(_RENEW, account_id, epoch, ttl_s) is None:
                raise Fenced(f"another engine took over account {account_id} after epoch {epoch}")

    async def release_lease(self, account_id: UUID, epoch: int) -> None:
        """Let the next engine start at once."""
        async with connection(self._pool) as db:
            await db.execute(_RELEASE, account_id, epoch)

    async def save_instruments(self, instruments: Sequence[Instrument]) -> None:
        """Keep the broker's asset list."""
        rows = [
            (
                i.symbol, str(i.asset_class), i.broker_asset_id, i.name, i.exchange, i.tradable, i.fractionable,
                i.shortable, i.qty_min, i.qty_increment, i.price_increment,
            )
            for i in {one.symbol: one for one in instruments}.values()
        ]  # fmt: skip
        async with connection(self._pool) as db:
            await db.execute(_INSTRUMENTS, *columns(rows, 11))

    async def load(self, account_id: UUID) -> WorkingSet:
        """Everything an engine holds in memory, read at one moment."""
        async with connection(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            account = await db.fetchrow("select * from accounts where id = $1", account_id)
            if account is None:
                raise LookupError(f"account {account_id} is not stored")
            positions = await db.fetch("select * from positions where account_id = $1", account_id)
            return WorkingSet(
                account=AccountRecord(
                    account["id"], account["broker_account_id"], account["watermark"], account["adopted_at"],
                    account["in_sync_at"], halt_of(account),
                ),
                orders=[order_of(row) for row in await db.fetch(_OPEN, account_id)],
                fills=[fill_of(row) for row in await db.fetch(_FILLS_OF_OPEN, account_id)],
                positions=[position_of(row) for row in positions],
                configs=await _configs(db),
                aliases={row["alias"]: row["symbol"] for row in await db.fetch("select * from symbol_aliases")},
                instruments=[instrument_of(row) for row in await db.fetch("select * from instruments")],
                drift=[drift_of(row) for row in await db.fetch(_DRIFT, account_id)],
                last_drift_id=await db.fetchval("select max(id) from drift where account_id = $1", account_id) or 0,
            )  # fmt: skip

    async def symbols(self) -> tuple[Sequence[Instrument], Mapping[str, str]]:
        """The asset list and the aliases as stored."""
        async with connection(self._pool) as db:
            instruments = [instrument_of(row) for row in await db.fetch("select * from instruments")]
            aliases = {row["alias"]: row["symbol"] for row in await db.fetch("select * from symbol_aliases")}
        return instruments, aliases

    async def configs(self) -> Configs:
        """The limits as they are now."""
        async with connection(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            return await _configs(db)

    async def pending(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[Order]:
        """Orders accepted after that one, in the order of acceptance."""
        async with connection(self._pool) as db:
            return [order_of(row) for row in await db.fetch(_PENDING, account_id, after_seq, limit)]

    async def commands(self, account_id: UUID) -> Sequence[Command]:
        """Commands not yet acknowledged: halts first, which no number of others may hide, then the oldest."""
        query = """
            select * from commands where account_id = $1 and done_at is null
            order by kind in ('halt', 'resume') desc, created_at limit 500
        """
        async with connection(self._pool) as db:
            rows = await db.fetch(query, account_id)
        return [
            Command(row["id"], row["kind"], row["order_id"], msgspec.json.decode(row["data"]), row["created_at"])
            for row in rows
        ]

    async def find_order(
        self, account_id: UUID, broker_order_id: str | None, client_order_id: str | None, order_id: UUID | None = None
    ) -> StoredOrder | None:
        """An order by any of its ids, with its fills."""
        async with connection(self._pool) as db:
            row = await db.fetchrow(_FIND, account_id, broker_order_id, client_order_id, order_id)
            if row is None:
                return None
            fills = await db.fetch("select * from fills where order_id = $1 order by cum_qty", row["id"])
            return StoredOrder(order_of(row), [fill_of(fill) for fill in fills])

    async def entries(self, account_id: UUID, symbol: str, after: datetime | None) -> Sequence[Entry]:
        """All steps of a position, those at or after a time."""
        # A fill is of the pair that was traded, its position of the coin's USD pair.
        traded = f"{symbol.partition('/')[0]}/%" if "/" in symbol else symbol
        fills = "select * from fills where account_id = $1 and symbol like $2 and ($3::timestamptz is null or transacted_at >= $3)"  # noqa: E501
        moved = (
            "select * from adjustments where account_id = $1 and symbol = $2 and ($3::timestamptz is null or at >= $3)"
        )
        async with connection(self._pool) as db, db.transaction(isolation="repeatable_read", readonly=True):
            return entries_of(
                await db.fetch(fills, account_id, traded, after), await db.fetch(moved, account_id, symbol, after)
            )

    async def commit(self, account_id: UUID, epoch: int, changes: Changes) -> None:
        """Store all of it in one statement, which is a transaction of its own, under the lease."""
        async with connection(self._pool) as db:
            await commit_changes(db, account_id, epoch, changes)

    async def booked(self, account_id: UUID, references: Sequence[str]) -> frozenset[str]:
        """Which of these adjustments are stored already."""
        async with connection(self._pool) as db:
            return frozenset(row["reference"] for row in await db.fetch(_BOOKED, account_id, references))

    async def value(self, account_id: UUID, epoch: int, valuations: Sequence[Valuation]) -> None:
        """Write the price columns of positions. They have no version: the next pass writes them anew."""
        rows = [(v.position_id, v.last_price, v.price_time, v.stale) for v in valuations]
        async with connection(self._pool) as db:
            if not await db.fetch(_VALUE, account_id, epoch, *columns(rows, 4)):
                raise Fenced(f"epoch {epoch} of account {account_id} is over")

    async def events(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Events after a sequence, in order, as JSON."""
        query = "select * from order_events where account_id = $1 and seq > $2 order by seq limit $3"
        async with connection(self._pool) as db:
            return [(row["seq"], event_json(row)) for row in await db.fetch(query, account_id, after_seq, limit)]

    async def last_event(self, account_id: UUID) -> int:
        """The last sequence given."""
        async with connection(self._pool) as db:
            last: int | None = await db.fetchval("select event_seq from accounts where id = $1", account_id)
            return last or 0

    async def fee_totals(self, account_id: UUID, day: str, symbol: str) -> tuple[Decimal, Decimal]:
        """Coin and cash booked as fees for a symbol on a New York day."""
        async with connection(self._pool) as db:
            row = await db.fetchrow(_FEES, account_id, symbol, day)
        return (as_decimal(row["qty"]), as_decimal(row["cash"])) if row else (Decimal(0), Decimal(0))

    async def report(self, key_hash: str, account_id: UUID | None, status: str, detail: Row, now: datetime) -> None:
        """The engine's state, for health. A standby does not speak while the account's engine does."""
        async with connection(self._pool) as db:
            await db.execute(_REPORT, key_hash, account_id, status, to_json(detail), now)

    async def snapshot_account(self, account_id: UUID, epoch: int, account: BrokerAccount, now: datetime) -> None:
        """The account's totals, for the portfolio, under the lease. Raises Fenced."""
        totals = (account.cash, account.equity, account.buying_power, now)
        async with connection(self._pool) as db:
            if await db.fetchval(_TOTALS, account_id, epoch, *totals) is None:
                raise Fenced(f"epoch {epoch} of account {account_id} is over")

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()


async def _configs(db: Connection) -> Configs:
    version = await db.fetchval("select version from config_version")
    rows = await db.fetch("select key, value, mode from configs")
    return Configs(version, {row["key"]: row["value"] for row in rows}, {row["key"]: row["mode"] for row in rows})
