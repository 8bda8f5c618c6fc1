"""Servers that several small stacks share, so that each starts in about three seconds."""

from __future__ import annotations

import pytest


@pytest.fixture
def shared_servers(migrated_database_url: str, redis_clean_url: str, questdb_url: str) -> dict[str, str]:
    """The environment that names the session's servers: a database of one's own, an empty Redis, QuestDB."""
    return {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_clean_url, "QUESTDB_URL": questdb_url}
