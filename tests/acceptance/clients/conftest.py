"""A paper broker for the clients, as a process of its own."""

from collections.abc import Iterator

import pytest
from tests.integration.paperbroker.conftest import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all clients; each uses a key of its own."""
    running = Broker(tmp_path_factory.mktemp("broker") / "data", "--requests-per-minute", "0")
    yield running
    assert running.end() == 0
