"""Who may talk to the API, over real sockets: tokens, hosts, origins, body sizes, and how the server stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

ORDERS = "/api/v1/trading/orders"
SIGNAL = "/api/v1/trading/signal"
GOOD = {"symbol": "AAPL", "side": "buy", "qty": 10}


async def test_a_token_is_asked_for_on_everything_but_the_probes(migrated_database_url: str, serve_api: Any) -> None:
    api = await serve_api(migrated_database_url, token="tök-3n")
    for path in (ORDERS, "/api/health", "/docs", "/openapi.json", "/nope", "/livez/"):
        answer = await api.get(path)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), path
    assert (await api.post(GOOD)).status == 401
    for wrong in ("Bearer nope", "Basic dG9rZW4=", "Bearer", "tök-3n"):
        assert (await api.get(ORDERS, headers={"Authorization": wrong})).status == 401
    right = {"Authorization": "bearer tök-3n"}
    assert (await api.get(ORDERS, headers=right)).status == 200
    assert (await api.post(GOOD, **right)).status == 202
    assert [(await api.get(path)).status for path in ("/livez", "/readyz")] == [200, 200]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "[::1]:{port}"}, 200),
        ({"Host": "oms.example.com"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": "192.168.1.5:{port}"}, 421),
        ({"Host": "user@localhost"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://localhost:{port}"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
    ],
)
async def test_no_web_page_can_read_or_trade(
    migrated_database_url: str, serve_api: Any, headers: dict[str, str], status: int
) -> None:
    api = await serve_api(migrated_database_url, allowed_hosts=("oms.example.com",))
    port = api.url.rpartition(":")[2]
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    assert (await api.get(ORDERS, headers=sent)).status == status
    navigated = "Sec-Fetch-Dest" in headers
    posted = await api.post(GOOD, **sent)
    assert posted.status == (403 if navigated else 202 if status == 200 else status)


async def test_a_body_in_chunks_is_limited_too(api: Any) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        yield b'{"symbol":"AAPL","side":"buy","qty":1,"reason":"'
        for _ in range(size):
            yield b" " * 1024
        yield b'"}'

    json_type = {"Content-Type": "application/json"}
    assert (await api.request("POST", SIGNAL, data=chunks(0), headers=json_type)).status == 202
    answer = await api.request("POST", SIGNAL, data=chunks(70), headers=json_type)
    assert (answer.status, answer.body["code"]) == (413, "body_too_large")
    assert (await api.request("DELETE", f"{ORDERS}/x", data=b"x" * 70_000)).status == 413
    assert (await api.post(GOOD)).status == 202


async def test_stopping_lets_long_polls_answer_and_takes_less_than_five_seconds(api: Any) -> None:
    polling = [asyncio.create_task(api.get("/api/v1/events?after=0&wait=30")) for _ in range(5)]
    waiting = asyncio.create_task(api.post(GOOD, "?wait=30"))
    while not await api.sql("select 1 from orders"):  # all of them are being answered
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    started = time.monotonic()
    api.stop.set()
    answers = await asyncio.gather(*polling, waiting)
    assert time.monotonic() - started < 25  # they did not wait to their end
    assert {answer.status for answer in answers} == {200, 202}
