"""Closing positions, portfolio history, watchlists, markets' clocks, and server-sent events, by hand."""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest


@pytest.fixture
async def client(broker: Any, client_of: Any) -> Any:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        yield client


async def filled(client: Any, order_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (order := await client.get(f"/v2/orders/{order_id}"))["status"] != "filled":
            await asyncio.sleep(0.01)
    return order


async def bought(client: Any, symbol: str, **fields: object) -> dict[str, Any]:
    status, order = await client.order(symbol, **fields)
    assert status == 200, order
    return await filled(client, order["id"])


async def test_a_part_of_a_position_is_closed_by_qty_or_percentage(client: Any) -> None:
    await bought(client, "AAPL", qty=10)
    status, order = await client.call("DELETE", "/v2/positions/AAPL", params={"qty": "3"})
    assert (status, order["qty"], order["side"], order["type"]) == (200, "3", "sell", "market")
    await filled(client, order["id"])
    status, order = await client.call("DELETE", "/v2/positions/AAPL", params={"percentage": "50"})
    assert (status, order["qty"]) == (200, "3"), "a percentage of whole shares stays whole"
    await filled(client, order["id"])
    assert (await client.get("/v2/positions/AAPL"))["qty"] == "4"
    status, coin = await client.call("DELETE", "/v2/positions/BTCUSD", params={"percentage": "12.5"})
    assert (status, coin["qty"], coin["symbol"], coin["time_in_force"]) == (200, "0.0625", "BTC/USD", "gtc")


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"qty": "1", "percentage": "10"}, 422),
        ({"qty": "0"}, 422),
        ({"qty": "many"}, 422),
        ({"percentage": "101"}, 422),
        ({"percentage": "0.000001"}, 422),
        ({"qty": "11"}, 403),
    ],
)
async def test_a_close_that_makes_no_sense_is_refused(client: Any, parameters: dict[str, str], status: int) -> None:
    await bought(client, "KO", qty=10)
    answered, body = await client.call("DELETE", "/v2/positions/KO", params=parameters)
    assert answered == status, body
    assert set(body) >= {"code", "message"}


async def test_what_is_not_held_cannot_be_closed(client: Any) -> None:
    status, body = await client.call("DELETE", "/v2/positions/IBM")
    assert (status, body) == (404, {"code": 40410000, "message": "position does not exist"})
    status, body = await client.call("DELETE", "/v2/positions/NOSUCH")
    assert (status, body["code"]) == (404, 40410000)


async def test_closing_all_tells_what_open_orders_hold_and_cancels_them_if_asked(client: Any) -> None:
    await bought(client, "AAPL", qty=5)
    status, resting = await client.order("AAPL", "sell", qty=5, type="limit", limit_price="9000")
    assert status == 200
    status, answers = await client.call("DELETE", "/v2/positions")
    assert (status, [(a["symbol"], a["status"]) for a in answers]) == (207, [("AAPL", 403), ("BTCUSD", 200)])
    assert answers[0]["body"]["code"] == 40310000
    status, answers = await client.call("DELETE", "/v2/positions", params={"cancel_orders": "True"})
    assert [(a["symbol"], a["status"]) for a in answers if a["symbol"] == "AAPL"] == [("AAPL", 200)]
    await filled(client, answers[0]["body"]["id"])
    assert (await client.get(f"/v2/orders/{resting['id']}"))["status"] == "canceled"
    async with asyncio.timeout(60):
        while await client.get("/v2/positions"):
            await asyncio.sleep(0.01)


