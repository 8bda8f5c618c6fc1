"""`oms up` makes backups and snapshots by itself, keeps so many, and leaves nothing half when it is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.upkeep.conftest import Oms
from tests.stack import Stack, eventually

pytestmark = pytest.mark.timeout(400)


def test_backups_and_snapshots_are_made_and_old_ones_go(tmp_path: Path, oms: Oms) -> None:
    data = tmp_path / "data"
    often = {"OMS_BACKUP_EVERY": "1s", "OMS_BACKUP_KEEP": "2", "OMS_SNAPSHOT_EVERY": "1s", "OMS_SNAPSHOT_KEEP": "3"}

    def made(folder: str) -> list[str]:
        return sorted(path.name for path in (data / folder).glob("[!.]*"))

    with Stack(data, **often) as stack:
        eventually(lambda: len(made("backups")) >= 2 and len(made("snapshots")) >= 3, 120)
        first = (made("backups")[0], made("snapshots")[0])
        eventually(lambda: first[0] not in made("backups") and first[1] not in made("snapshots"), 120)
        eventually(lambda: "backup | " in stack.logged() and "snapshot | " in stack.logged(), 20)
    assert len(made("backups")) <= 3
    assert len(made("snapshots")) <= 4
    with Stack(data, OMS_BACKUP_EVERY="off", OMS_SNAPSHOT_EVERY="off"):
        kept = (made("backups"), made("snapshots"))
    assert kept == (made("backups"), made("snapshots"))
    done = oms("restore", str(data / "backups" / kept[0][-1]), "--replace", "--data", str(data))
    assert done.returncode == 0, done.stderr
