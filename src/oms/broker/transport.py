"""The one place that sends requests and opens sockets: headers, timeouts, request budget, errors. Nothing is retried.

aiohttp by itself repeats GET, DELETE and PUT once when a kept-alive connection turns out to be dead (never POST). A
repeated DELETE could hit what came to be in between, and a repeated GET hides how long the answer took, so that is
switched off: each call is one request, and whoever calls decides what a lost one means.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from oms.broker.advice import about_keys
from oms.broker.failures import failure, resets_in_s, whole
from oms.broker.websocket import Socket, opened
from oms.broker.wire import Unreadable, decoded
from oms.domain.errors import (
    BrokerBusy,
    BrokerError,
    BrokerRefused,
    BrokerUnauthorized,
    BrokerUnknown,
    BrokerUnreadable,
)
from oms.ports import Budget, Clock, Purpose

TIMEOUT_S = 10.0
HEARTBEAT_S = 9.0  # aiohttp rounds it up to a second and gives the pong half of it: half-open is noticed within 15 s

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The credentials. The secret may be empty, for the paper broker's mock keys. Never shown, not even by repr."""

    key_id: str
    secret: str = ""

    def headers(self) -> dict[str, str]:
        """What a REST request carries."""
        return {"APCA-API-KEY-ID": self.key_id, "APCA-API-SECRET-KEY": self.secret}

    def removed_from(self, text: str) -> str:
        """The text without the credentials, should a server have echoed them."""
        for secret in (self.secret, self.key_id):
            if len(secret) >= 8:
                text = text.replace(secret, "***")
        return text


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds: a whole request (connecting to last byte), a socket's heartbeat."""

    request_s: float = TIMEOUT_S
    heartbeat_s: float = HEARTBEAT_S


@dataclass(slots=True)
class Transport:
    """Requests to one address with one pair of keys. The connections are opened with the first request."""

    base_url: str
    keys: Keys
    budget: Budget
    clock: Clock
    patience: Patience = field(default_factory=Patience)
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    async def fetch(
        self,
        decoder: msgspec.json.Decoder[T],
        method: str,
        path: str,
        purpose: Purpose,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
        is_lookup: bool = False,
    ) -> T:
        """Send one request and read its answer. A success that cannot be read is BrokerUnreadable."""
        answer = await self.send(method, path, purpose, query=query, body=body, is_lookup=is_lookup)
        try:
            return decoded(decoder, answer)
        except Unreadable as error:
            raise BrokerUnreadable(f"{method} {path}: the answer cannot be read: {error}") from None

    async def send(
        self,
        method: str,
        path: str,
        purpose: Purpose,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
        is_lookup: bool = False,
    ) -> bytes:
        """Send one request, once, when the budget allows, and return the body of its 2xx answer.

        `path` is already escaped. Raises BrokerUnauthorized, BrokerBusy, BrokerUnknown, BrokerRefused,
        BrokerDuplicateId and, where `is_lookup` says that the request names an order, BrokerNotFound.
        """
        await self.budget.acquire(purpose)
        trouble: BrokerError
        try:
            async with self._opened_session().request(
                method,
                URL(self.base_url + path, encoded=True),
                params=query,
                data=None if body is None else msgspec.json.encode(body),
                headers=self.keys.headers() | ({} if body is None else {"Content-Type": "application/json"}),
                allow_redirects=False,  # the keys go to this address and no other
            ) as response:
                answer = await response.read()
                self._observe(response.headers)
                if 200 <= response.status < 300:
                    return answer
                trouble = failure(response.status, response.headers, answer, self.clock.now(), is_lookup=is_lookup)
        except TimeoutError:
            trouble = BrokerUnknown(f"{method} {path}: no answer within {self.patience.request_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            trouble = BrokerUnknown(f"{method} {path}: {describe(error)}")
        if isinstance(trouble, BrokerUnauthorized):
            advise(trouble, about_keys(self.base_url, self.keys.key_id))
        # Raised here and not above: aiohttp's errors carry the request's headers, and with them the keys.
        if isinstance(trouble, BrokerBusy):
            self.budget.refused(trouble.retry_after_s)
        raise self._without_keys(trouble)

    @asynccontextmanager
    async def socket(self, url: str) -> AsyncIterator[Socket]:
        """A websocket to `url`. Raises BrokerUnauthorized, BrokerBusy (429) and BrokerUnknown."""
        session = self._opened_session()
        try:
            async with opened(session, url, self.patience.request_s, self.patience.heartbeat_s, self.clock) as socket:
                yield socket
        except BrokerUnauthorized as error:  # also what whoever speaks through the socket raises
            advise(error, about_keys(self.base_url, self.keys.key_id))
            raise

    async def close(self) -> None:
        """Drop all connections; later requests are BrokerUnknown."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise BrokerUnknown("the connection to the broker has been closed by us")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self.patience.request_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "trademk1", "Accept": "application/json"},
            )
            self._session._retry_connection = False  # the only switch there is; a test holds it to that
        return self._session

    def _observe(self, headers: Mapping[str, str]) -> None:
        limit, remaining = (whole(headers.get(f"X-RateLimit-{name}")) for name in ("Limit", "Remaining"))
        seconds = resets_in_s(headers, self.clock.now())
        if limit is not None and remaining is not None and seconds is not None:
            self.budget.observe(limit, remaining, seconds)

    def _without_keys(self, trouble: BrokerError) -> BrokerError:
        trouble.args = tuple(self.keys.removed_from(str(part)) for part in trouble.args)
        if isinstance(trouble, BrokerRefused):
            trouble.message = self.keys.removed_from(trouble.message)
        return trouble


def advise(error: BrokerRefused, advice: str) -> None:
    """Say with the refusal what to do about it, once."""
    if advice and advice not in error.message:
        error.message = f"{error.message.rstrip('.')}: {advice}"
        error.args = (f"{str(error).rstrip('.')}: {advice}",)


def describe(error: Exception) -> str:
    """An error of the connection in words, without what aiohttp's errors carry along."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__} {error.status}"
    return f"{type(error).__name__}: {error}"[:200]
