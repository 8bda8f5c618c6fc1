"""What all of a simulation shares: the loop, the seeded randomness, the clock, the trace, the faults in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from tests.simulation.loop import Process, SimLoop


@dataclass(slots=True)
class Clock:
    """The port Clock of one process: virtual time, ahead of or behind the others' by its skew."""

    loop: SimLoop
    base: datetime
    skew: timedelta = timedelta()

    def now(self) -> datetime:
        return self.base + self.skew + timedelta(seconds=self.loop.time())

    def monotonic(self) -> float:
        return self.loop.time()


class World:
    """`calm` ends the faults: the healing phase. `trace` has one line for each thing that matters."""

    def __init__(self, seed: int, base: datetime, *, in_order: bool) -> None:
        self.seed = seed
        self.random = Random(seed ^ 0x5DEECE66D)
        self.loop = SimLoop(Random(seed ^ 0x2545F491), in_order=in_order)
        self.base = base
        self.clock = Clock(self.loop, base)
        self.calm = False
        self.trace: list[tuple[Any, ...]] = []
        self.violations: list[str] = []
        self._ids = 0
        self._calls: dict[tuple[str, str], int] = {}
        self._ambushes: dict[tuple[str, str, int], tuple[int, Any]] = {}

    def note(self, *what: Any) -> None:
        """A line of the trace; rendered only when somebody reads it."""
        self.trace.append((self.loop.time(), self.loop.steps, self.loop.current.name, *what))

    def violated(self, number: int | str, what: str) -> None:
        """An invariant does not hold."""
        self.violations.append(f"{number}: {what}")
        self.note("VIOLATION", number, what)

    def chance(self, probability: float) -> bool:
        """Whether a fault of this probability happens now; never while it is calm."""
        return not self.calm and self.random.random() < probability

    def new_id(self) -> UUID:
        """Ids of one world, the same in each run."""
        self._ids += 1
        return UUID(int=(0x019A_0000_0000_7000_8000 << 48) | (self._ids * 0x9E3779B1 & 0xFFFF_FFFF_FFFF))

    def now(self) -> datetime:
        return self.clock.now()

    # --- ambushes: something happens so many steps after the n-th call of a kind --------------------------------------

    def ambush(self, name: str, call: str, nth: int, steps: int, action: Any) -> None:
        self._ambushes[name, call, nth] = (steps, action)

    def called(self, call: str) -> None:
        """A process calls the outside: where an ambush lies, its step is chosen."""
        if not self._ambushes or self.calm:
            return
        process: Process = self.loop.current
        name = process.name.partition(".")[0]
        count = self._calls[name, call] = self._calls.get((name, call), 0) + 1
        found = self._ambushes.pop((name, call, count), None)
        if found is not None:
            steps, action = found
            self.loop.alarm = self.loop.steps + 1 + steps
            self.loop.on_alarm = lambda: action(process)
