"""Recorded prices, read in batches: Parquet or CSV (also .csv.gz) with the columns of ../shared/data/README.md.

`ts, symbol, kind (q|t), bid, bid_size, ask, ask_size, price, size, exchange`; rows in the order of time. Prices are
decimals; where a Parquet file has floats, each is taken as the shortest decimal that it stands for.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from paperbroker.prices.quotes import Quote, Size, Trade
from paperbroker.prices.timeframes import MINUTE

COLUMNS = ("ts", "symbol", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size", "exchange")
_BATCH_ROWS = 16_384
_SLICE_ROWS = 512
_ZERO = Decimal(0)


class TapeError(Exception):
    """The file is not a tape; the message says what is wrong with it."""


class Tape:
    """A tape, read forward once. Not thread-safe; meant for one reading thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open a file and read its first events. Raises TapeError."""
        import pyarrow as pa  # noqa: PLC0415  (0.3 s, and only a tape needs it)

        try:
            self._batches = open_batches(path)
            self._first = self._next_batch()
        except (OSError, pa.ArrowException) as error:
            raise TapeError(f"{path} cannot be read as a tape: {error}") from error
        if self._first is None:
            raise TapeError(f"{path} holds no events")
        self.standing: list[Quote | Trade] = []
        self.running: list[Trade] = []
        self.first_ns = int(timestamps_of(self._first)[0])

    def seek(self, start_ns: int) -> None:
        """Skip what lies before an instant.

        Each symbol's last quote and trade of it become `standing`, the trades of the minute that has begun `running`.
        """
        last: dict[tuple[str, str], Quote | Trade] = {}
        while self._first is not None and timestamps_of(self._first)[-1] < start_ns:
            self._pass_by(self._first, start_ns, last)
            self._first = self._next_batch()
        if self._first is not None:
            skipped = int((timestamps_of(self._first) < start_ns).sum())
            if skipped:
                self._pass_by(self._first.slice(0, skipped), start_ns, last)
                self._first = self._first.slice(skipped)
        self.standing = sorted(last.values(), key=lambda event: event.ns)

    def _pass_by(self, batch: Any, start_ns: int, last: dict[tuple[str, str], Quote | Trade]) -> None:
        _remember_last(batch, last)
        begun = int((timestamps_of(batch) >= start_ns - start_ns % MINUTE).sum())
        if begun:
            events = events_of(batch.slice(batch.num_rows - begun))
            self.running += [event for event in events if isinstance(event, Trade)]

    def slices(self) -> Iterator[list[Quote | Trade]]:
        """The events to come, some hundred at a time, so that converting them never holds up the rest for long."""
        batch = self._first
        while batch is not None:
            for start in range(0, batch.num_rows, _SLICE_ROWS):
                yield events_of(batch.slice(start, _SLICE_ROWS))
            batch = self._next_batch()

    def _next_batch(self) -> Any:
        for batch in self._batches:
            if batch.num_rows:
                return batch
        return None


def open_batches(path: Path) -> Iterator[Any]:
    """Record batches with the tape's columns and `row`, the number of each in the file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415

        file = pq.ParquetFile(path)
        _require_columns(path, file.schema_arrow.names)
        return _numbered(file.iter_batches(batch_size=_BATCH_ROWS, columns=list(COLUMNS)))
    if path.name.endswith((".csv", ".csv.gz")):
        return _numbered(_open_csv(path))
    raise TapeError(f"{path}: a tape ends with .parquet, .csv or .csv.gz")


def _open_csv(path: Path) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415

    try:
        reader = _csv_reader(path, pa.timestamp("ns", tz="UTC"))
    except pa.ArrowInvalid as error:
        try:
            reader = _csv_reader(path, pa.timestamp("ns"))  # times without an offset are UTC, as in Parquet
        except pa.ArrowInvalid:
            raise error from None
    _require_columns(path, reader.schema.names)
    return iter(reader)


