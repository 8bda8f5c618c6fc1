"""The past of prices by REST is what was streamed, page by page; generated and from a tape."""

import asyncio
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

COLUMNS = "ts,symbol,kind,bid,bid_size,ask,ask_size,price,size,exchange"


@pytest.fixture
async def client(broker: Any, client_of: Any) -> Any:
    async with client_of(broker.url, f"mock-{uuid.uuid4()}") as client:
        yield client


async def all_pages(client: Any, path: str, name: str, **parameters: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    while True:
        page = await client.get(path, **parameters)
        found += [(symbol, entry) for symbol, entries in page[name].items() for entry in entries]
        if page["next_page_token"] is None:
            return found
        parameters["page_token"] = page["next_page_token"]


@pytest.mark.parametrize(
    ("stream", "path", "symbol"),
    [("/v2/iex", "/v2/stocks", "AAPL"), ("/v1beta3/crypto/us", "/v1beta3/crypto/us", "BTC/USD")],
)
async def test_history_is_what_was_streamed(broker: Any, client: Any, stream: str, path: str, symbol: str) -> None:
    streamed: dict[str, list[dict[str, Any]]] = {"q": [], "t": []}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{broker.ws_url}{stream}") as socket:
        await socket.send_json({"action": "auth", "key": f"mock-{uuid.uuid4()}", "secret": "x"})
        await socket.send_json({"action": "subscribe", "quotes": [symbol], "trades": [symbol]})
        async with asyncio.timeout(60):
            while len(streamed["q"]) < 8 or len(streamed["t"]) < 2:
                for message in await socket.receive_json():
                    if message["T"] in streamed:
                        streamed[message.pop("T")].append({k: v for k, v in message.items() if k != "S"})
    for name, kind in (("quotes", "q"), ("trades", "t")):
        times = [entry["t"] for entry in streamed[kind]]
        found = await all_pages(
            client, f"{path}/{name}", name, symbols=symbol, start=times[0], end=times[-1], limit="3"
        )
        assert [entry for _, entry in found] == streamed[kind]
        reverse = await all_pages(
            client, f"{path}/{name}", name, symbols=symbol, start=times[0], end=times[-1], limit="2", sort="desc"
        )
        assert reverse == found[::-1]


async def test_minute_bars_are_made_of_the_trades(client: Any) -> None:
    start, end = "2026-11-20T15:00:00Z", "2026-11-20T15:01:59.999999999Z"
    trades = [
        trade
        for _, trade in await all_pages(client, "/v2/stocks/trades", "trades", symbols="SPY", start=start, end=end)
    ]
    bars = await all_pages(
        client, "/v2/stocks/bars", "bars", symbols="SPY", timeframe="1Min", start=start, end=end, limit="1"
    )
    assert [bar["t"] for _, bar in bars] == ["2026-11-20T15:00:00Z", "2026-11-20T15:01:00Z"]
    first = [trade for trade in trades if trade["t"] < "2026-11-20T15:01"]
    bar = bars[0][1]
    assert (bar["n"], bar["v"]) == (len(first), sum(trade["s"] for trade in first))
    assert (bar["o"], bar["c"]) == (first[0]["p"], first[-1]["p"])
    assert (bar["h"], bar["l"]) == (max(t["p"] for t in first), min(t["p"] for t in first))
    ((_, both),) = await all_pages(
        client, "/v2/stocks/bars", "bars", symbols="SPY", timeframe="2T", start=start, end=end
    )
    assert both["v"] == sum(bar["v"] for _, bar in bars)


@pytest.mark.parametrize("timeframe", ["5Min", "1Hour", "4H", "1Day", "1Week", "1Month"])
async def test_bars_of_every_length_come_sorted_and_without_gaps(client: Any, timeframe: str) -> None:
    days = {"5Min": 1, "1Hour": 1, "4H": 3}.get(timeframe, 90)
    parameters = {"timeframe": timeframe, "start": f"2026-0{8 if days == 90 else 9}-01", "limit": "30"}
    parameters["end"] = "2026-10-30" if days == 90 else f"2026-09-0{days}"
    page = await client.get("/v2/stocks/KO/bars", **parameters)
    bars = page["bars"]
    while len(bars) < 3 and page["next_page_token"]:  # on a busy machine half a second of searching does not go far
        page = await client.get("/v2/stocks/KO/bars", **parameters, page_token=page["next_page_token"])
        bars += page["bars"]
    times = [bar["t"] for bar in bars]
    assert times == sorted(times)
    assert len(times) >= 3
    assert all(bar["l"] <= bar["o"] <= bar["h"] and bar["l"] <= bar["c"] <= bar["h"] for bar in bars)
    assert (page["symbol"], bars[0]["n"] > 0) == ("KO", True)


async def test_latest_bars_and_books(client: Any) -> None:
    assert set((await client.get("/v2/stocks/bars/latest", symbols="AAPL,KO"))["bars"]) == {"AAPL", "KO"}
    assert (await client.get("/v2/stocks/AAPL/bars/latest"))["bar"]["n"] > 0
    assert (await client.get("/v1beta3/crypto/us/latest/bars", symbols="BTC/USD"))["bars"]["BTC/USD"]["v"] > 0
    book = (await client.get("/v1beta3/crypto/us/latest/orderbooks", symbols="BTC/USD"))["orderbooks"]["BTC/USD"]
    assert book["b"][0]["p"] < book["a"][0]["p"]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v2/stocks/bars", {"symbols": "AAPL", "timeframe": "61Min"}),
        ("/v2/stocks/bars", {"symbols": "AAPL", "timeframe": "soon"}),
        ("/v2/stocks/bars", {"timeframe": "1Min"}),
        ("/v2/stocks/bars", {"symbols": "AAPL"}),
        ("/v2/stocks/AAPL/bars", {"timeframe": ""}),
        ("/v1beta3/crypto/us/bars", {"symbols": "BTC/USD"}),
        ("/v2/stocks/trades", {"symbols": "BTC/USD"}),
        ("/v2/stocks/quotes", {"symbols": "AAPL", "limit": "10001"}),
        ("/v2/stocks/quotes", {"symbols": "AAPL", "sort": "sideways"}),
        ("/v2/stocks/quotes", {"symbols": "AAPL", "page_token": "rubbish"}),
        ("/v2/stocks/quotes", {"symbols": "AAPL", "start": "2026-11-20", "end": "2026-11-19"}),
        ("/v2/stocks/NO1/quotes", {}),
        ("/v2/stocks/bars", {"symbols": "AAPL", "timeframe": "1Day", "start": "2026-11-20T10:00:00"}),
    ],
)
async def test_questions_that_make_no_sense_get_400(client: Any, path: str, parameters: dict[str, str]) -> None:
    status, body = await client.call("GET", path, params=parameters)
    assert status == 400
    assert set(body) == {"message"}


