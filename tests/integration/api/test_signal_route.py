"""POST /api/v1/trading/signal on a real PostgreSQL over real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal
from typing import Any

import pytest

GOOD = {"symbol": "AAPL", "side": "buy", "qty": 10, "reason": "Technical breakout"}


async def test_the_guides_two_curls_are_accepted_and_stored(api: Any) -> None:
    stock = await api.post(GOOD)
    coin = await api.post({"symbol": "BTCUSDT", "side": "sell", "qty": 0.1, "reason": "Take profit"})
    assert (stock.status, coin.status) == (202, 202)
    assert stock.body["status"] == "accepted"
    assert stock.headers["Location"] == f"/api/v1/trading/orders/{stock.body['id']}"
    order = stock.body["order"]
    assert (order["symbol"], order["qty"], order["type"], order["time_in_force"]) == ("AAPL", 10, "market", "day")
    assert order["signal_id"] == f"rest:{order['id']}"
    assert (coin.body["order"]["symbol"], coin.body["order"]["qty"]) == ("BTC/USD", Decimal("0.1"))
    assert coin.body["order"]["time_in_force"] == "gtc"
    listed = (await api.get("/api/v1/trading/orders")).body
    assert [one["id"] for one in listed] == [coin.body["id"], stock.body["id"]]
    assert listed[1] == order  # POST and GET show the same


BAD: list[tuple[bytes, int, str | None, str]] = [
    (b"", 400, None, "not_json"),
    (b"hello", 400, None, "not_json"),
    (b'{"symbol": "AAPL"', 400, None, "not_json"),
    (b"\xff\xfe", 400, None, "not_json"),
    (b"[" * 60_000, 400, None, "not_json"),
    (b"[]", 422, None, "not_an_object"),
    (b"null", 422, None, "not_an_object"),
    (b"{}", 422, "symbol", "missing_field"),
    (b'{"symbol":"AAPL","side":"buy","qty":1,"quantity":2}', 422, "quantity", "unknown_field"),
    (b'{"symbol":"AAPL","side":"buy","qty":1,"qty":100}', 422, "qty", "duplicate_field"),
    (b'{"symbol":"AAPL","side":"buy","qty":0}', 422, "qty", "not_positive"),
    (b'{"symbol":"AAPL","side":"buy","qty":-1}', 422, "qty", "not_positive"),
    (b'{"symbol":"AAPL","side":"buy","qty":NaN}', 422, "qty", "invalid_number"),
    (b'{"symbol":"AAPL","side":"buy","qty":"NaN"}', 422, "qty", "invalid_number"),
    (b'{"symbol":"AAPL","side":"buy","qty":1e400}', 422, "qty", "too_large"),
    (b'{"symbol":"AAPL","side":"buy","qty":1e-400}', 422, "qty", "too_precise"),
    (b'{"symbol":"AAPL","side":"buy","qty":0.123456789012345678901234567890}', 422, "qty", "too_precise"),
    (b'{"symbol":"AAPL","side":"buy","qty":"1_0"}', 422, "qty", "invalid_number"),
    (b'{"symbol":"AAPL","side":"buy","qty":true}', 422, "qty", "wrong_type"),
    (b'{"symbol":"AAPL","side":"buy","qty":null}', 422, "qty", "wrong_type"),
    (b'{"symbol":"AAPL","side":"buy","qty":[1]}', 422, "qty", "wrong_type"),
    (b'{"symbol":1,"side":"buy","qty":1}', 422, "symbol", "wrong_type"),
    (b'{"symbol":"AAPL\\u0000","side":"buy","qty":1}', 422, "symbol", "invalid_symbol"),
    (b'{"symbol":"NOPE","side":"buy","qty":1}', 422, "symbol", "unknown_symbol"),
    (b'{"symbol":"AAPL","side":"hold","qty":1}', 422, "side", "invalid_side"),
    (b'{"symbol":"AAPL","side":"buy","qty":1,"reason":"a\\u0000b"}', 422, "reason", "invalid_characters"),
    (b'{"symbol":"AAPL","side":"buy","qty":1,"reason":"\\ud800"}', 422, "reason", "invalid_characters"),
    (b'{"symbol":"AAPL","side":"buy","qty":1,"reason":"' + b"x" * 501 + b'"}', 422, "reason", "too_long"),
    (b'{"symbol":"AAPL","side":"buy","qty":1,"reason":"' + b"x" * 70_000 + b'"}', 413, None, "body_too_large"),
]


@pytest.mark.parametrize(("body", "status", "field", "code"), BAD, ids=range(len(BAD)))
async def test_bad_input_is_refused_with_field_and_reason(
    api: Any, body: bytes, status: int, field: str | None, code: str
) -> None:
    answer = await api.post(body)
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body.get("field") == field
    assert answer.body["detail"]
    assert await api.sql("select 1 from orders") == []


async def test_bad_input_spoils_no_request_that_is_committed_with_it(api: Any) -> None:
    work = [api.post({**GOOD, "signal_id": f"good {number}"}) for number in range(200)]
    for place, (body, *_) in enumerate(BAD):
        work.insert(place * 7, api.post(body))
    answers = await asyncio.gather(*work)
    assert sum(answer.status == 202 for answer in answers) == 200
    assert all(answer.status in {202, 400, 413, 422} for answer in answers)
    (count,) = await api.sql("select count(*), count(distinct seq) as seqs, max(seq) from orders")
    assert tuple(count) == (200, 200, 200)


async def test_what_postgresql_alone_refuses_spoils_nobody_else(api: Any) -> None:
    await api.sql("alter table orders add constraint no_13 check (qty <> 13)")
    answers = await asyncio.gather(*(api.post({**GOOD, "qty": 13 if one % 10 == 0 else 1}) for one in range(100)))
    assert [answer.status for answer in answers] == [422 if one % 10 == 0 else 202 for one in range(100)]
    assert answers[0].body["code"] == "refused_by_store"
    assert len(await api.sql("select 1 from orders")) == 90


async def test_the_same_signal_is_one_order_and_other_content_is_refused(api: Any) -> None:
    first = await api.post({**GOOD, "signal_id": "s1"})
    again = await api.post({**GOOD, "signal_id": "s1", "qty": "10.0", "reason": "said differently"})
    by_header = await api.post(GOOD, Idempotency_Key="s1")
    quoted = await api.post(GOOD, Idempotency_Key='"s1"')
    assert {one.status for one in (first, again, by_header, quoted)} == {202}
    assert {one.body["id"] for one in (first, again, by_header, quoted)} == {first.body["id"]}
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await api.post({**GOOD, "signal_id": "s1", "qty": 11})
    assert (other.status, other.body["code"], other.body["order_id"]) == (409, "signal_conflict", first.body["id"])
    differ = await api.post({**GOOD, "signal_id": "s1"}, Idempotency_Key="s2")
    assert (differ.status, differ.body["code"]) == (422, "identities_differ")


async def test_fifty_at_once_with_one_identity_are_one_order(api: Any) -> None:
    answers = await asyncio.gather(*(api.post({**GOOD, "signal_id": "same"}) for _ in range(50)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(await api.sql("select 1 from orders")) == 1


@pytest.mark.parametrize("number", ["0.1", "123456789012", "12345678901.123456789", "1e2", "10.50", "0.000000001"])
async def test_numbers_are_exact(api: Any, number: str) -> None:
    answer = await api.post(
        f'{{"symbol":"ETH/USD","side":"buy","qty":{number},"type":"limit","limit_price":{number}}}'.encode()
    )
    assert answer.status == 202, answer.text
    plain = format(Decimal(number).normalize(), "f")
    assert f'"qty":{plain},' in answer.text
    assert f'"limit_price":{plain},' in answer.text
    row = (await api.sql("select qty, limit_price from orders"))[0]
    assert row["qty"] == row["limit_price"] == Decimal(number)
    assert f'"qty":{plain},' in (await api.get("/api/v1/trading/orders")).text


async def test_a_whole_position_is_all_until_it_is_resolved(api: Any) -> None:
    answer = await api.post({"symbol": "AAPL", "side": "SELL", "qty": "all"})
    assert (answer.status, answer.body["order"]["qty"], answer.body["order"]["side"]) == (202, "all", "sell")
    assert (await api.get(f"/api/v1/trading/orders/{answer.body['id']}")).body["qty"] == "all"


async def test_waiting_answers_when_the_order_is_decided_or_the_time_is_over(api: Any) -> None:
    started = time.monotonic()
    over = await api.post(GOOD, "?wait=0.3")
    assert time.monotonic() - started >= 0.3
    assert (over.status, over.body["order"]["status"], over.body["ahead"]) == (202, "pending", 0)

    waiting = [asyncio.create_task(api.post({**GOOD, "signal_id": f"w{one}"}, "?wait=20")) for one in range(20)]
    while len(rows := await api.sql("select id from orders where signal_id like 'w%'")) < 20:
        await asyncio.sleep(0.02)
    started = time.monotonic()
    for row in rows:
        await api.becomes(row["id"], "rejected", error_code="market_closed", error_message="Market closed")
    answers = await asyncio.gather(*waiting)
    assert time.monotonic() - started < 19  # they did not wait to their end
    assert {answer.body["order"]["status"] for answer in answers} == {"rejected"}
    assert "ahead" not in answers[0].body
    for query in ("?wait=31", "?wait=-1", "?wait=nan", "?wait=x", "?Wait=1", "?wait=1&wait=2"):
        assert (await api.post(GOOD, query)).status == 422


async def test_those_before_it_are_counted(api: Any) -> None:
    for ahead in range(3):
        assert (await api.post(GOOD)).body["ahead"] == ahead
    assert (await api.post(GOOD, "?wait=0.05")).body["ahead"] == 3


async def test_only_json_is_taken(api: Any) -> None:
    for kind, status in [("application/json; charset=utf-8", 202), ("text/plain", 415)]:
        answer = await api.post(GOOD, Content_Type=kind)
        assert answer.status == status
    answer = await api.get("/api/v1/trading/signal")
    assert (answer.status, answer.headers["Allow"], answer.body["code"]) == (405, "POST", "method_not_allowed")


async def test_without_an_account_it_says_what_to_do(api: Any, serve_api: Any, migrated_database_url: str) -> None:
    await api.sql("update engines set status = 'unauthorized'")
    await asyncio.sleep(1.1)
    refused = await api.post(GOOD)
    assert (refused.status, refused.body["code"]) == (503, "unauthorized")
    assert "ALPACA_API_SECRET" in refused.body["detail"]
    unset = await serve_api(migrated_database_url, fill=False, key_hash=None)
    assert (await unset.post(GOOD)).body["code"] == "not_configured"
    unknown = await serve_api(migrated_database_url, fill=False, key_hash="never seen")
    answer = await unknown.post(GOOD)
    assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (503, "account_unknown", "2")


async def test_an_alias_changed_by_sql_is_understood(api: Any) -> None:
    assert (await api.post({**GOOD, "symbol": "APPLE"})).status == 422
    await api.sql("insert into symbol_aliases values ('APPLE', 'AAPL')")
    await asyncio.sleep(1.1)
    assert (await api.post({**GOOD, "symbol": "apple"})).body["order"]["symbol"] == "AAPL"


async def test_all_problems_of_a_body_are_named_together(api: Any) -> None:
    answer = await api.post({"symbol": "NOPE", "side": 1, "qty": 0, "tif": "day", "limit_price": 5})
    assert {error["field"] for error in answer.body["errors"]} == {"symbol", "side", "qty", "tif", "limit_price"}
    assert json.loads(answer.text)["status"] == 422
