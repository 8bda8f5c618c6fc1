"""What clients rely on without saying so: keys in other places, headers, a market that is there from the start."""

import asyncio
import base64
import json
import socket
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from tests.integration.paperbroker.test_price_streams import authenticated

HALF = {"APCA-API-KEY-ID": "mock-half"}
STOCK_FIELDS = {"T", "S", "sc", "sm", "rc", "rm", "t", "z"}


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:secret".encode()).decode()


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (basic("mock-basic"), 200),
        ("Bearer mock-oauth", 200),
        ("bearer mock-oauth", 200),
        (basic("PKREALKEY"), 401),
        ("Bearer PKREALTOKEN", 401),
        ("Basic %%%", 401),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), 401),
        ("Digest mock", 401),
        ("mock", 401),
        ("", 401),
    ],
)
async def test_a_key_may_be_shown_as_authorization(broker: Any, given: str, status: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{broker.url}/v2/account", headers={"Authorization": given}) as answer,
    ):
        body = await answer.json()
        assert (answer.status, body.get("message")) == (status, None if status == 200 else "unauthorized.")


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1beta3/crypto/us/latest/quotes?symbols=BTC/USD", None, 200),
        ("/v1beta3/crypto/us/snapshots?symbols=BTC/USD", None, 200),
        ("/v1beta3/crypto/us/bars?symbols=BTC/USD&timeframe=1Min", None, 200),
        ("/v1beta3/crypto/us/latest/quotes?symbols=BTC/USD", "PKREALKEY", 401),
        ("/v1beta3/crypto/us/latest/quotes?symbols=BTC/USD", "", 401),
        ("/v2/stocks/quotes/latest?symbols=AAPL", None, 401),
        ("/v2/assets/BTC/USD", None, 401),
    ],
)
async def test_prices_of_coins_need_no_key(broker: Any, path: str, key: str | None, status: int) -> None:
    headers = {} if key is None else {"APCA-API-KEY-ID": key}
    async with aiohttp.ClientSession(broker.url, headers=headers) as session, session.get(path) as answer:
        assert answer.status == status


async def test_every_answer_has_a_request_id_of_its_own(broker: Any) -> None:
    headers = {"APCA-API-KEY-ID": "mock-ids"}
    seen = set()
    async with aiohttp.ClientSession(broker.url, headers=headers) as session:
        for method, path in (
            ("GET", "/v2/clock"),
            ("GET", "/v2/orders/none"),
            ("POST", "/v2/orders"),
            ("GET", "/no"),
            ("PUT", "/v2/clock"),
        ):
            async with session.request(method, path) as answer:
                seen.add(answer.headers["X-Request-ID"])
        async with session.get("/v2/events/trades") as stream:
            seen.add(stream.headers["X-Request-ID"])
    assert len(seen) == 6


async def test_who_asks_too_often_is_told_how_long_to_wait(start_broker: Callable[..., Any]) -> None:
    broker = start_broker("--requests-per-minute", "1")
    async with aiohttp.ClientSession(broker.url, headers={"APCA-API-KEY-ID": "mock"}) as session:
        async with session.get("/v2/clock") as first:
            assert (first.status, "Retry-After" in first.headers) == (200, False)
        async with session.get("/v2/clock") as second:
            assert second.status == 429
            assert 1 <= int(second.headers["Retry-After"]) <= 61


async def test_every_symbol_has_traded_before_the_start(start_broker: Callable[..., Any], client_of: Any) -> None:
    broker = start_broker()
    async with client_of(broker.url) as client:
        stocks = [asset["symbol"] for asset in await client.get("/v2/assets")]
        trades = (await client.get("/v2/stocks/trades/latest", symbols=",".join(stocks)))["trades"]
        assert trades.keys() == set(stocks)
        coins = [asset["symbol"] for asset in await client.get("/v2/assets", asset_class="crypto")]
        assert (await client.get("/v1beta3/crypto/us/latest/trades", symbols=",".join(coins)))["trades"].keys() == set(
            coins
        )


@pytest.mark.parametrize(("name", "value"), [("feed", "tea-leaves"), ("currency", "EUR")])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/stocks/AAPL/quotes/latest",
        "/v2/stocks/AAPL/snapshot",
        "/v2/stocks/AAPL/bars",
        "/v2/stocks/quotes/latest?symbols=AAPL",
        "/v2/stocks/trades?symbols=AAPL",
    ],
)
async def test_feeds_and_currencies_that_there_are_not(
    broker: Any, client_of: Any, path: str, name: str, value: str
) -> None:
    async with client_of(broker.url) as client:
        status, body = await client.call("GET", f"{path}{'&' if '?' in path else '?'}{name}={value}")
        assert status == 400
        assert body["message"].startswith(f"invalid {name}: {value}")


