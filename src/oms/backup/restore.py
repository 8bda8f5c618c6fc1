"""Restores a backup: one transaction, so that a database is never half of one and half of another."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

import asyncpg

from oms.backup.archive import read_manifest, unpack_dump
from oms.backup.make import connected, make_backup, schema_of
from oms.backup.manifest import Manifest
from oms.backup.tools import check_server, run_tool, script_of
from oms.domain.errors import ConfigurationError

_BUSY = """
select count(*) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
    and (application_name in ('oms api', 'oms feed') or application_name like 'oms engine%')
"""
_TABLES = "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
_EMPTIED = "drop schema if exists public cascade;\ncreate schema public;\n"


async def restore_backup(
    path: Path, database_url: str, *, replace: bool, known: Collection[str], rescue: Path
) -> tuple[Manifest, Path | None]:
    """Put the backup into the database; `known` are the schemas that this version can bring up to date.

    What is replaced is backed up to `rescue` first (the answer says whether there was anything); in its folder is
    also what is written for the moment.
    Raises ConfigurationError where it must not or cannot be done, StoreUnavailable, ToolFailed; then nothing changed.
    """
    manifest = read_manifest(path)
    if manifest.schema not in known:
        raise ConfigurationError(
            f"{path} has schema {manifest.schema}, which this version of Trademk1 does not know: it was made by "
            f"{manifest.trademk1}. Restore with that version or a later one."
        )
    db = await connected(database_url)
    try:
        check_server(int(await db.fetchval("show server_version_num")))
        await _check_target(db, replace=replace)
        old = await schema_of(db)
    finally:
        await db.close(timeout=5)
    if old is not None:
        await make_backup(database_url, rescue)
    rescue.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".oms-restore-", dir=rescue.parent) as folder:
        dump, script = Path(folder) / "database.dump", Path(folder) / "script.sql"
        unpack_dump(path, dump)
        await script_of(dump, script)
        before, after = Path(folder) / "before.sql", Path(folder) / "after.sql"
        before.write_text(_EMPTIED if replace else "")
        after.write_text(_checks(manifest))
        files = [f"--file={one}" for one in (before, script, after)]
        quiet = ("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null")
        await run_tool("psql", database_url, (*quiet, *files))
    return manifest, rescue if old is not None else None


async def _check_target(db: asyncpg.Connection, *, replace: bool) -> None:
    if await db.fetchval(_BUSY):
        raise ConfigurationError(
            "The OMS runs on this database. Stop it first (Ctrl-C where `oms up` runs; docker compose stop app), "
            "so that nothing is written meanwhile."
        )
    tables = await db.fetchval(_TABLES)
    if tables and not replace:
        raise ConfigurationError(
            f"The database is not empty ({tables} tables). --replace puts the backup in their place, after a backup "
            "of what is there now."
        )


def _checks(manifest: Manifest) -> str:
    """The last statement of the transaction: what was restored is what was counted when the backup was made."""
    lines = [
        f"if (select count(*) from public.{name}) <> {count} then raise exception "  # noqa: S608 — letters only
        f"'{name} does not hold {count} rows as the backup says'; end if;"
        for name, count in manifest.counts.items()
        if name.replace("_", "").isalpha()
    ]
    return "do $$ begin\n" + "\n".join(lines) + "\nend $$;\n"
