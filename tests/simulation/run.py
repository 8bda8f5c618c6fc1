"""Runs one seed: the scenario, the healing, the invariants."""

from __future__ import annotations

import gc
import hashlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from oms.execution import resolver
from tests.simulation.house import House
from tests.simulation.invariants import check_all, is_settled
from tests.simulation.plan import planned
from tests.simulation.watch import Watch

HEALED_WITHIN_S = 200.0
STEPS_MAX = 600_000


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed. `healed_s`: virtual seconds from the last fault until everything agreed."""

    seed: int
    violations: list[str]
    trace: list[tuple[Any, ...]]
    steps: int
    healed_s: float

    @property
    def trace_hash(self) -> str:
        """Equal for equal runs."""
        return hashlib.sha256("\n".join(map(str, [*self.trace, self.steps])).encode()).hexdigest()[:16]


def simulate(seed: int) -> Result:
    """One scenario, from its first second to its invariants."""
    house = House(planned(seed))
    world, loop = house.world, house.world.loop
    _current.append(house)
    Watch(house)
    singly_max, resolver.ASKED_SINGLY_MAX = resolver.ASKED_SINGLY_MAX, house.plan.asked_singly_max
    try:
        ends_at = house.plan.duration_s
        loop.at(ends_at, house.heal)
        fees: list[float] = []

        def tick() -> None:
            loop.at(0.5, tick)
            if loop.time() > ends_at + 4 and (not fees or loop.time() > fees[-1] + 5):
                fees.append(loop.time())
                house.venue.post_fees()

        loop.at(ends_at + 0.01, tick)
        looked_at = [0.0]

        def settled() -> bool:
            if loop.time() < ends_at + 1 or loop.time() < looked_at[0] + 0.5:
                return False
            looked_at[0] = loop.time()
            return loop.time() > ends_at + HEALED_WITHIN_S or is_settled(house)

        loop.run(settled, STEPS_MAX)
        if loop.time() > ends_at + HEALED_WITHIN_S or loop.steps >= STEPS_MAX:
            world.violated(9, f"not settled after {loop.time() - ends_at:.0f} s and {loop.steps} steps")
        check_all(house)
        return Result(seed, world.violations, world.trace, loop.steps, loop.time() - ends_at)
    finally:
        resolver.ASKED_SINGLY_MAX = singly_max
        _current.pop()
        loop.close()


_current: list[House] = []


class _Log:
    """In place of the log: nothing is rendered; errors that nobody names become troubles of the house."""

    TROUBLES = frozenset({"session_failed", "report_failed", "sending_failed", "a vital task ended"})

    def _ignore(self, *_: object, **__: object) -> None: ...

    debug = info = warning = _ignore

    def error(self, event: str, *_: object, **more: object) -> None:
        house = _current[-1] if _current else None
        if house is not None:
            house.world.note("log", event)
            if event in self.TROUBLES or event.startswith("a signal from Redis could not"):
                found = more.get("exc_info") or sys.exc_info()[1]
                house.troubles.append(f"{event}: {found!r}")

    exception = error


@contextmanager
def quietly() -> Iterator[None]:
    """Without the cost of logging and of the cyclic garbage collector."""
    replaced = []
    for name, module in sorted(sys.modules.items()):
        if name.startswith("oms.") and hasattr(module, "log"):
            replaced.append((module, module.log))
            module.log = _Log()  # type: ignore[attr-defined]
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # coroutines of killed processes are finalised
    gc.collect()
    gc.disable()
    gc.freeze()
    warning = warnings.catch_warnings()
    warning.__enter__()
    warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that a killed process never began
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
        gc.collect()
        warning.__exit__()
        sys.unraisablehook = hook
        for module, log in replaced:
            module.log = log  # type: ignore[attr-defined]


def collect() -> None:
    """Between seeds: what is finalised now finds no running loop."""
    gc.collect()
