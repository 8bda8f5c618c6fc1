"""`oms backup` and `oms restore` on real servers: into the place of a record, into an empty server, and refusals."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.acceptance.upkeep.conftest import Oms
from tests.servers import OwnServer
from tests.stack import Stack, eventually

pytestmark = pytest.mark.timeout(600)
FREE = {"ALPACA_REQUESTS_PER_MINUTE": "0", "PAPERBROKER_REQUESTS_PER_MINUTE": "0"}


def test_a_restored_record_catches_up_with_the_broker_and_trades_on(tmp_path: Path, oms: Oms) -> None:
    """What was traded after the backup is at the broker still: it comes back as external, and everything agrees."""
    data = tmp_path / "data"
    stack = Stack(data, **FREE, ALPACA_API_SECRET="a-secret-value")
    with stack:
        before = stack.traded(symbol="AAPL", side="buy", qty=10)
        resting = stack.signal(symbol="MSFT", side="buy", qty=1, type="limit", limit_price=1, wait=30).json["order"]
        assert resting["status"] == "submitted"
        made = oms("backup", "--data", str(data))
        assert made.returncode == 0, made.stderr
        after = stack.traded(symbol="AAPL", side="buy", qty=5)
        running = oms("restore", str(next(data.glob("backups/*.backup"))), "--data", str(data), "--replace")
        assert (running.returncode, running.stdout) == (2, "")
        assert "Stop it first" in running.stderr
    [file] = data.glob("backups/*.backup")
    assert str(file) in made.stdout
    assert file.stat().st_mode & 0o077 == 0
    assert b"a-secret-value" not in file.read_bytes()
    with tarfile.open(file) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert manifest["counts"]["orders"] == 2

    refused = oms("restore", str(file), "--data", str(data))
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    done = oms("restore", str(file), "--data", str(data), "--replace")
    assert done.returncode == 0, done.stderr
    assert f"2 orders, {manifest['counts']['fills']} fills, " in done.stdout
    assert list(data.glob("backups/*-before-restore.backup"))

    with stack:
        assert stack.order(before["id"])["status"] == "filled"
        eventually(lambda: position(stack, "AAPL") == 15, why="the broker's fill came back")
        back = [one for one in stack.get("/api/v1/trading/orders") if one["alpaca_id"] == after["alpaca_id"]]
        assert [one["origin"] for one in back] == ["external"]
        assert stack.order(resting["id"])["status"] == "submitted"
        assert stack.traded(symbol="AAPL", side="sell", qty=15)["status"] == "filled"
        audit = oms("audit", "--data", str(data), **FREE)
        assert audit.returncode == 0, audit.stdout + audit.stderr


def position(stack: Stack, symbol: str) -> object:
    return {one["symbol"]: one["qty"] for one in stack.get("/api/v1/trading/positions")}.get(symbol)


async def test_a_backup_goes_into_an_empty_server_and_back(
    tmp_path: Path, own_server: OwnServer, migrated_database_url: str, oms: Oms
) -> None:
    file, again = tmp_path / "one.backup", tmp_path / "two.backup"
    assert oms("backup", str(file), DATABASE_URL=migrated_database_url).returncode == 0
    other: str = (await own_server("postgres")).url  # type: ignore[attr-defined]
    put = oms("restore", str(file), DATABASE_URL=other)
    assert put.returncode == 0, put.stderr
    assert oms("audit", "--no-broker", DATABASE_URL=other).returncode == 0
    assert oms("backup", str(again), DATABASE_URL=other).returncode == 0
    back = oms("restore", str(again), "--replace", DATABASE_URL=migrated_database_url)
    assert back.returncode == 0, back.stderr
    assert oms("audit", "--no-broker", DATABASE_URL=migrated_database_url).returncode == 0


def test_a_backup_goes_through_pipes(tmp_path: Path, migrated_database_url: str) -> None:
    """With Docker: `docker compose exec -T app oms backup - > oms.backup`, and `oms restore -`."""
    oms = f"{shlex.quote(sys.executable)} -m oms.cli"
    env = {**os.environ, "OMS_ENV_FILE": os.devnull, "DATABASE_URL": migrated_database_url}

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, text=True, capture_output=True, timeout=100, check=False
        )

    made = shell(f"{oms} backup - > one.backup")
    assert made.returncode == 0, made.stderr
    assert "0 orders" in made.stderr
    assert tarfile.is_tarfile(tmp_path / "one.backup")
    back = shell(f"cat one.backup | {oms} restore - --replace")
    assert back.returncode == 0, back.stderr
    assert "Restored from standard input: 0 orders" in back.stdout
    torn = shell(f"head -c 2000 one.backup | {oms} restore - --replace")
    assert (torn.returncode, torn.stdout) == (2, ""), torn.stderr
    failed = shell(f"DATABASE_URL=postgresql://127.0.0.1:1/none {oms} backup -")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert [path.name for path in (tmp_path / "data" / "backups").iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_restored_changes_nothing(tmp_path: Path, migrated_database_url: str, oms: Oms) -> None:
    good, torn, later = (tmp_path / name for name in ("good", "torn", "later"))
    assert oms("backup", str(good), DATABASE_URL=migrated_database_url).returncode == 0
    torn.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    rewrite(good, later, schema="9999")
    wrong = tmp_path / "wrong"
    rewrite(good, wrong, counts={"orders": 7})
    for file, text in (
        (tmp_path / "none", "There is no file"), (Path(os.devnull), "is no backup"), (torn, ""),
        (later, "does not know"), (wrong, "orders does not hold 7 rows"),
    ):  # fmt: skip
        done = oms("restore", str(file), "--replace", DATABASE_URL=migrated_database_url)
        assert done.returncode in {1, 2}, file
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    assert oms("audit", "--no-broker", DATABASE_URL=migrated_database_url).returncode == 0


def test_a_backup_takes_the_place_of_a_file_and_of_nothing_else(
    tmp_path: Path, migrated_database_url: str, oms: Oms
) -> None:
    """As root `oms backup /dev/null` would leave a file where the device was."""
    pipe, folder, below = tmp_path / "pipe", tmp_path / "folder", tmp_path / "file" / "one.backup"
    os.mkfifo(pipe)
    folder.mkdir()
    below.parent.write_text("")
    for target, text in ((pipe, "is no file"), (folder, "is no file"), (below, "cannot be written")):
        done = oms("backup", str(target), DATABASE_URL=migrated_database_url)
        assert done.returncode in {1, 2}
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    assert (pipe.is_fifo(), list(folder.iterdir())) == (True, [])


def rewrite(source: Path, target: Path, **changes: object) -> None:
    """The same backup with another manifest."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            assert content is not None
            if member.name == "manifest.json":
                text = json.dumps({**json.load(content), **changes}).encode()
                (target.parent / "manifest").write_bytes(text)
                new.add(target.parent / "manifest", member.name)
            else:
                new.addfile(member, content)


def test_a_backup_needs_something_to_back_up(tmp_path: Path, database_url: str, oms: Oms) -> None:
    nothing = oms("backup", "--data", str(tmp_path / "none"))
    assert nothing.returncode == 2
    assert "Nothing runs on the data folder" in nothing.stderr
    empty = oms("backup", str(tmp_path / "file"), DATABASE_URL=database_url)
    assert empty.returncode == 2
    assert "no schema" in empty.stderr
    assert not (tmp_path / "file").exists()
    assert not list(tmp_path.glob(".*partial*"))


def test_only_so_many_are_kept(tmp_path: Path, migrated_database_url: str, oms: Oms) -> None:
    folder = tmp_path / "data" / "backups"
    folder.mkdir(parents=True)
    for name in ("oms-20250101T000000Z", "oms-20250102T000000Z", "oms-20250101T000000Z-before-0002"):
        (folder / f"{name}.backup").touch()
    done = oms("backup", "--keep", "2", "--data", str(folder.parent), DATABASE_URL=migrated_database_url)
    assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in folder.iterdir())
    assert left[:2] == ["oms-20250101T000000Z-before-0002.backup", "oms-20250102T000000Z.backup"]
    assert len(left) == 3
