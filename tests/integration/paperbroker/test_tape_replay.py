"""Recorded prices: a small tape made here, and the real day where it is there."""

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

REAL_DAY = Path(__file__).parents[4] / "shared" / "data" / "tape-2013-10-07.parquet"
INEXACT = timedelta(milliseconds=10)  # two processes' clocks
HEADER = "ts,symbol,kind,bid,bid_size,ask,ask_size,price,size,exchange"
ROWS = (
    "2013-10-07T14:00:00.000Z,IBM,q,180.0100,300,180.0300,100,,,",
    "2013-10-07T14:00:00.000Z,IBM,t,,,,,180.0200,100,P",
    "2013-10-07T14:00:01.000Z,XYZ,q,9.9900,300,10.0100,100,,,",
    "2013-10-07T14:00:01.500Z,IBM,q,181.0000,300,181.0200,100,,,",
    "2013-10-07T14:01:00.000Z,IBM,q,182.0000,300,182.0200,100,,,",
)


@pytest.fixture(params=["csv", "csv.gz", "parquet"])
def tape(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    text = "\n".join((HEADER, *ROWS)) + "\n"
    path = tmp_path / f"tape.{request.param}"
    if request.param == "csv":
        path.write_text(text)
    elif request.param == "csv.gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        types = {"ts": pa.timestamp("us", tz="UTC"), **dict.fromkeys(("bid", "ask", "price"), pa.decimal128(12, 4))}
        (tmp_path / "plain.csv").write_text(text)
        options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(tmp_path / "plain.csv", convert_options=options), path)
    return path


async def quote_after(client: Any, symbol: str, bid: float) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            quotes = (await client.get("/v2/stocks/quotes/latest", symbols=symbol))["quotes"]
            if symbol in quotes and quotes[symbol]["bp"] == bid:
                return dict(quotes[symbol])
            await asyncio.sleep(0.02)


