"""PostgreSQL with its schema and what the engine last said there, Redis, QuestDB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from oms.doctor.finding import Finding, failed, ok, warning
from oms.settings import key_hash
from oms.storage.schema import known_schemas

WAIT_S = 5.0
POSTGRES_LEAST = 15
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)


@dataclass(frozen=True, slots=True)
class EngineWord:
    """What the engine for the key last said of itself, if it is alive."""

    status: str
    detail: Mapping[str, object] = field(default_factory=dict)


async def postgres_findings(url: str | None, key: str | None) -> tuple[list[Finding], EngineWord | None]:
    """Reachable, its version, its schema; and the living engine's word."""
    check = "postgresql"
    if url is None:
        return [ok(check, "oms up brings its own; none runs now")], None
    try:
        connection = await asyncpg.connect(url, timeout=WAIT_S, command_timeout=WAIT_S)
    except _AWAY as error:
        advice = "see whether it runs, and whether DATABASE_URL has the right host, user and password"
        return [failed(check, f"cannot be reached: {_reason(error)}", advice)], None
    try:
        version = connection.get_server_version()
        found = [_version(check, version.major, await connection.fetchval("show server_version"))]
        schema, word = await _schema(connection), None
        found.append(_schema_finding(schema))
        if schema and key:
            word = await _word(connection, key)
        return found, word
    except _AWAY as error:
        return [failed(check, f"does not answer as it should: {_reason(error)}")], None
    finally:
        await connection.close(timeout=WAIT_S)


def _version(check: str, major: int, text: str) -> Finding:
    if major < POSTGRES_LEAST:
        return warning(check, f"version {text}", f"{POSTGRES_LEAST} or newer is what the OMS is tried with")
    return ok(check, f"version {text}")


async def _schema(connection: asyncpg.Connection[asyncpg.Record]) -> str | None:
    if await connection.fetchval("select to_regclass('alembic_version')") is None:
        return None
    found: str | None = await connection.fetchval("select version_num from alembic_version")
    return found


def _schema_finding(schema: str | None) -> Finding:
    wanted = known_schemas()[0]
    if schema == wanted:
        return ok("schema", f"{schema}, as this version needs it")
    if schema is None:
        return warning("schema", "the database is empty", "oms up makes it; with servers of yours: oms db migrate")
    if schema < wanted:
        return failed(
            "schema", f"{schema}, and this version needs {wanted}", "oms db migrate (oms up does it by itself)"
        )
    return failed("schema", f"{schema} is newer than this version ({wanted})", "start the newer version of Trademk1")


async def _word(connection: asyncpg.Connection[asyncpg.Record], key: str) -> EngineWord | None:
    row = await connection.fetchrow(
        "select status, detail from engines where key_hash = $1 and heartbeat_at > now() - interval '5 s'"
        " and status not in ('stopped', 'standby')",
        key_hash(key),
    )
    return (
        None if row is None else EngineWord(row["status"], msgspec.json.decode(row["detail"], type=dict[str, object]))
    )


async def redis_finding(url: str | None) -> Finding:
    """Reachable, and its version."""
    if url is None:
        return ok("redis", "oms up brings its own; none runs now")
    try:
        async with Redis.from_url(url, socket_timeout=WAIT_S, socket_connect_timeout=WAIT_S) as client:
            info = await client.info("server")
    except (RedisError, OSError, ValueError) as error:
        advice = "see whether it runs, and whether REDIS_URL is right; signals by REST go on without it"
        return failed("redis", f"cannot be reached: {_reason(error)}", advice)
    return ok("redis", f"{info.get('server_name', 'redis')} {info.get('valkey_version', info.get('redis_version'))}")


async def questdb_finding(url: str | None) -> Finding:
    """Reachable, and its version. Without it prices are in memory only."""
    if url is None:
        return ok("questdb", "oms up brings its own; none runs now")
    advice = "see whether it runs, and whether QUESTDB_URL is right; trading goes on with prices in memory"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S)) as http,
            http.get(f"{url}/exec", params={"query": "select build"}) as response,
        ):
            body = await response.json(content_type=None)
            if response.status != 200:
                return warning("questdb", f"answers HTTP {response.status}", advice)
            build = str(body["dataset"][0][0]).partition(",")[0]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError, TypeError) as error:
        return warning("questdb", f"cannot be reached: {_reason(error)}", advice)
    return ok("questdb", build.removeprefix("Build Information: "))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__
