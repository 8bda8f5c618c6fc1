"""Sides, order types, times in force, asset classes, and how a quantity or price is read from text."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum

from oms.domain.errors import InvalidInput

ZERO = Decimal(0)


class Side(StrEnum):
    """The direction of an order or fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for buy, -1 for sell: what it does to a position."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """How the price is set."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """How long the order works at the broker."""

    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    OPG = "opg"
    CLS = "cls"


class AssetClass(StrEnum):
    """What is traded; decides on sessions, increments and the time in force when none is given."""

    STOCK = "stock"
    CRYPTO = "crypto"


STOCK_TIMES_IN_FORCE = frozenset(TimeInForce)
CRYPTO_TIMES_IN_FORCE = frozenset({TimeInForce.GTC, TimeInForce.IOC})

DECIMALS_MAX = 9  # Alpaca takes at most nine decimals of a quantity or a crypto price
DIGITS_MAX = 12  # before the point: far above any order, far below what overflows
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")


def read_decimal(text: str, field: str) -> Decimal:
    """A positive number from the text of a JSON number or string, exactly.

    Raises InvalidInput for whatever is no plain number, not above zero, or longer than 12 digits before or 9 after the
    point. `1_0`, `NaN`, `1e400`, ` 1` and `٣` are no plain numbers, although Decimal() takes some of them.
    """
    if len(text) > 64 or not _NUMBER.fullmatch(text):
        raise InvalidInput(
            "invalid_number", f"{field} must be a plain number such as 10 or 0.25, not {text[:40]!r}", field
        )
    value = Decimal(text)
    if value <= 0:
        raise InvalidInput("not_positive", f"{field} must be greater than 0, not {text}", field)
    if value.adjusted() >= DIGITS_MAX:
        raise InvalidInput("too_large", f"{field} must be below 10^{DIGITS_MAX}, not {text}", field)
    plain = trimmed(value) if value.adjusted() >= -DIGITS_MAX else value
    exponent = plain.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > DECIMALS_MAX:
        raise InvalidInput("too_precise", f"{field} must have at most {DECIMALS_MAX} decimals, not {text}", field)
    return plain


def trimmed(value: Decimal) -> Decimal:
    """The same number without trailing zeros and without an exponent: 10.50 → 10.5, 1E+2 → 100."""
    if not value:
        return ZERO
    text = format(value, "f")
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
