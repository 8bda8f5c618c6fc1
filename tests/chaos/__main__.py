"""`python -m tests.chaos --minutes 30 [--seed N]`: `make chaos`. Exit code 0: nothing lost, doubled or miscounted."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.chaos.run import chaos


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000), help="of signals and strikes")
    parser.add_argument("--folder", type=Path, help="where the data and the log stay; else they are thrown away")
    options = parser.parse_args()
    print(f"chaos for {options.minutes:g} minutes, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = chaos(folder, options.seed, options.minutes * 60)
    print(figures.report())
    return 1 if figures.judgement.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
