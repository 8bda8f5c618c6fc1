"""What the broker refuses is shown as it said it; what rests can be cancelled once. Lost answers: tests/faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.stack import Stack, ask

from paperbroker.testing import Control

pytestmark = pytest.mark.timeout(600)
KEY = "mock-refusals"


@pytest.fixture(scope="module")
def stack(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("stack") / "data"
    env = {"ALPACA_API_KEY": KEY, "PAPERBROKER_URL": broker_url, "ALPACA_REQUESTS_PER_MINUTE": "0"}
    with Stack(data, **env) as running:
        yield running


def test_a_refusal_shows_the_brokers_code_and_text(stack: Stack, broker_url: str) -> None:
    extras = {"buying_power": "1", "cost_basis": "2"}
    Control(broker_url, KEY).fault("reject", code=40310000, message="insufficient buying power", extras=extras)
    order = stack.traded(symbol="AAPL", side="buy", qty=1, reason="refused")
    assert (order["status"], order["error_code"]) == ("rejected", "BROKER_40310000")
    assert "insufficient buying power" in order["error_message"]
    assert "cost_basis: 2" in order["error_message"]


def test_a_limit_order_that_rests_is_cancelled_once(stack: Stack) -> None:
    answer = stack.signal(symbol="AAPL", side="buy", qty=1, type="limit", limit_price=1.5, reason="rests", wait=30)
    order = answer.json["order"]
    assert order["status"] == "submitted"
    assert ask("DELETE", f"{stack.url}/api/v1/trading/orders/{order['id']}").status == 202
    assert stack.ended(order["id"])["status"] == "cancelled"
    again = ask("DELETE", f"{stack.url}/api/v1/trading/orders/{order['id']}")
    assert (again.status, again.json["code"]) == (409, "order_not_open")
