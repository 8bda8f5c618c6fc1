"""When backups and snapshots are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oms.domain.errors import ConfigurationError
from oms.settings import Settings, load_settings
from oms.up.schedule import regular_jobs

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


def test_the_last_one_says_when_the_next_is_due(tmp_path: Path) -> None:
    backups, snapshots = regular_jobs(Settings(data=tmp_path))
    assert backups.due(NOW) == snapshots.due(NOW) == NOW + timedelta(minutes=10), "none yet: soon after the start"
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "oms-20260302T140000Z.backup").touch()
    (tmp_path / "backups" / "oms-20260302T143000Z-before-0002.backup").touch()
    (tmp_path / "snapshots" / "20260302T140000Z").mkdir(parents=True)
    assert backups.due(NOW) == datetime(2026, 3, 3, 14, tzinfo=UTC)
    assert snapshots.due(NOW) == datetime(2026, 3, 2, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86_400), ("30m", 1_800), ("90s", 90), ("2d", 172_800), ("off", 0)]
)
def test_how_often_is_said_in_words(text: str, seconds: int) -> None:
    settings = load_settings({"OMS_BACKUP_EVERY": text}, Path("/none"))
    assert settings.backup_every_s == seconds
    assert len(regular_jobs(settings)) == (2 if seconds else 1)


@pytest.mark.parametrize("text", ["24", "h", "0h", "-1h", "1 week"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="OMS_BACKUP_EVERY must be a time such as 24h"):
        load_settings({"OMS_BACKUP_EVERY": text}, Path("/none"))
