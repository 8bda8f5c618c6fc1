"""One transaction of the engine, as one statement under the lease: orders, fills, positions, events and the rest.

One statement is one round trip. While PostgreSQL would wait for the next of several, the account's row would be locked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

import asyncpg

from oms.domain.drift import Drift
from oms.domain.errors import Fenced, StoreConflict
from oms.domain.orders import Order
from oms.ports import Changes
from oms.storage.database import Connection, to_json
from oms.storage.rows import POSITION_COLUMNS, columns, position_values

CONFLICT = "OM001"  # raised by the function expect_rows

Column = tuple[str, str]  # name, type


@dataclass(frozen=True, slots=True)
class Part:
    """One table's share of the statement. `write` reads the rows as `n` and the locked account as `l`."""

    name: str
    columns: tuple[Column, ...]
    write: str

    def sql(self, first: int) -> str:
        """The common table expression, its parameters numbered from `first`."""
        arrays = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(self.columns, start=first))
        rows = f"lock l cross join unnest({arrays}) as n({', '.join(name for name, _ in self.columns)})"
        return f"{self.name} as ({self.write.replace('<rows>', rows)} returning 1)"


def _part(name: str, declared: str, write: str) -> Part:
    found = [tuple(one.split()) for one in declared.split(",")]
    return Part(name, tuple((column, kind) for column, kind in found), write)


