"""The servers that rows share, and what a row is given to work with."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from uuid import uuid4

import asyncpg
from tests.faults.parts import Part
from tests.faults.rig import Addresses, MakeMangler, Rig
from tests.servers import QUICK

from oms.embedded.postgres import Postgres
from oms.embedded.server import Server
from oms.embedded.valkey import Valkey
from oms.storage.migrate import migrate

TEMPLATE = "migrated"


class Bench:
    """PostgreSQL, Valkey and a paper broker without a limit of requests, for all rows together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = Postgres(folder / "servers", fixed_ports=False, settings={**QUICK, "max_connections": "500"})
        self.valkey = Valkey(folder / "servers", fixed_ports=False)
        self._broker = paper_broker(folder / "broker")
        self.broker_url = ""

    async def start(self) -> None:
        """Start them, and make a database to copy."""
        self._broker.start()
        await self.postgres.start()
        await self.valkey.start()
        await _create(self.postgres, TEMPLATE)
        await asyncio.to_thread(migrate, self.postgres.database_url(TEMPLATE))
        self.broker_url = await ready(self._broker)

    def stop(self) -> None:
        """End them."""
        self._broker.kill()
        self.valkey.kill()
        self.postgres.kill()

    async def database(self) -> str:
        """A database with the schema."""
        name = f"row_{uuid4().hex[:12]}"
        await _create(self.postgres, name, TEMPLATE)
        return self.postgres.database_url(name)


class Site:
    """Where one row works: a folder, rigs, servers and brokers of its own, all ended by `stop`."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.rigs: list[Rig] = []
        self._servers: list[Server] = []
        self._brokers: list[Part] = []

    async def rig(
        self,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        broker_url: str | None = None,
        questdb_url: str | None = None,
        engine: bool = True,
        api: bool = True,
        mangler: MakeMangler | None = None,
        **env: str,
    ) -> Rig:
        """A rig on the shared servers, but for those that are named."""
        at = Addresses(
            database_url or await self.bench.database(),
            redis_url or self.bench.valkey.url,
            broker_url or self.bench.broker_url,
            questdb_url,
        )
        made = Rig(self.folder / f"rig{len(self.rigs)}", at, **env)
        self.rigs.append(made)
        return await made.start(engine=engine, api=api, mangler=mangler)

    async def own(self, server: Server) -> None:
        """Start a server of this row's own."""
        self._servers.append(server)
        await server.start()

    async def own_postgres(self) -> Postgres:
        """A PostgreSQL of this row's own, with the schema."""
        server = Postgres(self.folder / "postgres", fixed_ports=False, settings=QUICK)
        await self.own(server)
        await asyncio.to_thread(migrate, server.url)
        return server

    async def own_broker(self, *options: str) -> str:
        """Another paper broker; its address."""
        part = paper_broker(self.folder / f"broker{len(self._brokers)}", *options)
        self._brokers.append(part)
        part.start()
        return await ready(part)

    async def stop(self) -> None:
        """End everything."""
        for rig in self.rigs:
            await rig.stop()
        for part in self._brokers:
            part.kill()
        for server in self._servers:
            server.kill()


def paper_broker(folder: Path, *options: str) -> Part:
    """A paper broker on a free port, not started."""
    words = ("--port", "0", "--data", str(folder / "data"), "--requests-per-minute", "0", *options)
    return Part("broker", folder, "paperbroker.cli", *words)


async def ready(broker: Part) -> str:
    """The address of a paper broker that was just started."""
    return (await broker.says(r" ready at (\S+)"))[1]


async def _create(server: Postgres, name: str, template: str = "template1") -> None:
    connection = await asyncpg.connect(server.url, ssl=False)
    try:
        await connection.execute(f"create database {name} template {template}")
    finally:
        with contextlib.suppress(OSError):
            await connection.close()


def progress(text: str) -> None:
    """Tell whoever waits, on stderr."""
    print(text, file=sys.stderr, flush=True)
