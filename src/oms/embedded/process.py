"""Child processes that have a session of their own and end with their parent, also when it is killed with -9."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LAUNCHER = str(Path(__file__).with_name("launch.py"))
_POLL_S = 0.03


@dataclass(frozen=True, slots=True)
class User:
    """Who a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: `argv[0]` is an absolute path; `death_signal` is what the child gets when we die."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    death_signal: int = signal.SIGKILL
    user: User | None = None


class Process:
    """A running child. Never tied to an event loop, so that it may outlive the one it was started in."""

    def __init__(self, command: Command, stdout: int, stderr: int = subprocess.STDOUT) -> None:
        """Start it. Raises OSError where the system has no process left to give."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Start children from the main thread: they die with the thread that started them.")
        self.command = command
        self.started_at = time.monotonic()
        self.popen: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603
            _launcher(command),
            cwd=command.cwd,
            env=dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's and its session's."""
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), or None while it runs."""
        return self.popen.poll()

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; None when it still runs after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (code := self.popen.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return None
            await asyncio.sleep(_POLL_S)
        return code

    def send(self, number: int) -> None:
        """Send a signal to the child, if it still runs."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)

    def kill(self) -> None:
        """Kill it and whatever it started in its session, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()

    async def stop(self, *steps: tuple[int, float]) -> None:
        """Send each signal in turn, waiting so many seconds after it; what then still runs is killed."""
        for number, patience_s in steps:
            self.send(number)
            if await self.wait(patience_s) is not None:
                return
        self.kill()


def _launcher(command: Command) -> list[str]:
    user = (str(command.user.uid), str(command.user.gid)) if command.user else ("-", "-")
    mode = "exec" if sys.platform == "linux" else "watch"
    start = [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), str(int(command.death_signal)), *user, mode]
    return [*start, *command.argv]


def processes_below(folder: Path, programs: Collection[str] | None = None) -> list[int]:
    """The ids of the processes whose current folder is `folder` or below it, if they run one of `programs`.

    Empty where the system has no /proc: there the servers' own lock files are all there is.
    """
    wanted = os.path.realpath(folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            cwd = os.readlink(entry / "cwd")  # noqa: PTH115 - the text of the link, not where it leads
            if cwd != wanted and not cwd.startswith(wanted + os.sep):
                continue
            if programs is None or (entry / "comm").read_text().strip() in programs:
                found.append(int(entry.name))
        except OSError:
            continue  # gone meanwhile, or another user's
    return sorted(found)


async def clear_leftovers(folder: Path, programs: Collection[str], patience_s: float = 5.0) -> bool:
    """Wait for the servers of an earlier run, whose parent was killed, to leave `folder`; kill those that stay.

    Call it with the data folder's lock held: then nobody else's server can be working there. Only `programs` are
    looked at: a person's shell may well stand in the folder. Returns whether none is left.
    """
    for number, wait_s in ((None, patience_s), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + wait_s
        for pid in processes_below(folder, programs) if number else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number or 0)
        while left := processes_below(folder, programs):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(_POLL_S)
        if not left:
            return True
    return False
