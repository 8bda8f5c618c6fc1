"""docs/reliability.md and docs/fault-matrix.md show what is run."""

from __future__ import annotations

import re

from tests.faults.rows import MATRIX
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
MATRIX_PAGE = (ROOT / "docs" / "fault-matrix.md").read_text()


def test_the_fault_matrix_is_the_one_that_is_run() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \| .* \| .* \|$", MATRIX_PAGE, re.MULTILINE)
    assert len(rows) >= 31
    assert rows == [(str(number), row.fault) for number, row in sorted(MATRIX.rows.items())]


def test_the_commands_for_more_are_targets_of_the_makefile() -> None:
    named = set(re.findall(r"`make (\w+)", PAGE)) - {"test"}
    assert named == {"faults", "simulate", "chaos", "flood"}
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in sorted(named) if f"\n{target}: " not in makefile] == []