async def test_a_halt_and_its_end_are_told_as_trading_statuses(broker: Any) -> None:
    async with aiohttp.ClientSession() as session:
        stream = await authenticated(session, broker, "/v2/iex", f"mock-{uuid.uuid4()}")
        await stream.send_json({"action": "subscribe", "statuses": ["IBM"]})
        await stream.receive_json()
        for method in ("PUT", "PUT", "DELETE", "DELETE"):  # the second of each changes nothing
            async with session.request(method, f"{broker.url}/paper/v1/halts/IBM") as answer:
                assert answer.status == 204
        told: list[dict[str, Any]] = []
        async with asyncio.timeout(60):
            while len(told) < 2:
                told += await stream.receive_json()
    assert [(status["T"], status["S"], status["sc"]) for status in told] == [("s", "IBM", "H"), ("s", "IBM", "T")]
    assert set(told[0]) == STOCK_FIELDS


async def test_a_minute_ends_without_another_trade_and_a_late_one_updates_it(start_broker: Callable[..., Any]) -> None:
    broker = start_broker("--prices", "pushed", "--now", "2026-11-23T15:00:30Z")
    async with aiohttp.ClientSession() as session:
        stream = await authenticated(session, broker, "/v2/iex", "mock")
        await stream.send_json({"action": "subscribe", "bars": ["IBM"], "updatedBars": ["IBM"], "dailyBars": ["IBM"]})
        await stream.receive_json()

        async def ask(method: str, path: str, body: dict[str, Any]) -> None:
            async with session.request(method, f"{broker.url}/paper/v1{path}", data=json.dumps(body)) as answer:
                assert answer.status in {200, 204}, await answer.text()

        await ask("PUT", "/prices/IBM", {"price": "300", "size": 7})
        await ask("PUT", "/clock", {"time": "2026-11-23T15:01:05Z"})
        async with asyncio.timeout(60):
            (bar,) = await stream.receive_json()
            (day,) = await stream.receive_json()
        assert (bar["T"], bar["S"], bar["t"], bar["c"], bar["v"]) == ("b", "IBM", "2026-11-23T15:00:00Z", 300, 7)
        assert (day["T"], day["v"]) == ("d", 7)
        await ask("PUT", "/clock", {"time": "2026-11-23T15:00:58Z"})
        await ask("PUT", "/prices/IBM", {"price": "301", "size": 3})
        async with asyncio.timeout(60):
            (updated,) = await stream.receive_json()
        assert (updated["T"], updated["t"], updated["c"], updated["v"]) == ("u", "2026-11-23T15:00:00Z", 301, 10)


async def test_assets_by_attribute_and_by_status(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url) as client:
        found = await client.get("/v2/assets", attributes="fractional_eh_enabled,ptp_no_exception")
        assert "AAPL" in {asset["symbol"] for asset in found}
        assert all("fractional_eh_enabled" in asset["attributes"] for asset in found)
        assert await client.get("/v2/assets", attributes="ptp_no_exception") == []
        assert await client.get("/v2/assets", status="inactive") == []


async def test_a_fill_is_busted_once(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        _, order = await client.order("IBM", qty="3")
        async with asyncio.timeout(60):
            while (await client.get(f"/v2/orders/{order['id']}"))["status"] != "filled":
                await asyncio.sleep(0.02)
        fills = await client.get("/paper/v1/fills", order_id=str(order["id"]))
        for fill, status in [(fills[0], 200), (fills[0], 422)]:
            body = {"execution_id": fill["execution_id"]}
            assert (await client.call("POST", "/paper/v1/busts", json=body))[0] == status
        assert len(fills) > 1 or (await client.call("GET", "/v2/positions/IBM"))[0] == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/orders?side=both", 422),
        ("/v2/orders?side=BUY&asset_class=us_equity,crypto&status=All", 200),
        ("/v2/orders?asset_class=cheese", 422),
        ("/v2/assets?status=sleeping", 422),
        ("/v2/assets?asset_class=cheese", 422),
        ("/v2/account/activities?category=cheese", 422),
        ("/v2/calendar?start=soon", 400),
        ("/v2/calendar?date_type=cheese", 400),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=1Day&adjustment=cheese", 400),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=1Day&adjustment=split,dividend", 200),
        ("/v1beta3/crypto/eu-1/latest/quotes?symbols=BTC/USD", 200),
        ("/v1beta3/crypto/moon/latest/quotes?symbols=BTC/USD", 404),
    ],
)
async def test_words_that_there_are_and_are_not(broker: Any, client_of: Any, path: str, status: int) -> None:
    async with client_of(broker.url) as client:
        answered, body = await client.call("GET", path)
        assert answered == status
        assert status == 200 or isinstance(body["message"], str)


