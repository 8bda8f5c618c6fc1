"""How late a tape at 20 times its speed arrives at three accounts' subscribers.

    .venv/bin/python bench/paperbroker_streams.py [--tape FILE] [--now TIME] [--speed 20] [--seconds 30] [--clients 3]

The broker is a process of its own. With --rebase every event carries the wall time at which it is due, so an event's
lateness is the time of its arrival minus its `t`, on one machine's clock. Frames are kept as they come and read after
the run, so that the clients cost little. Without a tape one is made: 48 events a second, with bursts of 330.
"""

import argparse
import asyncio
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

REAL_DAY = Path(__file__).parents[2] / "shared" / "data" / "tape-2013-10-07.parquet"
COLUMNS = "ts,symbol,kind,bid,bid_size,ask,ask_size,price,size,exchange"
_TIME = re.compile(r'"t":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z"')


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        tape = options.tape or _make_tape(Path(folder) / "tape.csv", options.seconds * options.speed)
        command = [
            "--port",
            "0",
            "--data",
            f"{folder}/data",
            "--tape",
            str(tape),
            "--rebase",
            "--speed",
            str(options.speed),
        ]
        if options.tape is not None:
            command += ["--now", options.now]
        code = "from paperbroker.cli import main; main()"
        broker = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
        try:
            assert broker.stdout is not None
            url = broker.stdout.readline().split()[-1]
            cpu_before, started = _cpu_seconds(broker.pid), time.monotonic()
            frames = asyncio.run(_listen(url, options.clients, options.seconds))
            cpu = (_cpu_seconds(broker.pid) - cpu_before) / (time.monotonic() - started)
        finally:
            broker.terminate()
            broker.wait()
    _report(tape, frames, options, cpu)


async def _listen(url: str, clients: int, seconds: float) -> list[list[tuple[int, str]]]:
    """What each client received: arrival (ns) and text of each frame."""
    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(_client(session, url, f"mock-{n}", seconds) for n in range(clients)))


async def _client(session: aiohttp.ClientSession, url: str, key: str, seconds: float) -> list[tuple[int, str]]:
    frames: list[tuple[int, str]] = []
    async with session.ws_connect(url.replace("http", "ws", 1) + "/v2/sip", max_msg_size=0) as stream:
        await stream.receive()
        await stream.send_json({"action": "auth", "key": key, "secret": "x"})
        await stream.receive()
        await stream.send_json({"action": "subscribe", "quotes": ["*"], "trades": ["*"]})
        await stream.receive()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                message = await stream.receive(timeout=left)
            except TimeoutError:
                break
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise SystemExit(f"{key} was cut off: {message}")
            frames.append((time.time_ns(), message.data))
    return frames


def _report(tape: Path, clients: list[list[tuple[int, str]]], options: argparse.Namespace, cpu: float) -> None:
    print(
        f"tape {tape.name} at {options.speed:g} times its speed, {options.clients} subscribers, {options.seconds:g} s"
    )
    for number, frames in enumerate(clients):
        late = sorted((at - due) / 1e6 for at, text in frames for due in _times(text))
        cut = statistics.quantiles(late, n=1000)
        rate = len(late) / options.seconds
        print(
            f"  subscriber {number}: {len(late)} events ({rate:.0f}/s) in {len(frames)} frames "
            f"({len(late) / len(frames):.1f} each); late p50 {cut[499]:.1f} ms, p99 {cut[989]:.1f} ms, "
            f"p99.9 {cut[998]:.1f} ms, most {late[-1]:.1f} ms"
        )
    print(f"  the broker used {cpu:.0%} of a core")


def _times(text: str) -> list[int]:
    found = []
    for second, fraction in _TIME.findall(text):
        seconds = int(datetime.fromisoformat(second).replace(tzinfo=UTC).timestamp())
        found.append(seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0")))
    return found


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _make_tape(path: Path, seconds: float) -> Path:
    dice, start = random.Random(1), datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    with path.open("w") as file:
        file.write(COLUMNS + "\n")
        for second in range(int(seconds) + 60):
            count = 330 if dice.random() < 0.01 else 45
            for offset in sorted(dice.random() for _ in range(count)):
                ts = (start + timedelta(seconds=second + offset)).isoformat(timespec="milliseconds")[:23] + "Z"
                symbol, cents = dice.choice(("AIG", "BAC", "IBM")), dice.randint(9000, 9100)
                if dice.random() < 0.66:
                    file.write(f"{ts},{symbol},q,{cents / 100:.4f},100,{(cents + 1) / 100:.4f},200,,,\n")
                else:
                    file.write(f"{ts},{symbol},t,,,,,{cents / 100:.4f},100,P\n")
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tape", type=Path, default=REAL_DAY if REAL_DAY.exists() else None)
    parser.add_argument("--now", default="2013-10-07T13:30:00Z", help="where the real day begins")
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
