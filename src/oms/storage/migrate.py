"""Brings the schema of a database to the version that this code needs (Alembic)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from oms.domain.errors import ConfigurationError, StoreUnavailable

log = logging.getLogger(__name__)
_LOCK = 7_305_482_116  # one migration at a time, whoever starts it


def migrate(database_url: str) -> None:
    """Upgrade the schema, or do nothing.

    Raises ConfigurationError when the database is newer than this code, StoreUnavailable when it cannot be reached.
    """
    asyncio.run(_migrate(database_url))


async def _migrate(database_url: str) -> None:
    engine = create_async_engine(_async_url(database_url))
    try:
        connection = await _connect(engine)
        try:
            await connection.exec_driver_sql(f"select pg_advisory_lock({_LOCK})")
            await connection.commit()
            await connection.run_sync(_upgrade)
            await connection.commit()
        finally:
            await connection.close()
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


def _upgrade(connection: Connection) -> None:
    config = _config()
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"The database has schema {current}, which this version of Trademk1 does not know (it knows up to "
            f"{script.get_current_head()}). Start the newer version, or restore a backup made with this one."
        )
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
