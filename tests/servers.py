"""Real servers for tests, started once a session and only when a test asks for them.

Addresses (session): `postgres_url` (an empty database), `redis_url` (flush it yourself, or use `redis_clean_url`),
`questdb_url`, `questdb_pg_url`. A database of one's own (test): `database_url` (empty), `migrated_database_url`.
Servers of one's own, to be killed and started again: `own_server`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import pytest
import redis as redis_client

from oms.embedded.postgres import Postgres
from oms.embedded.questdb import QuestDB
from oms.embedded.server import Server, ServerFailed
from oms.embedded.valkey import Valkey
from tests.stack import free_port

T = TypeVar("T")

# The machine does not crash during a test, so that nothing is lost; killed processes lose nothing either way.
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": "200"}

OwnServer = Callable[[str], Awaitable[Server]]


def new_server(name: str, folder: Path) -> Server:
    """A server (`postgres`, `valkey`, `questdb`) on free ports in `folder`, not started.

    They stay its own while it is down, whoever else asks for a free port meanwhile.
    """
    server: Server = (
        Postgres(folder, settings=QUICK) if name == "postgres" else {"valkey": Valkey, "questdb": QuestDB}[name](folder)
    )
    server.usual_ports = {port: free_port() for port in server.usual_ports}
    server.ready_s = 120.0
    return server


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a synchronous fixture, on a loop of its own that leaves pytest-asyncio's alone."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def run_aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The same where a loop may be running already: in a thread. Not for starting processes."""
    result: list[T] = []
    thread = threading.Thread(target=lambda: result.append(run(work())))
    thread.start()
    thread.join()
    return result[0]


def _session(name: str, factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = new_server(name, factory.mktemp("servers"))
    try:
        run(server.start())
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The session's PostgreSQL."""
    for server in _session("postgres", tmp_path_factory):
        assert isinstance(server, Postgres)
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The session's Valkey."""
    for server in _session("valkey", tmp_path_factory):
        assert isinstance(server, Valkey)
        yield server


@pytest.fixture(scope="session")
def questdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuestDB]:
    """The session's QuestDB; without network and cache the test is skipped, saying so."""
    try:
        for server in _session("questdb", tmp_path_factory):
            assert isinstance(server, QuestDB)
            yield server
    except ServerFailed as error:
        if "cannot be had" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The session's PostgreSQL: its database `oms`, shared and empty unless a test fills it."""
    return postgres.url


@pytest.fixture(scope="session")
def redis_url(valkey: Valkey) -> str:
    """The session's Valkey, database 0, shared."""
    return valkey.url


@pytest.fixture
def redis_clean_url(redis_url: str) -> str:
    """The session's Valkey, emptied before the test."""
    with redis_client.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def questdb_url(questdb: QuestDB) -> str:
    """The session's QuestDB over HTTP."""
    return questdb.http_url


@pytest.fixture(scope="session")
def questdb_pg_url(questdb: QuestDB) -> str:
    """The session's QuestDB over PostgreSQL's protocol."""
    return questdb.pg_url


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, empty database, dropped after the test."""
    yield from _database(postgres, "template1")


@pytest.fixture
def migrated_database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """A fresh database with the OMS's schema, dropped after the test."""
    yield from _database(postgres, migrated_template)


@pytest.fixture(scope="session")
def migrated_template(postgres: Postgres) -> str:
    """The name of a database with the OMS's schema, to be copied, never connected to."""
    from oms.storage.migrate import migrate

    run_aside(lambda: _execute(postgres.url, "create database migrated"))
    migrate(postgres.database_url("migrated"))
    return "migrated"


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[OwnServer]:
    """Start a server of one's own: `server = await own_server("postgres")`, then `.url`, `.kill()`, `await .stop()`,
    `await .start()` (comes back on the same port with its data). All end with the test."""
    servers: list[Server] = []

    async def start(name: str) -> Server:
        server = new_server(name, tmp_path / f"own{len(servers)}")
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        server.kill()


def _database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    # file_copy is the quicker strategy where fsync is off
    run_aside(lambda: _execute(postgres.url, f"create database {name} template {template} strategy file_copy"))
    yield postgres.database_url(name)
    run_aside(lambda: _execute(postgres.url, f"drop database {name} with (force)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, ssl=False)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
