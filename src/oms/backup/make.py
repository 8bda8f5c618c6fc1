"""Makes a backup of one moment, while the OMS trades on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from oms.backup.archive import pack, whole_or_absent
from oms.backup.manifest import COUNTED, Account, Manifest, program_version
from oms.backup.tools import check_server, run_tool
from oms.domain.errors import ConfigurationError, StoreUnavailable


async def make_backup(database_url: str, target: Path) -> Manifest:
    """Write the whole database to `target`. What the manifest counts and what pg_dump reads are the same moment.

    Raises StoreUnavailable, ConfigurationError (another major version, no schema), ToolFailed.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = await connected(database_url)
    try:
        check_server(int(await db.fetchval("show server_version_num")))
        async with db.transaction(isolation="repeatable_read", readonly=True):
            manifest = await _described(db)
            moment = await db.fetchval("select pg_export_snapshot()")
            with whole_or_absent(target) as work:
                dump = work.with_suffix(".dump")
                try:
                    dump.touch(mode=0o600)
                    options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={moment}")
                    await run_tool("pg_dump", database_url, (*options, f"--file={dump}"))
                    pack(work, manifest, dump)
                finally:
                    dump.unlink(missing_ok=True)
    finally:
        await db.close(timeout=5)
    return manifest


async def connected(database_url: str) -> asyncpg.Connection:
    """A connection. Raises StoreUnavailable."""
    try:
        return await asyncpg.connect(database_url, timeout=10, server_settings={"application_name": "oms backup"})
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"PostgreSQL does not answer: {type(error).__name__}: {error}") from error


async def schema_of(db: asyncpg.Connection) -> str | None:
    """The migration that a database is at, None where it has none of our tables."""
    if await db.fetchval("select to_regclass('public.alembic_version')") is None:
        return None
    found: str | None = await db.fetchval("select version_num from public.alembic_version")
    return found


async def _described(db: asyncpg.Connection) -> Manifest:
    schema = await schema_of(db)
    if schema is None:
        raise ConfigurationError("There is nothing to back up: the database has no schema of Trademk1 yet.")
    accounts = await db.fetch("select name, number, broker_account_id, event_seq from accounts order by name")
    return Manifest(
        made_at=datetime.now(UTC).replace(microsecond=0),
        schema=schema,
        trademk1=program_version(),
        server=str(await db.fetchval("show server_version")),
        accounts=[Account(*row) for row in accounts],
        counts={name: await db.fetchval(f"select count(*) from {name}") for name in COUNTED},  # noqa: S608 — our names
    )
