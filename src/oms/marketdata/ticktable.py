"""The table `market_ticks`: how we create it, what it looks like when others did, and a tick as one of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any, TypeAlias

from oms.domain.market import Quote, Tick

TABLE = "market_ticks"
# Alpaca's numbers have at most nine decimals, but others write doubles such as 189.22999572753906 into our table, and
# QuestDB refuses a number with more decimals than its column has. Of 19 to 38 digits all take the same 16 bytes.
DECIMAL = "DECIMAL(38,18)"
NUMBERS = ("price", "bid", "ask", "volume")

Value: TypeAlias = Decimal | float | int | str
Convert: TypeAlias = Callable[[Decimal], Value]


def create_sql(ttl_days: int) -> str:
    """The statement that makes the table where there is none.

    `seq` is among the keys: timestamp and symbol alone would drop half of a busy day; with it, a batch that is
    written again after a doubtful failure changes nothing.
    """
    return (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (symbol SYMBOL, exchange SYMBOL, price {DECIMAL}, bid {DECIMAL}, "
        f"ask {DECIMAL}, volume {DECIMAL}, timestamp TIMESTAMP, seq LONG) timestamp(timestamp) PARTITION BY DAY "
        f"TTL {ttl_days} DAYS WAL DEDUP UPSERT KEYS(timestamp, symbol, seq)"
    )


@dataclass(frozen=True, slots=True)
class TableShape:
    """An existing table: its columns' types by name, the designated timestamp, the keys that de-duplicate."""

    types: Mapping[str, str]
    time_column: str | None
    keys: frozenset[str]

    @classmethod
    def of_columns(cls, rows: list[dict[str, object]]) -> TableShape:
        """From the answer to SHOW COLUMNS."""
        return cls(
            types={str(row["column"]): str(row["type"]).upper() for row in rows},
            time_column=next((str(row["column"]) for row in rows if row["designated"]), None),
            keys=frozenset(str(row["column"]) for row in rows if row["upsertKey"]),
        )

    def missing(self) -> Mapping[str, str]:
        """The columns that we write and the table has not, with the types to add them with."""
        wanted = {"symbol": "SYMBOL", "exchange": "SYMBOL", **dict.fromkeys(NUMBERS, DECIMAL), "seq": "LONG"}
        return {name: kind for name, kind in wanted.items() if name not in self.types}

    def column(self, name: str) -> str:
        """The column as an expression of a query, null where the table has none."""
        return name if name in self.types else "null"

    def converters(self) -> Mapping[str, Convert]:
        """How a number is written into each column, by the type that it has."""
        return {name: _converter(self.types.get(name, DECIMAL)) for name in NUMBERS}


def _converter(kind: str) -> Convert:
    if kind.startswith("DECIMAL("):
        scale = int(kind.removeprefix("DECIMAL(").removesuffix(")").split(",")[1])
        return _to_scale(scale)
    if kind in {"DOUBLE", "FLOAT"}:
        return float
    if kind in {"LONG", "INT", "SHORT"}:
        return round
    return str


def _to_scale(scale: int) -> Convert:
    """Refused by the server otherwise: a number with more decimals than the column has."""
    step = Decimal(1).scaleb(-scale)

    def convert(value: Decimal) -> Decimal:
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and -exponent <= scale:
            return value
        with localcontext(prec=60):
            return value.quantize(step, ROUND_HALF_EVEN)

    return convert


def row_of(tick: Tick, seq: int, convert: Mapping[str, Convert]) -> tuple[dict[str, str | None], dict[str, Any]]:
    """A tick as symbols and columns: quotes carry bid and ask, trades price and volume."""
    columns: dict[str, Any] = {"seq": seq}  # Value, in the client's invariant dict of many more types
    if isinstance(tick, Quote):
        if tick.bid is not None:
            columns["bid"] = convert["bid"](tick.bid)
        if tick.ask is not None:
            columns["ask"] = convert["ask"](tick.ask)
    else:
        columns["price"] = convert["price"](tick.price)
        columns["volume"] = convert["volume"](tick.size)
    symbols: dict[str, str | None] = {"symbol": tick.symbol}
    if tick.exchange:
        symbols["exchange"] = tick.exchange
    return symbols, columns
