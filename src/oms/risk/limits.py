"""The limits of the table `configs`, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Mode(StrEnum):
    """What a control does when it is exceeded: refuse, only record, or nothing."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Limit:
    """One row of `configs`: USD, units or seconds, as its key says."""

    key: str
    value: Decimal
    mode: Mode = Mode.ENFORCE


DEFAULTS: Mapping[str, str] = {
    "max_position_size_usd": "10000",
    "max_order_qty_crypto": "1.0",
    "max_order_qty_stock": "100",
    "max_price_age_s": "15",
    "max_signal_age_s": "30",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits at one version of the table. A row that was deleted counts with its default."""

    version: int
    position_usd: Limit
    order_qty_crypto: Limit
    order_qty_stock: Limit
    price_age_s: Limit
    signal_age_s: Limit

    @classmethod
    def read(cls, version: int, values: Mapping[str, str], modes: Mapping[str, str]) -> Limits:
        """The limits from the table's texts."""

        def limit(key: str) -> Limit:
            return Limit(key, Decimal(values.get(key, DEFAULTS[key])), Mode(modes.get(key, Mode.ENFORCE)))

        return cls(
            version,
            position_usd=limit("max_position_size_usd"),
            order_qty_crypto=limit("max_order_qty_crypto"),
            order_qty_stock=limit("max_order_qty_stock"),
            price_age_s=limit("max_price_age_s"),
            signal_age_s=limit("max_signal_age_s"),
        )
