"""The machine: room for the data folder, what fails of the upkeep, and who holds the ports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from oms.doctor.finding import Finding, failed, ok, warning
from oms.embedded.ports import is_free
from oms.room import GB, LITTLE_BYTES, TOO_LITTLE_BYTES, free_bytes, place_of
from oms.settings import Settings
from oms.upkeep import failing_work

_MOVING = (
    ("PostgreSQL", 5432),
    ("Redis", 6379),
    ("QuestDB", 9000),
    ("QuestDB's SQL", 8812),
    ("the paper broker", 8100),
)


def disk_finding(data: Path) -> Finding:
    """Room in the data folder, or where it would be made; and whether it can be written."""
    folder, free = place_of(data), free_bytes(data)
    text = f"{free / GB:.1f} GB free for {data.absolute()}"
    if not os.access(folder, os.W_OK):
        return failed("disk", f"{folder} cannot be written", "change its owner, or choose another with --data")
    if free < TOO_LITTLE_BYTES:
        return failed("disk", text, "make room: PostgreSQL stops taking orders when the disk is full")
    return warning("disk", text, "make room soon") if free < LITTLE_BYTES else ok("disk", text)


def upkeep_findings(data: Path) -> list[Finding]:
    """The backups and snapshots that `oms up` could not make; nothing where all went well."""
    logs = data.absolute() / "logs"
    return [warning(name, line, f"see {logs / name}.log") for name, line in failing_work(data).items()]


def port_findings(settings: Settings, running: Mapping[str, str] | None) -> list[Finding]:
    """The API's port must be free, or held by the OMS that runs here; the others move by themselves."""
    if running is not None:
        return [ok("ports", f"oms up runs on {settings.data}: {running.get('api_url', 'still starting')}")]
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    found = []
    if settings.port and not is_free(settings.port, host):
        other = settings.port + 1
        advice = f"stop it, or choose another: oms up --port {other}, or OMS_PORT={other} make up"
        found.append(failed("ports", f"port {settings.port} of the API is taken by {holder(settings.port)}", advice))
    named = {
        5432: settings.database_url, 6379: settings.redis_url, 9000: settings.questdb_url, 8812: settings.questdb_url,
        8100: settings.paperbroker_url,
    }  # fmt: skip
    taken = [f"{port} ({name}) by {holder(port)}" for name, port in _MOVING if not named[port] and not is_free(port)]
    if taken:
        found.append(ok("ports", f"taken: {'; '.join(taken)}. oms up takes others, and says which"))
    return found or [ok("ports", f"{settings.port} is free")]


def holder(port: int) -> str:
    """The program that listens there, as far as Linux tells."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(Path("/proc/net") / table, port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_is_one_of(entry, inodes) for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:  # another user's, or gone
            continue
    return "another program"


def _is_one_of(entry: Path, inodes: set[str]) -> bool:
    try:
        target = str(entry.readlink())
    except OSError:  # closed meanwhile
        return False
    return target.startswith("socket:[") and target[8:-1] in inodes


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
