"""Market orders a second that the paper broker accepts, fills and streams, against a bare skeleton in the same run.

    python bench/paperbroker_throughput.py [--turns 8] [--orders 3000] [--core 0]

Both servers run on one core (`--core`), the client on the others. They take turns of so many orders, because a shared
machine is faster in one minute than in the next; who has no turn is stopped. An order counts when its answer, and its
fill on the stream, have arrived. The first turn of each is for getting warm. A turn
ends with waiting for its last fills (15 ms at the skeleton, 30 here), so it has to be long against that.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from paperbroker_load import Client, Server

HERE = Path(__file__).parent


async def take_turns(servers: list[Server], turns: int, orders: int) -> list[tuple[float, float]]:
    """The seconds and the processor seconds that each needed, the first turn left out."""
    clients = [Client(server.url) for server in servers]
    needed = [(0.0, 0.0) for _ in servers]
    async with clients[0].connected(), clients[1].connected():
        for turn in range(turns + 1):
            for server in servers:
                server.halt()
            for index, (server, client) in enumerate(zip(servers, clients, strict=True)):
                server.go()
                began, used = time.perf_counter(), server.cpu_seconds
                await client.send(orders)
                if turn:
                    seconds, cpu = needed[index]
                    needed[index] = seconds + time.perf_counter() - began, cpu + server.cpu_seconds - used
                server.halt()
        for server in servers:
            server.go()
    return needed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--orders", type=int, default=3000)
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {options.core} or {options.core})
    with tempfile.TemporaryDirectory() as folder:
        skeleton = [sys.executable, str(HERE / "skeleton_broker.py"), folder]
        broker = [sys.executable, "-m", "paperbroker.cli", "--port", "0", "--data", folder]
        servers = [
            Server("skeleton", skeleton, options.core),
            Server("paperbroker", [*broker, "--requests-per-minute", "0"], options.core),
        ]
        try:
            needed = asyncio.run(take_turns(servers, options.turns, options.orders))
            memory = [server.resident_mb for server in servers]
        finally:
            for server in servers:
                server.end()
    all_orders = options.turns * options.orders
    for server, (seconds, cpu), mb in zip(servers, needed, memory, strict=True):
        print(f"{server.name:12} {all_orders / seconds:6.0f}/s  {all_orders / cpu:6.0f} a CPU second  {mb:.1f} MB")
    (bare_s, bare_cpu), (full_s, full_cpu) = needed
    print(f"ratio        {bare_s / full_s:.2f} of the rate, {bare_cpu / full_cpu:.2f} by processor time")


if __name__ == "__main__":
    main()
