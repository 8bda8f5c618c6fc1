"""Many seeds, on one or several processes."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import get_context

from tests.simulation.run import Result, collect, quietly, simulate

COLLECT_EVERY = 40
AT_ONCE = 100
TAIL = 12

Line = tuple[int, list[str], str, float]
"""Seed, violations, the end of the trace when there are any, virtual seconds until all agreed."""


def rendered(result: Result) -> str:
    """The trace as lines: seconds, step, process, what."""
    return "\n".join(
        f"{at:10.4f} {step:7d} {who:10} " + " ".join(map(str, what)) for at, step, who, *what in result.trace
    )


def results(first: int, count: int, processes: int) -> Iterator[Line]:
    """One line for each seed, in any order."""
    seeds = range(first, first + count)
    if processes <= 1:
        yield from _batch(seeds)
        return
    batches = [seeds[place : place + AT_ONCE] for place in range(0, count, AT_ONCE)]
    # Not concurrent.futures: with max_tasks_per_child its pool of Python 3.11 can hang when its workers have ended.
    with get_context("spawn").Pool(processes, maxtasksperchild=20) as pool:
        for done in pool.imap_unordered(_listed, batches):
            yield from done


def _listed(seeds: range) -> list[Line]:
    return list(_batch(seeds))


def _batch(seeds: range) -> Iterator[Line]:
    with quietly():
        for place, seed in enumerate(seeds, start=1):
            result = simulate(seed)
            tail = "\n".join(rendered(result).splitlines()[-TAIL:]) if result.violations else ""
            yield seed, result.violations, tail, result.healed_s
            if place % COLLECT_EVERY == 0:
                collect()