async def order_once(client: Any, order_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (order := await client.get(f"/v2/orders/{order_id}"))["status"] != status:
            await asyncio.sleep(0.02)
    return dict(order)


async def test_clock_and_quotes_are_the_tapes(start_broker: Any, client_of: Any, tape: Path) -> None:
    broker = start_broker("--tape", str(tape), "--requests-per-minute", "0")
    async with client_of(broker.url) as client:
        assert (await client.get("/v2/clock"))["timestamp"].startswith("2013-10-07T10:00:0")
        quote = await quote_after(client, "IBM", 181)
        assert quote["t"] == "2013-10-07T14:00:01.5Z"
        assert quote["ap"] == 181.02
        _, order = await client.order("IBM", qty=1)
        status, waiting = await client.order("AAPL", qty=1)
        assert (status, waiting["status"]) == (200, "pending_new")
        assert (await order_once(client, order["id"], "filled"))["filled_avg_price"] == "181.02"
        assert (await order_once(client, waiting["id"], "new"))["filled_qty"] == "0"
        assert (await client.get("/v2/assets/XYZ"))["symbol"] == "XYZ"


COINS = (
    "2013-10-07T14:00:00.000Z,BTC/USD,q,123.45,0.5,123.55,0.25,,,",
    "2013-10-07T14:00:00.000Z,BTC/USD,t,,,,,123.5,0.125,",
    "2013-10-07T14:00:00.000Z,IBM,q,180.01,300,180.03,100,,,",
    "2013-10-07T14:00:01.000Z,IBM,t,,,,,180.1,100,P",
)


@pytest.mark.parametrize("form", ["csv", "csv without offsets", "parquet"])
async def test_sizes_can_have_fractions_and_a_parquet_file_floats(
    start_broker: Any, client_of: Any, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "coins.csv"
    path.write_text("\n".join((HEADER, *COINS)) + "\n")
    if form == "csv without offsets":
        path.write_text(path.read_text().replace("Z,", ","))
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        types = {"ts": pa.timestamp("us", tz="UTC"), "exchange": pa.string()}
        options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
        floats = pyarrow.csv.read_csv(path, convert_options=options)
        assert floats.schema.field("bid").type == pa.float64()
        pyarrow.parquet.write_table(floats, path := tmp_path / "coins.parquet")
    broker = start_broker("--tape", str(path), "--requests-per-minute", "0")
    async with client_of(broker.url) as client:
        await quote_after(client, "IBM", 180.01)
        quotes = (await client.get("/v1beta3/crypto/us/latest/quotes", symbols="BTC/USD"))["quotes"]
        assert {name: quotes["BTC/USD"][name] for name in ("bp", "bs", "ap", "as")} == {
            "bp": 123.45, "bs": 0.5, "ap": 123.55, "as": 0.25,
        }  # fmt: skip
        past = await client.get("/v1beta3/crypto/us/trades", symbols="BTC/USD", start="2013-10-07")
        assert [(trade["p"], trade["s"]) for trade in past["trades"]["BTC/USD"]] == [(123.5, 0.125)]
        sizes = (await client.get("/v2/stocks/IBM/quotes/latest"))["quote"]
        assert (sizes["bs"], sizes["as"]) == (300, 100)
        assert isinstance(sizes["bs"], int)


async def test_what_the_tape_lacks_has_no_price_and_fills_at_none(
    start_broker: Any, client_of: Any, tape: Path
) -> None:
    broker = start_broker("--tape", str(tape), "--rebase", "--speed", "50", "--requests-per-minute", "0")
    async with client_of(broker.url) as client:
        _, market = await client.order("BTC/USD", "sell", qty="0.1")
        _, limit = await client.order("BTC/USD", "sell", qty="0.1", type="limit", limit_price="1")
        await quote_after(client, "IBM", 182)
        for what in ("quotes", "trades", "orderbooks"):
            assert await client.get(f"/v1beta3/crypto/us/latest/{what}", symbols="BTC/USD,ETH/USD") == {what: {}}
        assert await client.get("/v1beta3/crypto/us/snapshots", symbols="BTC/USD") == {"snapshots": {"BTC/USD": {}}}
        bars = await client.get("/v1beta3/crypto/us/bars", symbols="BTC/USD", timeframe="1Min", start="2013-10-07")
        assert bars["bars"] == {}
        assert (await client.call("GET", "/v2/stocks/AAPL/quotes/latest"))[0] == 404
        for order in (market, limit):
            assert (await client.get(f"/v2/orders/{order['id']}"))["filled_qty"] == "0"
        (held,) = await client.get("/v2/positions")
        assert (held["symbol"], held["unrealized_pl"]) == ("BTCUSD", "0")  # kept at its entry: nothing is made up


async def test_speed_makes_it_pass_faster_and_now_starts_it_later(
    start_broker: Any, client_of: Any, tape: Path
) -> None:
    broker = start_broker("--tape", str(tape), "--speed", "50", "--now", "2013-10-07T14:00:01.2Z")
    async with client_of(broker.url) as client:
        first = (await client.get("/v2/stocks/quotes/latest", symbols="IBM,XYZ"))["quotes"]
        assert first["XYZ"]["bp"] == 9.99  # the last before the start stands
        await quote_after(client, "IBM", 182)
        assert (await client.get("/v2/clock"))["timestamp"] > "2013-10-07T10:01"


async def test_rebase_gives_events_and_clock_the_time_they_are_sent_at(
    start_broker: Any, client_of: Any, tape: Path
) -> None:
    start = datetime.now(UTC)
    broker = start_broker("--tape", str(tape), "--rebase", "--requests-per-minute", "0")
    async with client_of(broker.url) as client:
        quote = await quote_after(client, "IBM", 181)
        before = datetime.now(UTC)
        clock = datetime.fromisoformat((await client.get("/v2/clock"))["timestamp"])
        assert before - INEXACT <= clock <= datetime.now(UTC) + INEXACT
        assert start < datetime.fromisoformat(quote["t"]) <= before + INEXACT


@pytest.mark.skipif(not REAL_DAY.exists(), reason=f"the real day is not there ({REAL_DAY})")
async def test_the_real_day_streams_in_order_at_a_hundred_times_its_speed(start_broker: Any, client_of: Any) -> None:
    broker = start_broker("--tape", str(REAL_DAY), "--now", "2013-10-07T13:30:00Z", "--speed", "100")
    async with aiohttp.ClientSession() as session:
        stream = await session.ws_connect(f"{broker.ws_url}/v2/sip")
        await stream.receive()
        await stream.send_json({"action": "auth", "key": "mock", "secret": "x"})
        await stream.receive()
        await stream.send_json({"action": "subscribe", "quotes": ["*"], "trades": ["*"]})
        await stream.receive()
        times: list[datetime] = []
        seen: set[tuple[str, str]] = set()
        async with asyncio.timeout(300):
            while len(times) < 5000 or len(seen) < 7:
                for message in await stream.receive_json():
                    times.append(datetime.fromisoformat(message["t"]))
                    seen.add((message["T"], message["S"]))
        assert times == sorted(times)
        assert ("q", "SPY") not in seen
