"""Docker: skipped, with a plain line, where no engine answers."""

from __future__ import annotations

import pytest
from tests.compose.docker import engine_is_missing


@pytest.fixture(scope="session", autouse=True)
def docker_engine() -> None:
    """Every test here needs a Docker engine and compose."""
    if missing := engine_is_missing():
        pytest.skip(f"no Docker engine answers, so nothing of Docker is tested ({missing})")
