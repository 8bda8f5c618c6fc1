"""Brings the schema of a database to the version that this code needs (Alembic)."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from oms.domain.errors import ConfigurationError, StoreUnavailable
from oms.storage.schema import check_known, known_schemas

log = logging.getLogger(__name__)
_LOCK = 7_305_482_116  # one migration of a database at a time, whoever starts it
_ALEMBIC = threading.Lock()  # what Alembic runs in is global to the process: two threads would cross


Before = Callable[[str], Awaitable[None]]


def migrate(database_url: str, before: Before | None = None) -> None:
    """Upgrade the schema, or do nothing. `before` is awaited with the old schema when an existing one is to change.

    Raises ConfigurationError when the database is newer than this code, StoreUnavailable when it cannot be reached.
    """
    with _ALEMBIC:
        asyncio.run(_migrate(database_url, before))


async def _migrate(database_url: str, before: Before | None) -> None:
    engine = create_async_engine(_async_url(database_url))
    try:
        opened = await _connect(engine)
        try:
            await opened.exec_driver_sql(f"select pg_advisory_lock({_LOCK})")
            await opened.commit()
            current = await opened.run_sync(_current)
            await opened.commit()
            if before is not None and current is not None and current != known_schemas()[0]:
                await before(current)
            await opened.run_sync(_upgrade)
            await opened.commit()
        finally:
            await opened.close()
    finally:
        await engine.dispose()


async def _connect(engine: AsyncEngine) -> AsyncConnection:
    try:
        return await engine.connect()
    except (OSError, DBAPIError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise StoreUnavailable(
            f"PostgreSQL at {engine.url.host}:{engine.url.port or 5432} takes no connection: {reason}"
        ) from error


def _current(connection: SyncConnection) -> str | None:
    """The schema of the database. Raises ConfigurationError where this code does not know it."""
    current: str | None = MigrationContext.configure(connection).get_current_revision()
    check_known(current)
    return current


def _upgrade(connection: SyncConnection) -> None:
    config = _config()
    script = ScriptDirectory.from_config(config)
    current = _current(connection)
    if current == script.get_current_head():
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.info("schema migrated from %s to %s", current or "nothing", script.get_current_head())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _async_url(database_url: str) -> str:
    scheme, _, rest = database_url.partition("://")
    if scheme not in {"postgresql", "postgres"} or not rest:
        raise ConfigurationError("DATABASE_URL must look like postgresql://user@host:5432/database.")
    return f"postgresql+asyncpg://{rest}"
