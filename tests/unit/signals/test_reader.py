"""Signals are read strictly: whatever comes, the answer is a Signal or InvalidInput, and numbers are exact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.domain.errors import InvalidInput
from oms.domain.instruments import Instrument, Symbols
from oms.domain.signals import Signal
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.signals.reader import FIELDS, InvalidSignal, Origin, read_signal

SYMBOLS = Symbols(
    [Instrument("AAPL", AssetClass.STOCK, "1"), Instrument("BTC/USD", AssetClass.CRYPTO, "2")], {"BTCUSDT": "BTC/USD"}
)
REST = Origin("rest", "rest:made")
GOOD: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 10}


def read(fields: Any, origin: Origin = REST) -> Signal:
    return read_signal(fields if isinstance(fields, bytes) else json.dumps(fields).encode(), SYMBOLS, origin)


def refused(fields: Any, origin: Origin = REST) -> dict[str | None, str]:
    with pytest.raises(InvalidSignal) as caught:
        read(fields, origin)
    return {problem.field: problem.code for problem in caught.value.problems}


def test_defaults_are_market_day_for_stocks_and_gtc_for_crypto() -> None:
    stock, coin = read(GOOD), read({**GOOD, "symbol": "btcusdt"})
    assert (stock.type, stock.time_in_force, stock.signal_id, stock.source) == (
        OrderType.MARKET, TimeInForce.DAY, "rest:made", "rest",
    )  # fmt: skip
    assert (coin.symbol, coin.asset_class, coin.time_in_force) == ("BTC/USD", AssetClass.CRYPTO, TimeInForce.GTC)


def test_words_are_understood_in_any_case() -> None:
    found = read({**GOOD, "side": "SELL", "type": "Limit", "limit_price": "1.5", "time_in_force": "GTC"})
    assert (found.side, found.type, found.time_in_force) == (Side.SELL, OrderType.LIMIT, TimeInForce.GTC)
    assert found.limit_price == Decimal("1.5")


def test_the_whole_position_is_all_and_nothing_else() -> None:
    assert read({**GOOD, "qty": "all"}).qty is None
    for word in ("ALL", "everything", "", "50%"):
        assert refused({**GOOD, "qty": word}) == {"qty": "invalid_number"}


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"time_in_force": "fok", "symbol": "BTC/USD"}, "time_in_force", "invalid_time_in_force"),
        ({"time_in_force": "day", "symbol": "BTC/USD"}, "time_in_force", "invalid_time_in_force"),
        ({"time_in_force": "gtd"}, "time_in_force", "invalid_time_in_force"),
        ({"type": "stop"}, "type", "invalid_type"),
        ({"type": "limit"}, "limit_price", "missing_field"),
        ({"limit_price": 1}, "limit_price", "unexpected_field"),
        ({"type": "limit", "limit_price": None}, "limit_price", "wrong_type"),
        ({"reason": None}, "reason", "wrong_type"),
        ({"reason": 5}, "reason", "wrong_type"),
        ({"strategy": "x" * 101}, "strategy", "too_long"),
        ({"signal_id": ""}, "signal_id", "empty"),
        ({"signal_id": "x" * 101}, "signal_id", "too_long"),
        ({"signal_id": " x"}, "signal_id", "invalid_characters"),
        ({"signal_id": "a\tb"}, "signal_id", "invalid_characters"),
        ({"signal_id": 5}, "signal_id", "wrong_type"),
        ({"valid_for_s": 0}, "valid_for_s", "not_positive"),
        ({"valid_for_s": 1e9}, "valid_for_s", "too_large"),
        ({"symbol": ""}, "symbol", "invalid_symbol"),
        ({"symbol": {"a": 1}}, "symbol", "wrong_type"),
        ({"side": ["buy"]}, "side", "wrong_type"),
        ({"qty": {"value": 1}}, "qty", "wrong_type"),
        ({"\x00\ud800": 1}, "\ufffd\ufffd", "unknown_field"),
    ],
)
def test_each_bad_value_is_refused_by_field_and_code(change: dict[str, Any], field: str, code: str) -> None:
    assert refused({**GOOD, **change}) == {field: code}


def test_an_unknown_field_names_the_known_ones() -> None:
    with pytest.raises(InvalidSignal) as caught:
        read({**GOOD, "quantity": 1})
    assert all(name in caught.value.reason for name in ("'quantity'", *FIELDS))


def test_the_identity_may_come_from_beside_the_body() -> None:
    beside = Origin("rest", "rest:made", "key-1")
    assert read(GOOD, beside).signal_id == "key-1"
    assert read({**GOOD, "signal_id": "key-1"}, beside).signal_id == "key-1"
    assert refused({**GOOD, "signal_id": "key-2"}, beside) == {"signal_id": "identities_differ"}
    assert refused(GOOD, Origin("rest", "rest:made", "")) == {"Idempotency-Key": "empty"}


@given(st.decimals(min_value=Decimal("1e-9"), max_value=Decimal(999999999999), places=9), st.booleans())
def test_quantities_are_exact(qty: Decimal, as_text: bool) -> None:
    text = f'"{qty:f}"' if as_text else f"{qty:f}"
    assert read(f'{{"symbol":"AAPL","side":"buy","qty":{text}}}'.encode()).qty == qty


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def answer(body: Any) -> Signal | InvalidInput:
    """What comes of a body; any other error fails the test."""
    try:
        return read(body)
    except InvalidInput as error:
        return error


@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), json_values))
def test_any_object_is_a_signal_or_refused(fields: dict[str, Any]) -> None:
    found = answer({**GOOD, **fields})
    assert isinstance(found, Signal) or (found.code and found.reason)


@given(
    st.binary()
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
    | json_values.map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_refused_with_a_code(body: bytes) -> None:
    found = answer(body)
    assert isinstance(found, InvalidInput)
    assert found.code
