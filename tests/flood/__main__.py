"""`python -m tests.flood --seconds 60`: `make flood`. Exit code 0: good signals are taken, nothing dies or grows."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.flood.run import flood


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.flood", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flood-") as folder:
        figures = flood(Path(folder), options.seed, options.seconds)
    print(figures.report())
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