def _csv_reader(path: Path, time: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.csv as pacsv  # noqa: PLC0415

    price, size = pa.decimal128(18, 6), pa.decimal128(28, 9)
    types = {
        "ts": time,
        "symbol": pa.string(),
        "kind": pa.string(),
        "exchange": pa.string(),
        **dict.fromkeys(("bid", "ask", "price"), price),
        **dict.fromkeys(("bid_size", "ask_size", "size"), size),
    }
    return pacsv.open_csv(
        path,
        read_options=pacsv.ReadOptions(block_size=1 << 20),
        convert_options=pacsv.ConvertOptions(column_types=types, strings_can_be_null=True),
    )


def _numbered(batches: Iterator[Any]) -> Iterator[Any]:
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    first = 1
    for batch in batches:
        rows: Any = np.arange(first, first + batch.num_rows, dtype="int64")
        first += batch.num_rows
        yield batch.append_column("row", pa.Int64Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)]))


def _require_columns(path: Path, names: list[str]) -> None:
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise TapeError(f"{path} lacks the columns {', '.join(missing)}; a tape has {', '.join(COLUMNS)}")


def timestamps_of(batch: Any) -> Any:
    """Nanoseconds, as a numpy array."""
    import pyarrow as pa  # noqa: PLC0415

    column = batch.column(batch.schema.get_field_index("ts"))
    return _numbers(column.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()))


def events_of(batch: Any) -> list[Quote | Trade]:
    """The rows of a record batch as quotes and trades."""
    names = (*COLUMNS[1:], "row")
    columns = (batch.column(batch.schema.get_field_index(name)).to_pylist() for name in names)
    return [_event(row) for row in zip(timestamps_of(batch).tolist(), *columns, strict=True)]


def _event(row: tuple[Any, ...]) -> Quote | Trade:
    ns, symbol, kind, bid, bid_size, ask, ask_size, price, size, exchange, number = row
    if kind == "q":
        return Quote(symbol, ns, _plain(bid), _plain(ask), _size(symbol, bid_size), _size(symbol, ask_size))
    if kind != "t":
        raise TapeError(f"the kind of an event is q or t, not {kind!r}")
    return Trade(symbol, ns, _plain(price), _size(symbol, size), number, exchange or "V")


def _plain(number: Any) -> Decimal:
    """180.0100 becomes 180.01: the zeros of the column's scale would go over the wire. Nothing becomes 0."""
    if isinstance(number, Decimal):
        return number.normalize()
    if number is None or math.isnan(number):  # NaN stands for nothing where numbers are floats
        return _ZERO
    return Decimal(str(number)).normalize()


def _size(symbol: str, number: Any) -> Size:
    """Shares are whole, coins are not."""
    if isinstance(number, int) and "/" not in symbol:
        return number
    return _plain(number) if "/" in symbol else int(_plain(number))


def _remember_last(batch: Any, last: dict[tuple[str, str], Quote | Trade]) -> None:
    """Keep only each symbol's last quote and trade, found without converting the rows between."""
    import numpy as np  # noqa: PLC0415

    symbols, kinds = codes_of(batch, "symbol"), codes_of(batch, "kind")
    labels = symbols * (int(kinds.max()) + 1) + kinds
    _, from_the_end = np.unique(labels[::-1], return_index=True)
    for index in from_the_end:
        (event,) = events_of(batch.slice(batch.num_rows - 1 - int(index), 1))
        last[(event.symbol, type(event).__name__)] = event


def codes_of(batch: Any, name: str) -> Any:
    """A text column as numbers, the same for the same text, as a numpy array."""
    import pyarrow as pa  # noqa: PLC0415

    column = batch.column(batch.schema.get_field_index(name))
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return _numbers(encoded.indices).astype("int64")


def _numbers(column: Any) -> Any:
    """A column of integers as a numpy array, without `to_numpy`, which imports pandas and takes a second."""
    import numpy as np  # noqa: PLC0415

    values = np.frombuffer(column.buffers()[1], dtype=str(column.type))
    return values[column.offset : column.offset + len(column)]
