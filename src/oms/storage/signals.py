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

_LOCK = "select 1 from accounts where id = $1 for update"
# One look-up of the unique index for each identity: with `= any`, a table without statistics (the first minute of an
# installation) is planned as a scan of all orders of the account.
_KNOWN = f"""
select k.* from unnest($2::text[]) as n(signal_id) cross join lateral (
    select {ORDER_COLUMNS} from orders o where o.account_id = $1 and o.signal_id = n.signal_id limit 1
) as k
"""  # noqa: S608
# One statement, so that the account's row is locked for no longer than it takes. The lock comes first: sequences appear
# in the order of the commits.
_INSERT = f"""
with lock as materialized (
    select a.id, a.event_seq, v.version, left(replace(i.id::text, '-', ''), 8) as installation
    from accounts a, config_version v, installation i where a.id = $1 for update of a
), stored as (
    insert into orders (id, account_id, seq, client_order_id, signal_id, source, terms, symbol, asset_class, side, qty,
        type, limit_price, time_in_force, strategy, reason, valid_for_s, configs_version, status, created_at,
        updated_at)
    select n.id, l.id, l.event_seq + n.place, '{PREFIX}-' || l.installation || '-' || replace(n.id::text, '-', ''),
        n.signal_id, n.source, n.terms, n.symbol, n.asset_class, n.side, n.qty, n.type, n.limit_price, n.time_in_force,
        n.strategy, n.reason, n.valid_for_s, l.version, 'pending', n.at, n.at
    from lock l cross join unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::numeric[], $11::text[], $12::numeric[], $13::text[], $14::text[], $15::text[], $16::numeric[],
        $17::timestamptz[])
        as n(id, place, signal_id, source, terms, symbol, asset_class, side, qty, type, limit_price, time_in_force,
            strategy, reason, valid_for_s, at)
), told as (
    insert into order_events (account_id, seq, order_id, kind, status, at, data)
    select l.id, l.event_seq + n.place, n.id, 'accepted', 'pending', n.at,
        n.data || jsonb_build_object('configs_version', l.version, 'client_order_id',
            '{PREFIX}-' || l.installation || '-' || replace(n.id::text, '-', ''))
    from lock l cross join unnest($2::uuid[], $3::bigint[], $17::timestamptz[], $18::jsonb[]) as n(id, place, at, data)
), counted as (
    update accounts a set event_seq = l.event_seq + cardinality($2::uuid[]) from lock l where a.id = l.id
)
select l.event_seq, l.version, l.installation, (
    select count(*) from orders o where o.account_id = $1 and o.status = 'pending' and o.attempted_at is null
) as ahead
from lock l
"""  # noqa: S608 — our own prefix
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
            if not look_up:
                async with connection(self._pool) as db:
                    committing = True  # a statement by itself: its answer is the commit's
                    return await _stored(db, account_id, signals)
            async with transaction(self._pool) as db:
                answers = await _looked_up(db, account_id, signals)
                committing = True
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ValueError):  # asyncpg could not even encode a value
                raise _refused(error.__cause__) from error
            if committing and not _was_rolled_back(error.__cause__):
                raise CommitUnanswered(str(error)) from error
            raise
        except asyncpg.UniqueViolationError:
            raise
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise _refused(error) from error
        self._expect_known = not all(answer.created for answer in answers)
        return answers

    async def record_error(self, account_id: UUID | None, source: str, payload: str, reason: str, code: str) -> None:
        """Keep a malformed message with the reason."""
        async with connection(self._pool) as db:
            await db.execute(
                _ERROR, account_id, source, code, reason, payload.replace("\0", "\N{REPLACEMENT CHARACTER}")
            )


async def _looked_up(db: Connection, account_id: UUID, signals: Sequence[Arrival]) -> list[Acceptance]:
    """Store what is new; the lock first, so that nobody stores an identity between the look and the insert."""
    await db.execute(_LOCK, account_id)
    known = await _known(db, account_id, [signal.signal_id for _, signal, _ in signals])
    fresh: dict[str, Arrival] = {}
    for arrival in signals:
        if arrival[1].signal_id not in known:
            fresh.setdefault(arrival[1].signal_id, arrival)
    created = await _stored(db, account_id, list(fresh.values())) if fresh else []
    made = {acceptance.order.signal_id: acceptance for acceptance in created}
    answers = []
    for order_id, signal, _ in signals:
        order = made[signal.signal_id].order if signal.signal_id in made else known[signal.signal_id]
        ahead = made[signal.signal_id].ahead if signal.signal_id in made else 0
        answers.append(Acceptance(order, created=order.id == order_id, ahead=ahead))
    return answers


async def _stored(db: Connection, account_id: UUID, arrivals: Sequence[Arrival]) -> list[Acceptance]:
    """Insert them all. An identity that is taken, by the record or within them, raises UniqueViolationError."""
    rows = [_values(place, arrival) for place, arrival in enumerate(arrivals, start=1)]
    account = await db.fetchrow(_INSERT, account_id, *columns(rows, 17))
    if account is None:
        raise LookupError(f"account {account_id} is not stored")
    prefix = f"{PREFIX}-{account['installation']}-"
    return [
        Acceptance(
            _order(account_id, arrival, prefix, account["event_seq"] + place, account["version"]),
            created=True,
            ahead=account["ahead"] + place - 1,
        )
        for place, arrival in enumerate(arrivals, start=1)
    ]


async def _known(db: Connection, account_id: UUID, signal_ids: Sequence[str]) -> dict[str, Order]:
    rows = await db.fetch(_KNOWN, account_id, signal_ids)
    return {row["signal_id"]: order_of(row) for row in rows}


def _was_rolled_back(error: BaseException | None) -> bool:
    """Whether PostgreSQL itself answered that the statement failed, as with a full disk: then nothing is stored.

    FATAL and PANIC say that the server goes down; what it had done until then is not known.
    """
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"


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


def _values(place: int, arrival: Arrival) -> tuple[object, ...]:
    order_id, signal, at = arrival
    data = {
        "symbol": signal.symbol, "side": signal.side, "qty": signal.qty or "all", "type": signal.type,
        "limit_price": signal.limit_price, "source": signal.source, "asset_class": signal.asset_class,
        "time_in_force": signal.time_in_force, "signal_id": signal.signal_id, "terms": signal.terms,
        "strategy": signal.strategy, "reason": signal.reason, "valid_for_s": signal.valid_for_s,
    }  # fmt: skip
    return (
        order_id, place, signal.signal_id, signal.source, signal.terms, signal.symbol, str(signal.asset_class),
        str(signal.side), signal.qty, str(signal.type), signal.limit_price, str(signal.time_in_force), signal.strategy,
        signal.reason, signal.valid_for_s, at, to_json(data),
    )  # fmt: skip