async def test_an_id_may_be_written_without_dashes_and_in_capitals(broker: Any, client_of: Any) -> None:
    """As the Rust client writes every id."""
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        order = {
            "symbol": "AAPL",
            "qty": "1",
            "side": "buy",
            "type": "limit",
            "limit_price": "1",
            "time_in_force": "day",
        }
        placed = (await client.call("POST", "/v2/orders", json=order))[1]
        plain = placed["id"].replace("-", "")
        assert (await client.get(f"/v2/orders/{plain.upper()}"))["id"] == placed["id"]
        later = await client.get("/v2/orders", status="all", after_order_id=plain)
        assert later == []
        while (await client.get(f"/v2/orders/{plain}"))["status"] != "new":
            await asyncio.sleep(0.01)
        status, replaced = await client.call("PATCH", f"/v2/orders/{plain}", json={"qty": "2"})
        assert (status, replaced["replaces"]) == (200, placed["id"])
        status, _ = await client.call("DELETE", f"/v2/orders/{replaced['id'].replace('-', '')}")
        assert status == 204
        made = (await client.call("POST", "/v2/watchlists", json={"name": "mine"}))[1]
        assert (await client.get(f"/v2/watchlists/{made['id'].replace('-', '')}"))["name"] == "mine"
        assert (await client.get(f"/v2/assets/{placed['asset_id'].replace('-', '')}"))["symbol"] == "AAPL"


@pytest.mark.parametrize("time_in_force", ["fok", "ioc"])
async def test_a_cancel_that_comes_as_an_order_ends_finds_it_canceled(
    broker: Any, client_of: Any, time_in_force: str
) -> None:
    """Not in the state that was committed before."""
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1"}
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        for _ in range(50):
            placed = (await client.call("POST", "/v2/orders", json={**order, "time_in_force": time_in_force}))[1]
            status, answer = await client.call("DELETE", f"/v2/orders/{placed['id']}")
            assert status == 204, answer


@pytest.mark.parametrize("spelling", ["AAPL:NASDAQ", "AAPL:NASDAQ:us_equity", "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415"])
async def test_an_asset_is_known_by_every_spelling(broker: Any, client_of: Any, spelling: str) -> None:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        assert (await client.get(f"/v2/assets/{spelling}"))["symbol"] == "AAPL"
        order = {"symbol": spelling, "qty": "1", "side": "buy", "type": "limit", "limit_price": "1"}
        status, placed = await client.call("POST", "/v2/orders", json={**order, "time_in_force": "day"})
        assert (status, placed["symbol"]) == (200, "AAPL")
        for other in ("AAPL:NYSE", "AAPL:NASDAQ:crypto"):
            assert (await client.call("GET", f"/v2/assets/{other}"))[0] == 404


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/stocks/quotes/latest?symbols=SPY,NOSUCHSYMBOL", {"quotes": {"SPY"}}),
        ("/v2/stocks/snapshots?symbols=SPY,NO.SUCH", {"SPY"}),
        ("/v2/stocks/bars?symbols=NOSUCH&timeframe=1Day", {"bars": set(), "next_page_token": None}),
        ("/v2/stocks/NOSUCH/trades", {"trades": [], "symbol": "NOSUCH", "next_page_token": None}),
        ("/v1beta3/crypto/us/bars?symbols=DOES/NOTEXIST&timeframe=1Day", {"bars": set(), "next_page_token": None}),
        ("/v1beta3/crypto/us/latest/trades?symbols=BTC/USD,DOES/NOTEXIST", {"trades": {"BTC/USD"}}),
    ],
)
async def test_prices_of_what_there_is_not_are_left_out(
    broker: Any, client_of: Any, path: str, expected: object
) -> None:
    """Alpaca's answer is 200 for whatever could be a symbol."""
    async with client_of(broker.url) as client:
        found = await client.get(path)
        if isinstance(expected, set):
            assert set(found) == expected
        else:
            assert {k: set(v) if isinstance(v, dict) else v for k, v in found.items()} == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v2/stocks/quotes/latest?symbols=SPY,ABC123", "invalid symbol: ABC123"),
        ("/v2/stocks/ABC123/bars?timeframe=1Day", "invalid symbol: ABC123"),
        ("/v1beta3/crypto/us/bars?symbols=NOPE&timeframe=1Day", "invalid symbol: NOPE does not match ^[A-Z]+/[A-Z]+$"),
        (
            "/v2/stocks/bars?timeframe=1Day",
            "Invalid format for parameter symbols: query parameter 'symbols' is required",
        ),
        (
            "/v2/stocks/bars?symbols=A",
            "Invalid format for parameter timeframe: query parameter 'timeframe' is required",
        ),
        (
            "/v2/stocks/trades?symbols=A&start=soon",
            "Invalid format for parameter start: error parsing 'soon' as RFC3339",
        ),
    ],
)
async def test_prices_of_what_cannot_be_are_refused(broker: Any, client_of: Any, path: str, message: str) -> None:
    async with client_of(broker.url) as client:
        status, body = await client.call("GET", path)
        assert status == 400
        assert body["message"].startswith(message)


