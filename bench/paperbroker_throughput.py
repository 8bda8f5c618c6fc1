"""Market orders a second that the paper broker accepts, fills and streams, against a bare skeleton in the same run.

    python bench/paperbroker_throughput.py [--orders 8000] [--core 0]

Both servers run on one core (`--core`), the client on the others. An order counts when its answer, and its fill on the
stream, have arrived. Also printed: the broker's memory after the first second half of the orders.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import msgspec

HERE = Path(__file__).parent
IN_FLIGHT = 64
HEADERS = {"APCA-API-KEY-ID": "mock-bench", "APCA-API-SECRET-KEY": "any"}


def start(command: list[str], core: int) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, {core})  # before it has threads, which inherit it
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


def resident_mb(process: subprocess.Popen[str]) -> float:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def an_order(number: int) -> bytes:
    symbol = ("BAC", "F", "T", "PFE")[number % 4]
    body = {"symbol": symbol, "qty": "0.01", "side": "buy", "type": "market", "time_in_force": "day"}
    return msgspec.json.encode({**body, "client_order_id": f"bench-{number}"})


class Stream:
    """Counts the fills that arrive."""

    def __init__(self) -> None:
        self.filled = 0
        self.wanted = 0
        self.enough = asyncio.Event()

    async def listen(self, session: aiohttp.ClientSession, url: str, ready: asyncio.Event) -> None:
        async with session.ws_connect(url.replace("http", "ws") + "/stream", max_msg_size=0) as socket:
            await socket.send_bytes(msgspec.json.encode({"action": "auth", "key": "mock-bench", "secret": "any"}))
            await socket.receive()
            data = {"streams": ["trade_updates"]}
            await socket.send_bytes(msgspec.json.encode({"action": "listen", "data": data}))
            await socket.receive()
            ready.set()
            async for message in socket:
                if b'"event":"fill"' in message.data:
                    self.filled += 1
                    if self.filled >= self.wanted:
                        self.enough.set()


async def measure(url: str, orders: int, halfway: object, first: int = 0) -> tuple[float, float]:
    """Orders a second of the first and the second half; `first` is the number of the first one."""
    stream, ready, rates = Stream(), asyncio.Event(), []
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:
        listening = asyncio.create_task(stream.listen(session, url, ready))
        await ready.wait()
        for part in range(2):
            numbers = iter(range(first + part * orders // 2, first + (part + 1) * orders // 2))
            stream.wanted += orders // 2
            stream.enough.clear()
            began = time.perf_counter()

            async def send(numbers: object = numbers) -> None:
                for number in numbers:  # type: ignore[attr-defined]
                    async with session.post(f"{url}/v2/orders", data=an_order(number)) as answer:
                        content = await answer.read()
                        assert answer.status == 200, content

            await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
            wait = asyncio.create_task(stream.enough.wait())
            await asyncio.wait({wait, listening}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            if not wait.done():
                how = "ended" if listening.done() else "goes on"
                raise SystemExit(f"{stream.filled} of {stream.wanted} fills were streamed; the stream {how}")
            rates.append(orders // 2 / (time.perf_counter() - began))
            halfway(part)  # type: ignore[operator]
        listening.cancel()
    return rates[0], rates[1]


def run(name: str, command: list[str], core: int, orders: int) -> tuple[float, float]:
    """Orders a second, and orders a second of processor time (which other processes on the machine do not change)."""
    process, url = start(command, core)
    memory: list[float] = []
    try:
        before = cpu_seconds(process)
        rates = asyncio.run(measure(url, orders, lambda _: memory.append(resident_mb(process))))
        per_cpu = orders / (cpu_seconds(process) - before)
    finally:
        process.terminate()
        process.wait()
    halves = f"{rates[0]:6.0f}/s {rates[1]:6.0f}/s"
    print(f"{name:12} {halves}  {per_cpu:6.0f} a CPU second  {memory[0]:.1f} → {memory[1]:.1f} MB", flush=True)
    return max(rates), per_cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=8000)
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {options.core} or {options.core})
    with tempfile.TemporaryDirectory() as folder:
        skeleton = [sys.executable, str(HERE / "skeleton_broker.py"), folder]
        broker = [
            sys.executable,
            "-m",
            "paperbroker.cli",
            "--port",
            "0",
            "--data",
            folder,
            "--requests-per-minute",
            "0",
        ]
        bare = run("skeleton", skeleton, options.core, options.orders)
        full = run("paperbroker", broker, options.core, options.orders)
    print(f"ratio        {full[0] / bare[0]:.2f} of the rate, {full[1] / bare[1]:.2f} by processor time")


if __name__ == "__main__":
    main()
