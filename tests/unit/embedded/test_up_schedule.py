"""When backups and snapshots are due, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oms.backup.shelf import remove_torn
from oms.domain.errors import ConfigurationError
from oms.settings import Settings, load_settings
from oms.up.child import ChildSpec
from oms.up.console import Console
from oms.up.schedule import Job, regular_jobs, run_regularly
from oms.upkeep import UpkeepLog, failing_work

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


async def run_until(job: Job, data: Path, what: Callable[[], object]) -> str:
    """Run the job in its turn until something is so; what the console said."""
    (data / "logs").mkdir(exist_ok=True)
    out = io.BytesIO()
    console = Console(out)
    running = asyncio.ensure_future(run_regularly(job, data, UpkeepLog(data, ["work"]), console))
    try:
        async with asyncio.timeout(60):
            while not what():
                assert not running.done(), "it gave up"
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.wait([running])
        console.close()
    return out.getvalue().decode()


def job(*argv: str, made: Callable[[], datetime | None] = lambda: None) -> Job:
    return Job(ChildSpec("work", argv), 0.01, made)


async def test_what_cannot_even_start_is_told_counted_and_tried_again(tmp_path: Path) -> None:
    said = await run_until(
        job("/none/program"), tmp_path, lambda: "failed 3 times" in failing_work(tmp_path).get("work", "")
    )
    assert "work failed once since" in said
    assert "No such file" in said


async def test_a_file_with_an_impossible_date_does_not_end_the_schedule(tmp_path: Path) -> None:
    def made() -> datetime:
        return datetime.strptime("99999999", "%Y%m%d").replace(tzinfo=UTC)

    await run_until(
        job("/none", made=made), tmp_path, lambda: "failed 2 times" in failing_work(tmp_path).get("work", "")
    )


async def test_a_failure_says_the_last_words_and_is_over_when_it_goes_well(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    script = f"import pathlib, sys; pathlib.Path({str(flag)!r}).exists() or sys.exit('oms: the disk is full')"
    work = job(sys.executable, "-c", script)
    await run_until(work, tmp_path, lambda: failing_work(tmp_path).get("work", "").endswith(": the disk is full"))
    before = failing_work(tmp_path)
    UpkeepLog(tmp_path, ["work"])
    assert failing_work(tmp_path) == before, "a restart does not forget"
    flag.touch()
    await run_until(work, tmp_path, lambda: not failing_work(tmp_path))


async def test_work_that_is_stopped_in_the_middle_cleans_up(tmp_path: Path) -> None:
    """A backup that is under way when `oms up` is stopped leaves neither pg_dump nor half a file."""
    half = tmp_path / "half"
    script = f"""
import pathlib, time
half = pathlib.Path({str(half)!r})
try:
    half.touch()
    time.sleep(600)
finally:
    half.unlink()
"""
    await run_until(job(sys.executable, "-c", script), tmp_path, half.exists)
    assert not half.exists()


def test_what_killed_backups_left_goes_after_a_day(tmp_path: Path) -> None:
    old_file, old_folder, young = (tmp_path / f".oms-{name}" for name in ("a.partial", "stream-b", "c.partial"))
    whole = tmp_path / "oms-20200102T030405Z.backup"
    old_folder.mkdir()
    for path in (old_file, old_folder / "whole", young, whole):
        path.touch()
    for path in (old_file, old_folder, whole):
        os.utime(path, (NOW.timestamp() - 90_000,) * 2)
    os.utime(young, (NOW.timestamp() - 80_000,) * 2)
    assert sorted(remove_torn(tmp_path, NOW)) == sorted([old_file, old_folder])
    assert sorted(tmp_path.iterdir()) == sorted([young, whole])


def test_a_failure_of_what_is_no_longer_done_is_forgotten(tmp_path: Path) -> None:
    UpkeepLog(tmp_path, ["backup"]).failed("backup", "no\nspace", NOW)
    assert failing_work(tmp_path) == {"backup": "failed once since 2026-03-02 15:00 UTC: no space"}
    UpkeepLog(tmp_path, ["snapshot"])
    assert failing_work(tmp_path) == {}


def test_an_end_that_cannot_be_noted_is_noted_the_next_time(tmp_path: Path) -> None:
    upkeep = UpkeepLog(tmp_path, ["backup", "snapshot"])
    upkeep.failed("backup", "no space", NOW)
    upkeep.failed("snapshot", "no space", NOW)
    in_the_way = tmp_path / "upkeep.partial"
    in_the_way.mkdir()
    with pytest.raises(OSError, match="directory"):
        upkeep.went_well("backup")
    assert set(failing_work(tmp_path)) == {"backup", "snapshot"}
    in_the_way.rmdir()
    upkeep.went_well("backup")
    assert set(failing_work(tmp_path)) == {"snapshot"}


def test_an_unreadable_note_shows(tmp_path: Path) -> None:
    (tmp_path / "upkeep.json").write_text("{")
    assert "cannot be read" in failing_work(tmp_path)["upkeep"]
