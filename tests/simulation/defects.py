"""Deliberate defects: a checker that cannot fail proves nothing. Each must be caught within 2,000 seeds.

`python -m tests.simulation.defects` (`make defects`) plants them one by one and prints how many seeds each took.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.defects_of_decisions import OF_DECISIONS
from tests.simulation.defects_of_orders import OF_ORDERS
from tests.simulation.run import collect, quietly, simulate

SEEDS_MAX = 2_000
DEFECTS = (*OF_ORDERS, *OF_DECISIONS)


def caught(place: int, first: int, seeds: int) -> tuple[int, int | None, str, str]:
    """Plant one and run seeds until one violates: its place, how many it took (None: all), the seed, the violation."""
    with quietly(), DEFECTS[place].planted():
        for number, seed in enumerate(range(first, first + seeds), start=1):
            try:
                violations = simulate(seed).violations
            except Exception as error:  # noqa: BLE001 — a simulation that breaks has noticed too, and is shown
                violations = [f"broke: {error!r}"]
            if violations:
                return place, number, str(seed), violations[0]
            if number % 40 == 0:
                collect()
    return place, None, "", ""


def main() -> int:
    """The table; the exit code is 1 when one was not caught."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.defects", *sys.argv[1:]])
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.defects", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many seeds each may take")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    found: dict[int, tuple[int | None, str, str]] = {}
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(caught, place, arguments.first, arguments.seeds) for place in range(len(DEFECTS))]
        for task in tasks:
            place, number, seed, violation = task.result()
            found[place] = (number, seed, violation)
    print(f"{'defect':50} {'seeds':>6}  first violated")
    for place, defect in enumerate(DEFECTS):
        number, _, violation = found[place]
        print(f"{defect.name:50} {number or 'none':>6}  {violation[:90]}")
    missed = sum(number is None for number, _, _ in found.values())
    print(
        f"{len(DEFECTS)} defects, {len(DEFECTS) - missed} caught within {arguments.seeds} seeds each, {missed} missed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
