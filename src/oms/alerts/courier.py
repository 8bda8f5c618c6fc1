"""Brings alerts to one receiver: at once when it is quiet, folded when they come fast, again until it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import structlog

from oms.alerts.message import Message, message_of
from oms.alerts.receivers import Receiver
from oms.alerts.record import AlertDesk
from oms.ports import Clock
from oms.waiting import happens, pause_s

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
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled. Raises StoreUnavailable."""
        failures = 0
        while True:
            self.wake.clear()
            waiting = await self._desk.waiting(self._receiver.id, AT_ONCE)
            if not waiting:
                await happens(self.wake, self._message_every_s)
                await asyncio.sleep(GATHER_S)
                continue
            alerts = [kept.alert for kept in waiting]
            now = self._clock.now()
            error = await self._send(self._receiver, message_of(alerts, now))
            if error:
                failures += 1
                await self._desk.failed(self._receiver.id, error, now)
                log.warning("alert_not_taken", receiver=self._receiver.name, reason=error, attempts=failures)
                await asyncio.sleep(pause_s(self._random, failures, BACKOFF_S))
                continue
            failures = 0
            count = sum(alert.count for alert in alerts)
            await self._desk.delivered(self._receiver.id, waiting[-1].id, count, self._clock.now())
            log.info("alerts_told", receiver=self._receiver.name, count=count)
            await asyncio.sleep(self._message_every_s)
