"""The connection pool, and what PostgreSQL's failures mean to the OMS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import msgspec

from oms.domain.errors import StoreUnavailable

COMMAND_TIMEOUT_S = 10
_json = msgspec.json.Encoder(decimal_format="number")

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

# Not answers to a statement but signs that the server, the connection or its disk is away.
_AWAY = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was lost in the middle of a statement
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresIOError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalServerError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that is not, or no longer, right
    asyncpg.InvalidCatalogNameError,  # no such database
)


async def open_pool(database_url: str, *, size: int, name: str, eager: bool = True) -> Pool:
    """Connect (when `eager`, else at the first use). Raises StoreUnavailable. `name` shows in pg_stat_activity."""
    async with unavailable():
        pool = await asyncpg.create_pool(
            database_url,
            min_size=0,  # a floor of connections is kept up with a traceback in the log each time the server is away
            max_size=size,
            command_timeout=COMMAND_TIMEOUT_S,
            timeout=5,
            server_settings={"application_name": name, "timezone": "UTC", "jit": "off"},
        )
        if eager:
            async with pool.acquire(timeout=5):
                pass
        return pool


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool; its loss raises StoreUnavailable."""
    async with unavailable(), pool.acquire(timeout=5) as acquired:
        yield acquired


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction that commits at the end of the block."""
    async with connection(pool) as acquired, acquired.transaction():
        yield acquired


@asynccontextmanager
async def unavailable() -> AsyncIterator[None]:
    """What means that PostgreSQL is away is raised as StoreUnavailable."""
    try:
        yield
    except _AWAY as error:
        raise StoreUnavailable(_said(error)) from error


def _said(error: Exception) -> str:
    """For a person. Not every way of having no room left has PostgreSQL's code for a full disk."""
    if isinstance(error, asyncpg.DiskFullError) or "could not extend file" in str(error):
        return f"PostgreSQL's disk is full, make room there: {' '.join(str(error).split())}"
    return f"PostgreSQL does not answer: {type(error).__name__}: {error}"


def to_json(value: object) -> str:
    """JSON for a jsonb column; Decimals become numbers, exactly."""
    return _json.encode(value).decode()
