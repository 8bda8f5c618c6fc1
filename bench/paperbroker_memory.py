"""What the paper broker keeps in memory of orders long done, and how long it takes to start with them in its store.

    python bench/paperbroker_memory.py [--orders 20000]

Market orders are sent until they are filled; the resident memory is printed after each quarter of them. Then the broker
is started anew on the same folder, and once on an empty one.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paperbroker_throughput import measure, resident_mb, start

BROKER = ("-m", "paperbroker.cli", "--port", "0", "--requests-per-minute", "0", "--data")


@contextmanager
def broker(folder: str) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    began = time.perf_counter()
    process, url = start([sys.executable, *BROKER, folder], 0)
    try:
        yield process, url, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as empty:
        with broker(folder) as (process, url, _):
            print(f"{0:7} orders  {resident_mb(process):6.1f} MB", flush=True)
            quarter = options.orders // 4
            for number in range(4):
                asyncio.run(measure(url, quarter, lambda _: None, first=number * quarter))
                print(f"{(number + 1) * quarter:7} orders  {resident_mb(process):6.1f} MB", flush=True)
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
        for what, data in (("an empty folder", empty), (f"{options.orders} done orders ({size:.0f} MB)", folder)):
            times = []
            for _ in range(5):
                with broker(data) as (process, _, seconds):
                    times.append(seconds)
            print(f"ready with {what}: {sorted(times)[2]:.2f} s, {resident_mb_after(data):.1f} MB", flush=True)


def resident_mb_after(folder: str) -> float:
    with broker(folder) as (process, _, _):
        return resident_mb(process)


if __name__ == "__main__":
    main()