async def test_watchlists_are_made_changed_and_found_by_name(client: Any) -> None:
    status, made = await client.call(
        "POST", "/v2/watchlists", json={"name": "tech & co", "symbols": ["AAPL", "BTCUSD"]}
    )
    assert (status, [asset["symbol"] for asset in made["assets"]]) == (200, ["AAPL", "BTC/USD"])
    assert (await client.call("POST", "/v2/watchlists", json={"name": "tech & co"}))[0] == 422
    assert [w["name"] for w in await client.get("/v2/watchlists")] == ["tech & co"]
    path = f"/v2/watchlists/{made['id']}"
    status, added = await client.call("POST", path, json={"symbol": "MSFT"})
    assert (status, [asset["symbol"] for asset in added["assets"]]) == (200, ["AAPL", "BTC/USD", "MSFT"])
    status, fewer = await client.call("DELETE", f"{path}/BTC/USD")
    assert [asset["symbol"] for asset in fewer["assets"]] == ["AAPL", "MSFT"]
    status, named = await client.call("PUT", path, json={"name": "two", "symbols": ["SPY"]})
    assert (status, named["name"]) == (200, "two")
    found = await client.get("/v2/watchlists:by_name", name="two")
    assert [asset["symbol"] for asset in found["assets"]] == ["SPY"]
    assert (await client.call("DELETE", "/v2/watchlists:by_name", params={"name": "two"}))[0] == 204
    assert (await client.call("GET", path))[0] == 404
    assert (await client.call("POST", "/v2/watchlists", json={"name": "x", "symbols": ["NOSUCH"]}))[0] == 422


async def test_watchlists_survive_a_restart(start_broker: Any, client_of: Any) -> None:
    first = start_broker()
    async with client_of(first.url) as client:
        _, made = await client.call("POST", "/v2/watchlists", json={"name": "mine", "symbols": ["T"]})
        _, gone = await client.call("POST", "/v2/watchlists", json={"name": "gone"})
        await client.call("DELETE", f"/v2/watchlists/{gone['id']}")
    first.end(9)
    async with client_of(start_broker().url) as client:
        assert [w["id"] for w in await client.get("/v2/watchlists")] == [made["id"]]


async def test_history_accepts_every_period_and_timeframe(client: Any) -> None:
    for period in ("1D", "1W", "1M", "30D", "31D", "3M", "1A", "all", ""):
        for timeframe in ("1Min", "5Min", "15Min", "1H", "1D", ""):
            long = period in {"31D", "3M", "1A", "all"} and timeframe not in {"1D", ""}
            status, body = await client.call(
                "GET", "/v2/account/portfolio/history", params={"period": period, "timeframe": timeframe}
            )
            assert status == (422 if long else 200), (period, timeframe, body)
            if not long:
                lengths = {len(body[name]) for name in ("timestamp", "equity", "profit_loss", "profit_loss_pct")}
                assert len(lengths) == 1
                assert body["timeframe"] == timeframe or not timeframe
                assert all(isinstance(value, int | float) for value in body["equity"])
    body = await client.get(
        "/v2/account/portfolio/history", period="1D", timeframe="1Min", intraday_reporting="continuous"
    )
    assert body["equity"][-1] == pytest.approx(float((await client.get("/v2/account"))["equity"]), rel=0.01)
    assert body["timestamp"] == sorted(body["timestamp"])


@pytest.mark.parametrize(
    ("hours", "now", "present"),
    [
        ("all", "2026-11-25T12:00:30-05:00", True),
        ("all", "2026-11-25T22:00:30-05:00", True),
        ("all", "2026-11-26T12:00:30-05:00", True),  # Thanksgiving
        ("nyse", "2026-11-25T12:00:30-05:00", True),
        ("nyse", "2026-11-25T22:00:30-05:00", False),
    ],
)
async def test_history_ends_with_the_present_while_it_is_open(
    start_broker: Any, client_of: Any, hours: str, now: str, present: bool
) -> None:
    async with client_of(start_broker("--hours", hours, "--now", now).url) as client:
        worth = float((await client.get("/v2/account"))["equity"])
        for timeframe in ("1Min", "15Min", "1D"):
            body = await client.get("/v2/account/portfolio/history", period="1W", timeframe=timeframe)
            assert body["equity"][-1] == (pytest.approx(worth, rel=0.01) if present else 0)
            assert body["timestamp"] == sorted(set(body["timestamp"]))
            assert len(body["timestamp"]) == len(body["equity"])


