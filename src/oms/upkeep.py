"""What fails of the work that `oms up` does now and then (backups, snapshots): a small file in the data folder.

`oms up` writes it; the API reads it, for health and alerts. A file, since PostgreSQL may be what the work fails for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

LENGTH_MAX = 300


@dataclass(frozen=True, slots=True)
class Failing:
    """Work that has failed so many times since it last went well, and why the last time."""

    since: datetime
    failures: int
    error: str

    def __str__(self) -> str:
        times = "once" if self.failures == 1 else f"{self.failures} times"
        return f"failed {times} since {self.since:%Y-%m-%d %H:%M} UTC: {self.error}"


class UpkeepLog:
    """The writer. `names` are the work that is done; what an earlier run left of other work is forgotten.

    Raises OSError where the file cannot be written.
    """

    def __init__(self, data: Path, names: Collection[str]) -> None:
        self._file = _file(data)
        try:
            before = _read(self._file)
        except (OSError, msgspec.MsgspecError):
            before = {}  # said by whoever reads it; written anew here
        self._failing = {name: failing for name, failing in before.items() if name in names}
        if self._failing != before:
            self._write()

    def failed(self, name: str, error: str, at: datetime) -> Failing:
        """It has failed; since when and how often."""
        before = self._failing.get(name)
        error = " ".join(error.split())[:LENGTH_MAX]
        failing = Failing(before.since if before else at, before.failures + 1 if before else 1, error)
        self._failing[name] = failing
        self._write()
        return failing

    def went_well(self, name: str) -> None:
        """It has been done."""
        if name in self._failing:
            before = self._failing
            self._failing = {other: failing for other, failing in before.items() if other != name}
            try:
                self._write()
            except OSError:
                self._failing = before  # the file says so still; the next success tries again
                raise

    def _write(self) -> None:
        if not self._failing:
            self._file.unlink(missing_ok=True)
            return
        whole = self._file.with_suffix(".partial")
        whole.write_bytes(msgspec.json.encode(self._failing))
        whole.replace(self._file)


def failing_work(data: Path) -> Mapping[str, str]:
    """A line for each work that fails now, by name; empty where none does or nobody writes the file."""
    try:
        return {name: str(failing) for name, failing in _read(_file(data)).items()}
    except (OSError, msgspec.MsgspecError) as error:
        return {"upkeep": f"{_file(data)} cannot be read: {error}"}


def _file(data: Path) -> Path:
    return data / "upkeep.json"


def _read(file: Path) -> dict[str, Failing]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Failing])
    except FileNotFoundError:
        return {}
