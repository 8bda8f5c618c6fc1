"""PostgreSQL is away: told past the record, which cannot keep it, and again when it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from oms.alerts.message import Message
from oms.alerts.receivers import Receiver
from oms.ports import Clock

log = structlog.get_logger(__name__)

LASTS_S = 10.0
TRY_EVERY_S = 5.0
TRY_S_MAX = 300.0
TITLE = "Trademk1"

Sending = Callable[[Receiver, Message], Awaitable[str]]


class Outage:
    """What is known of it lives in this process: one that is killed meanwhile tells it anew."""

    def __init__(
        self,
        receivers: Sequence[Receiver],
        clock: Clock,
        sending: Sending,
        *,
        lasts_s: float = LASTS_S,
        try_every_s: float = TRY_EVERY_S,
    ) -> None:
        self._receivers = receivers
        self._clock = clock
        self._sending = sending
        self._lasts_s = lasts_s
        self._try_every_s = try_every_s
        self._began: tuple[datetime, float] | None = None
        self._over = ""
        self._told: Sequence[Receiver] = []

    def goes_on(self) -> None:
        """PostgreSQL did not answer just now."""
        if self._began is None:
            self._began = self._clock.now(), self._clock.monotonic()

    def is_over(self) -> None:
        """PostgreSQL answers."""
        if self._began is not None:
            at, since_s = self._began
            lasted_s = self._clock.monotonic() - since_s
            self._over = f"PostgreSQL answers again; it was away for {lasted_s:.0f} s from {at:%H:%M:%S} UTC on"
            self._began = None

    async def run(self) -> None:
        """Tell each receiver that it began and, those that know, that it is over, until cancelled."""
        failures = 0
        while True:
            is_well = await self._tell_what_is_due()
            failures = 0 if is_well else failures + 1
            await asyncio.sleep(min(self._try_every_s * 2.0 ** min(failures, 10), TRY_S_MAX))

    async def _tell_what_is_due(self) -> bool:
        """Whether everybody took it."""
        if self._began is None:
            taken = await self._tell(self._told, self._over)
            self._told = [receiver for receiver in self._told if receiver not in taken]
            return not self._told
        at, since_s = self._began
        if self._clock.monotonic() - since_s < self._lasts_s:
            return True
        text = f"PostgreSQL has not answered since {at:%H:%M:%S} UTC: signals are answered 503 and nothing new is sent"
        unaware = [receiver for receiver in self._receivers if receiver not in self._told]
        taken = await self._tell(unaware, text)
        self._told = [*self._told, *taken]
        return len(taken) == len(unaware)

    async def _tell(self, receivers: Sequence[Receiver], text: str) -> list[Receiver]:
        """Those that took it."""
        if not receivers:
            return []
        message = Message(TITLE, f"{self._clock.now():%H:%M:%S} UTC {text}")
        errors = await asyncio.gather(*(self._sending(receiver, message) for receiver in receivers))
        taken: list[Receiver] = []
        for receiver, error in zip(receivers, errors, strict=True):
            if error:
                log.warning("alert_not_taken", receiver=receiver.name, reason=error)
            else:
                log.info("alerts_told", receiver=receiver.name, count=1)
                taken.append(receiver)
        return taken
