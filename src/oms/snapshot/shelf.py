"""The folder of snapshots: `20261125T173500Z` and so on, each appearing whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

_NAME = re.compile(r"\d{8}T\d{6}Z")


def snapshot_folder(data: Path) -> Path:
    """Where snapshots are kept that nobody named a folder for."""
    return data / "snapshots"


@contextmanager
def appearing(parent: Path, at: datetime) -> Iterator[tuple[Path, Path]]:
    """A folder to write to, and the one that it becomes when the block ends well."""
    target = parent / f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    work = parent / f".{target.name}.{os.getpid()}.partial"
    work.mkdir(mode=0o700, parents=True)
    try:
        yield work, target
        for file in work.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if not target.exists():  # a second one in the same second says the same
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def taken(parent: Path) -> list[Path]:
    """The snapshots in a folder, oldest first."""
    found = [path for path in parent.glob("*Z") if _NAME.fullmatch(path.name)] if parent.is_dir() else []
    return sorted(found, key=lambda path: path.name)


def keep_newest(parent: Path, count: int) -> list[Path]:
    """Remove all but the newest."""
    old = taken(parent)[:-count] if count > 0 else []
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return old
