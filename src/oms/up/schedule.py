"""What `oms up` runs now and then: backups and snapshots, each a process that does its work and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from oms.backup.shelf import backup_folder, regular
from oms.settings import Settings
from oms.snapshot.shelf import snapshot_folder, taken
from oms.up.child import Child, ChildSpec
from oms.up.console import Console
from oms.up.plan import environment, oms_command
from oms.upkeep import UpkeepLog

FIRST_AFTER_S = 600.0  # where there is none yet, and after one that failed
LOOK_EVERY_S = 5.0
RUNS_S_MAX = 6 * 3600.0
CLEANS_UP_S = 0.5  # a part of the ten seconds in which `oms up` is gone


@dataclass(frozen=True, slots=True)
class Job:
    """`spec` is run when the last of what it makes is older than `every_s`; `made` says when that was."""

    spec: ChildSpec
    every_s: float
    made: Callable[[], datetime | None]

    def due(self, since: datetime) -> datetime:
        """When it is to run next. `since`: when this was started, or the job failed last."""
        last, patience_s = self.made(), min(self.every_s, FIRST_AFTER_S)
        first = since + timedelta(seconds=patience_s)
        return first if last is None else last + timedelta(seconds=self.every_s)


def regular_jobs(settings: Settings) -> Sequence[Job]:
    """Backups and snapshots, as often as the settings say; none for 0."""
    env, data = environment(settings), settings.data
    backups = ChildSpec("backup", oms_command("backup", "--keep", str(settings.backup_keep)), env)
    snapshots = ChildSpec("snapshot", oms_command("snapshot", "--keep", str(settings.snapshot_keep)), env)
    jobs = (
        Job(backups, settings.backup_every_s, lambda: _time_of(regular(backup_folder(data)))),
        Job(snapshots, settings.snapshot_every_s, lambda: _time_of(taken(snapshot_folder(data)))),
    )
    return [job for job in jobs if job.every_s]


async def run_regularly(job: Job, data: Path, upkeep: UpkeepLog, console: Console) -> NoReturn:
    """Run the job whenever it is due, until cancelled. What fails is told (console, `upkeep`) and tried again."""
    name = job.spec.name
    since = waits_until = datetime.now(UTC)
    while True:
        await asyncio.sleep(min(job.every_s, LOOK_EVERY_S))
        now = datetime.now(UTC)
        try:
            if now < max(job.due(since), waits_until):
                continue
            error = await _run(job.spec, data / "logs", console)
        except Exception as failure:  # noqa: BLE001 - the task's edge: a full disk now is no reason to stop for good
            error = f"{type(failure).__name__}: {failure}"
        try:
            if not error:
                upkeep.went_well(name)
                continue
            waits_until = now + timedelta(seconds=min(job.every_s, FIRST_AFTER_S))
            failing = upkeep.failed(name, error, now)
            console.say(f"{name} {failing}. Tried again at {waits_until:%H:%M:%S} UTC")
        except OSError as failure:
            console.say(f"{name}: {error or 'done'}; and that cannot be noted in {data}: {failure}")


async def _run(spec: ChildSpec, logs: Path, console: Console) -> str:
    """Why it failed; empty where it did not. Raises OSError."""
    child = Child(spec, logs, console, name_width=6)
    try:
        await child.start()
        async with asyncio.timeout(RUNS_S_MAX):
            code = await child.ended()
    except TimeoutError:
        return f"it ran for {RUNS_S_MAX / 3600:g} hours and was stopped"
    finally:
        await child.interrupt(CLEANS_UP_S)
        child.close()
    return (child.last_line.removeprefix("oms: ") or f"code {code}") if code else ""


def _time_of(made: Sequence[Path]) -> datetime | None:
    """When the last was made: its name says so."""
    if not made:
        return None
    stamp = made[-1].name.removeprefix("oms-")[:15]
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