async def test_an_open_markets_next_opening_follows_its_close(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url) as client:
        clock = await client.get("/v2/clock")
        assert clock["is_open"]
        assert clock["timestamp"] < clock["next_close"] < clock["next_open"]


async def test_the_calendar_by_the_day_of_settlement(broker: Any, client_of: Any) -> None:
    async with client_of(broker.url) as client:
        days = await client.get("/v2/calendar", start="2026-11-27", end="2026-11-27", date_type="SETTLEMENT")
        assert [day["date"] for day in days] == ["2026-11-25"]  # the 26th is Thanksgiving


@pytest.mark.parametrize("path", ["/v2/clock", "/v2/account", "/v2/assets/AAPL", "/v2/stocks/AAPL/quotes/latest"])
async def test_head_answers_as_get_does(broker: Any, path: str) -> None:
    headers = {"APCA-API-KEY-ID": "mock"}
    async with aiohttp.ClientSession() as session, session.head(broker.url + path, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")


async def test_snapshots_are_whole_from_the_start_and_agree_with_the_bars(broker: Any, client_of: Any) -> None:
    parts = {"latestTrade", "latestQuote", "minuteBar", "dailyBar", "prevDailyBar"}
    async with client_of(broker.url) as client:
        stocks = await client.get("/v2/stocks/snapshots", symbols="AAPL,KO")
        coins = (await client.get("/v1beta3/crypto/us/snapshots", symbols="BTC/USD"))["snapshots"]
        one = await client.get("/v2/stocks/KO/snapshot")
        for snapshot in (*stocks.values(), *coins.values()):
            assert set(snapshot) == parts
        assert set(one) == {*parts, "symbol"}
        day = one["prevDailyBar"]["t"]
        (bar,) = (await client.get("/v2/stocks/KO/bars", timeframe="1Day", start=day, end=day))["bars"]
        assert bar == one["prevDailyBar"]


async def test_where_prices_are_pushed_there_is_no_past(start_broker: Callable[..., Any], client_of: Any) -> None:
    broker = start_broker("--prices", "pushed")
    async with client_of(broker.url) as client:
        assert (await client.get("/v2/stocks/AAPL/bars", timeframe="1Day", start="2026-01-01"))["bars"] == []
        assert await client.get("/v2/stocks/snapshots", symbols="AAPL") == {"AAPL": {}}


def test_a_client_that_has_said_all_still_gets_its_answer(broker: Any) -> None:
    """As `printf … | nc -N` does: it closes its side with the request. (What waits for a commit comes too late.)"""
    host, port = broker.url.removeprefix("http://").split(":")
    with urllib.request.urlopen(urllib.request.Request(f"{broker.url}/v2/clock", headers=HALF)) as answer:
        assert answer.status == 200  # which opens the account
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"GET /v2/clock HTTP/1.1\r\nHost: x\r\nAPCA-API-KEY-ID: mock-half\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        heard = b"".join(iter(lambda: raw.recv(4096), b""))
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert json.loads(heard.partition(b"\r\n\r\n")[2])["is_open"] is True


async def test_the_log_of_requests_is_shown_whatever_was_sent(start_broker: Callable[..., Any]) -> None:
    broker = start_broker()
    keys = {"APCA-API-KEY-ID": "mock-deep"}
    async with aiohttp.ClientSession(broker.url, headers=keys) as session:
        for depth in (10, 600, 900, 5000):
            body = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
            assert (await session.post("/v2/orders", data=body)).status in {400, 422}
        answer = await session.get("/paper/v1/requests")
        assert answer.status == 200
        assert "(too deep to be shown)" in [entry["body"] for entry in await answer.json()]
