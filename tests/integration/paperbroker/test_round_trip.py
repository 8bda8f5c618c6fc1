"""Requests that follow each other as fast as a loopback lets them, as they would not on the way to Alpaca."""

import uuid
from typing import Any

RESTING = {"type": "limit", "limit_price": "1", "qty": "2"}


async def test_a_new_order_can_be_replaced_at_once(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        for _ in range(10):
            placed = (await client.order("AAPL", **RESTING))[1]
            status, replaced = await client.call("PATCH", f"/v2/orders/{placed['id']}", json={"qty": "3"})
            assert (status, replaced.get("replaces")) == (200, placed["id"])


async def test_a_canceled_order_is_canceled(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        for _ in range(10):
            placed = (await client.order("AAPL", **RESTING))[1]
            assert (await client.call("DELETE", f"/v2/orders/{placed['id']}"))[0] == 204
            assert (await client.get(f"/v2/orders/{placed['id']}"))["status"] == "canceled"


async def test_what_has_just_been_bought_can_be_sold_or_closed(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        for _ in range(5):
            assert (await client.order("MSFT", qty="5"))[0] == 200
            status, answer = await client.order("MSFT", "sell", qty="2")
            assert (status, answer.get("position_intent")) == (200, "sell_to_close")
            status, answer = await client.call("DELETE", "/v2/positions/MSFT")
            assert (status, answer.get("qty")) == (200, "3")


async def test_an_order_that_stays_is_still_a_wash_trade(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        placed = (await client.order("KO", **RESTING))[1]
        status, answer = await client.order("KO", "sell", qty="1")
        assert (status, answer["existing_order_id"]) == (403, placed["id"])
