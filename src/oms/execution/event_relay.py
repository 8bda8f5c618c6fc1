"""Tells other programs: every order event, from the record to the Redis stream `order_events`."""

from __future__ import annotations

import asyncio
from random import Random
from uuid import UUID

import structlog

from oms.domain.errors import StoreUnavailable, Unavailable
from oms.ports import Bus, Store
from oms.waiting import pause_s

log = structlog.get_logger(__name__)

AT_ONCE = 500
EVERY_S = 0.1  # also when nothing wakes it
BACKOFF_S = (0.25, 10.0)


class EventRelay:
    """Goes on where the stream ends. A stream that knows nothing (flushed, new) begins with what is new now:
    the past is served by `GET /api/v1/events`."""

    def __init__(self, account_id: UUID, store: Store, bus: Bus, random: Random) -> None:
        self._account_id = account_id
        self._store = store
        self._bus = bus
        self._random = random
        self.behind_error = ""

    async def run(self) -> None:
        """Relay until cancelled; Redis may come and go."""
        failures = 0
        while True:
            try:
                await self._relay()
            except StoreUnavailable as error:
                self.behind_error = str(error)
            except Unavailable as error:
                if not self.behind_error:
                    log.warning("events_not_relayed", reason=str(error))
                self.behind_error = str(error)
            failures += 1
            await asyncio.sleep(pause_s(self._random, failures, BACKOFF_S))

    async def _relay(self) -> None:
        last = await self._bus.events_relayed(self._account_id)
        if last is None:
            last = await self._store.last_event(self._account_id)
        while True:
            events = await self._store.events(self._account_id, last, AT_ONCE)
            if events:
                await self._bus.append_events(self._account_id, events)
                last = events[-1][0]
            self.behind_error = ""
            if len(events) < AT_ONCE:
                await asyncio.sleep(EVERY_S)
