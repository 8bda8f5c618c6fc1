"""Memory does not grow with orders that are long done: they are in the store, and lists page them from there."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

ORDERS, IN_FLIGHT = 6_000, 50  # by then the log of requests (5,000) and every cache are full
GROWTH_MB_MAX = 5  # an order alone, its JSON and its three events are some 8 KB: 47 MB


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def trade(client: Any, first: int) -> None:
    """Send market orders, and wait until all of them are filled."""
    numbers = iter(range(first, first + ORDERS))

    async def send() -> None:
        for number in numbers:
            status, answer = await client.order("F", qty="0.1", client_order_id=f"long-{number}")
            assert status == 200, answer

    await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
    async with asyncio.timeout(240):
        while await client.get("/v2/orders", status="open"):
            await asyncio.sleep(0.1)


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
async def test_memory_does_not_grow_with_orders_long_done(start_broker: Any, client_of: Any) -> None:
    broker = start_broker("--requests-per-minute", "0")
    async with client_of(broker.url) as client:
        await trade(client, 0)
        before = resident_mb(broker.process.pid)
        await trade(client, ORDERS)
        assert resident_mb(broker.process.pid) - before < GROWTH_MB_MAX
        oldest = await client.get("/v2/orders", status="closed", direction="asc", limit="500")
        assert len({order["id"] for order in oldest}) == 500
        following = await client.get(
            "/v2/orders", status="all", direction="asc", limit="500", after_order_id=oldest[-1]["id"]
        )
        assert not {order["id"] for order in following} & {order["id"] for order in oldest}
    assert broker.end() == 0
    again = start_broker("--requests-per-minute", "0")
    async with client_of(again.url) as client:
        assert resident_mb(again.process.pid) < before
        status, answer = await client.order("F", qty="0.1", client_order_id="long-0")
        assert (status, answer["code"]) == (422, 40010001)
        assert await client.get("/v2/orders", status="open") == []
