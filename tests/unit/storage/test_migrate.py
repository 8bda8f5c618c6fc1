"""Migrating where it cannot be done."""

from __future__ import annotations

import pytest
from tests.stack import free_port

from oms.domain.errors import ConfigurationError, StoreUnavailable
from oms.storage.migrate import migrate


def test_a_server_that_is_away_is_said_in_a_line() -> None:
    port = free_port()
    with pytest.raises(StoreUnavailable, match=f"PostgreSQL at 127.0.0.1:{port} takes no connection: "):
        migrate(f"postgresql://oms:secret@127.0.0.1:{port}/oms")


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must look like postgresql://"):
        migrate("mysql://oms@127.0.0.1/oms")