def tape(path: Path) -> Path:
    rows = [f"2013-10-07T14:{i // 60:02d}:{i % 60:02d}.000Z,IBM,t,,,,,{180 + i / 100:.4f},100,P" for i in range(150)]
    rows += [f"2013-10-07T14:02:29.500Z,IBM,q,{181 + i}.0000,300,{182 + i}.0000,100,,," for i in range(3)]
    path.write_text("\n".join((COLUMNS, *sorted(rows))) + "\n")
    return path


async def test_a_tapes_past_is_told_up_to_the_present_only(start_broker: Any, client_of: Any, tmp_path: Path) -> None:
    broker = start_broker("--tape", str(tape(tmp_path / "tape.csv")), "--now", "2013-10-07T14:01:30.5Z")
    async with client_of(broker.url) as client:
        trades = await all_pages(client, "/v2/stocks/trades", "trades", symbols="IBM", start="2013-10-07", limit="17")
        assert 91 <= len(trades) <= 110
        assert trades[0][1]["p"] == 180
        bars = await all_pages(client, "/v2/stocks/bars", "bars", symbols="IBM", timeframe="1Min", start="2013-10-07")
        assert [(bar["t"], bar["n"], bar["c"]) for _, bar in bars] == [("2013-10-07T14:00:00Z", 60, 180.59)]
        assert await all_pages(client, "/v2/stocks/quotes", "quotes", symbols="IBM", start="2013-10-07") == []


