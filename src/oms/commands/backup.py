"""`oms backup`, `oms restore`, and the backup before a migration."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import typer

from oms.backup.archive import read_manifest
from oms.backup.make import make_backup
from oms.backup.manifest import Manifest
from oms.backup.restore import restore_backup
from oms.backup.shelf import backup_folder, keep_newest, new_name, remove_torn
from oms.backup.tools import ToolFailed
from oms.commands.disk import writing
from oms.commands.where import database_url, in_effect
from oms.domain.errors import ConfigurationError
from oms.embedded.lock import DataLock, running_addresses
from oms.embedded.servers import EmbeddedServers
from oms.settings import Settings
from oms.storage.migrate import Before
from oms.storage.schema import known_schemas

STREAM = Path("-")


def backup(settings: Settings, file: Path | None, keep: int | None) -> None:
    """Make one, say what is in it, and remove older ones. `-`: to standard output."""
    folder = backup_folder(settings.data)
    remove_torn(folder, datetime.now(UTC))
    if file == STREAM:
        _to_stdout(settings, folder)
        return
    target = file or folder / new_name(datetime.now(UTC))
    url = database_url(in_effect(settings))
    with writing(target):
        if target.exists() and not target.is_file():
            raise ConfigurationError(f"{target} is no file that a backup could replace: name one (-: standard output).")
        manifest = asyncio.run(make_backup(url, target))
    typer.echo(f"{target}: {_said(manifest)}, {target.stat().st_size:,} bytes")
    if keep is not None:
        for old in keep_newest(folder, keep):
            typer.echo(f"{old}: removed, {keep} newer ones stay")


def restore(settings: Settings, file: Path, *, replace: bool) -> None:
    """Put one back; the database of a data folder on which nothing runs is started for as long as it takes.

    `-`: from standard input.
    """
    if file == STREAM:
        parent = backup_folder(settings.data)
        with writing(parent), _folder_for_a_moment(parent) as folder:
            received = folder / "received"
            with received.open("xb") as whole:
                shutil.copyfileobj(sys.stdin.buffer, whole)
            _restore(settings, received, "standard input", replace=replace)
    else:
        _restore(settings, file, str(file), replace=replace)


def _restore(settings: Settings, file: Path, name: str, *, replace: bool) -> None:
    read_manifest(file, name)  # before a database is started for it
    with writing(backup_folder(settings.data)):
        manifest, rescue = asyncio.run(_restored(settings, file, replace=replace))
    if rescue is not None:
        typer.echo(f"{rescue}: what was there before")
    older = "" if manifest.schema == known_schemas()[0] else f" (schema {manifest.schema}: migrated at the next start)"
    typer.echo(f"Restored from {name}: {_said(manifest)}{older}")
    typer.echo("At its start the engine asks the broker for all that happened since; then run `oms audit`.")


def _to_stdout(settings: Settings, folder: Path) -> None:
    """Whole or nothing: it is made in a file first."""
    if sys.stdout.isatty():
        raise ConfigurationError("A backup is no text for a terminal: oms backup - > FILE")
    url = database_url(in_effect(settings))
    with writing(folder), _folder_for_a_moment(folder) as place:
        manifest = asyncio.run(make_backup(url, place / "whole"))
        with (place / "whole").open("rb") as whole:
            shutil.copyfileobj(whole, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    typer.echo(_said(manifest), err=True)


@contextmanager
def _folder_for_a_moment(parent: Path) -> Iterator[Path]:
    """On the disk of the data: what the system has for temporary files may be memory."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".oms-stream-", dir=parent) as folder:
        yield Path(folder)


def backup_before(url: str, settings: Settings) -> Before:
    """What a migration does first."""

    async def before(schema: str) -> None:
        target = backup_folder(settings.data) / new_name(datetime.now(UTC), f"before-{known_schemas()[0]}")
        try:
            manifest = await make_backup(url, target)
        except (ToolFailed, ConfigurationError, OSError) as error:
            raise ConfigurationError(
                f"No backup could be made before the migration from schema {schema}, so nothing was changed: {error} "
                "With a backup of your own at hand: oms db migrate --no-backup"
            ) from error
        typer.echo(f"{target}: {_said(manifest)}, before the migration to {known_schemas()[0]}")

    return before


async def _restored(settings: Settings, file: Path, *, replace: bool) -> tuple[Manifest, Path | None]:
    rescue = backup_folder(settings.data) / new_name(datetime.now(UTC), "before-restore")
    async with _database(settings) as url:
        return await restore_backup(file, url, replace=replace, known=known_schemas(), rescue=rescue)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """The database that is named, else the data folder's own, started by us."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    if running_addresses(settings.data) is not None:
        raise ConfigurationError(
            f"oms up runs on {settings.data}. Stop it first; the restore starts its database alone."
        )
    data = settings.data.absolute()
    lock = DataLock(data)
    servers = EmbeddedServers(data, ("postgres",), fixed_ports=False, say=lambda line: typer.echo(line, err=True))
    try:
        (data / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        addresses = await servers.start()
        assert addresses.database_url is not None  # noqa: S101 — it is what was started
        yield addresses.database_url
    finally:
        await servers.stop(patience_s=10.0)
        lock.release()


def _said(manifest: Manifest) -> str:
    counted = ", ".join(f"{manifest.counts.get(name, 0):,} {name}" for name in ("orders", "fills", "positions"))
    return f"{counted} as of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, schema {manifest.schema}"
