"""Waiting for order events: one poller for all who wait, and none while nobody does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from oms.domain.errors import StoreUnavailable
from oms.storage.queries import Queries
from oms.waiting import happens

log = logging.getLogger(__name__)

POLL_S = 0.02
AWAY_S = 0.5


class Watch:
    """Told of events by the tail. Read the state after the watch began, then wait for `changed`, then read again."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._happened = asyncio.Event()

    def tell(self) -> None:
        """Something happened."""
        self._happened.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for the next event; False after the time, or when the API is stopping."""
        if self._tail.stopping or timeout_s <= 0:
            return False
        if not await happens(self._happened, timeout_s):
            return False
        self._happened.clear()
        return not self._tail.stopping


class Tail:
    """Follows `order_events` of the account while somebody watches."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._watches: dict[UUID | None, set[Watch]] = {}
        self._poller: asyncio.Task[None] | None = None
        self.stopping = False

    @contextmanager
    def watch(self, account_id: UUID, order_id: UUID | None, after: int) -> Iterator[Watch]:
        """Watch one order, or with None all of them, for events after a sequence."""
        watch = Watch(self)
        self._watches.setdefault(order_id, set()).add(watch)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(account_id, after), name="api: tail")
        try:
            yield watch
        finally:
            watches = self._watches[order_id]
            watches.discard(watch)
            if not watches:
                del self._watches[order_id]

    def stop(self) -> None:
        """Let all who wait answer now."""
        self.stopping = True
        for watches in self._watches.values():
            for watch in watches:
                watch.tell()

    async def _poll(self, account_id: UUID, position: int) -> None:
        """From the sequence where the first watcher stood: what is older, later watchers have read themselves."""
        while self._watches and not self.stopping:
            try:
                heads = await self._queries.event_heads(account_id, position)
            except StoreUnavailable as error:
                log.warning("order events cannot be followed: %s", error)
                await asyncio.sleep(AWAY_S)
                continue
            if heads:
                position = heads[-1][0]
                touched: set[UUID | None] = {order_id for _, order_id in heads}
                for order_id in (None, *touched):
                    for watch in self._watches.get(order_id, ()):
                        watch.tell()
            await asyncio.sleep(POLL_S)
