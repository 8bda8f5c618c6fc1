"""What is kept of alerts (the port AlertRecord), on a connection of its own that also holds the lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec

from oms.domain.alerts import Alert, AlertKind, KeptAlert, Looked, OrderNews
from oms.storage.database import Connection, Pool, connection, to_json, unavailable

_LOCK = "select pg_try_advisory_lock(hashtextextended('alerts ' || $1, 0))"
_CURSOR = "select seq, conditions from alert_cursors where key_hash = $1"
_STATE = """
select now() as at, e.status, e.detail, extract(epoch from now() - e.heartbeat_at)::float8 as age_s,
    a.id as account_id, coalesce(a.event_seq, 0) as head
from (select $1::text as key_hash) x left join engines e on e.key_hash = x.key_hash
left join account_keys k on k.key_hash = x.key_hash left join accounts a on a.id = k.account_id
"""
_NEWS = """
select v.seq, v.kind, v.at, v.data, o.id, o.symbol, o.side, o.qty, o.origin, o.error_code, o.error_message
from order_events v join orders o on o.id = v.order_id
where v.account_id = $1 and v.seq > $2 and v.seq <= $3 and v.kind = any($4) order by v.seq limit $5
"""
_KEEP = """
insert into alerts (key_hash, kind, at, text, count)
select $1, t.kind, t.at, t.text, t.count
from unnest($2::text[], $3::timestamptz[], $4::text[], $5::int[]) with ordinality as t (kind, at, text, count, place)
order by t.place
"""
_MOVE = """
insert into alert_cursors values ($1, $2, $3::jsonb, $4)
on conflict (key_hash) do update set seq = $2, conditions = $3::jsonb, updated_at = $4
"""
_REGISTER = """
insert into alert_receivers (key_hash, receiver, last_id)
select $1, receiver, (select coalesce(max(id), 0) from alerts) from unnest($2::text[]) receiver
on conflict (key_hash, receiver) do update
set active = true, last_id = case when alert_receivers.active then alert_receivers.last_id else excluded.last_id end
"""
_RETIRE = "update alert_receivers set active = false where key_hash = $1 and receiver <> all($2::text[])"
_WAITING = """
select a.id, a.kind, a.at, a.text, a.count from alerts a
join alert_receivers r on r.key_hash = a.key_hash and r.receiver = $2 and a.id > r.last_id
where a.key_hash = $1 order by a.id limit $3
"""
_DELIVERED = """
update alert_receivers set last_id = $3, delivered = delivered + $4, last_error = '', failing_since = null,
    delivered_at = $5
where key_hash = $1 and receiver = $2
"""
_FAILED = """
update alert_receivers set failures = failures + 1, last_error = $3, failing_since = coalesce(failing_since, $4)
where key_hash = $1 and receiver = $2
"""
_FORGET = """
delete from alerts where key_hash = $1 and at < $2
    and id <= (select coalesce(min(last_id), 0) from alert_receivers where key_hash = $1 and active)
"""


class PostgresAlerts:
    """The port AlertRecord for one key. `events` are the kinds of events that may be worth an alert."""

    def __init__(self, pool: Pool, key_hash: str, events: Sequence[str]) -> None:
        self._pool = pool
        self._key_hash = key_hash
        self._events = list(events)

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[PostgresDesk | None]:
        """See the port. The lock is the connection's: it ends with it, and with this block."""
        async with connection(self._pool) as db:
            held = await db.fetchval(_LOCK, self._key_hash)
            yield PostgresDesk(db, self._key_hash, self._events) if held else None


class PostgresDesk:
    """The port AlertDesk. Its one connection serves one call at a time."""

    def __init__(self, db: Connection, key_hash: str, events: Sequence[str]) -> None:
        self._db = db
        self._key_hash = key_hash
        self._events = events
        self._one_at_a_time = asyncio.Lock()

    async def cursor(self) -> tuple[int | None, Mapping[str, str]]:
        """See the port."""
        async with self._alone() as db:
            row = await db.fetchrow(_CURSOR, self._key_hash)
        return (None, {}) if row is None else (row["seq"], msgspec.json.decode(row["conditions"], type=dict[str, str]))

    async def look(self, after: int | None, limit: int) -> Looked:
        """See the port."""
        async with self._alone() as db:
            state = await db.fetchrow(_STATE, self._key_hash)
            assert state is not None  # noqa: S101 - one row, whatever is joined to it
            head = state["head"]
            rows = []
            if after is not None and head > after:
                rows = await db.fetch(_NEWS, state["account_id"], after, head, self._events, limit)
        if len(rows) == limit:
            head = rows[-1]["seq"]
        news = tuple(
            OrderNews(
                seq=row["seq"], event=row["kind"], at=row["at"], symbol=row["symbol"], side=row["side"],
                qty=row["qty"], order_id=str(row["id"]), origin=row["origin"], error_code=row["error_code"],
                error_message=row["error_message"], data=msgspec.json.decode(row["data"]),
            )
            for row in rows
        )  # fmt: skip
        return Looked(
            state["at"], head, news, state["status"], state["age_s"], msgspec.json.decode(state["detail"] or "{}")
        )

    async def keep(self, alerts: Sequence[Alert], head: int, conditions: Mapping[str, str], at: datetime) -> None:
        """See the port."""
        columns = zip(*((str(one.kind), one.at, one.text, one.count) for one in alerts), strict=True)
        async with self._alone() as db, db.transaction():
            if alerts:
                await db.execute(_KEEP, self._key_hash, *map(list, columns))
            await db.execute(_MOVE, self._key_hash, head, to_json(conditions), at)

    async def register(self, receivers: Sequence[str]) -> None:
        """See the port."""
        async with self._alone() as db, db.transaction():
            await db.execute(_REGISTER, self._key_hash, list(receivers))
            await db.execute(_RETIRE, self._key_hash, list(receivers))

    async def waiting(self, receiver: str, limit: int) -> Sequence[KeptAlert]:
        """See the port."""
        async with self._alone() as db:
            rows = await db.fetch(_WAITING, self._key_hash, receiver, limit)
        return [
            KeptAlert(row["id"], Alert(AlertKind(row["kind"]), row["at"], row["text"], row["count"])) for row in rows
        ]

    async def delivered(self, receiver: str, up_to: int, count: int, at: datetime) -> None:
        """See the port."""
        async with self._alone() as db:
            await db.execute(_DELIVERED, self._key_hash, receiver, up_to, count, at)

    async def failed(self, receiver: str, error: str, at: datetime) -> None:
        """See the port."""
        async with self._alone() as db:
            await db.execute(_FAILED, self._key_hash, receiver, error, at)

    async def forget(self, before: datetime) -> None:
        """See the port."""
        async with self._alone() as db:
            await db.execute(_FORGET, self._key_hash, before)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Connection]:
        async with self._one_at_a_time, unavailable():
            yield self._db
