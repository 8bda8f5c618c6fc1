"""A paper broker to hold against Alpaca's contract."""

from collections.abc import Iterator

import pytest
from tests.integration.paperbroker.conftest import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all tests of the contract."""
    running = Broker(tmp_path_factory.mktemp("broker") / "data", "--requests-per-minute", "0")
    yield running
    assert running.end() == 0
