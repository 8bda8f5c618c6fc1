"""Account, stream, order, fill, position and cancel over real sockets."""

import asyncio
import json
import uuid
from decimal import Decimal
from typing import Any

import aiohttp
import msgpack
import pytest


async def authorized_stream(session: aiohttp.ClientSession, broker: Any, key: str) -> aiohttp.ClientWebSocketResponse:
    stream = await session.ws_connect(f"{broker.ws_url}/stream")
    await stream.send_json({"action": "authenticate", "data": {"key_id": key, "secret_key": "any"}})
    answer = json.loads(await stream.receive_bytes())
    assert answer == {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
    await stream.send_json({"action": "listen", "data": {"streams": ["trade_updates"]}})
    answer = json.loads(await stream.receive_bytes())
    assert answer == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
    return stream


async def events_until(stream: aiohttp.ClientWebSocketResponse, last: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["event"] != last:
        message = json.loads(await asyncio.wait_for(stream.receive_bytes(), 60))
        assert message["stream"] == "trade_updates"
        events.append(message["data"])
    return events


async def test_a_fresh_account_buys_stock_and_sees_it_on_the_stream_and_by_rest(broker: Any, client_of: Any) -> None:
    key = f"mock-{uuid.uuid4()}"
    async with client_of(broker.url, key) as client, aiohttp.ClientSession() as session:
        account = await client.get("/v2/account")
        assert account["cash"] == "100000"
        assert account["buying_power"] == "200000"
        assert account["status"] == "ACTIVE"
        stream = await authorized_stream(session, broker, key)
        status, order = await client.order(qty=10, client_order_id="first")
        assert status == 200
        assert order["status"] == "pending_new"
        assert order["filled_qty"] == "0"
        assert order["qty"] == "10"
        events = await events_until(stream, "fill")
        assert [event["event"] for event in events][:2] == ["pending_new", "new"]
        assert events[0]["execution_id"] is None
        fill = events[-1]
        assert fill["order"]["status"] == "filled"
        assert fill["position_qty"] == "10"
        assert sum(Decimal(event["qty"]) for event in events if "fill" in event["event"]) == 10
        listed = await client.get("/v2/orders:by_client_order_id", client_order_id="first")
        assert listed == fill["order"]
        assert await client.get(f"/v2/orders/{order['id']}") == fill["order"]
        position = await client.get("/v2/positions/AAPL")
        assert (position["qty"], position["side"]) == ("10", "long")
        fills = await client.get("/v2/account/activities/FILL", order_id=order["id"])
        assert fills[0]["cum_qty"] == "10"
        assert {f["id"].split("::")[1] for f in fills} == {e["execution_id"] for e in events if "fill" in e["event"]}


async def test_the_fill_log_names_the_quote_of_each_fill(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        _, order = await client.order("BTC/USD", "sell", qty="0.1")
        async with asyncio.timeout(60):
            while (await client.get(f"/v2/orders/{order['id']}"))["status"] != "filled":
                await asyncio.sleep(0.02)
        _, log = await client.call("GET", "/paper/v1/fills", params={"order_id": order["id"]})
        assert log
        assert sum(Decimal(line["qty"]) for line in log) == Decimal("0.1")
        assert all(line["price"] == line["bid"] for line in log)


async def test_bought_coins_arrive_less_the_fee(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        before = await client.get("/v2/positions/BTCUSD")
        assert before["qty"] == "0.5"
        _, order = await client.order("BTC/USD", qty=0.1)
        async with asyncio.timeout(60):
            while (await client.get(f"/v2/orders/{order['id']}"))["status"] != "filled":
                await asyncio.sleep(0.02)
        after = await client.get("/v2/positions/BTC%2FUSD")
        assert after["symbol"] == "BTCUSD"
        assert after["qty"] == "0.59975"


async def test_a_resting_order_holds_buying_power_until_it_is_canceled(broker: Any, client_of: Any) -> None:
    key = f"mock-{uuid.uuid4()}"
    async with client_of(broker.url, key) as client, aiohttp.ClientSession() as session:
        stream = await authorized_stream(session, broker, key)
        status, order = await client.order(type="limit", limit_price="100", qty="10", time_in_force="gtc")
        assert status == 200
        await events_until(stream, "new")
        assert (await client.get("/v2/account"))["buying_power"] == "199000"
        assert [o["id"] for o in await client.get("/v2/orders")] == [order["id"]]
        assert await client.call("DELETE", f"/v2/orders/{order['id']}") == (204, None)
        events = await events_until(stream, "canceled")
        assert [event["event"] for event in events] == ["pending_cancel", "canceled"]
        assert (await client.get("/v2/account"))["buying_power"] == "200000"
        assert await client.call("DELETE", f"/v2/orders/{order['id']}") == (204, None)
        assert await client.get("/v2/orders") == []


async def test_a_filled_order_cannot_be_canceled(broker: Any, client_of: Any) -> None:
    key = f"mock-{uuid.uuid4()}"
    async with client_of(broker.url, key) as client, aiohttp.ClientSession() as session:
        stream = await authorized_stream(session, broker, key)
        _, order = await client.order(qty=1)
        await events_until(stream, "fill")
        status, body = await client.call("DELETE", f"/v2/orders/{order['id']}")
        assert (status, body) == (422, {"code": 42210000, "message": 'order is already in "filled" state'})


async def test_delete_all_answers_207_with_each_order(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        ids = {(await client.order("MSFT", type="limit", limit_price=100 + n, qty=1))[1]["id"] for n in range(3)}
        status, body = await client.call("DELETE", "/v2/orders")
        assert status == 207
        assert {entry["id"] for entry in body} == ids
        assert {entry["status"] for entry in body} == {200}


async def test_both_ways_to_authenticate_and_messagepack_work(broker: Any, client_of: Any) -> None:
    key = f"mock-{uuid.uuid4()}"
    async with aiohttp.ClientSession() as session, client_of(broker.url, key) as client:
        stream = await session.ws_connect(f"{broker.ws_url}/stream/", headers={"Content-Type": "application/msgpack"})
        await stream.send_bytes(msgpack.packb({"action": "auth", "key": key, "secret": "any"}))
        assert msgpack.unpackb(await stream.receive_bytes())["data"]["status"] == "authorized"
        await stream.send_bytes(msgpack.packb({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        await stream.receive_bytes()
        await client.order(qty=1)
        update = msgpack.unpackb(await asyncio.wait_for(stream.receive_bytes(), 60))
        assert update["data"]["event"] == "pending_new"


@pytest.mark.parametrize("key", ["PKREAL", "", "AKLIVE"])
async def test_keys_that_are_not_mock_are_turned_away_everywhere(broker: Any, client_of: Any, key: str) -> None:
    async with client_of(broker.url, key) as client, aiohttp.ClientSession() as session:
        assert await client.call("GET", "/v2/account") == (401, {"message": "unauthorized."})
        stream = await session.ws_connect(f"{broker.ws_url}/stream")
        await stream.send_json({"action": "authenticate", "data": {"key_id": key, "secret_key": "x"}})
        assert json.loads(await stream.receive_bytes())["data"]["status"] == "unauthorized"
        data = await session.ws_connect(f"{broker.ws_url}/v2/iex")
        await data.receive()
        await data.send_json({"action": "auth", "key": key, "secret": "x"})
        assert (await data.receive_json())[0]["code"] == 402


async def test_a_client_order_id_is_taken_for_ever(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        order = {"type": "limit", "limit_price": 1, "qty": 1, "client_order_id": "taken"}
        statuses = await asyncio.gather(*(client.order(**order) for _ in range(5)))
        assert sorted(status for status, _ in statuses) == [200, 422, 422, 422, 422]
        first = next(body for status, body in statuses if status == 200)
        await client.call("DELETE", f"/v2/orders/{first['id']}")
        await asyncio.sleep(0.1)
        status, body = await client.order(**order)
        assert (status, body) == (422, {"code": 40010001, "message": "client_order_id must be unique"})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\x00", b'{"symbol":"AAPL","qty":NaN}', b'{"symbol":"AAPL","qty":1e400}',
     b'{"symbol":"AAPL\\u0000"}', b'{"symbol":{"a":1}}', b'{"symbol":"AAPL","qty":true}', b"[" * 100_000,
     b'{"symbol":"AAPL","side":"buy","type":"market","time_in_force":"day","qty":1,"client_order_id":"a\\u0000b"}',
     b'{"symbol":"AAPL","side":"buy","type":"market","time_in_force":"day","qty":1' + b"0" * 5000 + b"}",
     b'{"a":"' + b"x" * (2 << 20) + b'"}', b'{"symbol":"\\ud800"}', "{\"symbol\":\"ÄÖ\"}".encode("latin-1")],
)  # fmt: skip
async def test_rubbish_gets_a_4xx_in_alpacas_shape(broker: Any, client_of: Any, body: bytes) -> None:
    async with client_of(broker.url, "mock-rubbish") as client:
        status, answer = await client.call("POST", "/v2/orders", data=body)
        assert 400 <= status < 500, answer
        assert isinstance(answer, dict)
        assert isinstance(answer["message"], str)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_what_is_no_order_id_is_not_the_same_as_an_unknown_one(broker: Any, client_of: Any, method: str) -> None:
    async with client_of(broker.url, "mock-rubbish") as client:
        body = {"json": {"qty": 2}} if method == "PATCH" else {}
        status, answer = await client.call(method, "/v2/orders/not-an-id", **body)
        assert (status, answer) == (422, {"code": 40010001, "message": "order_id is missing"})
        unknown = "11111111-2222-4333-8444-555555555555"
        status, answer = await client.call(method, f"/v2/orders/{unknown}", **body)
        assert (status, answer) == (404, {"code": 40410000, "message": f"order not found for {unknown}"})


@pytest.mark.parametrize(
    "path",
    ["/v2/orders?limit=x", "/v2/orders?limit=0", "/v2/orders?limit=501", "/v2/orders?after=yesterday",
     "/v2/orders?status=%00", "/v2/orders/not-a-uuid", "/v2/orders:by_client_order_id",
     "/v2/account/activities?page_token=x",
     "/v2/account/activities?date=2026-13-45", "/v2/account/activities?after=9999999-01-01", "/v2/positions/NOPE",
     "/v2/assets/N%00PE", "/v2/calendar?start=x", "/v2/stocks/quotes/latest", "/v2/stocks/quotes/latest?symbols=NO1",
     "/v2/stocks/NOPE/quotes/latest", "/v1beta3/crypto/us/latest/quotes?symbols=AAPL", "/nowhere", "/v2/account/x",
     "/v2/orders?after=0001-01-01T00:00:00%2B23:59", "/v2/calendar?start=0000-01-01"],
)  # fmt: skip
async def test_bad_questions_get_a_4xx(broker: Any, client_of: Any, path: str) -> None:
    async with client_of(broker.url, "mock-rubbish") as client:
        status, answer = await client.call("GET", path)
        assert 400 <= status < 500, answer
        assert "message" in answer


@pytest.mark.parametrize(
    "change", [[], {"no_shorting": "yes"}, {"max_margin_multiplier": [2]}, {"trade_confirm_email": {}}]
)
async def test_bad_configurations_get_a_4xx_and_good_ones_hold(broker: Any, client_of: Any, change: object) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        status, _ = await client.call("PATCH", "/v2/account/configurations", json=change)
        assert 400 <= status < 500
        status, after = await client.call("PATCH", "/v2/account/configurations", json={"no_shorting": True, "new": 1})
        assert (status, after["no_shorting"]) == (200, True)
        assert (await client.order("KO", "sell", qty=1))[1]["message"] == "account is not allowed to short"


async def test_an_unknown_path_says_so(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, "mock") as client:
        assert await client.call("GET", "/v2/nowhere") == (404, {"code": 40410000, "message": "endpoint not found"})


async def test_orders_are_listed_by_status_symbol_side_and_time(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        ids = []
        for symbol in ("AAPL", "MSFT", "BTC/USD"):
            ids.append((await client.order(symbol, type="limit", limit_price=20, qty=1))[1]["id"])
            async with asyncio.timeout(60):  # accepted, after a delay of its own: that is its place in the list
                while (await client.get(f"/v2/orders/{ids[-1]}"))["status"] != "new":
                    await asyncio.sleep(0.02)

        async def listed(**parameters: str) -> list[str]:
            return [order["id"] for order in await client.get("/v2/orders", **parameters)]

        assert await listed() == ids[::-1]
        assert await listed(direction="asc") == ids
        assert await listed(symbols="AAPL,BTCUSD", direction="asc") == [ids[0], ids[2]]
        assert await listed(symbols="MSFT,NOSUCH") == [ids[1]]
        for status in ("open", "closed", "all"):
            assert await listed(symbols="NOSUCH", status=status) == []
        assert await listed(side="sell") == []
        assert await listed(status="closed") == []
        assert await listed(status="all", limit="1", nested="True") == [ids[2]]
        middle = (await client.get(f"/v2/orders/{ids[1]}"))["submitted_at"]
        assert await listed(after=middle) == [ids[2]]
        assert await listed(until=middle) == [ids[0]]
        assert await listed(asset_class="crypto") == [ids[2]]


async def test_activities_are_paged_by_the_last_id_seen(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        for _ in range(4):
            await client.order("KO", qty=1)
        async with asyncio.timeout(60):
            while sum(a["order_status"] == "filled" for a in await client.get("/v2/account/activities")) < 4:
                await asyncio.sleep(0.05)
        everything = [a["id"] for a in await client.get("/v2/account/activities", direction="asc")]
        seen: list[str] = []
        while True:
            token = {"page_token": seen[-1]} if seen else {}
            page = await client.get("/v2/account/activities", direction="asc", page_size="3", **token)
            seen += [a["id"] for a in page]
            if len(page) < 3:
                break
        assert seen == everything
        assert len(everything) >= 4
