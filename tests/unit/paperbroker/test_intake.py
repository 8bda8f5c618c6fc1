"""What a POST says, taken or refused."""

import contextlib
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperbroker.assets import Assets
from paperbroker.errors import Refusal
from paperbroker.orders import OrderType, Side, TimeInForce
from paperbroker.rules import parse_order

ASSETS = Assets()
STOCK = {"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", "qty": "1"}
COIN = {"symbol": "BTC/USD", "side": "buy", "type": "market", "time_in_force": "gtc", "qty": "1"}
LIMIT = {**STOCK, "type": "limit", "limit_price": "10"}
STOP = {**STOCK, "type": "stop", "stop_price": "5"}
TRAIL = {**STOCK, "type": "trailing_stop", "trail_price": "5"}
BRACKET = {
    **STOCK, "order_class": "bracket", "take_profit": {"limit_price": "110"}, "stop_loss": {"stop_price": "90"},
}  # fmt: skip


def refusal(body: object) -> Refusal:
    with pytest.raises(Refusal) as refused:
        parse_order(body, ASSETS)
    return refused.value


def test_numbers_come_as_strings_or_numbers_and_absent_fields_as_null_or_empty() -> None:
    strings = parse_order({**LIMIT, "qty": "1.50", "notional": "", "stop_price": None, "legs": None}, ASSETS)
    numbers = parse_order({**LIMIT, "qty": Decimal("1.5"), "limit_price": 10, "client_order_id": ""}, ASSETS)
    assert (strings.qty, strings.limit_price) == (numbers.qty, numbers.limit_price) == (Decimal("1.5"), 10)
    assert (strings.side, strings.type, strings.time_in_force) == (Side.BUY, OrderType.LIMIT, TimeInForce.DAY)
    assert strings.client_order_id == numbers.client_order_id == "", "the desk makes one up"


