"""One transaction of the engine: lease, orders, fills, adjustments, positions, events, commands."""

from __future__ import annotations

from uuid import UUID

from oms.domain.errors import Fenced, StoreConflict
from oms.domain.orders import Order
from oms.ports import Changes
from oms.storage.database import Connection, to_json
from oms.storage.rows import POSITION_COLUMNS, columns, position_values

_LOCK = """
select a.event_seq, l.epoch from accounts a join leases l on l.account_id = a.id
where a.id = $1 for update of a for share of l
"""
_ORDERS = """
update orders o set status = n.status, qty = n.qty, alpaca_id = n.alpaca_id, outcome_unknown = n.outcome_unknown,
    attempted_at = n.attempted_at, attempt_epoch = case when n.attempted_at is null then null else $1::bigint end,
    submitted_at = n.submitted_at, ended_at = n.ended_at, updated_at = n.updated_at, filled_qty = n.filled_qty,
    filled_value = n.filled_value, filled_price = n.filled_price, fee_rate = n.fee_rate, error_code = n.error_code,
    error_message = n.error_message, checks = n.checks, version = n.version
from unnest($2::uuid[], $3::bigint[], $4::text[], $5::numeric[], $6::text[], $7::bool[], $8::timestamptz[],
    $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::numeric[], $13::numeric[], $14::numeric[],
    $15::numeric[], $16::text[], $17::text[], $18::jsonb[], $19::bigint[])
    as n(id, stored, status, qty, alpaca_id, outcome_unknown, attempted_at, submitted_at, ended_at, updated_at,
        filled_qty, filled_value, filled_price, fee_rate, error_code, error_message, checks, version)
where o.id = n.id and o.version = n.stored
"""
_EXTERNAL = """
insert into orders (id, account_id, seq, client_order_id, alpaca_id, origin, symbol, asset_class, side, qty, type,
    limit_price, time_in_force, status, filled_qty, filled_value, filled_price, baseline_qty, fee_rate, created_at,
    submitted_at, ended_at, updated_at, version)
select n.id, $1, n.seq, n.client_order_id, n.alpaca_id, 'external', n.symbol, n.asset_class, n.side, n.qty, n.type,
    n.limit_price, n.time_in_force, n.status, n.filled_qty, n.filled_value, n.filled_price, n.baseline_qty, n.fee_rate,
    n.created_at, n.submitted_at, n.ended_at, n.updated_at, n.version
from unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::numeric[],
    $10::text[], $11::numeric[], $12::text[], $13::text[], $14::numeric[], $15::numeric[], $16::numeric[],
    $17::numeric[], $18::numeric[], $19::timestamptz[], $20::timestamptz[], $21::timestamptz[], $22::timestamptz[],
    $23::bigint[])
    as n(id, seq, client_order_id, alpaca_id, symbol, asset_class, side, qty, type, limit_price, time_in_force, status,
        filled_qty, filled_value, filled_price, baseline_qty, fee_rate, created_at, submitted_at, ended_at, updated_at,
        version)
"""
_FILLS = """
insert into fills (id, account_id, order_id, broker_order_id, symbol, side, qty, price, cum_qty, transacted_at,
    execution_id, activity_id)
select n.id, $1, n.order_id, n.broker_order_id, n.symbol, n.side, n.qty, n.price, n.cum_qty, n.transacted_at,
    n.execution_id, n.activity_id
from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::numeric[], $8::numeric[], $9::numeric[],
    $10::timestamptz[], $11::text[], $12::text[])
    as n(id, order_id, broker_order_id, symbol, side, qty, price, cum_qty, transacted_at, execution_id, activity_id)
on conflict do nothing
"""
_ADJUSTMENTS = """
insert into adjustments (id, account_id, symbol, kind, qty, price, cash, at, broker_order_id, cum_qty, reference)
select n.id, $1, n.symbol, n.kind, n.qty, n.price, n.cash, n.at, n.broker_order_id, n.cum_qty, n.reference
from unnest($2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::numeric[], $8::timestamptz[],
    $9::text[], $10::numeric[], $11::text[])
    as n(id, symbol, kind, qty, price, cash, at, broker_order_id, cum_qty, reference)
on conflict do nothing
"""
_NAMES = [name for name, _ in POSITION_COLUMNS]
_UNNEST = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(POSITION_COLUMNS, start=1))
_NEW_POSITIONS = f"""
insert into positions ({", ".join(_NAMES)}) select * from unnest({_UNNEST}) on conflict do nothing
"""  # noqa: S608
_POSITIONS = f"""
update positions p set {", ".join(f"{name} = n.{name}" for name in _NAMES if name != "id")}
from unnest({_UNNEST}, ${len(_NAMES) + 1}::bigint[]) as n({", ".join(_NAMES)}, stored)
where p.id = n.id and p.version = n.stored
"""  # noqa: S608
_EVENTS = """
insert into order_events (account_id, seq, order_id, kind, status, at, data)
select $1, n.seq, n.order_id, n.kind, n.status, n.at, n.data
from unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::jsonb[])
    as n(seq, order_id, kind, status, at, data)
"""
_COMMANDS = """
update commands c set done_at = now(), outcome = n.outcome, message = n.message
from unnest($1::uuid[], $2::text[], $3::text[]) as n(id, outcome, message) where c.id = n.id and c.done_at is null
"""
_ACCOUNT = """
update accounts set event_seq = $2, watermark = coalesce($3, watermark),
    adopted_at = coalesce(adopted_at, $3) where id = $1
"""


