"""Accepting signals: one transaction for all that arrived together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from oms.domain.errors import InvalidInput, StoreUnavailable
from oms.domain.orders import Order
from oms.domain.signals import Signal
from oms.ports import Acceptance
from oms.storage.database import Connection, Pool, connection, to_json, transaction
from oms.storage.rows import ORDER_COLUMNS, columns, order_of

PREFIX = "tm1"

_LOCK = """
select a.event_seq, v.version, i.id as installation, (
    select count(*) from orders o where o.account_id = $1 and o.status = 'pending' and o.attempted_at is null
) as ahead
from accounts a, config_version v, installation i where a.id = $1 for update of a
"""
# One look-up of the unique index for each identity: with `= any`, a table without statistics (the first minute of an
# installation) is planned as a scan of all orders of the account.
_KNOWN = f"""
select k.* from unnest($2::text[]) as n(signal_id) cross join lateral (
    select {ORDER_COLUMNS} from orders o where o.account_id = $1 and o.signal_id = n.signal_id limit 1
) as k
"""  # noqa: S608
_INSERT = """
with stored as (
    insert into orders (id, account_id, seq, client_order_id, signal_id, source, terms, symbol, asset_class, side, qty,
        type, limit_price, time_in_force, strategy, reason, valid_for_s, configs_version, status, created_at,
        updated_at)
    select n.id, $1, n.seq, n.client_order_id, n.signal_id, n.source, n.terms, n.symbol, n.asset_class, n.side, n.qty,
        n.type, n.limit_price, n.time_in_force, n.strategy, n.reason, n.valid_for_s, $2, 'pending', n.at, n.at
    from unnest($3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
        $11::text[], $12::numeric[], $13::text[], $14::numeric[], $15::text[], $16::text[], $17::text[], $18::numeric[],
        $19::timestamptz[])
        as n(id, seq, client_order_id, signal_id, source, terms, symbol, asset_class, side, qty, type, limit_price,
            time_in_force, strategy, reason, valid_for_s, at)
    returning id, seq, created_at
), told as (
    insert into order_events (account_id, seq, order_id, kind, status, at, data)
    select $1, n.seq, n.id, 'accepted', 'pending', n.at, n.data
    from unnest($3::uuid[], $4::bigint[], $19::timestamptz[], $20::jsonb[]) as n(id, seq, at, data)
)
update accounts set event_seq = event_seq + (select count(*) from stored) where id = $1
"""
_ERROR = """
insert into signal_errors (account_id, source, code, reason, payload) values ($1, $2, $3, $4, $5)
"""

Arrival = tuple[UUID, Signal, datetime]


class CommitUnanswered(StoreUnavailable):
    """PostgreSQL was lost during COMMIT: the signals are stored or they are not. Accepting them again tells."""


class PostgresSignalStore:
    """The port SignalStore on PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._expect_known = False

    async def accept(self, account_id: UUID, signals: Sequence[Arrival]) -> Sequence[Acceptance]:
        """See the port. The account's row is locked first, so that sequences appear in the order of the commits.

        Identities are looked up only after an insert has met one that is taken, and as long as they go on being taken:
        most signals are new.

        Raises CommitUnanswered when PostgreSQL was lost during COMMIT, any other StoreUnavailable when nothing is
        stored, InvalidInput `refused_by_store` when it refused a value.
        """
        if not self._expect_known:
            try:
                return await self._accept(account_id, signals, look_up=False)
            except asyncpg.UniqueViolationError:
                self._expect_known = True
        try:
            return await self._accept(account_id, signals, look_up=True)
        except asyncpg.UniqueViolationError as error:
            raise _refused(error) from error

    async def _accept(self, account_id: UUID, signals: Sequence[Arrival], *, look_up: bool) -> Sequence[Acceptance]:
        committing = False
        try:
            async with transaction(self._pool) as db:
                answers = await _accepted(db, account_id, signals, look_up=look_up)
                committing = True
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ValueError):  # asyncpg could not even encode a value
                raise _refused(error.__cause__) from error
            if committing:
                raise CommitUnanswered(str(error)) from error
            raise
        except asyncpg.UniqueViolationError:
            raise
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise _refused(error) from error
        if look_up:
            self._expect_known = not all(answer.created for answer in answers)
        return answers

    async def record_error(self, account_id: UUID | None, source: str, payload: str, reason: str, code: str) -> None:
        """Keep a malformed message with the reason."""
        async with connection(self._pool) as db:
            await db.execute(
                _ERROR, account_id, source, code, reason, payload.replace("\0", "\N{REPLACEMENT CHARACTER}")
            )


