"""Orders, positions, portfolio, events, cancels and health over real sockets; the engine is played by SQL."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from oms.api import schemas

ORDERS = "/api/v1/trading/orders"
GOOD = {"symbol": "AAPL", "side": "buy", "qty": 10}


async def many(api: Any, count: int) -> list[str]:
    answers = await asyncio.gather(*(api.post({**GOOD, "signal_id": str(one)}) for one in range(count)))
    return [answer.body["id"] for answer in answers]


async def test_paging_through_250_orders_has_no_gap_and_no_double(api: Any) -> None:
    ids = await many(api, 250)
    await api.sql("update orders set created_at = '2025-01-31T12:00:00.123456Z' where seq % 3 = 0")  # many at one time
    seen: list[dict[str, Any]] = []
    path = f"{ORDERS}?limit=37&symbol=aapl"
    pages = 0
    while path:
        answer = await api.get(path)
        assert answer.status == 200
        seen += answer.body
        pages += 1
        link = answer.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link[1 : link.index(">")] if link else ""
    assert pages == 7
    assert sorted(one["id"] for one in seen) == sorted(ids)
    times = [one["created_at"] for one in seen]
    assert times == sorted(times, reverse=True)
    assert all(at.endswith("Z") for at in times)


async def test_orders_are_filtered(api: Any) -> None:
    filled, cancelled, pending = await many(api, 3)
    coin = (await api.post({"symbol": "BTC/USD", "side": "buy", "qty": 1})).body["id"]
    await api.becomes(filled, "filled")
    await api.becomes(cancelled, "cancelled")

    async def ids(query: str) -> set[str]:
        answer = await api.get(f"{ORDERS}?{query}")
        assert answer.status == 200, answer.text
        return {one["id"] for one in answer.body}

    assert await ids("status=filled") == {filled}
    assert await ids("status=canceled") == {cancelled}
    assert await ids("status=canceled,filled&status=PENDING") == {filled, cancelled, pending, coin}
    for spelling in ("BTCUSD", "btc/usd", "BTCUSDT", "BTC%2FUSD"):
        assert await ids(f"symbol={spelling}") == {coin}
    assert await ids("symbol=ZZZZ") == set()
    assert len(await ids("since=2020-01-01")) == 4
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await ids(f"since={quote(soon)}") == set()
    assert await ids(f"since={soon}") == set()  # the plus was not encoded


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("status=open", "status", "partially_filled"),
        ("status=", "status", "pending"),
        ("statuss=filled", "statuss", "status"),
        ("limit=0", "limit", "greater"),
        ("limit=501", "limit", "500"),
        ("limit=x", "limit", "integer"),
        ("since=yesterday", "since", "2025-01-31T14:30:00Z"),
        ("since=2025-01-31T14:30:00", "since", "zone"),
        ("symbol=%00", "symbol", "AAPL"),
        ("symbol=AAPL&symbol=MSFT", "symbol", "once"),  # not the orders of one of them
        ("limit=1&limit=2", "limit", "once"),
        ("cursor=x", "cursor", "Link"),
        ("cursor=-99999999999999999-1", "cursor", "Link"),
    ],
)
async def test_a_query_that_is_not_understood_is_refused(api: Any, query: str, field: str, says: str) -> None:
    answer = await api.get(f"{ORDERS}?{query}")
    assert (answer.status, answer.body["field"]) == (422, field)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert says in answer.body["errors"][0]["reason"]


async def test_one_order_has_its_events_and_fills(api: Any) -> None:
    (order_id,) = await many(api, 1)
    await api.becomes(order_id, "filled", filled_qty=Decimal(10), filled_price=Decimal("190.100000000000"))
    await api.sql(
        "insert into fills (id, account_id, order_id, broker_order_id, symbol, side, qty, price, cum_qty,"
        " transacted_at) values ($1, $2, $3, 'b', 'AAPL', 'buy', 10, 190.10, 10, now())",
        uuid4(), api.account_id, order_id,
    )  # fmt: skip
    answer = await api.get(f"{ORDERS}/{order_id}")
    assert (answer.status, answer.body["status"], answer.body["filled_price"]) == (200, "filled", Decimal("190.1"))
    assert [event["kind"] for event in answer.body["events"]] == ["accepted", "filled"]
    assert answer.body["events"][1]["data"] == {"price": Decimal("0.1")}
    assert answer.body["fills"][0]["price"] == Decimal("190.1")
    assert set(answer.body) == set(schemas.OrderWithTrail.model_fields)
    assert set(answer.body["events"][0]) == set(schemas.Event.model_fields)
    assert set(answer.body["fills"][0]) == set(schemas.Fill.model_fields)


async def test_an_unknown_or_impossible_order_id_says_how(api: Any) -> None:
    missing = await api.get(f"{ORDERS}/{uuid4()}")
    assert (missing.status, missing.body["code"]) == (404, "order_not_found")
    for path in ("{order_id}", "%7Border_id%7D", "17"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
        writer.write(f"GET {ORDERS}/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        text = (await reader.read()).decode()
        writer.close()
        assert text.startswith("HTTP/1.1 422")
        assert "/api/v1/trading/orders lists the orders" in text


async def test_positions_and_portfolio(api: Any) -> None:
    columns = "(id, account_id, symbol, asset_class, qty, avg_price, realized_pnl, unrealized_pnl, last_price, market_value, fees, updated_at)"  # noqa: E501
    for symbol, qty, realized, unrealized, value in [
        ("AAPL", 10, "0", "12.5", "1912.5"),
        ("BTC/USD", 1, "-2.25", None, None),
        ("MSFT", 0, "100.10", "0", "0"),
    ]:
        await api.sql(
            f"insert into positions {columns} values ($1, $2, $3, 'stock', $4, 190, $5, $6, null, $7, 0.25, now())",
            uuid4(), api.account_id, symbol, Decimal(qty), Decimal(realized),
            unrealized and Decimal(unrealized), value and Decimal(value),
        )  # fmt: skip
    opened = (await api.get("/api/v1/trading/positions")).body
    assert [one["symbol"] for one in opened] == ["AAPL", "BTC/USD"]
    assert opened[1]["unrealized_pnl"] is None
    assert set(opened[0]) == set(schemas.Position.model_fields)
    every = (await api.get("/api/v1/trading/positions?include_closed=true")).body
    assert [one["symbol"] for one in every] == ["AAPL", "BTC/USD", "MSFT"]
    found = (await api.get("/api/v1/trading/portfolio")).body
    assert set(found) == set(schemas.Portfolio.model_fields)
    assert (found["account_number"], found["cash"], found["equity"]) == ("PA1", 100000, Decimal("100000.5"))
    assert (found["market_value"], found["unrealized_pnl"]) == (Decimal("1912.5"), Decimal("12.5"))
    assert (found["realized_pnl"], found["total_pnl"]) == (Decimal("97.85"), Decimal("110.35"))
    assert found["unpriced"] == ["BTC/USD"]
    await api.sql("update positions set unrealized_pnl = null, market_value = null")
    found = (await api.get("/api/v1/trading/portfolio")).body
    assert found["market_value"] is found["unrealized_pnl"] is found["total_pnl"] is None


async def test_events_are_followed_without_gaps_by_long_polling(api: Any) -> None:
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 120:
            answer = await api.get(f"/api/v1/events?after={seen[-1] if seen else 0}&wait=5&limit=7")
            assert answer.status == 200
            seen.extend(event["seq"] for event in answer.body)

    following = asyncio.create_task(follow())
    ids = await many(api, 100)
    await asyncio.gather(*(api.becomes(order_id, "submitted") for order_id in ids[:20]))
    await following
    assert seen == list(range(1, 121))
    started = time.monotonic()
    waiting = asyncio.create_task(api.get("/api/v1/events?after=120&wait=20"))
    await asyncio.sleep(0.2)
    await api.becomes(ids[0], "filled")
    answer = (await waiting).body
    assert [(event["seq"], event["kind"]) for event in answer] == [(121, "filled")]
    assert time.monotonic() - started < 19  # it did not wait to its end
    assert (await api.get("/api/v1/events?after=121")).body == []
    assert (await api.get("/api/v1/events?after=-1")).status == 422
    assert (await api.get("/api/v1/events?after=99999999999999999999")).status == 422


async def test_a_cancel_is_left_for_the_engine_and_answered_when_taken_up(api: Any) -> None:
    (order_id,) = await many(api, 1)

    async def engine(outcome: str, status: str) -> None:
        while not (rows := await api.sql("select id, order_id from commands where done_at is null")):
            await asyncio.sleep(0.01)
        assert str(rows[0]["order_id"]) == order_id
        await api.becomes(order_id, status)
        await api.sql(
            "update commands set done_at = now(), outcome = $1, message = 'why' where id = $2", outcome, rows[0]["id"]
        )

    playing = asyncio.create_task(engine("refused", "submitted"))
    refused = await api.request("DELETE", f"{ORDERS}/{order_id}")
    assert (refused.status, refused.body["code"], refused.body["detail"]) == (409, "cancel_refused", "why")
    await playing
    playing = asyncio.create_task(engine("done", "cancelled"))
    answer = await api.request("DELETE", f"{ORDERS}/{order_id}")
    await playing
    assert (answer.status, answer.body["order"]["status"], answer.body["acknowledged"]) == (202, "cancelled", True)
    assert set(answer.body) == set(schemas.Cancelling.model_fields)
    final = await api.request("DELETE", f"{ORDERS}/{order_id}")
    assert (final.status, final.body["code"]) == (409, "order_not_open")
    assert (await api.request("DELETE", f"{ORDERS}/{uuid4()}")).status == 404


async def test_health_says_what_is_the_matter(api: Any) -> None:
    detailed = (await api.get("/api/health/detailed")).body
    assert detailed["execution_engine_status"] == "running"
    assert detailed["components"]["postgresql"] == {"status": "ok"}
    assert detailed["components"]["budget"] == {"left": Decimal("199.5")}
    brief = await api.get("/api/health")
    assert (brief.status, brief.body["status"], brief.body["checks"]["engine"]) == (200, "ok", "ok")
    assert (await api.get("/readyz")).status == 200
    await api.sql("update engines set heartbeat_at = now() - interval '6 seconds'")
    await asyncio.sleep(1.1)
    assert (await api.get("/api/health/detailed")).body["execution_engine_status"] == "stopped"
    assert (await api.get("/api/health")).body["status"] == "degraded"
    ready = await api.get("/readyz")
    assert (ready.status, ready.body["missing"]) == (503, ["the engine is stopped"])
    assert (await api.get("/livez")).status == 200


async def test_what_can_be_read_can_be_asked_for_by_head(api: Any) -> None:
    """`wget --spider` and uptime monitors ask so. That no body was sent shows in the next request on the connection."""
    for path in ("/livez", "/readyz", "/api/health", ORDERS, "/docs"):
        seen = await api.request("HEAD", path)
        assert (seen.status, seen.text) == (200, "")
        assert seen.headers["Content-Type"] == (await api.get(path)).headers["Content-Type"]
    assert (await api.request("HEAD", "/nope")).status == 404
    assert (await api.request("HEAD", "/api/v1/trading/signal")).status == 405


async def test_recorded_signal_errors_are_listed(api: Any) -> None:
    await api.sql("insert into signal_errors (source, code, reason, payload) values ('channel', 'not_json', 'r', 'p')")
    (error,) = (await api.get("/api/v1/trading/signal-errors")).body
    assert set(error) == set(schemas.SignalError.model_fields)


async def test_every_other_answer_is_a_problem_too(api: Any) -> None:
    for method, path, status in [("GET", "/nope", 404), ("PUT", ORDERS, 405), ("POST", "/api/health", 405)]:
        answer = await api.request(method, path)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    await api.sql("alter table positions rename to hidden")
    broken = await api.get("/api/v1/trading/positions")
    assert (broken.status, broken.body["code"]) == (500, "internal_error")
    assert "positions" not in broken.text


async def test_the_document_describes_every_route(api: Any) -> None:
    document = (await api.get("/openapi.json")).body
    assert set(document["paths"]) >= {"/api/v1/trading/signal", ORDERS, f"{ORDERS}/{{order_id}}", "/api/v1/events"}
    body = document["paths"]["/api/v1/trading/signal"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/SignalBody"}
    assert [example["value"]["symbol"] for example in body["examples"].values()] == ["AAPL", "BTCUSDT"]
    names = set(document["components"]["schemas"])
    text = (await api.get("/openapi.json")).text
    assert {ref.split('"')[0] for ref in text.split("#/components/schemas/")[1:]} <= names
    assert (await api.get("/docs")).status == 200
