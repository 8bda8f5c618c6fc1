"""A record as an older version left it: its schema by that version's migrations, its events as they were then."""

from __future__ import annotations

from pathlib import Path

import asyncpg
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine
from tests.servers import QUICK

from oms.embedded.postgres import Postgres
from oms.storage.migrate import _config

# Parents first. What the migration itself put in is replaced.
TABLES = (
    "installation", "accounts", "account_keys", "leases", "engines", "instruments", "symbol_aliases", "configs",
    "config_version", "orders", "order_events", "fills", "adjustments", "positions", "commands", "signal_errors",
)  # fmt: skip
# What events did not tell in the first version.
_OLD_EVENTS = """
alter table order_events disable trigger user;
update order_events set data = data - array['client_order_id', 'configs_version', 'asset_class', 'time_in_force',
    'signal_id', 'terms', 'strategy', 'reason', 'valid_for_s', 'attempted_at', 'submitted_at', 'fee_rate', 'epoch'];
alter table order_events enable trigger user;
"""


async def make_older(data: Path, schema: str) -> None:
    """Turn the record of the stopped data folder into one of that schema, with all rows that it had then."""
    server = Postgres(data, fixed_ports=False, settings=QUICK)
    await server.start()
    try:
        admin = await asyncpg.connect(server.database_url("postgres"), ssl=False)
        await admin.execute("create database older")
        await build_schema(server.database_url("older"), schema)
        new, old = [await asyncpg.connect(server.database_url(name), ssl=False) for name in ("oms", "older")]
        for table in reversed(TABLES):
            await old.execute(f"{'delete from' if table != 'order_events' else 'select 1 from'} {table}")
        for table in TABLES:
            names = [
                row[0]
                for row in await old.fetch(
                    "select column_name::text from information_schema.columns where table_name = $1", table
                )
            ]
            rows = await new.fetch(f"select {', '.join(names)} from {table}")
            await old.copy_records_to_table(table, records=[tuple(row) for row in rows], columns=names)
        await old.execute(_OLD_EVENTS)
        await new.close()
        await old.close()
        await admin.execute("drop database oms")
        await admin.execute("alter database older rename to oms")
        await admin.close()
    finally:
        await server.stop()


async def build_schema(database_url: str, schema: str) -> None:
    """Migrate an empty database up to that schema and no further."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://", 1))
    config = _config()

    def upgrade(connection: object) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, schema)

    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()
