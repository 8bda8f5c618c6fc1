"""Makes `tape-half-hour.parquet` from `../shared/data/tape-2013-10-07.parquet`: see the README beside it.

.venv/bin/python tests/data/make_extract.py [SOURCE]
"""

import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[2] / "shared" / "data" / "tape-2013-10-07.parquet"
EXTRACT = HERE / "tape-half-hour.parquet"
SYMBOLS = ("AIG", "BAC", "IBM")
NEW_YORK = ZoneInfo("America/New_York")
BEGIN = datetime(2013, 10, 7, 10, 0, tzinfo=NEW_YORK)
END = datetime(2013, 10, 7, 10, 30, tzinfo=NEW_YORK)
LARGEST_BYTES = 500_000

SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("ms", tz="UTC")),
        ("symbol", pa.dictionary(pa.int32(), pa.string())),
        ("kind", pa.dictionary(pa.int32(), pa.string())),
        ("bid", pa.decimal128(12, 4)),
        ("bid_size", pa.int32()),
        ("ask", pa.decimal128(12, 4)),
        ("ask_size", pa.int32()),
        ("price", pa.decimal128(12, 4)),
        ("size", pa.int32()),
        ("exchange", pa.dictionary(pa.int32(), pa.string())),
    ]
)


def session_rows(source: Path) -> list[dict[str, object]]:
    """The rows of our symbols in the half hour, in the tape's order."""
    table = pq.read_table(source)
    begin, end = (pa.scalar(instant, table.schema.field("ts").type) for instant in (BEGIN, END))
    within = pc.and_(pc.greater_equal(table["ts"], begin), pc.less(table["ts"], end))
    return [row for row in table.filter(within).to_pylist() if row["symbol"] in SYMBOLS]


def main() -> None:
    """Write the extract and say what is in it."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    rows = session_rows(source)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(
        table,
        EXTRACT,
        compression="zstd",
        compression_level=19,
        use_dictionary=["symbol", "kind", "exchange", "bid", "ask", "price", "size", "bid_size", "ask_size"],
        column_encoding={"ts": "DELTA_BINARY_PACKED"},
        store_schema=True,
    )
    size = EXTRACT.stat().st_size
    quotes = sum(row["kind"] == "q" for row in rows)
    print(f"{quotes} quotes, {len(rows) - quotes} trades, {size} bytes")
    if size > LARGEST_BYTES:
        raise SystemExit(f"larger than {LARGEST_BYTES} bytes: too large to keep")


if __name__ == "__main__":
    main()
