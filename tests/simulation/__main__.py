"""`python -m tests.simulation`: run seeds, or show one."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.run import quietly, simulate
from tests.simulation.seeds import rendered, results


def main() -> int:
    """Parse, run, print; the exit code is 1 when an invariant was violated."""
    _same_hashes_in_each_run()
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=1, help="worker processes")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="show what happened in it")
    parser.add_argument("--shown", type=int, default=5, help="how many failing seeds to print")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, trace=arguments.trace)
    return _many(arguments.first, arguments.seeds, arguments.processes, arguments.shown)


def _one(seed: int, *, trace: bool) -> int:
    with quietly():
        result = simulate(seed)
    if trace:
        print(rendered(result))
    for violation in result.violations:
        print(f"violated {violation}")
    print(f"seed {seed}: {result.steps} steps, trace {result.trace_hash}, {len(result.violations)} violations")
    return bool(result.violations)


def _many(first: int, count: int, processes: int, shown: int) -> int:
    began = time.monotonic()
    failed = 0
    slowest = 0.0
    for seed, violations, tail, healed_s in results(first, count, processes):
        slowest = max(slowest, healed_s)
        if violations:
            failed += 1
            if failed <= shown:
                print(f"seed {seed} violates {'; '.join(violations[:4])}")
                print(f"  replay: python -m tests.simulation --seed {seed} --trace\n{tail}", flush=True)
    seconds = time.monotonic() - began
    per_minute = count / seconds * 60
    print(
        f"{count} seeds from {first}, {failed} with violations, {seconds:.1f} s, {processes} processes, "
        f"{per_minute:.0f} seeds/min, settled after at most {slowest:.0f} virtual s"
    )
    return bool(failed)


def _same_hashes_in_each_run() -> None:
    """Sets of texts must be walked in the same order in each run, or no seed would replay."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
