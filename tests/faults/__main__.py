"""`make faults`: run the matrix, or the rows that are named, and print it. Exit code 0: everything held."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.faults.matrix import run, table
from tests.faults.rows import MATRIX


def main() -> int:
    """Run, print, judge."""
    numbers = [int(word) for word in sys.argv[1:]] or sorted(MATRIX.rows)
    folder = Path(tempfile.mkdtemp(prefix="trademk1-faults-"))
    outcomes = asyncio.run(run(folder, numbers))
    found = [outcomes[number] for number in sorted(outcomes)]
    for outcome in found:
        if outcome.failure:
            print(f"--- row {outcome.row.number}\n{outcome.failure}\n{outcome.trace}", file=sys.stderr)
    print(table(found))
    return 0 if all(not outcome.failure for outcome in found) else 1


if __name__ == "__main__":
    sys.exit(main())
