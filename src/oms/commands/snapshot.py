"""`oms snapshot`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import typer

from oms.commands.disk import writing
from oms.commands.where import database_url, in_effect
from oms.settings import Settings
from oms.snapshot.files import write_table
from oms.snapshot.shelf import appearing, keep_newest, snapshot_folder
from oms.storage.database import open_pool
from oms.storage.schema import check_schema
from oms.storage.snapshot import ORDER_COLUMNS, POSITION_COLUMNS, moment


def snapshot(settings: Settings, folder: Path | None, days: float, keep: int | None) -> None:
    """Write one, say where and what, and remove older ones."""
    parent = folder or snapshot_folder(settings.data)
    target, positions, orders = asyncio.run(_written(in_effect(settings), parent, timedelta(days=days)))
    typer.echo(f"{target}: {positions:,} positions, {orders:,} orders")
    if keep is not None:
        for old in keep_newest(parent, keep):
            typer.echo(f"{old}: removed, {keep} newer ones stay")


async def _written(settings: Settings, parent: Path, back: timedelta) -> tuple[Path, int, int]:
    pool = await open_pool(database_url(settings), size=1, name="oms snapshot")
    try:
        await check_schema(pool)
        async with moment(pool) as record:
            with writing(parent), appearing(parent, record.at) as (work, target):
                positions = await write_table(
                    work, "positions", ("account", *POSITION_COLUMNS), record.positions(), record.at
                )
                orders = await write_table(
                    work, "orders", ("account", *ORDER_COLUMNS), record.orders(record.at - back), record.at
                )
        return target, positions, orders
    finally:
        await pool.close()
