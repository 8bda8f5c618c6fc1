"""The folder of backups: how they are named, and how many stay."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

# oms-20261125T143000Z.backup, or with what it was made for: oms-20261125T143000Z-before-0003.backup
TORN_AFTER = timedelta(days=1)
_NAME = re.compile(r"oms-(\d{8}T\d{6})Z(-[a-z0-9-]+)?\.backup")


def backup_folder(data: Path) -> Path:
    """Where backups are kept that nobody named a file for."""
    return data / "backups"


def new_name(at: datetime, occasion: str = "") -> str:
    """The name of a backup of that moment."""
    return f"oms-{at.astimezone(UTC):%Y%m%dT%H%M%S}Z{f'-{occasion}' if occasion else ''}.backup"


def remove_torn(folder: Path, now: datetime) -> list[Path]:
    """Remove what killed backups and restores left: hidden files and folders that nobody has touched for a day."""
    limit = (now - TORN_AFTER).timestamp()
    torn = [path for path in folder.glob(".oms-*") if path.lstat().st_mtime < limit]
    for path in torn:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return torn


def regular(folder: Path) -> list[Path]:
    """Backups made for no occasion, oldest first."""
    found = [path for path in folder.glob("oms-*.backup") if (name := _NAME.fullmatch(path.name)) and not name[2]]
    return sorted(found, key=lambda path: path.name)


def keep_newest(folder: Path, count: int) -> list[Path]:
    """Remove all regular backups but the newest. Those made before a migration or a restore stay."""
    old = regular(folder)[:-count] if count > 0 else []
    for path in old:
        path.unlink(missing_ok=True)
    return old
