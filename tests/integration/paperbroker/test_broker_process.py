"""The process: options, signals, limits, restarts."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from paperbroker.testing import Control


async def status_of(client: Any, order_id: str, wanted: str) -> dict[str, Any]:
    for _ in range(150):  # the broker allows 200 requests a minute
        order = await client.get(f"/v2/orders/{order_id}")
        if order["status"] == wanted:
            return order
        await asyncio.sleep(0.15)
    raise AssertionError(order)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(start_broker: Any, number: int) -> None:
    broker = start_broker()
    assert broker.end(number) == 0


async def test_what_was_told_survives_kill_9(start_broker: Any, client_of: Any, tmp_path: Path) -> None:
    broker = start_broker()
    async with client_of(broker.url) as client:
        _, bought = await client.order(qty=3, client_order_id="bought")
        bought = await status_of(client, bought["id"], "filled")
        _, resting = await client.order(
            "BTC/USD", "sell", type="limit", limit_price="999999", qty="0.2", client_order_id="resting"
        )
        await status_of(client, resting["id"], "new")
        account = await client.get("/v2/account")
        fills = await client.get("/v2/account/activities")
    broker.end(signal.SIGKILL)
    with (tmp_path / "data" / "fills.jsonl").open("a") as log:
        log.write('{"seq":99,"cut o')
    again = start_broker()
    async with client_of(again.url) as client:
        after = await client.get("/v2/account")
        assert (after["id"], after["cash"]) == (account["id"], account["cash"])
        assert await client.get(f"/v2/orders/{bought['id']}") == bought
        assert (await client.get("/v2/positions/BTCUSD"))["qty_available"] == "0.3"
        assert await client.get("/v2/account/activities") == fills
        for taken in ("bought", "resting"):
            status, body = await client.order(qty=1, client_order_id=taken)
            assert (status, body["code"]) == (422, 40010001)
        assert [o["id"] for o in await client.get("/v2/orders")] == [resting["id"]]
        assert await client.call("DELETE", f"/v2/orders/{resting['id']}") == (204, None)
        await status_of(client, resting["id"], "canceled")
        _, another = await client.order(qty=1)
        await status_of(client, another["id"], "filled")
    lines = [json.loads(line) for line in (tmp_path / "data" / "fills.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert {line["order_id"] for line in lines} == {bought["id"], another["id"]}


async def test_orders_are_never_lost_in_a_storm_with_kill_9(start_broker: Any, client_of: Any) -> None:
    """Every order that was answered is there afterwards, and every fill of it is in the position."""
    broker = start_broker("--requests-per-minute", "0")
    answered: list[str] = []

    async def send(client: Any, name: str) -> None:
        for number in range(1000):
            status, order = await client.order("F", qty=1, client_order_id=f"{name}-{number}")
            assert status == 200, order
            answered.append(order["id"])

    async with client_of(broker.url) as client:
        tasks = [asyncio.create_task(send(client, f"s{n}")) for n in range(8)]
        async with asyncio.timeout(60):
            while len(answered) <= 200:
                await asyncio.sleep(0.01)
        broker.end(signal.SIGKILL)
        await asyncio.gather(*tasks, return_exceptions=True)
    again = start_broker("--requests-per-minute", "0")
    async with client_of(again.url) as client:
        for order_id in answered:
            await status_of(client, order_id, "filled")
        total = len(await client.get("/v2/orders", status="all", limit="500"))
        position = await client.get("/v2/positions/F")
        assert int(position["qty"]) >= len(answered)
        if total < 500:
            assert int(position["qty"]) == total


def test_a_second_broker_on_a_folder_is_told_so(start_broker: Any, tmp_path: Path) -> None:
    start_broker()
    command = [sys.executable, "-c", "from paperbroker.cli import main; main()", "--port", "0"]
    second = [*command, "--data", str(tmp_path / "data")]
    ended = subprocess.run(second, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "another paper broker is running on it" in ended.stderr


async def test_a_wiped_folder_is_the_same_account(start_broker: Any, client_of: Any, tmp_path: Path) -> None:
    ids = []
    for folder in ("one", "two"):
        broker = start_broker(data=tmp_path / folder)
        async with client_of(broker.url, "mock-me") as client:
            ids.append((await client.get("/v2/account"))["id"])
    assert ids[0] == ids[1]


async def test_the_request_limit_holds_for_each_key_and_budget(start_broker: Any, client_of: Any) -> None:
    broker = start_broker(environment={"PAPERBROKER_REQUESTS_PER_MINUTE": "3"})
    async with client_of(broker.url, "mock-a") as client, client_of(broker.url, "mock-b") as other:
        for left in ("2", "1", "0"):
            async with client._session.get("/v2/clock") as answer:
                assert answer.headers["X-RateLimit-Limit"] == "3"
                assert answer.headers["X-RateLimit-Remaining"] == left
                assert int(answer.headers["X-RateLimit-Reset"]) > 1_700_000_000
        status, body = await client.call("GET", "/v2/clock")
        assert (status, body) == (429, {"code": 42910000, "message": "rate limit exceeded"})
        assert (await client.call("GET", "/v2/stocks/quotes/latest", params={"symbols": "AAPL"}))[0] == 200
        assert (await other.call("GET", "/v2/clock"))[0] == 200


async def test_nyse_hours_follow_the_calendar(start_broker: Any, client_of: Any) -> None:
    broker = start_broker("--hours", "nyse", "--now", "2025-11-28T12:00:00-05:00")  # a half day: closes at 13:00
    async with client_of(broker.url) as client:
        assert (await client.get("/v2/clock"))["is_open"] is True
        _, day = await client.order(type="limit", limit_price=1, qty=1)
        assert day["expires_at"] == "2025-11-28T18:00:00Z"
        Control(broker.url).set_clock("2025-11-28T13:00:00-05:00")
        await status_of(client, day["id"], "expired")
        clock = await client.get("/v2/clock")
        assert clock["is_open"] is False
        assert clock["next_open"] == "2025-12-01T09:30:00-05:00"
        assert clock["next_close"] == "2025-12-01T16:00:00-05:00"
        _, waiting = await client.order(qty=1)
        assert waiting["status"] == "accepted"
        assert waiting["expires_at"] == "2025-12-01T21:00:00Z"
        _, coin = await client.order("BTC/USD", "sell", qty="0.1")
        await status_of(client, coin["id"], "filled")
    broker.end()
    later = start_broker("--hours", "nyse", "--now", "2025-12-01T09:29:59-05:00")
    async with client_of(later.url) as client:
        filled = await status_of(client, waiting["id"], "filled")
        assert filled["filled_at"] >= "2025-12-01T14:30:00"


async def test_fees_of_an_ended_day_are_posted_at_midnight_or_at_the_next_start(
    start_broker: Any, client_of: Any
) -> None:
    broker = start_broker("--now", "2026-03-02T23:00:00-05:00")
    async with client_of(broker.url) as client:
        _, first = await client.order("BTC/USD", qty="0.1")
        await status_of(client, first["id"], "filled")
        assert await client.get("/v2/account/activities/CFEE") == []
        Control(broker.url).set_clock("2026-03-03T00:00:00-05:00")
        async with asyncio.timeout(60):
            while not (found := await client.get("/v2/account/activities/CFEE")):
                await asyncio.sleep(0.5)  # the broker allows 200 requests a minute
        (fee,) = found
        assert fee["id"].startswith("20260302000000000::")
        assert (fee["date"], fee["symbol"], fee["qty"], fee["net_amount"]) == ("2026-03-02", "BTCUSD", "-0.00025", "0")
        _, second = await client.order("BTC/USD", "sell", qty="0.1")
        second = await status_of(client, second["id"], "filled")
    broker.end()
    later = start_broker("--now", "2026-03-05T12:00:00Z")
    async with client_of(later.url) as client:
        newest, _ = await client.get("/v2/account/activities/CFEE")
        assert (newest["date"], newest["qty"], newest["status"]) == ("2026-03-03", "0", "executed")
        assert float(newest["net_amount"]) == pytest.approx(-0.1 * float(second["filled_avg_price"]) * 0.0025)


async def test_a_fresh_account_holds_nothing_or_what_the_broker_was_told(
    start_broker: Any, client_of: Any, tmp_path: Path
) -> None:
    broker = start_broker(environment={"PAPERBROKER_POSITIONS": ""})
    async with client_of(broker.url) as client:
        assert await client.get("/v2/positions") == []
        account = await client.get("/v2/account")
        assert (account["equity"], account["cash"], account["last_equity"]) == ("100000", "100000", "100000")
    broker = start_broker("--positions", "btcusd=0.5, AAPL=-10", data=tmp_path / "other")
    async with client_of(broker.url) as client:
        held = {position["symbol"]: position["qty"] for position in await client.get("/v2/positions")}
        assert held == {"AAPL": "-10", "BTCUSD": "0.5"}
        account = await client.get("/v2/account")
        assert (account["cash"], float(account["last_equity"]) > 100_000) == ("100000", True)
        broker.end(signal.SIGKILL)
    broker = start_broker(data=tmp_path / "other", environment={"PAPERBROKER_POSITIONS": ""})
    async with client_of(broker.url) as client:
        assert len(await client.get("/v2/positions")) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--hours", "lse"], "--hours has to be all or nyse"),
        (["--now", "noon"], "--now: 'noon' is neither a date"),
        (["--speed", "2"], "need a tape"),
        (["--hours", "nyse", "--now", "2090-01-01"], "knows the years 2004 to 2039"),
        (["--tape", "/nowhere.parquet"], "there is no such file"),
        (["--tape", __file__], "a tape ends with .parquet, .csv or .csv.gz"),
        (["--data", "/proc/nowhere"], "give another one with --data"),
        (["--host", "256.1.1.1"], "give another --host or --port"),
        (["--requests-per-minute", "-1"], "requests-per-minute"),
        (["--positions", "BTC/USD"], "'BTC/USD' is not SYMBOL=QUANTITY"),
        (["--positions", "AAPL=1,MSFT=nan"], "'MSFT=nan' is not SYMBOL=QUANTITY"),
        (["--positions", "NOSUCH=1"], "there is no asset 'NOSUCH'"),
        (["--positions", "BTCUSD=-1"], "coins cannot be held short"),
    ],
)
def test_bad_options_are_explained(options: list[str], says: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from paperbroker.cli import main; main()", "--port", "0", "--data", str(tmp_path)]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


_DEFECT = """
from paperbroker.api.trading import Trading

def fail(self, call):
    raise RuntimeError("a planted defect")

Trading.account = Trading.asset = fail
from paperbroker.cli import main
main()
"""


def test_a_defect_is_answered_in_alpacas_shape_and_logged(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DEFECT, "--port", "0", "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    for path in ("/v2/account", "/v2/assets/AAPL"):  # found at one look, and by the router
        request = urllib.request.Request(url + path, headers={"APCA-API-KEY-ID": "mock"})
        with pytest.raises(urllib.error.HTTPError) as failure:
            urllib.request.urlopen(request, timeout=30)
        assert failure.value.code == 500
        assert json.load(failure.value) == {"code": 50010000, "message": "internal server error"}
    process.terminate()
    _, log = process.communicate(timeout=30)
    assert log.count("a planted defect") >= 2
    assert process.returncode == 0
