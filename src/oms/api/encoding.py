"""JSON of the API: Decimals as exact numbers in plain notation, times in UTC with `Z`, ids as strings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
from starlette.responses import Response

_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """JSON of plain values, mappings, rows and sequences of them."""
    return _encoder.encode(plain(value))


def plain(value: object) -> object:
    """What msgspec writes as this API writes it."""
    if isinstance(value, str | int | None | msgspec.Raw):
        return value
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, Mapping | asyncpg.Record):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def number(value: Decimal) -> msgspec.Raw:
    """A JSON number with every digit, no exponent and no trailing zeros: 1E+2 → 100, 10.50 → 10.5, 0E-9 → 0."""
    if not value.is_finite():
        return msgspec.Raw(b"null")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return msgspec.Raw(b"0" if text in {"-0", "", "-"} else text.encode())


def raw(text: object) -> msgspec.Raw:
    """The text of a jsonb column as it is: PostgreSQL writes its numbers exactly."""
    return msgspec.Raw(str(text).encode())


class ExactResponse(Response):
    """A JSON response in this API's encoding."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode."""
        return encode(content)
