"""What the paper broker keeps in memory of orders long done, and how long it takes to start with them in its store.

    python bench/paperbroker_memory.py [--orders 20000]

Market orders are sent until they are filled; the resident memory is printed after each quarter of them. Then the broker
is started anew on the same folder, and once on an empty one.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paperbroker_load import Client, Server

BROKER = ("-m", "paperbroker.cli", "--port", "0", "--requests-per-minute", "0", "--data")


@contextmanager
def broker(folder: str) -> Iterator[tuple[Server, float]]:
    began = time.perf_counter()
    server = Server("paperbroker", [sys.executable, *BROKER, folder], 0)
    try:
        yield server, time.perf_counter() - began
    finally:
        server.end()


async def fill(server: Server, orders: int) -> None:
    """Prints the memory after each quarter."""
    client = Client(server.url)
    async with client.connected():
        for quarter in range(1, 5):
            await client.send(orders // 4)
            print(f"{quarter * orders // 4:7} orders  {server.resident_mb:6.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as empty:
        with broker(folder) as (server, _):
            print(f"{0:7} orders  {server.resident_mb:6.1f} MB", flush=True)
            asyncio.run(fill(server, options.orders))
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
        for what, data in (("an empty folder", empty), (f"{options.orders} done orders ({size:.0f} MB)", folder)):
            times = []
            for _ in range(5):
                with broker(data) as (_, seconds):
                    times.append(seconds)
            print(f"ready with {what}: {sorted(times)[2]:.2f} s, {resident_mb_after(data):.1f} MB", flush=True)


def resident_mb_after(folder: str) -> float:
    with broker(folder) as (server, _):
        return server.resident_mb


if __name__ == "__main__":
    main()
