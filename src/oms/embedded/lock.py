"""One `oms up` for a data folder; the lock file says who holds it and where its servers are."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from oms.domain.errors import ConfigurationError, OmsError

LOCK_NAME = "oms.lock"


class AlreadyRunning(OmsError):
    """Another `oms up` holds the data folder; the text says which."""


class DataLock:
    """Held by the running `oms up`, by the kernel: it is gone with the process, however that ends."""

    def __init__(self, data: Path) -> None:
        """Take the lock, making the folder if need be. Raises AlreadyRunning, ConfigurationError."""
        self._data = data
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(data / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(data, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise AlreadyRunning(_explain(data)) from None
        self.write({})

    def write(self, addresses: Mapping[str, str | None]) -> None:
        """Say where things are, for others to read."""
        content = json.dumps(
            {"pid": os.getpid(), **{key: value for key, value in addresses.items() if value}}, indent=1
        )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content.encode() + b"\n", 0)

    def release(self) -> None:
        """Let go; the file stays, and says nothing any more."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def running_addresses(data: Path) -> dict[str, str] | None:
    """What the `oms up` that runs on `data` wrote into its lock, or None when none runs. Raises ConfigurationError."""
    try:
        file = os.open(data / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(data, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(file)
    else:
        return None
    finally:
        os.close(file)


def _read(file: int) -> dict[str, str]:
    try:
        found = json.loads(os.pread(file, 65_536, 0) or b"{}")
    except ValueError:  # read while it was being written
        return {}
    return {str(key): str(value) for key, value in found.items()}


def _unusable(data: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{data} cannot be used as the data folder: {error.strerror}. Name another (--data, OMS_DATA), or work as the "
        "user who owns it."
    )


def _explain(data: Path) -> str:
    found = running_addresses(data) or {}
    who = f" (process {found['pid']})" if "pid" in found else ""
    where = f", its API at {found['api_url']}" if "api_url" in found else ""
    return f"oms up already runs on {data}{who}{where}. Stop that one first, or name another folder with --data."
