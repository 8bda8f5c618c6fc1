"""One run: everything up, signals flowing, parts being killed; then peace, and the judgement."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

import asyncpg

from paperbroker.testing import Control
from tests.acceptance.guide.ports import USUAL, taken
from tests.acceptance.replay.paper import Broker
from tests.chaos.judgement import ENDS, Judgement, judge
from tests.chaos.killer import Killer, memory_mb
from tests.chaos.load import RESTING, Load, Sent
from tests.stack import Stack, ask

KEY = "mock-chaos"
CASH = 100_000_000
HELD = {"BTC/USD": "0.5"}  # what the account had when the engine took it in

LIMITS = {"max_position_size_usd": "10000000"}
SETTLES_WITHIN_S = 240.0  # an order that the broker never had is proven absent after a minute


@dataclass(slots=True)
class Figures:
    """What happened, and what came of it."""

    seed: int
    seconds: float
    sent: Sent
    judgement: Judgement
    kills: Counter[str]
    settled_s: float
    redis_lost: int
    longest_without_engine_s: float
    memory_begin_mb: dict[str, int] = field(default_factory=dict)
    memory_end_mb: dict[str, int] = field(default_factory=dict)

    def report(self) -> str:
        """For a person; the last line has the totals."""
        sent, judged = self.sent, self.judgement
        latencies = sorted(sent.latencies_s) or [0.0]
        p99 = latencies[min(len(latencies) * 99 // 100, len(latencies) - 1)]
        lines = [
            f"signals    {len(sent.signals)} ({len(sent.by_stream)} by the Redis stream), {sent.retries} requests "
            f"again, {sent.cancels} cancels; POST to 202 p99 {p99 * 1000:.0f} ms",
            f"strikes    {', '.join(f'{what} {count}' for what, count in sorted(self.kills.items()))}",
            f"orders     {', '.join(f'{status} {count}' for status, count in judged.statuses.most_common())}",
            f"codes      {', '.join(f'{code} {count}' for code, count in judged.codes.most_common()) or 'none'}",
            f"engine     away for at most {self.longest_without_engine_s:.1f} s; all settled {self.settled_s:.1f} s "
            f"after the last strike; {self.redis_lost} stream entries sent again after Redis was killed",
            f"memory MB  {self.memory_begin_mb} at the beginning, {self.memory_end_mb} at the end",
            *(f"WRONG      {line}" for line in judged.wrong[:50]),
            f"seed {self.seed}, {self.seconds:.0f} s, {len(sent.signals)} signals, {sum(self.kills.values())} strikes: "
            f"lost {len(judged.lost)}, doubled {len(judged.doubled)}, false rejects {len(judged.false_rejects)}, "
            f"miscounted {len(judged.miscounted)}",
        ]
        return "\n".join(lines)


def chaos(folder: Path, seed: int, seconds: float) -> Figures:
    """Run it on a data folder of its own. Everything is stopped at the end."""
    with taken(*USUAL):  # a server that is killed must find its port again, whoever else starts servers here
        stack = Stack(
            folder / "data",
            ALPACA_API_KEY=KEY,
            ALPACA_REQUESTS_PER_MINUTE="0",
            PAPERBROKER_REQUESTS_PER_MINUTE="0",
        )
        stack.start(wait=False)
        try:
            stack.wait_ready()
            return asyncio.run(_chaos(stack, seed, seconds))
        finally:
            stack.stop()


async def _chaos(stack: Stack, seed: int, seconds: float) -> Figures:
    random = Random(seed)
    broker = Broker(stack.addresses["paperbroker_url"], KEY)
    _prepare(stack)
    rests_at = {
        symbol: (Decimal(str(quote["bp"])) / 2).quantize(Decimal("0.01"))
        for symbol, quote in broker.quotes(list(RESTING)).items()
    }
    load = Load(stack.url, stack.addresses["redis_url"], Random(random.random()), rests_at)
    killer = Killer(stack, Random(random.random()))
    watch = EngineWatch(stack)
    memory_begin = memory_mb(stack)
    stop, watched = asyncio.Event(), asyncio.Event()
    work = [asyncio.create_task(load.run(stop)), asyncio.create_task(killer.run(stop))]
    watching = asyncio.create_task(watch.run(watched))
    try:
        await asyncio.wait(work, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.gather(*work)
        calm_at = time.monotonic()
        await load.settle(SETTLES_WITHIN_S)
        redis_lost = await _until_settled(stack, load, calm_at + SETTLES_WITHIN_S)
        settled_s = time.monotonic() - calm_at
        watched.set()
        await watching
        database = await asyncpg.connect(stack.addresses["database_url"])
        try:
            judgement = await judge(database, broker, load.sent)
        finally:
            await database.close()
        judgement.miscounted += await asyncio.to_thread(_audit, stack)
        judgement.lost += [
            f"signal {name} was refused with {status}: {text}" for name, status, text in load.sent.refused
        ]
        return Figures(
            seed, seconds, load.sent, judgement, killer.counts, settled_s, redis_lost, watch.longest_s, memory_begin,
            memory_mb(stack),
        )  # fmt: skip
    finally:
        for task in [*work, watching]:
            task.cancel()
        await load.close()


def _prepare(stack: Stack) -> None:
    """Money for a day of trading, and a position limit that does not end it."""
    Control(stack.addresses["paperbroker_url"], KEY).reset(CASH, HELD)
    for key, value in LIMITS.items():
        stack.sql(f"UPDATE configs SET value = '{value}' WHERE key = '{key}'")


async def _until_settled(stack: Stack, load: Load, deadline: float) -> int:
    """Until each signal of the stream has its order and only limit orders rest; how many Redis had lost.

    An entry that Redis took in the last second before it was killed is gone with it: its client looks, and sends it
    again.
    """
    again: set[str] = set()
    while True:
        try:
            database = await asyncpg.connect(stack.addresses["database_url"], timeout=5)
            try:
                stored = {row[0] for row in await database.fetch("select signal_id from orders")}
                waiting = await database.fetchval(
                    "select count(*) from orders where not status = any($1::text[]) and not (symbol = any($2::text[]) "
                    "and status = 'submitted' and not outcome_unknown)",
                    list(ENDS), list(RESTING),
                )  # fmt: skip
                commands = await database.fetchval("select count(*) from commands where done_at is null")
            finally:
                await database.close()
        except (OSError, asyncpg.PostgresError, TimeoutError):
            stored, waiting, commands = set(load.sent.signals), 1, 0
        missing = load.sent.by_stream - stored
        if not missing and not waiting and not commands:
            return len(again)
        if time.monotonic() > deadline:
            return len(again)  # the judgement names what is open
        if missing - again and not waiting:
            await load.send_again(missing - again)
            again |= missing
        await asyncio.sleep(1)


class EngineWatch:
    """For how long no engine was running, as health tells it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.longest_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        well_at = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            if await asyncio.to_thread(self._is_running):
                well_at = now
            self.longest_s = max(self.longest_s, now - well_at)
            await asyncio.sleep(0.5)

    def _is_running(self) -> bool:
        try:
            answer = ask("GET", f"{self._stack.url}/api/health/detailed", timeout=5)
            return answer.status == 200 and answer.json["execution_engine_status"] == "running"
        except (OSError, ValueError):
            return False


def _audit(stack: Stack) -> list[str]:
    """What `oms audit` says when it is not clean."""
    command = [sys.executable, "-m", "oms.cli", "audit", "--data", str(stack.data)]
    env = {**os.environ, "OMS_ENV_FILE": os.devnull, "ALPACA_API_KEY": KEY, "ALPACA_REQUESTS_PER_MINUTE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    return [] if done.returncode == 0 else [f"oms audit ends with {done.returncode}: {done.stdout}{done.stderr}"]