async def test_events_of_one_instant_are_neither_lost_nor_doubled_between_pages(
    start_broker: Any, client_of: Any, tmp_path: Path
) -> None:
    path = tape(tmp_path / "tape.csv")
    broker = start_broker("--tape", str(path), "--now", "2013-10-07T14:02:29.6Z", "--rebase", "--speed", "20")
    async with client_of(broker.url) as client:
        for sort, bids in (("asc", [181, 182, 183]), ("desc", [183, 182, 181])):
            quotes = await all_pages(
                client, "/v2/stocks/quotes", "quotes", symbols="IBM", start="2020-01-01", limit="1", sort=sort
            )
            assert [quote["bp"] for _, quote in quotes] == bids
        age = datetime.fromisoformat((await client.get("/v2/clock"))["timestamp"]) - datetime.fromisoformat(
            quotes[0][1]["t"]
        )
        assert 0 < age.total_seconds() < 5


async def test_streamed_bars_are_those_of_history_and_the_days_bar_comes_with_each(
    start_broker: Any, client_of: Any, tmp_path: Path
) -> None:
    path = tape(tmp_path / "tape.csv")
    broker = start_broker("--tape", str(path), "--speed", "40", "--now", "2013-10-07T13:59:20Z")
    bars: dict[str, list[dict[str, Any]]] = {"b": [], "d": []}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{broker.ws_url}/v2/sip") as socket:
        await socket.send_json({"action": "auth", "key": "mock-bars", "secret": "x"})
        await socket.send_json({"action": "subscribe", "bars": ["IBM"], "dailyBars": ["*"]})
        async with asyncio.timeout(60):
            while len(bars["d"]) < 2:
                for message in await socket.receive_json():
                    if message["T"] in bars:
                        bars[message.pop("T")].append({k: v for k, v in message.items() if k != "S"})
    assert [bar["n"] for bar in bars["b"]] == [60, 60]
    assert [bar["n"] for bar in bars["d"]] == [60, 120]
    async with client_of(broker.url) as client:
        found = await all_pages(client, "/v2/stocks/bars", "bars", symbols="IBM", timeframe="1Min", start="2013-10-07")
        assert [bar for _, bar in found][:2] == bars["b"]


async def test_a_minute_that_was_not_seen_as_a_whole_is_told_as_a_whole(start_broker: Any, client_of: Any) -> None:
    """The broker is started within it, the clock leaps over its end, twice; the day's bar is that of history, too."""
    broker = start_broker("--now", "2026-11-23T15:00:40Z", "--requests-per-minute", "0")
    key = f"mock-{uuid.uuid4()}"
    bars: dict[str, list[dict[str, Any]]] = {"b": [], "d": []}
    async with (
        client_of(broker.url, key) as client,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{broker.ws_url}/v2/sip") as socket,
    ):
        await socket.send_json({"action": "auth", "key": key, "secret": "x"})
        await socket.send_json({"action": "subscribe", "bars": ["AAPL"], "dailyBars": ["AAPL"]})
        for count in (1, 2):
            await client.call("PUT", "/paper/v1/clock", json={"advance_seconds": 60})
            async with asyncio.timeout(60):
                while min(len(bars["b"]), len(bars["d"])) < count:
                    for message in await socket.receive_json():
                        if message["T"] in bars:
                            bars[message.pop("T")].append({k: v for k, v in message.items() if k != "S"})
            (day,) = (await client.get("/v2/stocks/AAPL/bars", timeframe="1Day"))["bars"]
            assert bars["d"][-1] == day
        past = await client.get("/v2/stocks/AAPL/bars", timeframe="1Min", start="2026-11-23T15:00:00Z")
    assert [bar["t"] for bar in bars["b"]] == ["2026-11-23T15:00:00Z", "2026-11-23T15:01:00Z"]
    assert bars["b"] == past["bars"]


