"""Every fault can be left to chance, and chance comes from its seed."""

from typing import get_args

import pytest

from paperbroker.faults import Facts, Faults, Kind

TRIALS = 60


def hits(kind: str, probability: float, seed: int) -> list[bool]:
    faults = Faults()
    faults.add({"kind": kind, "probability": probability, "seed": seed, "count": None})
    facts = Facts("mock", "POST", "/v2/orders", "AAPL", "mine", "new")
    return [faults.take(facts, *get_args(Kind)) is not None for _ in range(TRIALS)]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_fault_takes_a_probability_and_a_seed(kind: str) -> None:
    some = hits(kind, 0.5, seed=7)
    assert some == hits(kind, 0.5, seed=7)
    assert some != hits(kind, 0.5, seed=8)
    assert TRIALS / 5 < sum(some) < TRIALS * 4 / 5
    assert not any(hits(kind, 0, seed=7))
    assert all(hits(kind, 1, seed=7))


def test_what_does_not_fit_costs_no_luck() -> None:
    """Another account's requests do not change at which of one's own a fault hits."""
    alone, together = Faults(), Faults()
    mine, other = Facts("mock-a", "GET", "/v2/clock"), Facts("mock-b", "GET", "/v2/clock")
    for faults in (alone, together):
        faults.add({"kind": "error", "key": "mock-a", "probability": 0.5, "count": None})
    expected = [alone.take(mine, "error") is not None for _ in range(TRIALS)]
    found = []
    for _ in range(TRIALS):
        assert together.take(other, "error") is None
        found.append(together.take(mine, "error") is not None)
    assert found == expected