async def commit_changes(db: Connection, account_id: UUID, epoch: int, changes: Changes) -> None:
    """Write the changes inside the caller's transaction. Raises Fenced, StoreConflict."""
    lock = await db.fetchrow(_LOCK, account_id)
    if lock is None or lock["epoch"] != epoch:
        raise Fenced(f"epoch {epoch} of account {account_id} is over")
    seq: int = lock["event_seq"]
    if changes.created:
        await _insert_external(db, account_id, seq, changes)
    if changes.orders:
        rows = [_order_values(stored, order) for stored, order in changes.orders.values()]
        _expect(len(rows), await db.execute(_ORDERS, epoch, *columns(rows, 18)), "orders")
    if changes.fills:
        fills = [
            (
                f.id, f.order_id, f.broker_order_id, f.symbol, str(f.side), f.qty, f.price, f.cum_qty, f.transacted_at,
                f.execution_id, f.activity_id,
            )
            for f in changes.fills
        ]  # fmt: skip
        _expect(len(fills), await db.execute(_FILLS, account_id, *columns(fills, 11)), "fills")
    if changes.adjustments:
        moved = [
            (a.id, a.symbol, str(a.kind), a.qty, a.price, a.cash, a.at, a.broker_order_id, a.cum_qty, a.reference)
            for a in changes.adjustments
        ]
        _expect(len(moved), await db.execute(_ADJUSTMENTS, account_id, *columns(moved, 10)), "adjustments")
    if changes.positions:
        await _write_positions(db, changes)
    if changes.commands:
        await db.execute(_COMMANDS, *columns(changes.commands, 3))
    if changes.events:
        events = [
            (seq + place, e.order_id, str(e.kind), e.status, e.at, to_json(e.data))
            for place, e in enumerate(changes.events, start=1)
        ]
        await db.execute(_EVENTS, account_id, *columns(events, 6))
    if changes.events or changes.watermark:
        await db.execute(_ACCOUNT, account_id, seq + len(changes.events), changes.watermark)


async def _write_positions(db: Connection, changes: Changes) -> None:
    new = [position_values(position) for stored, position in changes.positions.values() if stored == 0]
    held = [(*position_values(position), stored) for stored, position in changes.positions.values() if stored]
    if new:
        _expect(len(new), await db.execute(_NEW_POSITIONS, *columns(new, len(_NAMES))), "positions")
    if held:
        _expect(len(held), await db.execute(_POSITIONS, *columns(held, len(_NAMES) + 1)), "positions")


def _expect(rows: int, tag: str, what: str) -> None:
    """All rows were written, or what memory holds is not what is stored."""
    written = int(tag.rpartition(" ")[2])
    if written != rows:
        raise StoreConflict(f"{rows - written} of {rows} {what} are stored in another version than memory holds")


def _order_values(stored: int, order: Order) -> tuple[object, ...]:
    return (
        order.id, stored, str(order.status), order.qty, order.alpaca_id, order.outcome_unknown, order.attempted_at,
        order.submitted_at, order.ended_at, order.updated_at, order.filled_qty, order.filled_value, order.filled_price,
        order.fee_rate, order.error_code, order.error_message, to_json(order.checks), order.version,
    )  # fmt: skip


async def _insert_external(db: Connection, account_id: UUID, seq: int, changes: Changes) -> None:
    places: dict[UUID, int] = {}
    for place, event in enumerate(changes.events, start=1):
        places.setdefault(event.order_id, seq + place)
    rows = [_external_values(order, places[order.id]) for order in changes.created.values()]
    await db.execute(_EXTERNAL, account_id, *columns(rows, 22))


def _external_values(order: Order, seq: int) -> tuple[object, ...]:
    return (
        order.id, seq, order.client_order_id, order.alpaca_id, order.symbol, str(order.asset_class), str(order.side),
        order.qty, str(order.type), order.limit_price, str(order.time_in_force), str(order.status), order.filled_qty,
        order.filled_value, order.filled_price, order.baseline_qty, order.fee_rate, order.created_at,
        order.submitted_at, order.ended_at, order.updated_at, order.version,
    )  # fmt: skip
