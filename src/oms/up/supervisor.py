"""Starts the servers and the children, keeps them running, and takes all of them down with it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from oms.domain.errors import ConfigurationError, OmsError
from oms.embedded.lock import DataLock
from oms.embedded.servers import EmbeddedServers
from oms.settings import Settings
from oms.up.banner import api_url, banner, wait_ready
from oms.up.child import Child, ChildSpec
from oms.up.console import Console
from oms.up.plan import (
    Plan,
    broker_child,
    broker_port,
    check_port,
    environment,
    oms_children,
    oms_command,
    with_addresses,
)
from oms.up.schedule import regular_jobs, run_regularly
from oms.upkeep import UpkeepLog

BACKOFF_S_MIN = 0.25
BACKOFF_S_MAX = 10.0
_HEALTHY_S = 60.0
_TRIM_S = 60.0
_STOP_S = 9.0  # what the promised 10 s leave after the last kills
_ENGINE_STOP_S = 6.0
_OTHERS_STOP_S = 2.0
_FOREIGN_DATABASE_S = 60.0
_QUESTDB_TRIES = 6

ChildrenOf = Callable[[Settings], Sequence[ChildSpec]]


class Unit(Protocol):
    """What is kept running: a server or a child."""

    name: str

    async def start(self) -> None:
        """Start it (again)."""

    async def ended(self) -> int:
        """Wait for its end."""


class Supervisor:
    """One `oms up`. Tests give their own `children`, `migrate` (prepares the database) and `announce` (the banner)."""

    def __init__(
        self,
        plan: Plan,
        console: Console,
        *,
        children: ChildrenOf = oms_children,
        migrate: Callable[[Settings, Console, float], Awaitable[None]] | None = None,
        announce: Callable[[Settings], Awaitable[str]] | None = None,
        fixed_ports: bool = True,
    ) -> None:
        self._plan = plan
        self._console = console
        self._children_of = children
        self._migrate = migrate or migrate_in_a_child
        self._announcement = announce or announce_when_ready
        self._servers = EmbeddedServers(plan.settings.data, plan.servers, fixed_ports=fixed_ports, say=self._say)
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        """Start, watch, stop. The exit code; raises AlreadyRunning, ServerFailed, ConfigurationError.

        Runs in the main thread: it takes the signals, and children die with the thread that started them.
        """
        lock = DataLock(self._plan.settings.data)
        self._take_signals()
        try:
            check_port(self._plan.settings)
            for note in self._plan.notes:
                self._say(note)
            work = asyncio.create_task(self._run(lock), name="oms up")
            stopping = asyncio.create_task(self._stop.wait(), name="signal")
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if self._stop.is_set():
                work.cancel()
                self._say("Stopping")
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            await self._take_down()
            lock.release()
        return 0

    async def _run(self, lock: DataLock) -> None:
        """Bring everything up, then watch until cancelled."""
        (self._plan.settings.data / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        broker_url = await self._start_broker()
        self._say(f"Starting {', '.join(self._plan.servers) or 'on the servers that the addresses name'}")
        embedded = await self._servers.start()
        for server in self._servers.processes:
            self._keep(server, tries=_QUESTDB_TRIES if server.name == "questdb" else None)
        settings = with_addresses(self._plan.settings, embedded, broker_url)
        # A database of others may be a little late: it is waited for. Ours has just answered.
        await self._migrate(settings, self._console, 0.0 if embedded.database_url else _FOREIGN_DATABASE_S)
        for spec in self._children_of(settings):
            await self._start_child(spec)
        lock.write(_for_the_lock(settings))
        announcing = asyncio.create_task(self._announce(settings), name="banner")
        jobs = regular_jobs(settings)
        upkeep = UpkeepLog(settings.data, [job.spec.name for job in jobs])
        for job in jobs:
            work = run_regularly(job, settings.data, upkeep, self._console)
            self._keepers.append(asyncio.create_task(work, name=f"regular {job.spec.name}"))
        try:
            while True:
                await asyncio.sleep(_TRIM_S)
                for server in self._servers.processes:
                    server.trim_log()
        finally:
            announcing.cancel()

    async def _start_broker(self) -> str | None:
        if not self._plan.with_broker:
            return None
        port = broker_port()
        await self._start_child(broker_child(self._plan.settings, port))
        return f"http://127.0.0.1:{port}"

    async def _start_child(self, spec: ChildSpec) -> None:
        child = Child(spec, self._plan.settings.data / "logs", self._console, name_width=6)
        self._children.append(child)
        await child.start()
        self._keep(child)

    def _keep(self, unit: Unit, tries: int | None = None) -> None:
        keeper = keep_running(unit, self._say, tries=tries)
        self._keepers.append(asyncio.create_task(keeper, name=f"keeping {unit.name}"))

    async def _announce(self, settings: Settings) -> None:
        self._say(await self._announcement(settings))

    def _say(self, text: str) -> None:
        self._console.say(text)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _take_down(self) -> None:
        """Engine first, so that it can finish what it began; then the rest; the servers last. At most 10 s."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        orderly = asyncio.create_task(self._stop_in_order(), name="stopping")
        hurried = asyncio.create_task(self._hurry.wait(), name="second signal")
        await asyncio.wait({orderly, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not orderly.done():
            self._say("Killing what still runs")
            orderly.cancel()
            for child in self._children:
                child.kill()
            await self._servers.stop(patience_s=0.0)
        with contextlib.suppress(asyncio.CancelledError):
            await orderly
        for child in self._children:
            child.close()

    async def _stop_in_order(self) -> None:
        deadline = time.monotonic() + _STOP_S
        await asyncio.gather(*(child.stop(_ENGINE_STOP_S) for child in self._children if child.spec.stops_first))
        await asyncio.gather(*(child.stop(_OTHERS_STOP_S) for child in self._children if not child.spec.stops_first))
        await self._servers.stop(patience_s=max(0.5, deadline - time.monotonic()))


async def keep_running(unit: Unit, say: Callable[[str], None], *, tries: int | None = None) -> None:
    """Start `unit` again whenever it ends: after 0.25 s, then twice as long each time up to 10 s.

    Once it has run for a minute, that counts from the beginning. After `tries` ends in a row it is given up.
    """
    failures = 0
    while True:
        began = time.monotonic()
        code = await unit.ended()
        failures = 1 if time.monotonic() - began >= _HEALTHY_S else failures + 1
        if tries is not None and failures > tries:
            say(f"{unit.name} keeps ending ({_how(code)}): going on without it. Its log is in the data folder")
            return
        delay_s = min(BACKOFF_S_MIN * 2 ** min(failures - 1, 10), BACKOFF_S_MAX)
        say(f"{unit.name} ended ({_how(code)}): starting it again in {delay_s:g} s")
        await asyncio.sleep(delay_s)
        try:
            await unit.start()
        except (OmsError, OSError) as error:
            say(f"{unit.name} did not start: {error}")


async def migrate_in_a_child(settings: Settings, console: Console, patience_s: float) -> None:
    """Bring the database to this version's schema (`oms db migrate`): a process, so that it can be stopped like one.

    Tried again for `patience_s`. Raises ConfigurationError.
    """
    deadline = time.monotonic() + patience_s
    spec = ChildSpec("migrate", oms_command("db", "migrate"), environment(settings))
    while True:
        child = Child(spec, settings.data / "logs", console, name_width=6)
        try:
            await child.start()
            code = await child.ended()
        finally:
            child.kill()
            child.close()
        if code == 0:
            return
        if time.monotonic() >= deadline:
            raise ConfigurationError("The database could not be brought to this version's schema; see the lines above.")
        await asyncio.sleep(1.0)


async def announce_when_ready(settings: Settings) -> str:
    """The banner, once the API is ready; after a minute also without, saying what is missing."""
    missing = await wait_ready(settings)
    note = f"\n  Not ready after a minute: {missing}" if missing else ""
    return note + await banner(settings)


def _for_the_lock(settings: Settings) -> dict[str, str | None]:
    return {
        "api_url": api_url(settings),
        "database_url": settings.database_url,
        "redis_url": settings.redis_url,
        "questdb_url": settings.questdb_url,
        "questdb_pg_url": settings.questdb_pg_url,
        "paperbroker_url": settings.paperbroker_url,
    }


def _how(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"code {code}"
