"""A program of ours as a child: its output goes to the terminal, with its name in front, and to its log."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oms.embedded.process import Command, Process
from oms.up.console import Console, RollingFile

_CHUNK = 65_536
_LINE_MAX = 1_000_000
_DRAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. `stops_first`: before the others, with time to finish what it has begun (the engine)."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stops_first: bool = False


class Child:
    """One child, to be started again under the same name. `last_line` is what it said last."""

    def __init__(self, spec: ChildSpec, logs: Path, console: Console, name_width: int = 0) -> None:
        self.name = spec.name
        self.spec = spec
        self.process: Process | None = None
        self.last_line = ""
        self._console = console
        self._log = RollingFile(logs / f"{spec.name}.log")
        self._prefix = f"{spec.name:<{name_width}} | ".encode()
        self._pump: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it. Raises OSError."""
        output, its_end = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        try:
            command = Command(self.name, self.spec.argv, Path.cwd(), self.spec.env, death_signal=signal.SIGKILL)
            self.process = Process(command, stdout=its_end)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(its_end)
        self._pump = asyncio.create_task(self._pass_on(output), name=f"output of {self.name}")

    async def ended(self) -> int:
        """Wait for its end and its last words; how it ended (negative: by that signal)."""
        code = None if self.process is None else await self.process.wait()
        await self._drain()
        return 0 if code is None else code

    async def stop(self, patience_s: float) -> None:
        """SIGTERM, and SIGKILL when it is still there after `patience_s`."""
        if self.process is not None:
            await self.process.stop((signal.SIGTERM, patience_s))
        await self._drain()

    async def interrupt(self, patience_s: float) -> None:
        """As Ctrl-C would, so that it cleans up; killed when it is still there after `patience_s`."""
        if self.process is not None:
            await self.process.stop((signal.SIGINT, patience_s))
        await self._drain()

    def kill(self) -> None:
        """Kill it at once."""
        if self.process is not None:
            self.process.kill()

    def close(self) -> None:
        """Close its log; it cannot be started again."""
        self._log.close()

    async def _drain(self) -> None:
        if self._pump is not None:
            await asyncio.wait({self._pump}, timeout=_DRAIN_S)
            self._pump.cancel()

    async def _pass_on(self, output: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_CHUNK)
        pipe = os.fdopen(output, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        rest = b""
        try:
            while chunk := await reader.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._line(line)
                if len(rest) > _LINE_MAX:
                    self._line(rest)
                    rest = b""
        finally:
            if rest:
                self._line(rest)
            transport.close()

    def _line(self, line: bytes) -> None:
        self.last_line = line.decode(errors="replace")
        self._console.put(self._prefix + line + b"\n")
        self._log.write(line + b"\n")