_ORDERS = _part(
    "written_orders",
    """id uuid, stored bigint, status text, qty numeric, alpaca_id text, outcome_unknown bool, attempted_at timestamptz,
    submitted_at timestamptz, ended_at timestamptz, updated_at timestamptz, filled_qty numeric, filled_value numeric,
    filled_price numeric, busted_qty numeric, fee_rate numeric, error_code text, error_message text, checks jsonb,
    version bigint""",
    """update orders o set status = n.status, qty = n.qty, alpaca_id = n.alpaca_id, outcome_unknown = n.outcome_unknown,
    attempted_at = n.attempted_at,
    attempt_epoch = case when n.attempted_at is not null then coalesce(o.attempt_epoch, l.epoch) end,
    submitted_at = n.submitted_at, ended_at = n.ended_at, updated_at = n.updated_at, filled_qty = n.filled_qty,
    filled_value = n.filled_value, filled_price = n.filled_price, busted_qty = n.busted_qty,
    fee_rate = n.fee_rate, error_code = n.error_code,
    error_message = n.error_message, checks = n.checks, version = n.version
    from <rows> where o.id = n.id and o.version = n.stored""",
)
_EXTERNAL = _part(
    "written_external",
    """id uuid, place bigint, client_order_id text, alpaca_id text, symbol text, asset_class text, side text,
    qty numeric, type text, limit_price numeric, time_in_force text, status text, filled_qty numeric,
    filled_value numeric, filled_price numeric, baseline_qty numeric, busted_qty numeric, fee_rate numeric,
    error_code text, error_message text, created_at timestamptz, submitted_at timestamptz, attempted_at timestamptz,
    ended_at timestamptz, updated_at timestamptz, version bigint""",
    """insert into orders (id, account_id, seq, client_order_id, alpaca_id, origin, symbol, asset_class, side, qty,
    type, limit_price, time_in_force, status, filled_qty, filled_value, filled_price, baseline_qty, busted_qty,
    fee_rate, error_code, error_message, created_at, submitted_at, attempted_at, attempt_epoch, ended_at, updated_at,
    version)
    select n.id, l.id, l.event_seq + n.place, n.client_order_id, n.alpaca_id, 'external', n.symbol, n.asset_class,
    n.side, n.qty, n.type, n.limit_price, n.time_in_force, n.status, n.filled_qty, n.filled_value, n.filled_price,
    n.baseline_qty, n.busted_qty, n.fee_rate, n.error_code, n.error_message, n.created_at, n.submitted_at,
    n.attempted_at, l.epoch, n.ended_at, n.updated_at, n.version
    from <rows>""",
)
_FILLS = _part(
    "written_fills",
    """id uuid, order_id uuid, broker_order_id text, symbol text, side text, qty numeric, price numeric,
    cum_qty numeric, transacted_at timestamptz, execution_id text, activity_id text""",
    """insert into fills (id, account_id, order_id, broker_order_id, symbol, side, qty, price, cum_qty, transacted_at,
    execution_id, activity_id)
    select n.id, l.id, n.order_id, n.broker_order_id, n.symbol, n.side, n.qty, n.price, n.cum_qty, n.transacted_at,
    n.execution_id, n.activity_id from <rows> on conflict do nothing""",
)
_ADJUSTMENTS = _part(
    "written_adjustments",
    """id uuid, symbol text, kind text, qty numeric, price numeric, cash numeric, at timestamptz, broker_order_id text,
    cum_qty numeric, reference text""",
    """insert into adjustments (id, account_id, symbol, kind, qty, price, cash, at, broker_order_id, cum_qty, reference)
    select n.id, l.id, n.symbol, n.kind, n.qty, n.price, n.cash, n.at, n.broker_order_id, n.cum_qty, n.reference
    from <rows> on conflict do nothing""",
)
_NAMES = [name for name, _ in POSITION_COLUMNS]
_NEW_POSITIONS = Part(
    "written_new_positions",
    tuple(POSITION_COLUMNS),
    f"""insert into positions ({", ".join(_NAMES)}) select {", ".join(f"n.{name}" for name in _NAMES)}
    from <rows> on conflict do nothing""",  # noqa: S608 — names of columns from this code
)
_POSITIONS = Part(
    "written_positions",
    (*POSITION_COLUMNS, ("stored", "bigint")),
    f"""update positions p set {", ".join(f"{name} = n.{name}" for name in _NAMES if name != "id")}
    from <rows> where p.id = n.id and p.version = n.stored""",  # noqa: S608
)
_EVENTS = _part(
    "written_events",
    "place bigint, order_id uuid, kind text, status text, at timestamptz, data jsonb",
    """insert into order_events (account_id, seq, order_id, kind, status, at, data)
    select l.id, l.event_seq + n.place, n.order_id, n.kind, n.status, n.at,
    n.data || jsonb_build_object('epoch', l.epoch) from <rows>""",
)
_COMMANDS = _part(
    "written_commands",
    "id uuid, outcome text, message text",
    """update commands c set done_at = now(), outcome = n.outcome, message = n.message
    from <rows> where c.id = n.id""",
)
_DRIFT = _part(
    "written_drift",
    """id bigint, kind text, subject text, symbol text, cause text, ours text, theirs text, first_seen timestamptz,
    last_seen timestamptz, passes bigint, order_id uuid, blocks bool, state text, resolution text,
    resolved_at timestamptz, resolved_by text, reason text""",
    # By id: where an ignored difference became another, the old row is resolved before the new one stands.
    """insert into drift (account_id, id, kind, subject, symbol, cause, ours, theirs, first_seen, last_seen, passes,
    order_id, blocks, state, resolution, resolved_at, resolved_by, reason)
    select l.id, n.id, n.kind, n.subject, n.symbol, n.cause, n.ours, n.theirs, n.first_seen, n.last_seen, n.passes,
    n.order_id, n.blocks, n.state, n.resolution, n.resolved_at, n.resolved_by, n.reason from <rows> order by n.id
    on conflict (account_id, id) do update set cause = excluded.cause, ours = excluded.ours, theirs = excluded.theirs,
    last_seen = excluded.last_seen, passes = excluded.passes, blocks = excluded.blocks, state = excluded.state,
    resolution = excluded.resolution, resolved_at = excluded.resolved_at, resolved_by = excluded.resolved_by,
    reason = excluded.reason""",
)
_LOCK = """with lock as materialized (
    select a.id, a.event_seq, l.epoch from accounts a join leases l on l.account_id = a.id
    where a.id = $1 and l.epoch = $2 for update of a for share of l
), account as (
    update accounts a set event_seq = l.event_seq + $3::bigint, watermark = coalesce($4::timestamptz, a.watermark),
        adopted_at = coalesce(a.adopted_at, $4::timestamptz), in_sync_at = coalesce($5::timestamptz, a.in_sync_at),
        halted = coalesce($6::bool, a.halted), halted_at = coalesce($7::timestamptz, a.halted_at),
        halted_by = coalesce($8::text, a.halted_by), halted_reason = coalesce($9::text, a.halted_reason)
    from lock l where a.id = l.id returning 1
)"""
_FIRST_COUNT = 10  # the parameter after those of the account

Row = tuple[object, ...]