async def _accepted(db: Connection, account_id: UUID, signals: Sequence[Arrival], *, look_up: bool) -> list[Acceptance]:
    """Store what is new. Without `look_up` an identity that is taken raises UniqueViolationError."""
    account = await db.fetchrow(_LOCK, account_id)
    if account is None:
        raise LookupError(f"account {account_id} is not stored")
    known = await _known(db, account_id, [signal.signal_id for _, signal, _ in signals]) if look_up else {}
    fresh: dict[str, Arrival] = {}
    for arrival in signals:
        if arrival[1].signal_id not in known:
            fresh.setdefault(arrival[1].signal_id, arrival)
    prefix = f"{PREFIX}-{account['installation'].hex[:8]}-"
    created = {
        arrival[1].signal_id: _order(account_id, arrival, prefix, account["event_seq"] + place, account["version"])
        for place, arrival in enumerate(fresh.values(), start=1)
    }
    if created:
        await _insert(db, account_id, account["version"], created)
    first = account["event_seq"] + 1
    answers = []
    for order_id, signal, _ in signals:
        order = created.get(signal.signal_id) or known[signal.signal_id]
        waiting = account["ahead"] + order.seq - first if signal.signal_id in created else 0
        answers.append(Acceptance(order, created=order.id == order_id, ahead=waiting))
    return answers


async def _known(db: Connection, account_id: UUID, signal_ids: Sequence[str]) -> dict[str, Order]:
    rows = await db.fetch(_KNOWN, account_id, signal_ids)
    return {row["signal_id"]: order_of(row) for row in rows}


def _refused(error: Exception) -> InvalidInput:
    return InvalidInput("refused_by_store", f"a value of the signal cannot be stored: {error}")


def _order(account_id: UUID, arrival: Arrival, prefix: str, seq: int, configs_version: int) -> Order:
    order_id, signal, at = arrival
    return Order(
        id=order_id,
        account_id=account_id,
        client_order_id=prefix + order_id.hex,
        symbol=signal.symbol,
        asset_class=signal.asset_class,
        side=signal.side,
        qty=signal.qty,
        type=signal.type,
        time_in_force=signal.time_in_force,
        created_at=at,
        updated_at=at,
        limit_price=signal.limit_price,
        signal_id=signal.signal_id,
        terms=signal.terms,
        source=signal.source,
        strategy=signal.strategy,
        reason=signal.reason,
        valid_for_s=signal.valid_for_s,
        configs_version=configs_version,
        seq=seq,
    )


async def _insert(db: Connection, account_id: UUID, version: int, created: dict[str, Order]) -> None:
    rows = [
        (
            order.id, order.seq, order.client_order_id, order.signal_id, order.source, order.terms, order.symbol,
            str(order.asset_class), str(order.side), order.qty, str(order.type), order.limit_price,
            str(order.time_in_force), order.strategy, order.reason, order.valid_for_s, order.created_at,
            to_json({"symbol": order.symbol, "side": order.side, "qty": order.qty or "all", "type": order.type,
                     "limit_price": order.limit_price, "source": order.source}),
        )
        for order in created.values()
    ]  # fmt: skip
    await db.execute(_INSERT, account_id, version, *columns(rows, 18))
