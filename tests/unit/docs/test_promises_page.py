"""docs/promises.md names, for every promise and mechanism, what there is that holds it."""

from __future__ import annotations

import re

from tests.faults.rows import MATRIX
from tests.named_tests import exists
from tests.simulation.invariants import AT_THE_END
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "promises.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
INVARIANTS = [row for row in ROWS if row[0].isdigit()]
WATCHED = {3, 4, 5, 6, 11, 12, 13}  # by tests/simulation/invariants.py, while a seed runs


def test_all_eighteen_invariants_are_there_and_each_is_held_by_something() -> None:
    assert [int(row[0]) for row in INVARIANTS] == list(range(1, 19))
    for row in ROWS:
        if row[-1] != "held by":
            assert re.search(r"`tests/|\brows? \d|simulation \d", row[-1]), row


def test_every_named_test_exists() -> None:
    """When a test gets another name, the page gets it as well."""
    named = re.findall(r"`(tests/[^`]+)`", PAGE)
    assert len(named) > 70
    assert sorted(test for test in named if not exists(test)) == []


def test_rows_and_invariants_of_the_simulation_exist() -> None:
    for row in ROWS:
        for numbers in re.findall(r"\brows? ([\d, to]+)", row[-1]):
            assert {int(one) for one in re.findall(r"\d+", numbers)} <= MATRIX.rows.keys(), row
    simulated = {int(number) for row in ROWS for number in re.findall(r"simulation (\d+)", row[-1])}
    assert simulated <= AT_THE_END.keys() | WATCHED
