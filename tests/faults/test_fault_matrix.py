"""The fault matrix of the design, row by row: real processes, real servers, kill -9, SIGSTOP and a proxy of our own.

The rows that were chosen run together when the first of them is asked for; each test then gives one row's verdict.
`make faults` prints the same as a table.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.faults.matrix import Outcome, run
from tests.faults.rows import MATRIX

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Outcome]:
    """What came of the chosen rows."""
    chosen = {
        item.callspec.params["number"]
        for item in request.session.items
        if item.module is request.module and hasattr(item, "callspec") and "number" in item.callspec.params
    }
    return asyncio.run(run(tmp_path_factory.mktemp("faults"), chosen))


@pytest.mark.parametrize("number", sorted(MATRIX.rows))
def test_row_of_the_fault_matrix_holds(number: int, outcomes: dict[int, Outcome]) -> None:
    outcome = outcomes[number]
    print(f"{outcome.row.fault}: {outcome.measured}")
    assert not outcome.failure, f"{outcome.row.fault}: {outcome.failure}\n{outcome.trace}"
    assert (outcome.lost, outcome.doubled, outcome.false_rejects) == (0, 0, 0)


def test_the_matrix_has_every_row_of_the_design() -> None:
    assert sorted(MATRIX.rows) == list(range(1, 32))
