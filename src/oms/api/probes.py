"""Asks what the API can reach by itself: Redis, and QuestDB over HTTP."""

from __future__ import annotations

import asyncio

import aiohttp
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

PROBE_S_MAX = 1.0
OK = "ok"
NOT_CONFIGURED = "not_configured"


class Probes:
    """One answer each: `ok`, `not_configured`, or why not. Connections are made on the first probe and kept."""

    def __init__(self, redis_url: str | None, questdb_url: str | None) -> None:
        self._redis_url = redis_url
        self._questdb_url = questdb_url
        self._redis: Redis | None = None
        self._http: aiohttp.ClientSession | None = None

    async def redis(self) -> str:
        """Redis answers PING."""
        if self._redis_url is None:
            return NOT_CONFIGURED
        if self._redis is None:
            self._redis = Redis.from_url(self._redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=PROBE_S_MAX)
        try:
            async with asyncio.timeout(PROBE_S_MAX):
                await self._redis.execute_command("PING")  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            return f"does not answer ({type(error).__name__})"
        return OK

    async def questdb(self) -> str:
        """QuestDB answers a query."""
        if self._questdb_url is None:
            return NOT_CONFIGURED
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_S_MAX))
        try:
            async with self._http.get(f"{self._questdb_url}/exec", params={"query": "select 1"}) as response:
                return OK if response.status == 200 else f"answers {response.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return f"does not answer ({type(error).__name__})"

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()
        if self._http is not None:
            await self._http.close()
