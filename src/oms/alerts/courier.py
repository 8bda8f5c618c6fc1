"""Brings alerts to one receiver: at once when it is quiet, folded when they come fast, again until it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import structlog

from oms.alerts.message import Message, message_of
from oms.alerts.receivers import Receiver
from oms.alerts.record import AlertDesk
from oms.domain.alerts import KeptAlert
from oms.ports import Clock
from oms.waiting import ended, happens, pause_s

log = structlog.get_logger(__name__)

GATHER_S = 1.0  # what belongs together comes together
MESSAGE_EVERY_S = 15.0
BACKOFF_S = (2.0, 300.0)
AT_ONCE = 5_000

Sending = Callable[[Receiver, Message], Awaitable[str]]


class Courier:
    """One receiver. `wake` is set by whoever stored an alert."""

    def __init__(
        self,
        receiver: Receiver,
        desk: AlertDesk,
        send: Sending,
        clock: Clock,
        random: Random,
        message_every_s: float = MESSAGE_EVERY_S,
    ) -> None:
        self._receiver = receiver
        self._desk = desk
        self._send = send
        self._clock = clock
        self._random = random
        self._message_every_s = message_every_s
        self._delivering: asyncio.Task[bool] | None = None
        self._failures = 0
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled. Raises StoreUnavailable. What is being sent then is `finish`'s."""
        while True:
            self.wake.clear()
            waiting = await self._desk.waiting(self._receiver.id, AT_ONCE)
            if not waiting:
                await happens(self.wake, self._message_every_s)
                await asyncio.sleep(GATHER_S)
                continue
            self._delivering = asyncio.create_task(self._deliver(waiting), name=f"alert {self._receiver.name}")
            if await asyncio.shield(self._delivering):
                await asyncio.sleep(self._message_every_s)
            else:
                await asyncio.sleep(pause_s(self._random, self._failures, BACKOFF_S))

    async def finish(self, within_s: float) -> None:
        """Let what is being sent arrive and be noted, so that the next start does not send it again."""
        if self._delivering is not None:
            await asyncio.wait([self._delivering], timeout=within_s)
            await ended([self._delivering])

    async def _deliver(self, waiting: Sequence[KeptAlert]) -> bool:
        alerts = [kept.alert for kept in waiting]
        now = self._clock.now()
        error = await self._send(self._receiver, message_of(alerts, now))
        if error:
            self._failures += 1
            await self._desk.failed(self._receiver.id, error, now)
            log.warning("alert_not_taken", receiver=self._receiver.name, reason=error, attempts=self._failures)
            return False
        self._failures = 0
        count = sum(alert.count for alert in alerts)
        await self._desk.delivered(self._receiver.id, waiting[-1].id, count, self._clock.now())
        log.info("alerts_told", receiver=self._receiver.name, count=count)
        return True
