"""All embedded servers together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from oms.embedded.postgres import Postgres
from oms.embedded.questdb import QuestDB
from oms.embedded.server import Say, Server, ServerFailed
from oms.embedded.valkey import Valkey

ALL = ("postgres", "valkey", "questdb")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are; None for those that were not wanted, and for QuestDB where it cannot be had."""

    database_url: str | None = None
    redis_url: str | None = None
    questdb_url: str | None = None
    questdb_pg_url: str | None = None


class EmbeddedServers:
    """The wanted servers on one data folder, whose lock the caller holds.

    `say` gets plain lines for the person who started it. Also an asynchronous context: started inside, stopped after.
    """

    def __init__(
        self, data: Path, want: Collection[str] = ALL, *, fixed_ports: bool = True, say: Say = lambda _line: None
    ) -> None:
        self._say = say
        kinds: dict[str, type[Server]] = {"postgres": Postgres, "valkey": Valkey, "questdb": QuestDB}
        self._servers = {name: kinds[name](data, fixed_ports=fixed_ports, say=say) for name in ALL if name in want}

    @property
    def processes(self) -> list[Server]:
        """The servers that were started, to be watched and started again (`Server.start`) when they die."""
        return [server for server in self._servers.values() if server.process is not None]

    async def start(self) -> Addresses:
        """Start them in parallel. Raises ServerFailed; QuestDB's failure is only said."""
        outcomes = await asyncio.gather(
            *(self._start(server) for server in self._servers.values()), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                await self.stop()
                raise outcome
        return self.addresses

    async def stop(self, patience_s: float = 5.0) -> None:
        """Stop them in parallel, within `patience_s` and half a second."""
        await asyncio.gather(*(server.stop(patience_s) for server in self._servers.values()))

    def kill(self) -> None:
        """Kill them at once."""
        for server in self._servers.values():
            server.kill()

    @property
    def addresses(self) -> Addresses:
        """Where they are; a server that died keeps its address, because it comes back there."""
        postgres, valkey, questdb = (self._servers.get(name) for name in ALL)
        return Addresses(
            database_url=postgres.url if isinstance(postgres, Postgres) and postgres.has_run else None,
            redis_url=valkey.url if isinstance(valkey, Valkey) and valkey.has_run else None,
            questdb_url=questdb.http_url if isinstance(questdb, QuestDB) and questdb.has_run else None,
            questdb_pg_url=questdb.pg_url if isinstance(questdb, QuestDB) and questdb.has_run else None,
        )

    async def __aenter__(self) -> EmbeddedServers:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self, server: Server) -> None:
        try:
            await server.start()
        except (ServerFailed, OSError) as error:
            if not isinstance(server, QuestDB):
                raise
            self._say(f"No QuestDB: ticks are not kept, prices stay in memory. {error}")