async def test_every_markets_clock_and_days(client: Any) -> None:
    body = await client.get("/v3/clock", markets="NYSE,XNAS,OPRA", time="2026-11-27T12:59:00-05:00")
    phases = [(clock["market"]["acronym"], clock["phase"], clock["is_market_day"]) for clock in body["clocks"]]
    assert phases == [("NYSE", "core", True), ("NASDAQ", "core", True), ("OPRA", "core", True)]
    assert body["clocks"][0]["phase_until"] == "2026-11-27T13:00:00-05:00"
    (clock,) = (await client.get("/v3/clock", markets="NYSE", time="2026-11-27T18:00:00-05:00"))["clocks"]
    assert (clock["phase"], clock["phase_until"]) == ("closed", "2026-11-30T04:00:00-05:00")
    days = await client.get("/v3/calendar/NYSE", start="2026-11-25", end="2026-11-27")
    assert [day["date"] for day in days["calendar"]] == ["2026-11-25", "2026-11-27"]
    assert days["calendar"][1]["core_end"] == "2026-11-27T13:00:00-05:00"
    utc = await client.get("/v3/calendar/XNYS", start="2026-11-27", end="2026-11-27", timezone="UTC")
    assert utc["calendar"][0]["core_start"] == "2026-11-27T14:30:00Z"
    assert (await client.call("GET", "/v3/calendar/XLON"))[0] == 400


async def events(client: Any, count: int, **parameters: str) -> list[dict[str, Any]]:
    """So many server-sent events of the account."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60), client._session.get("/v2/events/trades", params=parameters) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        async for line in answer.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if len(found) == count:
                    break
    return found


async def test_events_are_repeated_from_a_time_or_an_id_and_go_on_live(client: Any) -> None:
    order = await bought(client, "SPY", qty=1, client_order_id="first")
    past = await events(client, 3, since="2020-01-01")
    assert [event["event"] for event in past[:2]] == ["pending_new", "new"]
    assert past[0]["order"]["id"] == order["id"]
    assert [event["event_id"] for event in past] == sorted(event["event_id"] for event in past)
    (again,) = await events(client, 1, since_id=past[1]["event_id"])
    assert again == past[1], "since_id is included"
    (at_it,) = await events(client, 1, since=past[2]["timestamp"])
    assert at_it == past[2]
    live = asyncio.create_task(events(client, 2))
    await asyncio.sleep(0.1)
    await client.order("SPY", qty=1, client_order_id="second")
    assert [event["order"]["client_order_id"] for event in await live] == ["second", "second"]
    only = await events(client, 9, since="2020-01-01", until_id=past[1]["event_id"])
    assert only == past[:2], "it ends by itself"
    everything = await events(client, 99, since="2020-01-01", until=datetime.now(UTC).isoformat())
    assert everything[:3] == past
    assert everything[-1]["order"]["client_order_id"] == "second", "it ends by itself, no later event is waited for"
    for asked in ({"since_id": "rubbish"}, {"until": "2020-01-01"}, {"until_id": past[1]["event_id"]}):
        assert (await client.call("GET", "/v2/events/trades", params=asked))[0] == 422


async def test_events_survive_a_kill(start_broker: Any, client_of: Any) -> None:
    first = start_broker()
    async with client_of(first.url) as client:
        order = await bought(client, "SPY", qty=1)
        before = await events(client, 3, since="2020-01-01")
    first.end(9)
    async with client_of(start_broker().url) as client:
        assert await events(client, 3, since="2020-01-01") == before
        assert order["id"] == before[0]["order"]["id"]


async def test_history_and_lists_take_what_the_contract_names(client: Any) -> None:
    path = "/v2/account/portfolio/history"
    told = await client.get(path, start="1615919881", end="2021-03-31", timeframe="1D")
    assert told["timestamp"][0] // 86_400 == 1615919881 // 86_400
    status, body = await client.call(
        "GET", "/v2/orders", params={"after_order_id": "a", "before_order_id": "b", "status": "all"}
    )
    assert (status, body["message"]) == (422, "only one of after_order_id and before_order_id is accepted")
    status, body = await client.call("GET", "/v2/account/activities", params={"category": "none"})
    assert (status, body["message"]) == (422, "category must be one of trade_activity, non_trade_activity")
