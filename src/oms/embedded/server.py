"""What the three servers have in common: ports, start, readiness, logs, stop, restart."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from oms.domain.errors import OmsError
from oms.embedded.ports import choose, is_free
from oms.embedded.process import Command, Process, clear_leftovers

_LOG_BYTES_MAX = 5_000_000
_READY_POLL_S = 0.03
_ATTEMPTS = 3

Say = Callable[[str], None]


class ServerFailed(OmsError):
    """An embedded server did not start; the text says why, with the end of its log."""


class PortsTaken(ServerFailed):
    """Another server answered on its ports."""


class Server(ABC):
    """One embedded server: a child process with a folder of its own below `data`, on the loopback.

    `usual_ports` names its ports; with `fixed_ports=False` free ones are taken instead (tests). Once it ran, it comes
    back on the same ports, so that its address stays true.
    """

    name: str
    programs: frozenset[str]
    usual_ports: Mapping[str, int]
    ready_s: float = 30.0
    stop_signal: int = signal.SIGTERM
    hurry_signal: int = signal.SIGKILL

    def __init__(self, data: Path, *, fixed_ports: bool = True, say: Say = lambda _line: None) -> None:
        data = data.absolute()
        self.folder = data / self.name
        self.log_file = data / "logs" / f"{self.name}.log"
        self.ports: dict[str, int] = {}
        self.process: Process | None = None
        self.say = say
        self._fixed_ports = fixed_ports
        self.has_run = False

    async def start(self) -> None:
        """Start it and wait until it serves. Raises ServerFailed."""
        await asyncio.to_thread(_make_private, self.folder.parent, self.log_file.parent)
        if not await clear_leftovers(self.folder, self.programs):
            raise ServerFailed(f"{self.name}: a process of an earlier run does not leave {self.folder}.")
        await self.prepare()
        taken: frozenset[int] = frozenset()
        for attempt in range(1, _ATTEMPTS + 1):
            if not self.has_run:
                self.ports = self._choose_ports(taken)
            try:
                await self._start_once()
            except ServerFailed as error:
                # Someone took a port between our look and the server's, and may be gone by now: look again.
                answered = isinstance(error, PortsTaken)
                busy = frozenset(port for port in self.ports.values() if answered or not is_free(port))
                if self.has_run or not busy or attempt == _ATTEMPTS:
                    raise
                taken |= busy
            else:
                self.has_run = True
                return

    async def stop(self, patience_s: float = 5.0) -> None:
        """Stop it in order, within `patience_s`; what stays is made to go, and gone half a second later."""
        if self.process is not None:
            await self.process.stop((self.stop_signal, patience_s), (self.hurry_signal, 0.5))

    def kill(self) -> None:
        """Kill it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()

    async def ended(self) -> int:
        """Wait for the end of its process; how it ended (negative: by that signal)."""
        code = None if self.process is None else await self.process.wait()
        return 0 if code is None else code

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.exit_code is None

    def trim_log(self) -> None:
        """Keep the log within its bound: the server appends, so what it wrote may be moved aside under it."""
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_BYTES_MAX:
            self.log_file.with_suffix(".log.1").write_bytes(self.log_file.read_bytes())
            os.truncate(self.log_file, 0)

    def log_tail(self, lines: int = 6) -> str:
        """The last lines it wrote."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8_192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    @abstractmethod
    async def prepare(self) -> None:
        """Make its folder and its program ready. Raises ServerFailed."""

    @abstractmethod
    def command(self) -> Command:
        """What to run on `self.ports`."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Ask the running server whether it serves; errors of connecting are taken as no."""

    def _choose_ports(self, taken: frozenset[int]) -> dict[str, int]:
        ports: dict[str, int] = {}
        for name, usual in self.usual_ports.items():
            ports[name] = choose(usual if self._fixed_ports else None, taken | frozenset(ports.values()))
        return ports

    async def _start_once(self) -> None:
        self.trim_log()
        self.process = start_logged(self.command(), self.log_file)
        try:
            await self._wait_ready(self.process)
        except BaseException:
            self.process.kill()
            raise

    async def _wait_ready(self, process: Process) -> None:
        deadline = time.monotonic() + self.ready_s
        while process.exit_code is None:
            try:
                async with asyncio.timeout(2.0):  # not wait_for: before Python 3.12 it may swallow a cancellation
                    if await self.is_ready():
                        return
            except (OSError, EOFError, TimeoutError):
                pass  # not listening yet
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} does not answer after {self.ready_s:.0f} s. {self.log_tail()}")
            await asyncio.sleep(_READY_POLL_S)
        raise ServerFailed(f"{self.name} ended with code {process.exit_code} while starting:\n{self.log_tail()}")


def start_logged(command: Command, log_file: Path) -> Process:
    """Start a child whose output is appended to `log_file`."""
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return Process(command, stdout=log)
    finally:
        os.close(log)


async def ask(port: int, request: bytes, length: int | None = None) -> bytes:
    """Send bytes to a server on the loopback; the first `length` bytes of its answer, or all until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return await (reader.read(-1) if length is None else reader.readexactly(length))
    finally:
        writer.close()


def _make_private(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
