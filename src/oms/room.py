"""Room on the disk of the data folder."""

from __future__ import annotations

import shutil
from pathlib import Path

GB = 10**9
LITTLE_BYTES, TOO_LITTLE_BYTES = 2 * GB, GB // 5


def place_of(folder: Path) -> Path:
    """The folder, or where it would be made."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())


def free_bytes(folder: Path) -> int:
    """Bytes that are free there. Raises OSError."""
    return shutil.disk_usage(place_of(folder)).free


def trouble_of(folder: Path, little_bytes: int = LITTLE_BYTES, too_little_bytes: int = TOO_LITTLE_BYTES) -> str:
    """What to do where there is little room; empty where there is enough."""
    try:
        free = free_bytes(folder)
    except OSError as error:
        return f"it cannot be told how much room there is for {folder}: {error}"
    if free >= little_bytes:
        return ""
    when = "at once: PostgreSQL stops taking orders when the disk is full" if free < too_little_bytes else "soon"
    return f"{free / GB:.1f} GB free for {folder.absolute()}: make room {when}"
