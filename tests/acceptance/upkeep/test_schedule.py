"""`oms up` makes backups and snapshots by itself, keeps so many, and shows when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.alert_receiver import alert_receiver
from tests.stack import Stack, eventually

pytestmark = pytest.mark.timeout(400)


def test_backups_and_snapshots_are_made_old_ones_go_and_failures_show(
    tmp_path: Path, migrated_database_url: str, redis_clean_url: str, questdb_url: str
) -> None:
    data = tmp_path / "data"
    servers = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_clean_url, "QUESTDB_URL": questdb_url}
    often = {"OMS_BACKUP_EVERY": "3s", "OMS_BACKUP_KEEP": "2", "OMS_SNAPSHOT_EVERY": "3s", "OMS_SNAPSHOT_KEEP": "3"}
    backups, snapshots = data / "backups", data / "snapshots"

    def made(folder: Path) -> list[str]:
        return sorted(path.name for path in folder.glob("[!.]*"))

    with (
        alert_receiver() as receiver,
        Stack(data, ALPACA_API_KEY="mock", ALERT_URLS=receiver.url, **servers, **often) as stack,
    ):
        eventually(lambda: len(made(backups)) >= 2 and len(made(snapshots)) >= 3, 120)
        first = (made(backups)[0], made(snapshots)[0])
        eventually(lambda: first[0] not in made(backups) and first[1] not in made(snapshots), 120)
        assert len(made(backups)) <= 3
        assert len(made(snapshots)) <= 4
        assert "backup" not in stack.get("/api/health")["checks"]

        # one that is under way would be moved with the folder, and its half never be put away
        eventually(lambda: not [*backups.glob(".*")], every_s=0.005)
        aside = backups.rename(data / "aside")
        backups.write_text("a file where the folder was: no backup can be written")
        eventually(lambda: "failed" in stack.get("/api/health")["checks"].get("backup", ""), 60)
        assert stack.get("/api/health")["status"] == "degraded"
        assert "since" in stack.get("/api/health/detailed")["components"]["backup"]["status"]
        eventually(lambda: receiver.told("backup failed"), 60)
        eventually(lambda: "backup failed" in stack.logged())
        assert "snapshot" not in stack.get("/api/health")["checks"]

        backups.unlink()
        aside.rename(backups)
        eventually(lambda: "backup" not in stack.get("/api/health")["checks"], 60)
        eventually(lambda: receiver.told("backup: in order again"), 60)
        assert receiver.told("backup failed") == 1, "told once, not at each attempt"
        # what the end of `oms up` interrupts has half a second to clean up: not enough on a busy machine
        eventually(
            lambda: not [*backups.glob(".*"), *snapshots.glob(".*")], every_s=0.005, why="something half is left"
        )
