"""What one row of the matrix works on: an account and a database of its own, `oms serve` and `oms engine` as processes,
and a proxy before each server that they talk to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import asyncpg
from tests.acceptance.replay.paper import Broker
from tests.faults.convergence import Differences, Ours, Theirs, compare
from tests.faults.parts import Part
from tests.faults.proxy import Mangler, Proxy

from paperbroker.testing import Control

SIGNAL = "/api/v1/trading/signal"
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)  # PostgreSQL: how it shows
SETTLES_WITHIN_S = 60.0
_ONE = "select symbol, side, status, error_code, error_message from orders where id = $1::text::uuid"
ENDS = ("filled", "rejected", "cancelled", "expired", "replaced")
in_thread = asyncio.to_thread
MakeMangler = Callable[[], Mangler]


@dataclass(frozen=True)
class Addresses:
    """Where a rig's servers are."""

    database_url: str
    redis_url: str
    broker_url: str
    questdb_url: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the API answered; `body` has numbers as Decimal."""

    status: int
    body: Any
    headers: Any


class Rig:
    """One account. `api` and `engine` are started by `start`; a second engine by `engine_beside`."""

    def __init__(self, folder: Path, at: Addresses, **env: str) -> None:
        self.folder = folder
        self.at = at
        self.key = f"mock-{uuid4().hex[:16]}"
        self.control = Control(at.broker_url, self.key)
        self.broker = Broker(at.broker_url, self.key)
        self.accepted: dict[str, str] = {}
        self.refusals: set[str] = set()
        self.url = ""
        self._env = env
        self._proxies: list[Proxy] = []
        self._parts: list[Part] = []
        self._of_engine: dict[str, tuple[Proxy, Proxy]] = {}
        self._pool: Any = None
        self._http: aiohttp.ClientSession | None = None

    # --- its life -----------------------------------------------------------------------------------------------------

    async def start(self, *, engine: bool = True, api: bool = True, mangler: MakeMangler | None = None) -> Rig:
        """The proxies, the API and a running engine."""
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40))
        self.api_to_postgres = await self.proxy(self.at.database_url)
        self.api_to_redis = await self.proxy(self.at.redis_url)
        self.engine = await self.engine_beside("engine", mangler)
        self.to_postgres, self.to_broker = self.proxies_of(self.engine)
        self.api = self._part(
            "api", "serve", "--port", "0", DATABASE_URL=through(self.at.database_url, self.api_to_postgres),
            REDIS_URL=through(self.at.redis_url, self.api_to_redis), PAPERBROKER_URL=self.at.broker_url,
        )  # fmt: skip
        if engine:
            self.engine.start()
        if api:
            self.api.start()
        if engine:
            await self.running(self.engine)
        if api:
            await self.serving()
        return self

    async def engine_beside(self, name: str, mangler: MakeMangler | None = None) -> Part:
        """An engine with proxies of its own to PostgreSQL, Redis and the broker; not started."""
        postgres, redis = await self.proxy(self.at.database_url), await self.proxy(self.at.redis_url)
        broker = await self.proxy(self.at.broker_url, mangler)
        part = self._part(
            name, "engine", DATABASE_URL=through(self.at.database_url, postgres),
            REDIS_URL=through(self.at.redis_url, redis), PAPERBROKER_URL=through(self.at.broker_url, broker),
        )  # fmt: skip
        self._of_engine[part.name] = (postgres, broker)
        return part

    def proxies_of(self, engine: Part) -> tuple[Proxy, Proxy]:
        """An engine's proxies to PostgreSQL and to the broker."""
        return self._of_engine[engine.name]

    async def proxy(self, url: str, mangler: MakeMangler | None = None) -> Proxy:
        """A proxy before a server, ended with the rig."""
        port = urlsplit(url).port
        assert port is not None
        made = await Proxy(port, mangler).start()
        self._proxies.append(made)
        return made

    def kill(self) -> None:
        """kill -9 of all its processes; the record can still be asked."""
        for part in self._parts:
            part.kill()

    async def stop(self) -> None:
        """End everything."""
        self.kill()
        for proxy in self._proxies:
            await proxy.stop()
        if self._pool is not None:
            await self._pool.close()
        if self._http is not None:
            await self._http.close()

    async def running(self, engine: Part) -> None:
        """Wait until this engine trades."""
        await engine.says("OMS execution engine started")

    async def serving(self) -> None:
        """Wait until the API answers."""
        self.url = (await self.api.says(r"OMS API started\S*.*url=(\S+)"))[1]

    async def kill_engine(self) -> None:
        """kill -9 of the engine; what its proxies hold is thrown away with it."""
        self.engine.kill()
        for proxy in self.proxies_of(self.engine):
            proxy.clear()

    async def restart_engine(self) -> float:
        """Start the engine again; when it trades. The time of its start (monotonic)."""
        self.engine.start()
        await self.running(self.engine)
        return self.engine.started_at

    async def restart_api(self) -> None:
        """Start the API again, on another port."""
        self.api.start()
        await self.serving()

    def _part(self, name: str, command: str, *words: str, **env: str) -> Part:
        questdb = {} if self.at.questdb_url is None else {"QUESTDB_URL": self.at.questdb_url}
        everything = {"ALPACA_API_KEY": self.key, "ALPACA_REQUESTS_PER_MINUTE": "0", **questdb, **env, **self._env}
        part = Part(name, self.folder, "oms.cli", command, *words, env=everything)
        self._parts.append(part)
        return part

    # --- the API ------------------------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request to the API. Raises aiohttp.ClientError when no answer comes."""
        assert self._http is not None
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **headers}
        async with self._http.request(method, self.url + path, data=data, headers=headers) as answer:
            text = await answer.text()
            return Answer(answer.status, json.loads(text, parse_float=Decimal) if text else None, answer.headers)

    async def post_raw(self, path: str, body: bytes) -> int:
        """POST bytes as they are; the status of the answer."""
        assert self._http is not None
        headers = {"Content-Type": "application/json"}
        async with self._http.post(self.url + path, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def signal(self, signal_id: str | None = None, **terms: object) -> Answer:
        """POST a signal; it is remembered as accepted when the answer says so."""
        signal_id = signal_id or f"signal-{uuid4().hex[:12]}"
        body = {"symbol": "KO", "side": "buy", "qty": 1, "valid_for_s": 300, "signal_id": signal_id, **terms}
        answer = await self.ask("POST", SIGNAL, body)
        if answer.status == 202:
            self.accepted[signal_id] = answer.body["id"]
        return answer

    async def accept(self, signal_id: str | None = None, **terms: object) -> str:
        """POST a signal that must be accepted; its order's id."""
        answer = await self.signal(signal_id, **terms)
        assert answer.status == 202, answer
        return str(answer.body["id"])

    async def accept_at_last(self, signal_id: str, within_s: float = 60, **terms: object) -> str:
        """As a careful caller does: the same signal again and again until it is accepted."""
        end = time.monotonic() + within_s
        while True:
            try:
                answer = await self.signal(signal_id, **terms)
                if answer.status == 202:
                    return str(answer.body["id"])
                seen: object = (answer.status, answer.body)
                assert answer.status == 503, answer
            except (aiohttp.ClientError, TimeoutError) as error:
                seen = error
            assert time.monotonic() < end, f"{signal_id} was not accepted within {within_s:g} s: {seen!r}"
            await asyncio.sleep(0.1)

    async def health(self) -> Any:
        """The detailed health."""
        return (await self.ask("GET", "/api/health/detailed")).body

    # --- the record ---------------------------------------------------------------------------------------------------

    async def sql(self, query: str, *values: object) -> list[Any]:
        """Rows of the record, asked without any proxy."""
        if self._pool is None:
            self._pool = await asyncpg.create_pool(self.at.database_url, min_size=0, max_size=3, ssl=False)
        rows: list[Any] = await self._pool.fetch(query, *values)
        return rows

    def connection(self) -> Any:
        """A connection of one's own, as a context."""
        return self._pool.acquire()

    async def value(self, query: str, *values: object) -> Any:
        """One value of the record."""
        rows = await self.sql(query, *values)
        return rows[0][0] if rows else None

    async def until(self, query: str, *values: object, within_s: float = 60, why: str = "") -> Any:
        """The first true value that the query gives, asked again and again. PostgreSQL may be away meanwhile."""
        end = time.monotonic() + within_s
        found: Any = None
        while True:
            try:
                found = await self.value(query, *values)
            except AWAY as error:
                found = None
                why = why or repr(error)
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"{why or query} {values} (waited {within_s:g} s; logs in {self.folder})")
            await asyncio.sleep(0.05)

    async def ended(self, order_id: str, status: str = "filled", within_s: float = 60) -> None:
        """Wait for an order's end, which must be this one."""
        query = "select status from orders where id = $1::text::uuid and status = any($2)"
        found = await self.until(query, order_id, list(ENDS), within_s=within_s, why=f"order {order_id} did not end")
        assert found == status, [tuple(one) for one in await self.sql(_ONE, order_id)]

    async def status_is(self, *wanted: str, within_s: float = 60) -> float:
        """Wait until the engine says that it is in one of these states; the seconds that it took."""
        begun = time.monotonic()
        await self.until("select status from engines where status = any($1)", list(wanted), within_s=within_s)
        return time.monotonic() - begun

    async def between(self, order_id: str, first: str, then: str) -> float:
        """Seconds from one event of an order to another."""
        query = "select min(at) from order_events where order_id = $1::text::uuid and kind = any($2)"
        begun = await self.value(query, order_id, first.split("|"))
        ended = await self.until(query, order_id, then.split("|"))
        assert begun is not None, f"order {order_id} has no event {first}"
        return float((ended - begun).total_seconds())

    # --- what holds ---------------------------------------------------------------------------------------------------

    async def ours(self) -> Ours:
        """The record, read at one moment."""
        await self.value("select 1")
        async with self._pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
            account = await db.fetchval("select account_id from account_keys limit 1")
            tables = ("orders", "fills", "positions", "adjustments")
            return Ours(*[await db.fetch(f"select * from {table} where account_id = $1", account) for table in tables])

    async def theirs(self) -> Theirs:
        """The account at the broker."""
        account = await in_thread(self.broker.get, "/v2/account")
        fills = [fill for fill in await in_thread(self.broker.fills) if fill["account_id"] == account["id"]]
        return Theirs(await in_thread(self.broker.orders), fills, await in_thread(self.broker.get, "/v2/positions"))

    async def differences(self, *, unhurried: bool = True) -> Differences:
        """What does not agree now."""
        theirs = await self.theirs()
        return compare(await self.ours(), theirs, self.accepted, self.refusals, unhurried)

    async def converged(self, within_s: float = SETTLES_WITHIN_S) -> float:
        """Wait until both sides agree; the seconds that it took."""
        begun = time.monotonic()
        while True:
            try:
                found: object = await self.differences()
            except AWAY as error:
                found = error
            if not found:
                return time.monotonic() - begun
            if time.monotonic() - begun > within_s:
                raise AssertionError(f"no convergence within {within_s:g} s: {found}; logs in {self.folder}")
            await asyncio.sleep(0.25)

    async def audited(self) -> str:
        """What `oms audit` has to say; empty when it is clean."""
        env = {
            "PATH": os.environ["PATH"], "OMS_ENV_FILE": os.devnull, "ALPACA_API_KEY": self.key,
            "DATABASE_URL": self.at.database_url, "PAPERBROKER_URL": self.at.broker_url,
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "oms.cli", "audit", env=env, cwd=self.folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        return "" if process.returncode == 0 else f"oms audit ends with {process.returncode}: {said.decode()}"

    def requests(self, method: str, path: str, **wanted: object) -> list[Any]:
        """The account's requests that reached the broker."""
        return self.control.requests(method=method, path=path, **wanted)

    async def posts_of(self, order_id: str) -> list[Any]:
        """The requests that carried this order to the broker."""
        name = await self.value("select client_order_id from orders where id = $1::text::uuid", order_id)
        posts = await in_thread(self.requests, "POST", "/v2/orders")
        return [post for post in posts if (post["body"] or {}).get("client_order_id") == name]


def through(url: str, proxy: Proxy) -> str:
    """The same address, by way of the proxy."""
    port = urlsplit(url).port
    return url.replace(f":{port}", f":{proxy.port}", 1)


def field_text(value: str) -> bytes:
    """A text as PostgreSQL's binary protocol carries it in an array: its length before it."""
    encoded = value.encode()
    return len(encoded).to_bytes(4, "big") + encoded
