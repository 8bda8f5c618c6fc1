"""One flood: bad input at full rate on the API, Redis and the paper broker, good signals between it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from tests.acceptance.guide.ports import USUAL, taken
from tests.chaos.killer import memory_mb
from tests.flood.attacks import Attacker, Target
from tests.stack import Stack, ask

KEY = "mock-flood"
GOOD_PER_SECOND = 10
PATIENCE_S = 30.0
WARM_S = 5.0  # what a program needs once (caches, buffers) is no leak
GROWTH_MB_MAX = 60


@dataclass(slots=True)
class Figures:
    """What came in, how it was answered, and what it cost."""

    seconds: float
    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    broker_statuses: Counter[int] = field(default_factory=Counter)
    good: int = 0
    wrong: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    recorded: int = 0
    memory: list[dict[str, int]] = field(default_factory=list)

    @property
    def growth_mb(self) -> dict[str, int]:
        """From after warming up to the highest seen later."""
        first = self.memory[0]
        return {part: max(seen.get(part, 0) for seen in self.memory) - first[part] for part in first}

    def report(self) -> str:
        """For a person; the last line has the totals."""
        ordered = sorted(self.latencies_s)
        p50, p99 = (round(ordered[len(ordered) * part // 100] * 1000) for part in (50, 99)) if ordered else (0, 0)
        return "\n".join(
            [
                f"bad input  {', '.join(f'{kind} {count}' for kind, count in self.sent.most_common())}",
                f"API        {dict(sorted(self.statuses.items()))} (0: no answer)",
                f"broker     {dict(sorted(self.broker_statuses.items()))}",
                f"Redis      {self.recorded} messages recorded as no signals",
                f"memory MB  {self.memory[0]} after {WARM_S:g} s, growth at most {self.growth_mb}",
                *(f"WRONG      {line}" for line in self.wrong[:20]),
                f"{self.seconds:.0f} s, {sum(self.sent.values())} bad inputs, {self.good} good signals: "
                f"{len(self.wrong)} wrong, POST to 202 p50 {p50} ms, p99 {p99} ms",
            ]
        )


def flood(folder: Path, seed: int, seconds: float) -> Figures:
    """Run it on a stack of its own."""
    with taken(*USUAL):
        stack = Stack(
            folder / "data", ALPACA_API_KEY=KEY, ALPACA_REQUESTS_PER_MINUTE="0", PAPERBROKER_REQUESTS_PER_MINUTE="0"
        )
        stack.start(wait=False)
        try:
            stack.wait_ready()
            return asyncio.run(_flood(stack, Random(seed), seconds))
        finally:
            stack.stop()


async def _flood(stack: Stack, random: Random, seconds: float) -> Figures:
    addresses = stack.addresses
    parts = [stack.child(*words) for words in (("oms.cli", "engine"), ("oms.cli", "serve"), ("paperbroker.cli",))]
    keys = {"APCA-API-KEY-ID": "mock-flooding", "APCA-API-SECRET-KEY": "none"}
    broker_url = addresses["paperbroker_url"]
    attackers = [
        Attacker(
            Target(stack.url, "/api/v1/trading/signal", "/api/v1/trading/", addresses["redis_url"]),
            random.getrandbits(32),
        ),
        Attacker(Target(broker_url, "/v2/orders", "/v2/", headers=keys), random.getrandbits(32)),
    ]
    figures = Figures(seconds)
    stop = asyncio.Event()
    sending = asyncio.create_task(_good_signals(stack, figures, stop))
    try:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await asyncio.sleep(min(WARM_S, seconds / 2))
        while loop.time() < end:
            figures.memory.append(memory_mb(stack))
            await asyncio.sleep(1)
        figures.statuses, figures.sent = await asyncio.to_thread(attackers[0].stop)
        figures.broker_statuses, at_broker = await asyncio.to_thread(attackers[1].stop)
        figures.sent.update({f"{kind} (broker)": count for kind, count in at_broker.items()})
        stop.set()
        await sending
    finally:
        sending.cancel()
        for attacker in attackers:
            attacker.kill()
    await asyncio.to_thread(_judge, stack, figures, parts)
    return figures


async def _good_signals(stack: Stack, figures: Figures, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    begun, sends = loop.time(), set[asyncio.Task[None]]()
    async with aiohttp.ClientSession(timeout=timeout) as http:
        while not stop.is_set():
            sends.add(asyncio.create_task(_good_signal(http, stack.url, figures, len(sends))))
            await asyncio.sleep(max(0.0, begun + len(sends) / GOOD_PER_SECOND - loop.time()))
        await asyncio.gather(*sends)


async def _good_signal(http: aiohttp.ClientSession, url: str, figures: Figures, number: int) -> None:
    loop = asyncio.get_running_loop()
    side = "buy" if number // 20 % 2 == 0 else "sell"
    body: dict[str, Any] = {"symbol": "KO", "side": side, "qty": 1, "signal_id": f"good-{number}", "valid_for_s": 120}
    asked = loop.time()
    try:
        async with http.post(f"{url}/api/v1/trading/signal", json=body) as answer:
            text = await answer.text()
            if answer.status != 202:
                figures.wrong.append(f"a good signal was answered {answer.status}: {text}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        figures.wrong.append(f"a good signal was not answered: {error!r}")
    figures.latencies_s.append(loop.time() - asked)
    figures.good += 1


def _judge(stack: Stack, figures: Figures, parts: list[int]) -> None:
    """Good signals are traded, nothing died, nothing answered 500, memory is bounded, a bad message is kept once."""
    waiting = "select count(*) from orders where status not in ('filled', 'rejected', 'expired', 'cancelled')"
    for _ in range(60):
        if stack.sql(waiting) == "0":
            break
        time.sleep(1)
    traded = int(stack.sql("select count(*) from orders where signal_id like 'good-%' and status = 'filled'"))
    if traded < figures.good * 9 // 10:  # a buy beside an open sell may be a wash trade to the broker
        figures.wrong.append(f"only {traded} of {figures.good} good signals were filled")
    others = stack.sql("select signal_id, symbol from orders where signal_id not like 'good-%' limit 5")
    if others:
        figures.wrong.append(f"bad input became orders: {others}")
    now = [stack.child(*words) for words in (("oms.cli", "engine"), ("oms.cli", "serve"), ("paperbroker.cli",))]
    if now != parts:
        figures.wrong.append(f"a process died: {parts} before, {now} after")
    for name, statuses in (("the API", figures.statuses), ("the broker", figures.broker_statuses)):
        if bad := {status: count for status, count in statuses.items() if status >= 500 and status != 503}:
            figures.wrong.append(f"{name} answered {bad}")
    for part, grown in figures.growth_mb.items():
        if grown > GROWTH_MB_MAX:
            figures.wrong.append(f"{part} grew by {grown} MB")
    figures.recorded = int(stack.sql("select count(*) from signal_errors"))
    if not 0 < figures.recorded <= figures.sent["Redis"]:
        figures.wrong.append(f"{figures.recorded} messages are recorded, {figures.sent['Redis']} were sent")
    answer = ask("GET", f"{stack.url}/readyz")
    if answer.status != 200:
        figures.wrong.append(f"not ready afterwards: {answer.body!r}")
