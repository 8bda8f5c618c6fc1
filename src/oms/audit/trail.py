"""Events as they are read from the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """One event of an order; numbers of `data` are int or Decimal."""

    seq: int
    kind: str
    status: str
    at: datetime
    data: Mapping[str, Any]


def read_data(text: str) -> Any:
    """JSON from the record, its numbers exact."""
    return _decode(text)


def number(value: object) -> Decimal | None:
    """A number of an event, or none."""
    return None if value is None else Decimal(str(value))


def moment(value: object) -> datetime | None:
    """A time of an event, or none."""
    return None if value is None else datetime.fromisoformat(str(value))
