"""A table as JSON and as CSV. Amounts are exact: strings in JSON, plain digits in CSV. Times are UTC."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol


class Row(Protocol):
    """Anything that gives a column by its name."""

    def __getitem__(self, name: str, /) -> Any: ...


async def write_table(folder: Path, name: str, columns: Sequence[str], rows: AsyncIterator[Row], at: datetime) -> int:
    """Write `name`.json and `name`.csv; the number of rows."""
    count = 0
    with (folder / f"{name}.json").open("x") as as_json, (folder / f"{name}.csv").open("x", newline="") as as_csv:
        table = csv.writer(as_csv)
        table.writerow(columns)
        as_json.write(f'{{"as_of": {json.dumps(exact(at))}, "{name}": [')
        async for row in rows:
            values = [exact(row[column]) for column in columns]
            as_json.write(",\n" if count else "\n")
            as_json.write(json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False))
            table.writerow(["" if value is None else str(value) for value in values])
            count += 1
        as_json.write("\n]}\n")
    return count


def exact(value: object) -> str | bool | None:
    """A value without loss: a number as its digits, never in powers of ten."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
