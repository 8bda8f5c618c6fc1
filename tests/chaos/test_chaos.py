"""Two minutes of chaos; `make chaos MINUTES=30` is the long form."""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom

import pytest

from tests.chaos.run import chaos


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_minutes_of_chaos_lose_and_double_nothing(tmp_path: Path) -> None:
    figures = chaos(tmp_path, SystemRandom().randrange(1_000_000), 120)
    print(figures.report())
    assert not figures.judgement.wrong, figures.report()
    assert figures.judgement.statuses["filled"] > len(figures.sent.signals) / 3, figures.report()
    assert sum(count for what, count in figures.kills.items() if what.endswith("killed")) >= 5, figures.report()
