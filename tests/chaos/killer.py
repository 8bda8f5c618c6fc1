"""Kills and freezes the parts of a running stack, one after the other, as a seed says."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.acceptance.guide.processes import find_child
from tests.stack import Stack

PAUSE_S_MEAN = 6.0
PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 15.0
FREEZE_S_MAX = 8.0  # the engine's lease ends after 5

PARTS: dict[str, tuple[str, ...]] = {
    "engine": ("oms.cli", "engine"),
    "api": ("oms.cli", "serve"),
    "broker": ("paperbroker.cli",),
    "postgres": ("/proc/self/cwd",),
    "valkey": ("valkey-server",),
}
_WEIGHTS = {"engine": 4, "api": 2, "broker": 2, "postgres": 2, "valkey": 2}
_FROZEN_TOO = frozenset({"engine", "api", "broker"})


class Killer:
    """`counts` says what was done how often: `engine killed`, `broker frozen`, …"""

    def __init__(self, stack: Stack, random: Random) -> None:
        self._stack = stack
        self._random = random
        self.counts: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; nothing stays frozen."""
        while not stop.is_set():
            pause_s = min(max(self._random.expovariate(1 / PAUSE_S_MEAN), PAUSE_S_MIN), PAUSE_S_MAX)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
                return
            await self._strike()

    async def _strike(self) -> None:
        part = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        frozen_s = self._random.uniform(0.5, FREEZE_S_MAX) if self._random.random() < 0.3 else 0.0
        pid = find_child(self._stack, *PARTS[part])
        if not pid:
            self.counts[f"{part} was down already"] += 1
            return
        with suppress(ProcessLookupError):
            if frozen_s and part in _FROZEN_TOO:
                os.kill(pid, signal.SIGSTOP)
                self.counts[f"{part} frozen"] += 1
                try:
                    await asyncio.sleep(frozen_s)
                finally:
                    os.kill(pid, signal.SIGCONT)
            else:
                os.kill(pid, signal.SIGKILL)
                self.counts[f"{part} killed"] += 1


def memory_mb(stack: Stack) -> dict[str, int]:
    """Resident memory of the programs of ours, in MB; a part that is being started again is left out."""
    found = {}
    for part in ("engine", "api", "broker"):
        pid = find_child(stack, *PARTS[part])
        with suppress(OSError, StopIteration):
            status = Path("/proc", str(pid), "status").read_text().splitlines()
            line = next(line for line in status if line.startswith("VmRSS:"))
            found[part] = int(line.split()[1]) // 1024
    return found
