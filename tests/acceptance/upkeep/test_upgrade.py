"""A record of the first schema, with an order that is open at the broker: backed up, migrated, and traded on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from tests.acceptance.upkeep.conftest import Oms
from tests.acceptance.upkeep.older import build_schema, make_older
from tests.servers import run
from tests.stack import Stack, ask, eventually

from oms.storage.schema import known_schemas

pytestmark = pytest.mark.timeout(600)
FREE = {"ALPACA_REQUESTS_PER_MINUTE": "0", "PAPERBROKER_REQUESTS_PER_MINUTE": "0"}
HEAD = known_schemas()[0]


def test_an_older_record_is_backed_up_migrated_and_traded_on(tmp_path: Path, oms: Oms) -> None:
    data = tmp_path / "data"
    stack = Stack(data, **FREE)
    with stack:
        filled = stack.traded(symbol="AAPL", side="buy", qty=10)
        resting = stack.signal(symbol="MSFT", side="buy", qty=2, type="limit", limit_price=1, wait=30).json["order"]
        assert resting["status"] == "submitted"
    run(make_older(data, "0001"))
    with stack:
        assert stack.sql("select version_num from alembic_version") == HEAD
        [backup] = data.glob(f"backups/*-before-{HEAD}.backup")
        assert f"{backup}: 2 orders, " in stack.logged()
        assert stack.order(filled["id"])["status"] == "filled"
        assert stack.order(resting["id"])["alpaca_id"] == resting["alpaca_id"]
        broker = stack.addresses["paperbroker_url"]
        gone = ask("DELETE", f"{broker}/v2/orders/{resting['alpaca_id']}", headers={"APCA-API-KEY-ID": "mock"})
        assert gone.status == 204, gone.body
        eventually(lambda: stack.order(resting["id"])["status"] == "cancelled", why="the order's end was not noticed")
        assert stack.traded(symbol="AAPL", side="sell", qty=10)["status"] == "filled"
        audit = oms("audit", "--data", str(data), **FREE)
        assert audit.returncode == 0, audit.stdout + audit.stderr
        assert "2 orders with an old trail" in audit.stdout


@pytest.mark.parametrize("part", ["serve", "engine"])
def test_the_parts_alone_refuse_another_schema(part: str, database_url: str, redis_url: str, oms: Oms) -> None:
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "OMS_PORT": "0"}
    empty = oms(part, **servers)
    assert (empty.returncode, "has no schema of Trademk1" in empty.stderr) == (2, True), empty.stderr
    asyncio.run(build_schema(database_url, "0001"))
    older = oms(part, **servers)
    assert older.returncode == 2, older.stderr
    assert f"The database has schema 0001, this version needs {HEAD}: run `oms db migrate`" in older.stderr
    asyncio.run(labelled(database_url, "9999"))
    newer = oms(part, **servers)
    assert newer.returncode == 2, newer.stderr
    assert "The database has schema 9999, which this version of Trademk1 does not know" in newer.stderr


async def labelled(database_url: str, schema: str) -> None:
    db = await asyncpg.connect(database_url, ssl=False)
    await db.execute("update alembic_version set version_num = $1", schema)
    await db.close()


def test_a_migration_by_hand_makes_a_backup_unless_told_otherwise(tmp_path: Path, database_url: str, oms: Oms) -> None:
    asyncio.run(build_schema(database_url, "0001"))
    done = oms("db", "migrate", "--data", str(tmp_path / "data"), DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    assert "schema 0001, before the migration to" in done.stdout
    assert len(list((tmp_path / "data" / "backups").iterdir())) == 1
    again = oms("db", "migrate", "--data", str(tmp_path / "data"), DATABASE_URL=database_url)
    assert (again.returncode, again.stdout) == (0, ""), "nothing to migrate, nothing to back up"


def test_known_schemas_are_those_of_the_migrations() -> None:
    from alembic.script import ScriptDirectory

    from oms.storage.migrate import _config

    assert [one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions()] == list(known_schemas())
