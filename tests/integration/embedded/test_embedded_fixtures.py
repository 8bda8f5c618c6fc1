"""The fixtures of tests/servers.py themselves."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio as redis
from tests.servers import OwnServer


async def test_a_database_of_ones_own_is_empty_and_quick_to_have(
    database_url: str, request: pytest.FixtureRequest
) -> None:
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
    await connection.execute("create table things(id int primary key)")
    assert await connection.fetchval("show server_encoding") == "UTF8"
    assert await connection.fetchval("select rolsuper from pg_roles where rolname = current_user") is False
    await connection.close()


async def test_valkey_answers(redis_clean_url: str) -> None:
    async with redis.from_url(redis_clean_url) as client:
        assert await client.ping()
        assert await client.dbsize() == 0
        assert (await client.config_get("appendonly"))["appendonly"] == "yes"


async def test_questdb_answers_a_query(questdb_pg_url: str) -> None:
    connection = await asyncpg.connect(questdb_pg_url)
    assert await connection.fetchval("select 1") == 1
    await connection.close()


@pytest.mark.parametrize("name", ["postgres", "valkey"])
async def test_a_killed_server_comes_back_on_its_port(own_server: OwnServer, name: str) -> None:
    server = await own_server(name)
    ports = dict(server.ports)
    server.kill()
    assert not server.is_running
    await server.start()
    assert server.ports == ports
    assert server.is_running
