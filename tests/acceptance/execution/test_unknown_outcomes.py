"""Requests and answers get lost between the OMS and the broker: each signal still has one order, and its true fate."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.acceptance.execution.faulty_broker import FaultyBroker
from tests.stack import Stack, ask, eventually

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def proxy(broker_url: str) -> Any:
    """Runs in a loop of its own thread, so that blocking tests can use it."""
    faulty = FaultyBroker(broker_url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(faulty.start(), loop).result(10)
    faulty.loop = loop  # type: ignore[attr-defined]
    yield faulty
    asyncio.run_coroutine_threadsafe(faulty.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)


@pytest.fixture(scope="module")
def stack(proxy: FaultyBroker, tmp_path_factory: pytest.TempPathFactory) -> Any:
    data = tmp_path_factory.mktemp("stack") / "data"
    env = {"ALPACA_API_KEY": "mock-faults", "PAPERBROKER_URL": proxy.url, "ALPACA_REQUESTS_PER_MINUTE": "0"}
    with Stack(data, **env) as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults_left(proxy: FaultyBroker) -> Any:
    yield
    proxy.faults.clear()
    proxy.requests.clear()


def broker_orders(broker_url: str, client_order_id: str) -> list[Any]:
    answer = ask("GET", f"{broker_url}/v2/orders?status=all&limit=500", headers={"APCA-API-KEY-ID": "mock-faults"})
    return [one for one in answer.json if one["client_order_id"] == client_order_id]


def one_filled(stack: Stack, broker_url: str, within_s: float = 30, **terms: object) -> Any:
    before = position(stack, "AAPL")
    answer = stack.signal(symbol="AAPL", side="buy", qty=1, reason="fault", **terms)
    assert answer.status == 202
    order = stack.ended(answer.json["id"], within_s)
    assert order["status"] == "filled", order
    assert len(broker_orders(broker_url, order["client_order_id"])) == 1, "one order at the broker"
    assert position(stack, "AAPL") - before == 1
    return order


def position(stack: Stack, symbol: str) -> Any:
    held = stack.get("/api/v1/trading/positions?include_closed=true")
    return next((one["qty"] for one in held if one["symbol"] == symbol), 0)


def test_a_lost_request_is_sent_again_with_the_same_id(stack: Stack, proxy: FaultyBroker, broker_url: str) -> None:
    fault = proxy.fault("lost", "POST", "/v2/orders")
    order = one_filled(stack, broker_url)
    assert fault.hit == 1
    assert [event["kind"] for event in order["events"]].count("outcome_unknown") == 1


def test_a_lost_answer_is_looked_up(stack: Stack, proxy: FaultyBroker, broker_url: str) -> None:
    fault = proxy.fault("answer_lost", "POST", "/v2/orders")
    one_filled(stack, broker_url)
    assert fault.hit == 1


def test_a_503_that_was_executed_is_no_refusal(stack: Stack, proxy: FaultyBroker, broker_url: str) -> None:
    proxy.fault("failed", "POST", "/v2/orders")
    one_filled(stack, broker_url)


def test_a_503_that_was_not_executed_is_sent_again(stack: Stack, proxy: FaultyBroker, broker_url: str) -> None:
    proxy.fault("refused", "POST", "/v2/orders", times=2, status=503)
    one_filled(stack, broker_url)


def test_a_404_for_a_while_is_no_proof(stack: Stack, proxy: FaultyBroker, broker_url: str) -> None:
    """The answer is lost and the broker does not show the order yet: the next POST is refused, then it is found."""
    proxy.fault("answer_lost", "POST", "/v2/orders")
    missing = '{"code": 40410000, "message": "order not found"}'
    proxy.fault("refused", "GET", "/v2/orders:by_client_order_id", times=3, status=404, body=missing)
    one_filled(stack, broker_url)


def test_a_429_waits_and_goes_on(stack: Stack, proxy: FaultyBroker, broker_url: str) -> None:
    proxy.fault(
        "refused",
        "POST",
        "/v2/orders",
        times=2,
        status=429,
        body='{"code": 42910000, "message": "rate limit exceeded"}',
    )
    one_filled(stack, broker_url, within_s=40)


def test_a_refusal_shows_the_brokers_code_and_text(stack: Stack, proxy: FaultyBroker) -> None:
    body = '{"code": 40310000, "message": "insufficient buying power", "buying_power": "1", "cost_basis": "2"}'
    proxy.fault("refused", "POST", "/v2/orders", status=403, body=body)
    order = stack.traded(symbol="AAPL", side="buy", qty=1, reason="refused")
    assert (order["status"], order["error_code"]) == ("rejected", "BROKER_40310000")
    assert "insufficient buying power" in order["error_message"]


def test_a_cut_stream_is_caught_up_before_anything_new_is_sent(
    stack: Stack, proxy: FaultyBroker, broker_url: str
) -> None:
    before = stack.get("/api/health/detailed")["components"]["stream"]["reconnects"]
    for _ in range(3):
        asyncio.run_coroutine_threadsafe(proxy.cut_streams(), proxy.loop).result(10)  # type: ignore[attr-defined]
        one_filled(stack, broker_url)
    health = eventually(lambda: (one := stack.get("/api/health/detailed"))["components"]["stream"]["connected"] and one)
    assert health["components"]["stream"]["reconnects"] > before
    assert health["execution_engine_status"] == "running"
    assert not health["components"]["drift"]


def test_an_order_made_elsewhere_is_shown_as_external_and_moves_the_position(stack: Stack, broker_url: str) -> None:
    before = position(stack, "MSFT")
    headers = {"APCA-API-KEY-ID": "mock-faults"}
    order = {"symbol": "MSFT", "qty": "3", "side": "buy", "type": "market", "time_in_force": "day"}
    made = ask("POST", f"{broker_url}/v2/orders", order, headers)
    assert made.status == 200
    eventually(lambda: position(stack, "MSFT") == before + 3)
    [shown] = [one for one in stack.get("/api/v1/trading/orders?symbol=MSFT") if one["alpaca_id"] == made.json["id"]]
    assert shown["origin"] == "external"


def test_a_cancelled_limit_order(stack: Stack) -> None:
    answer = stack.signal(symbol="AAPL", side="buy", qty=1, type="limit", limit_price=1.5, reason="rests", wait=5)
    order = answer.json["order"]
    assert order["status"] == "submitted"
    assert ask("DELETE", f"{stack.url}/api/v1/trading/orders/{order['id']}").status == 202
    assert stack.ended(order["id"])["status"] == "cancelled"
    again = ask("DELETE", f"{stack.url}/api/v1/trading/orders/{order['id']}")
    assert (again.status, again.json["code"]) == (409, "order_not_open")
