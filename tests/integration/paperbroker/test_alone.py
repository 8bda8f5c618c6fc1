"""The paper broker stands on its own: it runs where there is no OMS, and the same seed and tape tell the same story."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

WITHOUT_OMS = """
import sys

class NoOms:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "oms":
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, NoOms())
import paperbroker.testing
from paperbroker.cli import main
main()
"""
HEADER = "ts,symbol,kind,bid,bid_size,ask,ask_size,price,size,exchange"


@contextmanager
def without_oms(data: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_OMS, "--port", "0", "--data", str(data)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        assert process.wait(60) == 0


async def test_it_runs_where_there_is_no_oms(tmp_path: Path, client_of: Any) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_OMS.replace("main()", "import oms", 1)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "oms is not installed here" in ended.stderr  # the block works
    with without_oms(tmp_path / "data") as url:
        async with client_of(url) as client, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{url.replace('http', 'ws')}/stream") as socket:
                await socket.send_json({"action": "auth", "key": "mock", "secret": "any"})
                await socket.receive()
                await socket.send_json({"action": "listen", "data": {"streams": ["trade_updates"]}})
                await socket.receive()
                _, order = await client.order("AAPL", qty="2")
                async with asyncio.timeout(60):
                    async for message in socket:
                        if msgspec.json.decode(message.data)["data"]["event"] == "fill":
                            break
            assert (await client.get(f"/v2/orders/{order['id']}"))["status"] == "filled"
            assert (await client.get("/v2/positions/AAPL"))["qty"] == "2"


def falling_tape(path: Path) -> Path:
    """Ten seconds of quiet, in which orders are sent; then the ask falls, every two seconds."""
    rows = ["2013-10-07T14:00:00.000Z,IBM,q,199.9900,300,200.0000,100,,,"]
    for step in range(4):
        ask = 195 - 5 * step
        rows.append(f"2013-10-07T14:00:{10 + 2 * step}.000Z,IBM,q,{ask - 1}.0000,300,{ask}.0000,100,,,")
    path.write_text("\n".join((HEADER, *rows)) + "\n")
    return path


async def story(start_broker: Any, client_of: Any, tape: Path, name: str, seed: str) -> list[tuple[str, ...]]:
    """What the fills of forty orders are, in a process of their own on an empty folder."""
    broker = await asyncio.to_thread(
        start_broker, "--tape", str(tape), "--seed", seed, "--requests-per-minute", "0", data=tape.parent / name
    )
    async with client_of(broker.url) as client:
        orders = [
            client.order(
                "IBM", qty="10", type="limit", limit_price=str(195 - 5 * (number % 4)), client_order_id=f"o{number}"
            )
            for number in range(40)
        ]
        assert all(status == 200 for status, _ in await asyncio.gather(*orders))
        async with asyncio.timeout(60):
            while await client.get("/v2/orders", status="open"):
                await asyncio.sleep(0.2)
        facts = ("client_order_id", "cum_qty", "qty", "price", "bid", "ask", "quote_time", "leaves_qty")
        fills = await client.get("/paper/v1/fills", limit="1000")
    return sorted(tuple(fill[name] for name in facts) for fill in fills)


async def test_the_same_seed_and_tape_give_the_same_fills_in_two_processes(
    start_broker: Any, client_of: Any, tmp_path: Path
) -> None:
    tape = falling_tape(tmp_path / "tape.csv")
    one, two, other = await asyncio.gather(
        *(story(start_broker, client_of, tape, name, seed) for name, seed in (("a", "7"), ("b", "7"), ("c", "8")))
    )
    assert len(one) > 40, "no order was filled in parts"
    assert one == two
    assert one != other
    assert {fill[3] for fill in one} == {"195", "190", "185", "180"}
