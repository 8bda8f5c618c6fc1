"""Rows of the tables as domain objects, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from oms.domain.drift import Cause, Drift, DriftKind, DriftState, Resolution
from oms.domain.fills import Fill
from oms.domain.instruments import Instrument
from oms.domain.orders import Order, OrderStatus
from oms.domain.positions import Adjustment, AdjustmentKind, Entry, EntryKey, Position
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.ports import Halt


class Row(Protocol):
    """Anything that gives a column by its name."""

    def __getitem__(self, name: str, /) -> Any: ...


ORDER_COLUMNS = ", ".join(field.name for field in fields(Order))


def order_of(row: Row) -> Order:
    """An order from a row with ORDER_COLUMNS."""
    values = {field.name: row[field.name] for field in fields(Order)}
    values.update(
        asset_class=AssetClass(row["asset_class"]),
        side=Side(row["side"]),
        type=OrderType(row["type"]),
        time_in_force=TimeInForce(row["time_in_force"]),
        status=OrderStatus(row["status"]),
        checks=json.loads(row["checks"], parse_float=Decimal),
    )
    return Order(**values)


def fill_of(row: Row) -> Fill:
    """A fill from its row."""
    values = {field.name: row[field.name] for field in fields(Fill)}
    return Fill(**{**values, "side": Side(row["side"])})


def adjustment_of(row: Row) -> Adjustment:
    """An adjustment from its row."""
    values = {field.name: row[field.name] for field in fields(Adjustment)}
    return Adjustment(**{**values, "kind": AdjustmentKind(row["kind"])})


def drift_of(row: Row) -> Drift:
    """A row of the drift ledger."""
    values = {field.name: row[field.name] for field in fields(Drift)}
    resolution = None if row["resolution"] is None else Resolution(row["resolution"])
    kinds = {"kind": DriftKind(row["kind"]), "cause": Cause(row["cause"]), "state": DriftState(row["state"])}
    return Drift(**{**values, **kinds, "resolution": resolution})


def halt_of(account: Row) -> Halt | None:
    """The last halt or resumption of an account, from its row."""
    if account["halted_at"] is None:
        return None
    return Halt(account["halted"], account["halted_at"], account["halted_by"], account["halted_reason"])


def instrument_of(row: Row) -> Instrument:
    """An instrument from its row."""
    values = {field.name: row[field.name] for field in fields(Instrument)}
    return Instrument(**{**values, "asset_class": AssetClass(row["asset_class"])})


_PLAIN = [
    "id", "account_id", "symbol", "qty", "avg_price", "realized_pnl", "fees", "opened_at", "closed_at",
    "flat_realized", "flat_fees", "last_price", "price_time", "stale", "updated_at", "version",
]  # fmt: skip


def position_of(row: Row) -> Position:
    """A position from its row."""
    return Position(
        asset_class=AssetClass(row["asset_class"]),
        last_key=_key(row, "last"),
        flat_key=_key(row, "flat"),
        **{name: row[name] for name in _PLAIN},
    )


def position_values(position: Position) -> tuple[object, ...]:
    """The values for POSITION_COLUMNS, in their order."""
    plain = {name: getattr(position, name) for name in _PLAIN}
    plain["asset_class"] = str(position.asset_class)
    plain["market_value"] = position.market_value
    plain["unrealized_pnl"] = position.unrealized_pnl
    for prefix, key in (("last", position.last_key), ("flat", position.flat_key)):
        at, order, cum, rank = key or (None, None, None, None)
        plain |= {f"{prefix}_at": at, f"{prefix}_order": order, f"{prefix}_cum": cum, f"{prefix}_rank": rank}
    return tuple(plain[name] for name, _ in POSITION_COLUMNS)


POSITION_COLUMNS = [
    ("id", "uuid"), ("account_id", "uuid"), ("symbol", "text"), ("asset_class", "text"), ("qty", "numeric"),
    ("avg_price", "numeric"), ("realized_pnl", "numeric"), ("unrealized_pnl", "numeric"), ("last_price", "numeric"),
    ("market_value", "numeric"), ("price_time", "timestamptz"), ("stale", "boolean"), ("fees", "numeric"),
    ("opened_at", "timestamptz"), ("closed_at", "timestamptz"), ("last_at", "timestamptz"), ("last_order", "text"),
    ("last_cum", "numeric"), ("last_rank", "int"), ("flat_at", "timestamptz"), ("flat_order", "text"),
    ("flat_cum", "numeric"), ("flat_rank", "int"), ("flat_realized", "numeric"), ("flat_fees", "numeric"),
    ("updated_at", "timestamptz"), ("version", "bigint"),
]  # fmt: skip


def _key(row: Row, prefix: str) -> EntryKey | None:
    at = row[f"{prefix}_at"]
    return None if at is None else (at, row[f"{prefix}_order"], row[f"{prefix}_cum"], row[f"{prefix}_rank"])


def entries_of(fills: Iterable[Row], adjustments: Iterable[Row]) -> list[Entry]:
    """The steps of a position from its fills and adjustments."""
    steps = [Entry.of_fill(fill_of(row)) for row in fills]
    return steps + [Entry.of_adjustment(adjustment_of(row)) for row in adjustments]


def event_json(row: Row) -> bytes:
    """An event as it is told to other programs; `data` passes as it is stored, so that numbers stay exact."""
    return msgspec.json.encode(
        {
            "seq": row["seq"],
            "order_id": row["order_id"],
            "kind": row["kind"],
            "status": row["status"],
            "at": row["at"],
            "data": msgspec.Raw(row["data"].encode()),
        }
    )


def columns(rows: Iterable[tuple[object, ...]], width: int) -> list[list[object]]:
    """Rows turned into one list for each column, as `unnest` wants them."""
    listed = list(rows)
    return [[row[index] for row in listed] for index in range(width)]


def as_decimal(value: Decimal | None) -> Decimal:
    """A sum that may be null."""
    return Decimal(0) if value is None else value
