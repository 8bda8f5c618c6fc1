"""Decimals: reading, rounding and writing money and quantities. No float ever holds either."""

import re
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Decimal
from functools import lru_cache

ZERO = Decimal(0)
NINE_DECIMALS = Decimal("1e-9")
TWELVE_DECIMALS = Decimal("1e-12")
LARGEST = Decimal("1e12")

_NUMBER = re.compile(r"[+-]?(\d{1,32}(\.\d{0,32})?|\.\d{1,32})([eE][+-]?\d{1,2})?", re.ASCII)


@lru_cache(maxsize=512)  # equal numbers are written alike
def text(value: Decimal) -> str:
    """Write a number as Alpaca does: no exponent, no trailing zeros, `0` for zero."""
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in {"-0", ""} else plain


def text_or_none(value: Decimal | None) -> str | None:
    return None if value is None else text(value)


def parse(value: object) -> Decimal:
    """Read a number that came as a JSON string, integer or (already exact) Decimal.

    Raises ValueError for anything else: booleans, NaN, infinities, beyond +-1e12, more digits than money has.
    """
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number")
    if isinstance(value, int | Decimal):
        value = str(value)
    if not isinstance(value, str) or len(value) > 64 or not _NUMBER.fullmatch(value.strip()):
        raise ValueError("not a number")
    number = Decimal(value.strip())
    if abs(number) > LARGEST:
        raise ValueError("beyond what can be traded")
    return number


def decimals(value: Decimal) -> int:
    """Count the decimals that a number really uses: 1.50 has one."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def dollars(value: Decimal) -> Decimal:
    """Round an amount of money to the 9 decimals in which cash is kept."""
    return value.quantize(NINE_DECIMALS, ROUND_HALF_EVEN)


def floor_to(value: Decimal, increment: Decimal) -> Decimal:
    """The largest multiple of `increment` that is not above a non-negative value."""
    return (value / increment).to_integral_value(ROUND_DOWN) * increment


def round_up(value: Decimal) -> Decimal:
    return value.quantize(NINE_DECIMALS, ROUND_UP)
