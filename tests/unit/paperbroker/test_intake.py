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
from paperbroker.intake import parse_order
from paperbroker.orders import OrderType, Side, TimeInForce

ASSETS = Assets()
STOCK = {"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", "qty": "1"}
COIN = {"symbol": "BTC/USD", "side": "buy", "type": "market", "time_in_force": "gtc", "qty": "1"}
LIMIT = {**STOCK, "type": "limit", "limit_price": "10"}


def refusal(body: object) -> Refusal:
    with pytest.raises(Refusal) as refused:
        parse_order(body, ASSETS)
    return refused.value


def test_numbers_come_as_strings_or_numbers_and_absent_fields_as_null_or_empty() -> None:
    strings = parse_order({**LIMIT, "qty": "1.50", "notional": "", "stop_price": None, "legs": None}, ASSETS)
    numbers = parse_order({**LIMIT, "qty": Decimal("1.5"), "limit_price": 10, "client_order_id": ""}, ASSETS)
    assert (strings.qty, strings.limit_price) == (numbers.qty, numbers.limit_price) == (Decimal("1.5"), 10)
    assert (strings.side, strings.type, strings.time_in_force) == (Side.BUY, OrderType.LIMIT, TimeInForce.DAY)
    assert strings.client_order_id != numbers.client_order_id


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
        ({**STOCK, "limit_price": 1}, 422, 40010001, "market orders require no limit price"),
        ({**LIMIT, "limit_price": "10.123"}, 422, 42210000, "sub-penny increment"),
        ({**LIMIT, "limit_price": "0.12345"}, 422, 42210000, "sub-penny increment"),
        ({**STOCK, "client_order_id": "x" * 129}, 422, 40010001, "no more than 128 characters"),
        ({**STOCK, "client_order_id": "a\nb"}, 422, 40010001, "printable"),
        ({**STOCK, "qty": "0.5", "time_in_force": "gtc"}, 422, 42210000, "fractional orders must be DAY orders"),
        ({**STOCK, "qty": "0.5", "symbol": "AIG"}, 403, 40310000, 'asset "AIG" is not fractionable'),
        ({**STOCK, "qty": None, "notional": "0.5"}, 403, 40310000, "cost basis must be >= minimal amount of order 1"),
        ({**STOCK, "extended_hours": True}, 422, 42210000, "extended hours order must be DAY or GTC limit orders"),
        ({**STOCK, "extended_hours": "yes"}, 422, 40010001, "extended_hours must be true or false"),
        ({**COIN, "time_in_force": "day"}, 422, 42210000, "invalid crypto time_in_force"),
        ({**COIN, "time_in_force": "fok"}, 422, 42210000, "invalid crypto time_in_force"),
        ({**COIN, "qty": "0.000001"}, 403, 40310000, "minimal qty of order 0.00001"),
        ({**COIN, "type": "limit", "limit_price": "80000.001"}, 422, 42210000, "price increment 0.01"),
        ({**STOCK, "type": "stop", "stop_price": 5}, 422, 42210000, "not supported by the paper broker yet"),
        ({**STOCK, "time_in_force": "opg"}, 422, 42210000, "not supported by the paper broker yet"),
        ({**STOCK, "order_class": "bracket"}, 422, 42210000, "not supported by the paper broker yet"),
        ({**STOCK, "take_profit": {"limit_price": 5}}, 422, 42210000, "not supported by the paper broker yet"),
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


FIELDS = st.sampled_from([*LIMIT, "notional", "extended_hours", "order_class", "client_order_id", "position_intent"])
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
