"""How numbers and symbols are read."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.domain.errors import InvalidInput
from oms.domain.instruments import Instrument, Symbols, spellings
from oms.domain.values import AssetClass, read_decimal, trimmed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", "10"),
        ("0.1", "0.1"),
        ("1e2", "100"),
        ("1.50", "1.5"),
        ("999999999999.123456789", "999999999999.123456789"),
    ],
)
def test_plain_numbers_are_read_exactly(text: str, value: str) -> None:
    assert str(read_decimal(text, "qty")) == value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0", "not_positive"), ("-1", "not_positive"), ("-0", "not_positive"), ("0.0", "not_positive"),
        ("1e400", "too_large"), ("1e12", "too_large"), ("1e-10", "too_precise"), ("1e-999", "too_precise"),
        ("0." + "1" * 30, "too_precise"), ("NaN", "invalid_number"), ("Infinity", "invalid_number"),
        ("1_0", "invalid_number"), (" 1", "invalid_number"), ("1 ", "invalid_number"), ("٣", "invalid_number"),
        ("", "invalid_number"), ("0x10", "invalid_number"), ("+1", "invalid_number"), ("01", "invalid_number"),
        ("1.", "invalid_number"), (".5", "invalid_number"), ("1" * 100, "invalid_number"), ("1\n", "invalid_number"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_decimal(text, "qty")
    assert (refused.value.code, refused.value.field) == (code, "qty")


@given(st.text(max_size=80))
def test_reading_never_fails_otherwise(text: str) -> None:
    with suppress(InvalidInput):
        assert read_decimal(text, "qty") > 0


@given(st.decimals("0.000000001", "999999999999", places=9))
def test_trimming_changes_the_looks_only(value: Decimal) -> None:
    assert trimmed(value) == value
    assert "E" not in str(trimmed(value)) or value < Decimal("1e-6")


def crypto(symbol: str) -> Instrument:
    return Instrument(symbol, AssetClass.CRYPTO, symbol)


SYMBOLS = Symbols(
    [Instrument("AAPL", AssetClass.STOCK, "1"), Instrument("BRK.B", AssetClass.STOCK, "2"), crypto("BTC/USD"),
     crypto("BTC/USDT"), crypto("ETH/BTC"), crypto("USDT/USD")],
    {"BTCUSDT": "BTC/USD"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("AAPL", "AAPL"), ("aapl", "AAPL"), ("NASDAQ:AAPL", "AAPL"), ("brk.b", "BRK.B"), ("BTC/USD", "BTC/USD"),
        ("btcusd", "BTC/USD"), ("BTC-USD", "BTC/USD"), ("BTCUSDT", "BTC/USD"), ("BTC/USDT", "BTC/USDT"),
        ("ethbtc", "ETH/BTC"), ("USDTUSD", "USDT/USD"), ("CRYPTO:BTCUSD", "BTC/USD"),
    ],
)  # fmt: skip
def test_any_spelling_is_understood(text: str, symbol: str) -> None:
    assert SYMBOLS.find(text).symbol == symbol


@pytest.mark.parametrize("text", ["", " ", "A B", "AAPL;drop", "ÄPFEL", "A" * 50, "/USD", "BTC/", "AAPL\0", "a\nb"])
def test_what_is_no_symbol_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        SYMBOLS.find(text)
    assert refused.value.code == "invalid_symbol"


def test_an_unlisted_symbol_is_told_apart() -> None:
    with pytest.raises(InvalidInput) as refused:
        SYMBOLS.find("ZZZZ")
    assert refused.value.code == "unknown_symbol"


def test_holdings_are_of_the_coin() -> None:
    assert SYMBOLS.find("BTC/USDT").holding == "BTC/USD"
    assert "BTCUSDT" in spellings("BTC/USD")
