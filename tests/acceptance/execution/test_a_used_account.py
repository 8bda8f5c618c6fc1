"""An account that has been traded before, and goes on being traded by others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.stack import Stack, ask, eventually

pytestmark = pytest.mark.timeout(600)
KEY = {"APCA-API-KEY-ID": "mock-used"}


def at_broker(broker_url: str, method: str, path: str, body: object = None) -> Any:
    answer = ask(method, broker_url + path, body, KEY)
    assert answer.status < 300, answer.body
    return answer.json if answer.body else None


def trade(broker_url: str, **terms: str) -> Any:
    order = at_broker(broker_url, "POST", "/v2/orders", {"type": "market", "time_in_force": "day", **terms})
    if terms.get("type", "market") == "market":
        eventually(lambda: at_broker(broker_url, "GET", f"/v2/orders/{order['id']}")["status"] == "filled")
    return order


def held(stack: Stack) -> dict[str, tuple[Decimal, Decimal]]:
    return {one["symbol"]: (one["qty"], one["avg_price"]) for one in stack.get("/api/v1/trading/positions")}


def held_at_broker(broker_url: str) -> dict[str, Decimal]:
    positions = at_broker(broker_url, "GET", "/v2/positions")
    return {one["symbol"].replace("BTCUSD", "BTC/USD"): Decimal(one["qty"]) for one in positions}


@pytest.fixture(scope="module")
def open_order(broker_url: str) -> Any:
    """What there was before the OMS came: a long, a short, a closed one, and an order that rests."""
    trade(broker_url, symbol="AAPL", qty="5", side="buy")
    trade(broker_url, symbol="MSFT", qty="3", side="sell")
    trade(broker_url, symbol="IBM", qty="2", side="buy")
    trade(broker_url, symbol="IBM", qty="2", side="sell")
    return trade(broker_url, symbol="AAPL", qty="1", side="buy", type="limit", limit_price="1.00")


@pytest.fixture(scope="module")
def stack(broker_url: str, open_order: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Stack(
        tmp_path_factory.mktemp("used") / "data", ALPACA_API_KEY="mock-used", PAPERBROKER_URL=broker_url
    ) as made:
        yield made


def test_positions_are_adopted_at_the_brokers_price(stack: Stack, broker_url: str) -> None:
    ours = held(stack)
    theirs = at_broker(broker_url, "GET", "/v2/positions")
    expected = {
        one["symbol"].replace("BTCUSD", "BTC/USD"): (Decimal(one["qty"]), Decimal(one["avg_entry_price"]))
        for one in theirs
    }
    assert ours == expected
    assert ours["MSFT"][0] == -3
    assert "IBM" not in ours
    assert all(one["realized_pnl"] == 0 for one in stack.get("/api/v1/trading/positions"))


def test_its_open_order_is_external_and_can_be_cancelled_here(stack: Stack, open_order: Any) -> None:
    [order] = [one for one in stack.get("/api/v1/trading/orders") if one["alpaca_id"] == open_order["id"]]
    assert (order["origin"], order["status"]) == ("external", "submitted")
    assert ask("DELETE", f"{stack.url}/api/v1/trading/orders/{order['id']}").status == 202
    assert stack.ended(order["id"])["status"] == "cancelled"


def test_a_second_installation_shares_the_account(
    stack: Stack, broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each sees the other's orders as external, both agree with the broker, and a restart changes nothing."""
    folder = tmp_path_factory.mktemp("second") / "data"
    with Stack(folder, ALPACA_API_KEY="mock-used", PAPERBROKER_URL=broker_url) as other:
        mine = stack.traded(symbol="AAPL", side="buy", qty=2, reason="mine")
        yours = other.traded(symbol="AAPL", side="sell", qty=3, reason="yours")
        assert (mine["status"], yours["status"]) == ("filled", "filled")
        for one in (stack, other):
            eventually(lambda one=one: {key: qty for key, (qty, _) in held(one).items()} == held_at_broker(broker_url))
        [seen] = [one for one in stack.get("/api/v1/trading/orders") if one["alpaca_id"] == yours["alpaca_id"]]
        assert seen["origin"] == "external"
    trade(broker_url, symbol="AAPL", qty="4", side="buy")  # while the second is away
    with other:
        eventually(lambda: {key: qty for key, (qty, _) in held(other).items()} == held_at_broker(broker_url))
        assert not other.get("/api/health/detailed")["components"]["drift"]
