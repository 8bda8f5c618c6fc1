"""Over sockets, with a kill in between: the stream, REST, activities and the fill log tell one story."""

import asyncio
import contextlib
import random
import signal
from collections import defaultdict
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec

KEY = "mock-story"


async def listen(url: str, told: list[dict[str, Any]], ready: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/stream") as socket:
        await socket.send_json({"action": "auth", "key": KEY, "secret": "any"})
        await socket.send_json({"action": "listen", "data": {"streams": ["trade_updates"]}})
        async for message in socket:
            content = msgspec.json.decode(message.data)
            if content["stream"] == "trade_updates":
                told.append(content["data"])
            elif content["stream"] == "listening":
                ready.set()


async def act(client: Any, roll: random.Random, bid: Decimal) -> None:
    """One order, cancel or replacement, as likely refused as not."""
    choice = roll.random()
    away = bid * Decimal(roll.randint(-20, 20)) / 1000
    price = str((bid + away).quantize(Decimal("0.01")))
    if choice < 0.7:
        side = roll.choice(["buy", "buy", "sell"])
        kind: dict[str, Any] = roll.choice(
            [{}, {"type": "limit", "limit_price": price}, {"type": "stop", "stop_price": price}, {"notional": "500"}]
        )
        if roll.random() < 0.2:
            long = {"take_profit": {"limit_price": str(bid * 2)}, "stop_loss": {"stop_price": str(bid // 2)}}
            kind = {"order_class": "bracket", **long}
        amount = {} if "notional" in kind else {"qty": str(roll.randint(1, 9))}
        await client.order("AAPL", side, **kind, **amount)
        return
    orders = await client.get("/v2/orders")
    if not orders:
        return
    order_id = roll.choice(orders)["id"]
    if choice < 0.85:
        await client.call("DELETE", f"/v2/orders/{order_id}")
    else:
        await client.call(
            "PATCH", f"/v2/orders/{order_id}", json={"limit_price": price, "qty": str(roll.randint(1, 9))}
        )


async def everything(client: Any) -> dict[str, Any]:
    orders = await client.get("/v2/orders", status="all", limit="500")
    account = await client.get("/v2/account")
    fills = await client.get("/v2/account/activities/FILL")
    return {"orders": {order["id"]: order for order in orders}, "cash": Decimal(account["cash"]), "fills": fills}


async def test_the_stream_rest_and_what_survives_a_kill_agree(start_broker: Any, client_of: Any) -> None:
    roll, told, ready = random.Random(5), [], asyncio.Event()
    broker = start_broker("--requests-per-minute", "0")
    listening = asyncio.create_task(listen(broker.ws_url, told, ready))
    await asyncio.wait_for(ready.wait(), 60)
    async with client_of(broker.url, KEY) as client:
        quotes = await client.get("/v2/stocks/quotes/latest", symbols="AAPL")
        bid = Decimal(str(quotes["quotes"]["AAPL"]["bp"]))
        for _ in range(60):
            await act(client, roll, bid)
        await client.call("DELETE", "/v2/orders")
        async with asyncio.timeout(60):
            while await client.get("/v2/orders"):
                await asyncio.sleep(0.02)
        seen = await everything(client)
        await asyncio.sleep(0.1)
    broker.end(signal.SIGKILL)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
        await listening

    last = {update["order"]["id"]: update["order"] for update in told}
    assert last.keys() == seen["orders"].keys()
    by_order: dict[str, Decimal] = defaultdict(Decimal)
    cash = Decimal(100_000)
    for update in told:
        if update["event"] in {"fill", "partial_fill"}:
            order, qty = update["order"], Decimal(update["qty"])
            by_order[order["id"]] += qty
            assert Decimal(order["filled_qty"]) == by_order[order["id"]]
            cash -= qty * Decimal(update["price"]) * (1 if order["side"] == "buy" else -1)
    for order_id, order in seen["orders"].items():
        assert (order["status"], order["filled_qty"]) == (last[order_id]["status"], last[order_id]["filled_qty"])
        assert Decimal(order["filled_qty"]) == by_order[order_id]
    assert abs(seen["cash"] - cash) < Decimal("1e-6")
    assert sum(Decimal(fill["qty"]) for fill in seen["fills"]) == sum(by_order.values())

    again = start_broker("--requests-per-minute", "0")
    async with client_of(again.url, KEY) as client:
        assert await everything(client) == seen