@pytest.mark.parametrize(
    ("traded", "begin", "minute", "count"),
    [
        (("14:00:05", "14:00:10", "14:00:30"), "14:00:20", "14:00", 3),
        (("14:00:50", "14:01:50"), "14:01:00", "14:01", 1),
    ],
)
async def test_a_replay_tells_the_minute_it_begins_in_as_a_whole_and_none_before(
    start_broker: Any, tmp_path: Path, traded: tuple[str, ...], begin: str, minute: str, count: int
) -> None:
    path = tmp_path / "tape.csv"
    path.write_text("\n".join((COLUMNS, *(f"2013-10-07T{time}Z,IBM,t,,,,,180,100,P" for time in traded))) + "\n")
    broker = start_broker("--tape", str(path), "--speed", "15", "--now", f"2013-10-07T{begin}Z")
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{broker.ws_url}/v2/sip") as socket:
        await socket.send_json({"action": "auth", "key": "mock-bars", "secret": "x"})
        await socket.send_json({"action": "subscribe", "bars": ["IBM"]})
        async with asyncio.timeout(60):
            while (bar := (await socket.receive_json())[0])["T"] != "b":
                pass
    assert (bar["t"], bar["n"]) == (f"2013-10-07T{minute}:00Z", count)


async def test_trades_of_one_instant_of_a_tape_have_ids_of_their_own(
    start_broker: Any, client_of: Any, tmp_path: Path
) -> None:
    path = tmp_path / "tape.csv"
    rows = [f"2013-10-07T14:00:0{second}.5Z,{symbol},t,,,,,{price},100,P" for second in (1, 3)
            for price in (180, 181) for symbol in ("IBM", "KO")]  # fmt: skip
    path.write_text("\n".join((COLUMNS, *rows)) + "\n")
    broker = start_broker("--tape", str(path), "--now", "2013-10-07T14:00:02Z")
    streamed: list[dict[str, Any]] = []
    async with client_of(broker.url) as client, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{broker.ws_url}/v2/sip") as socket:
            await socket.send_json({"action": "auth", "key": "mock-ids", "secret": "x"})
            await socket.send_json({"action": "subscribe", "trades": ["IBM"]})
            async with asyncio.timeout(60):
                while len(streamed) < 2:
                    streamed += [message for message in await socket.receive_json() if message["T"] == "t"]
        past = (await client.get("/v2/stocks/IBM/trades", start="2013-10-07"))["trades"]
    assert [trade["i"] for trade in past] == [1, 3, 5, 7]
    assert [trade["i"] for trade in streamed] == [5, 7]


async def test_order_books_have_the_quote_as_their_one_level(broker: Any) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{broker.ws_url}/v1beta3/crypto/us") as socket:
        await socket.send_json({"action": "auth", "key": f"mock-{uuid.uuid4()}", "secret": "x"})
        await socket.send_json({"action": "subscribe", "orderbooks": ["BTC/USD"], "quotes": ["BTC/USD"]})
        seen: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(60):
            while not {"q", "o"} <= set(seen):
                seen |= {message["T"]: message for message in await socket.receive_json()}
        assert set(seen["o"]) == {"T", "S", "t", "b", "a", "r"}
        assert (seen["o"]["b"][0]["p"], seen["o"]["t"]) == (seen["q"]["bp"], seen["q"]["t"])


async def test_prices_set_by_hand_are_part_of_the_past(start_broker: Any, client_of: Any) -> None:
    broker = start_broker("--requests-per-minute", "0")
    async with client_of(broker.url) as client:
        generated = (await client.get("/v2/stocks/DIS/quotes", start="2026-01-01", limit="2"))["quotes"]
        for price in ("7.5", "8.25"):
            status, _ = await client.call(
                "PUT", "/paper/v1/prices/DIS", json={"bid": price, "ask": "9", "price": price}
            )
            assert status < 300
        await asyncio.sleep(1.5)  # held: nothing else is shown
        newest = (await client.get("/v2/stocks/DIS/quotes", sort="desc", limit="3"))["quotes"]
        assert [quote["bp"] for quote in newest[:2]] == [8.25, 7.5]
        assert newest[2]["bp"] > 50
        trades = (await client.get("/v2/stocks/DIS/trades", sort="desc", limit="2"))["trades"]
        assert [trade["p"] for trade in trades] == [8.25, 7.5]
        again = (await client.get("/v2/stocks/DIS/quotes", start="2026-01-01", limit="2"))["quotes"]
        assert again == generated
