"""The processes under test: `oms serve`, `oms engine`, `paperbroker`, to be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from oms.embedded.process import Command, Process
from oms.embedded.server import start_logged

START_S = 60.0
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "OMS_CACHE", "VIRTUAL_ENV", "PYTHONPATH")
T = TypeVar("T")


class Part:
    """A process with a log of its own; it dies with the tests."""

    def __init__(self, name: str, folder: Path, module: str, *words: str, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        self._command = Command(
            name,
            (sys.executable, "-m", module, *words),
            folder,
            {**inherited, "OMS_ENV_FILE": os.devnull, **(env or {})},
        )
        self.name = name
        self.log = folder / f"{name}.log"
        self._from = 0
        self._process: Process | None = None
        self.started_at = 0.0

    def start(self) -> None:
        """Start it; it says in its log when it is there."""
        self._from = self.log.stat().st_size if self.log.exists() else 0
        self.started_at = time.monotonic()
        self._process = start_logged(self._command, self.log)

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.exit_code is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def logged(self) -> str:
        """What it said since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    async def says(self, pattern: str, within_s: float = START_S) -> re.Match[str]:
        """Wait for a line in its log."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.logged())
            assert match or self.is_running, f"{self.name} ended:\n{self.logged()[-3000:]}"
            return match

        return await until(found, within_s, f"{self.name} did not say {pattern!r}; its log: {self.log}")

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """SIGSTOP: it holds all it has, and does nothing."""
        assert self._process is not None
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send(signal.SIGCONT)

    async def terminate(self, within_s: float) -> tuple[int | None, float]:
        """SIGTERM; its exit code (None: it still runs) and after how many seconds."""
        assert self._process is not None
        begun = time.monotonic()
        self._process.send(signal.SIGTERM)
        code = await self._process.wait(within_s)
        return code, time.monotonic() - begun


async def until(what: Callable[[], T | None], within_s: float, why: str) -> T:
    """The first true value of `what`, asked again and again."""
    end = time.monotonic() + within_s
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{why} (waited {within_s:g} s)")
        await asyncio.sleep(0.05)