async def commit_changes(db: Connection, account_id: UUID, epoch: int, changes: Changes) -> None:
    """Write the changes, all or nothing. Raises Fenced, StoreConflict."""
    parts = [(part, rows) for part, rows in _rows(changes) if rows]
    statement = _statement(tuple(part for part, _ in parts))
    halt = changes.halt
    halted = (None,) * 4 if halt is None else (halt.is_on, halt.at, halt.by, halt.reason)
    arguments: list[object] = [account_id, epoch, len(changes.events), changes.watermark, changes.in_sync_at, *halted]
    arguments += [len(rows) for _, rows in parts]
    for part, rows in parts:
        arguments += columns(rows, len(part.columns))
    try:
        written = await db.fetch(statement, *arguments)
    except asyncpg.PostgresError as error:
        if error.sqlstate == CONFLICT:
            raise StoreConflict(str(error)) from error
        raise
    if not written:
        raise Fenced(f"epoch {epoch} of account {account_id} is over")


@lru_cache(maxsize=256)
def _statement(parts: tuple[Part, ...]) -> str:
    """The statement for the tables that a transaction touches; PostgreSQL prepares each kind once."""
    counts = {part.name: f"${place}::bigint" for place, part in enumerate(parts, start=_FIRST_COUNT)}
    first = _FIRST_COUNT + len(parts)
    written = []
    for part in parts:
        written.append(part.sql(first))
        first += len(part.columns)
    checks = [
        f"expect_rows('{re.sub('written_(new_)?', '', name)}', {count}, (select count(*) from {name}))"  # noqa: S608
        for name, count in counts.items()
    ]
    return ",\n".join([_LOCK, *written]) + "\nselect " + ", ".join(["1", *checks]) + " from lock"


def _rows(changes: Changes) -> Sequence[tuple[Part, Sequence[Row]]]:
    positions = changes.positions.values()
    return [
        (_EXTERNAL, _external_rows(changes)),
        (_ORDERS, [_order_row(stored, order) for stored, order in changes.orders.values()]),
        (
            _FILLS,
            [
                (
                    f.id, f.order_id, f.broker_order_id, f.symbol, str(f.side), f.qty, f.price, f.cum_qty,
                    f.transacted_at, f.execution_id, f.activity_id,
                )
                for f in changes.fills
            ],
        ),
        (
            _ADJUSTMENTS,
            [
                (a.id, a.symbol, str(a.kind), a.qty, a.price, a.cash, a.at, a.broker_order_id, a.cum_qty, a.reference)
                for a in changes.adjustments
            ],
        ),
        (_NEW_POSITIONS, [position_values(position) for stored, position in positions if stored == 0]),
        (_POSITIONS, [(*position_values(position), stored) for stored, position in positions if stored]),
        (
            _EVENTS,
            [
                (place, e.order_id, str(e.kind), e.status, e.at, to_json(e.data))
                for place, e in enumerate(changes.events, start=1)
            ],
        ),
        (_COMMANDS, changes.commands),
        (_DRIFT, [_drift_row(drift) for drift in changes.drift.values()]),
    ]  # fmt: skip


def _order_row(stored: int, order: Order) -> Row:
    return (
        order.id, stored, str(order.status), order.qty, order.alpaca_id, order.outcome_unknown, order.attempted_at,
        order.submitted_at, order.ended_at, order.updated_at, order.filled_qty, order.filled_value, order.filled_price,
        order.busted_qty, order.fee_rate, order.error_code, order.error_message, to_json(order.checks), order.version,
    )  # fmt: skip


def _drift_row(drift: Drift) -> Row:
    return (
        drift.id, str(drift.kind), drift.subject, drift.symbol, str(drift.cause), drift.ours, drift.theirs,
        drift.first_seen, drift.last_seen, drift.passes, drift.order_id, drift.blocks, str(drift.state),
        None if drift.resolution is None else str(drift.resolution), drift.resolved_at, drift.resolved_by, drift.reason,
    )  # fmt: skip


def _external_rows(changes: Changes) -> Sequence[Row]:
    places: dict[UUID, int] = {}
    for place, event in enumerate(changes.events, start=1):
        places.setdefault(event.order_id, place)
    return [
        (
            o.id, places[o.id], o.client_order_id, o.alpaca_id, o.symbol, str(o.asset_class), str(o.side), o.qty,
            str(o.type), o.limit_price, str(o.time_in_force), str(o.status), o.filled_qty, o.filled_value,
            o.filled_price, o.baseline_qty, o.busted_qty, o.fee_rate, o.error_code, o.error_message, o.created_at,
            o.submitted_at, o.attempted_at, o.ended_at, o.updated_at, o.version,
        )
        for o in changes.created.values()
    ]  # fmt: skip
