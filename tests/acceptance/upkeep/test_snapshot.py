"""`oms snapshot`: the same positions and orders as the API shows, exactly, as JSON and as CSV."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.acceptance.upkeep.conftest import Oms
from tests.stack import Stack

pytestmark = pytest.mark.timeout(400)


def test_a_snapshot_holds_what_the_api_shows(tmp_path: Path, oms: Oms) -> None:
    data = tmp_path / "data"
    with Stack(data) as stack:
        stack.traded(symbol="AAPL", side="buy", qty=3, reason='quoted "text", with a comma')
        stack.traded(symbol="BTC/USD", side="sell", qty="0.000000001")
        stack.traded(symbol="AAPL", side="buy", qty=5000)
        done = oms("snapshot", "--data", str(data))
        assert done.returncode == 0, done.stderr
        orders = {one["id"]: one for one in stack.get("/api/v1/trading/orders")}
        positions = {one["symbol"]: one for one in stack.get("/api/v1/trading/positions?include_closed=true")}
    [folder] = (data / "snapshots").iterdir()
    assert done.stdout == f"{folder}: {len(positions)} positions, 3 orders\n"
    assert folder.stat().st_mode & 0o077 == 0
    written = json.loads((folder / "orders.json").read_text())["orders"]
    held = json.loads((folder / "positions.json").read_text())["positions"]
    for name, rows in (("orders", written), ("positions", held)):
        with (folder / f"{name}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert lines == [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    assert {row["id"] for row in written} == set(orders)
    for row in written:
        shown = orders[row["id"]]
        assert (Decimal(row["qty"]), row["status"], row["reason"]) == (shown["qty"], shown["status"], shown["reason"])
        assert row["filled_price"] is None or Decimal(row["filled_price"]) == shown["filled_price"]
    for row in held:
        assert isinstance(row["qty"], str)
        assert "E" not in row["qty"]
        assert Decimal(row["qty"]) == positions[row["symbol"]]["qty"]
        assert Decimal(row["avg_price"]) == positions[row["symbol"]]["avg_price"]


def test_only_so_many_snapshots_are_kept(tmp_path: Path, migrated_database_url: str, oms: Oms) -> None:
    folder = tmp_path / "here"
    for name in ("20250101T000000Z", "20250102T000000Z", "mine"):
        (folder / name).mkdir(parents=True)
    done = oms("snapshot", "--folder", str(folder), "--keep", "2", DATABASE_URL=migrated_database_url)
    assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in folder.iterdir())
    assert len(left) == 3
    assert {"20250102T000000Z", "mine"} < set(left)


def test_nothing_half_is_left_of_a_snapshot_that_failed(tmp_path: Path, database_url: str, oms: Oms) -> None:
    done = oms("snapshot", "--folder", str(tmp_path / "here"), DATABASE_URL=database_url)
    assert done.returncode == 2
    assert "no schema of Trademk1" in done.stderr
    assert not (tmp_path / "here").exists()


def test_a_folder_that_cannot_be_written_is_named_and_not_postgresql(
    tmp_path: Path, migrated_database_url: str, oms: Oms
) -> None:
    (tmp_path / "file").write_text("")
    done = oms("snapshot", "--folder", str(tmp_path / "file"), DATABASE_URL=migrated_database_url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"oms: {tmp_path / 'file'}")
    assert "cannot be written: Not a directory" in done.stderr


@pytest.mark.parametrize(("user", "database"), [("nobody_known", None), (None, "no_such_database")])
def test_a_server_that_takes_no_such_user_or_has_no_such_database_is_one_line(
    database_url: str, oms: Oms, user: str | None, database: str | None
) -> None:
    url = urlsplit(database_url)
    netloc = f"{user}@{url.hostname}:{url.port}" if user else url.netloc
    wrong = urlunsplit(url._replace(netloc=netloc, path=f"/{database}" if database else url.path))
    for command in (("snapshot",), ("audit", "--no-broker"), ("drift",), ("backup",), ("db", "migrate")):
        done = oms(*command, DATABASE_URL=wrong)
        assert done.returncode in {1, 2}
        assert done.stderr.startswith("oms: PostgreSQL ")
        assert done.stderr.count("\n") == 1, done.stderr