@pytest.mark.parametrize("spelling", ["BTC/USD", "BTCUSD", "btc/usd", "btcusd"])
def test_any_spelling_of_a_pair_is_understood(spelling: str) -> None:
    assert parse_order({**COIN, "symbol": spelling}, ASSETS).asset.symbol == "BTC/USD"


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ([], 400, 40010000, "request body format is invalid"),
        ({**STOCK, "symbol": None}, 422, 40010001, "symbol is required"),
        ({**STOCK, "symbol": 5}, 422, 40010001, "symbol must be a string"),
        ({**STOCK, "symbol": "NOPE"}, 422, 42210000, 'asset "NOPE" not found'),
        ({**STOCK, "side": "hold"}, 422, 40010001, "invalid side"),
        ({**STOCK, "type": None}, 422, 40010001, "type is required"),
        ({**STOCK, "time_in_force": {}}, 422, 40010001, "invalid time_in_force"),
        ({**STOCK, "qty": None}, 422, 40010001, "qty or notional is required"),
        ({**STOCK, "notional": 5}, 422, 40010001, "only one of qty or notional is accepted"),
        ({**STOCK, "qty": 0}, 422, 40010001, "qty must be > 0"),
        ({**STOCK, "qty": "-1"}, 422, 40010001, "qty must be > 0"),
        ({**STOCK, "qty": "many"}, 422, 40010001, "qty is not a valid number"),
        ({**STOCK, "qty": "0.1234567891"}, 422, 42210000, "at most 9 decimal places"),
        ({**STOCK, "type": "limit"}, 422, 40010001, "limit orders require a limit price"),
        ({**STOCK, "limit_price": 1}, 422, 40010001, "market orders require no stop or limit price"),
        ({**LIMIT, "limit_price": "10.123"}, 422, 42210000, "sub-penny increment"),
        ({**LIMIT, "limit_price": "0.12345"}, 422, 42210000, "sub-penny increment"),
        ({**STOCK, "client_order_id": "x" * 129}, 422, 40010001, "no more than 128 characters"),
        ({**STOCK, "client_order_id": "a\nb"}, 422, 40010001, "printable"),
        ({**STOCK, "qty": "0.5", "time_in_force": "gtc"}, 422, 42210000, "fractional orders must be DAY orders"),
        ({**STOCK, "qty": "0.5", "symbol": "AIG"}, 403, 40310000, 'asset "AIG" is not fractionable'),
        ({**STOCK, "qty": None, "notional": "0.5"}, 422, 42210000, "notional amount must be >= 1.00"),
        (
            {**STOCK, "qty": None, "notional": "10.123"},
            422,
            42210000,
            "notional value must be limited to 2 decimal places",
        ),
        ({**STOCK, "type": "huge"}, 422, 40010001, "invalid order type"),
        ({**STOCK, "side": "huge"}, 422, 40010001, "invalid side"),
        ({**STOCK, "time_in_force": "huge"}, 422, 40010001, "invalid time_in_force"),
        ({**STOCK, "extended_hours": True}, 422, 42210000, "extended hours order must be DAY or GTC limit orders"),
        ({**STOCK, "extended_hours": "yes"}, 422, 40010001, "extended_hours must be true or false"),
        ({**COIN, "time_in_force": "day"}, 422, 42210000, "invalid crypto time_in_force"),
        ({**COIN, "time_in_force": "fok"}, 422, 42210000, "invalid crypto time_in_force"),
        ({**COIN, "qty": "0.000001"}, 403, 40310000, "minimal qty of order 0.00001"),
        ({**COIN, "type": "limit", "limit_price": "80000.001"}, 422, 42210000, "price increment 0.01"),
        ({**STOCK, "type": "stop"}, 422, 40010001, "stop orders require a stop price"),
        ({**STOCK, "type": "stop_limit", "stop_price": 5}, 422, 40010001, "require both stop and limit price"),
        ({**STOCK, "stop_price": 5}, 422, 40010001, "market orders require no stop or limit price"),
        ({**STOP, "limit_price": 5}, 422, 40010001, "stop orders require no limit price"),
        ({**STOP, "stop_price": "5.123"}, 422, 42210000, "invalid stop_price 5.123. sub-penny"),
        ({**STOP, "time_in_force": "opg"}, 422, 42210000, "opg orders must be market or limit"),
        ({**STOCK, "type": "trailing_stop"}, 422, 40010001, "one of trail_price or trail_percent"),
        ({**TRAIL, "trail_percent": 1}, 422, 40010001, "one of trail_price or trail_percent"),
        ({**TRAIL, "time_in_force": "ioc"}, 422, 42210000, "trailing stop orders must be DAY or GTC"),
        ({**TRAIL, "qty": "0.5"}, 422, 42210000, "fractional orders must be market"),
        ({**STOCK, "trail_price": 5}, 422, 40010001, "market orders must not have trail_price"),
        ({**STOCK, "take_profit": {"limit_price": 5}}, 422, 42210000, "need an order_class"),
        ({**STOCK, "take_profit": 5}, 422, 40010001, "take_profit must be an object"),
        ({**BRACKET, "take_profit": None}, 422, 40010001, "bracket orders require take_profit.limit_price"),
        ({**BRACKET, "stop_loss": None}, 422, 40010001, "bracket orders require stop_loss.stop_price"),
        ({**BRACKET, "stop_loss": {"limit_price": 4}}, 422, 40010001, "stop_loss.stop_price is required"),
        ({**BRACKET, "take_profit": {"limit_price": 80}}, 422, 42210000, "must be > stop_loss.stop_price"),
        ({**BRACKET, "time_in_force": "ioc"}, 422, 42210000, "bracket orders must be DAY or GTC"),
        ({**BRACKET, "qty": "1.5"}, 422, 42210000, "fractional orders must be simple orders"),
        ({**BRACKET, "order_class": "oto"}, 422, 40010001, "oto orders require either take_profit or stop_loss"),
        ({**BRACKET, "order_class": "oco"}, 422, 42210000, "oco orders must be limit orders"),
        ({**STOCK, "order_class": "mleg"}, 422, 42210000, "mleg"),
        ({**COIN, "type": "stop", "stop_price": 5}, 422, 40010001, "invalid order type for crypto order"),
        ({**COIN, "order_class": "oto", "take_profit": {"limit_price": 5}}, 422, 42210000, "must be simple orders"),
        ({**STOCK, "order_class": "huge"}, 422, 40010001, "invalid order_class"),
        ({**STOCK, "position_intent": "win"}, 422, 40010001, "invalid position_intent"),
    ],
)
def test_what_is_refused_and_how(body: object, status: int, code: int, says: str) -> None:
    refused = refusal(body)
    assert (refused.status, refused.code) == (status, code)
    assert says in refused.message


@pytest.mark.parametrize(
    "body",
    [
        {**LIMIT, "limit_price": "0.1234"},
        {**LIMIT, "limit_price": "10.10000"},
        {**LIMIT, "extended_hours": "True", "time_in_force": "gtc"},
        {**STOCK, "qty": None, "notional": "500.25"},
        {**STOCK, "qty": "0.000000001"},
        {**STOCK, "time_in_force": "fok", "order_class": "simple", "client_order_id": "x" * 128},
        {**COIN, "time_in_force": "ioc", "qty": 0.5, "position_intent": "buy_to_open"},
    ],
)
def test_what_is_taken(body: Any) -> None:
    parse_order(
        msgspec.json.decode(msgspec.json.encode(body), type=dict[str, Any]) | {"qty": _exact(body["qty"])}, ASSETS
    )


def _exact(qty: object) -> object:
    return Decimal(str(qty)) if isinstance(qty, float) else qty


FIELDS = st.sampled_from(
    [
        *LIMIT,
        "notional",
        "stop_price",
        "trail_price",
        "take_profit",
        "stop_loss",
        "extended_hours",
        "order_class",
        "client_order_id",
        "position_intent",
    ]
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals()
    | st.text(max_size=20)
    | st.sampled_from(list(LIMIT.values())),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@given(st.dictionaries(FIELDS, ANYTHING))
def test_whatever_is_sent_is_taken_or_refused_but_never_fails(changes: dict[str, Any]) -> None:
    with contextlib.suppress(Refusal):
        parse_order({**LIMIT, **changes}, ASSETS)
