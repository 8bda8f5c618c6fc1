"""Ten seconds of bad input at full rate; `make flood SECONDS=60` is the long form."""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom

import pytest

from tests.flood.run import flood


@pytest.mark.timeout(300)
def test_a_flood_of_bad_input_kills_nothing_and_stops_no_good_signal(tmp_path: Path) -> None:
    figures = flood(tmp_path, SystemRandom().randrange(1_000_000), 10)
    print(figures.report())
    assert not figures.wrong, figures.report()
    assert figures.good >= 20, figures.report()
    assert {400, 413, 415, 422} <= set(figures.statuses), figures.report()
