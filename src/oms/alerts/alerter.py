"""The task that alerts. It runs in each API process; the one that holds the desk works, the others wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random

import structlog

from oms.alerts.collector import LOOK_EVERY_S, Collector
from oms.alerts.conditions import Condition
from oms.alerts.courier import MESSAGE_EVERY_S, Courier, Sending
from oms.alerts.outage import LASTS_S, Outage
from oms.alerts.receivers import Receiver, send
from oms.alerts.record import AlertDesk, AlertRecord
from oms.domain.errors import StoreUnavailable
from oms.ports import Clock
from oms.waiting import ended, happens

log = structlog.get_logger(__name__)

TRY_EVERY_S = 5.0
FINISH_S = 4.0


class Alerter:
    """Never in the way of trading: what fails here is logged, counted, and tried again.

    `local` are conditions that the record does not know; asked for once a second.
    """

    def __init__(
        self,
        record: AlertRecord,
        receivers: Sequence[Receiver],
        clock: Clock,
        random: Random,
        *,
        local: Callable[[], Mapping[str, Condition]] = dict,
        sending: Sending = send,
        look_every_s: float = LOOK_EVERY_S,
        message_every_s: float = MESSAGE_EVERY_S,
        try_every_s: float = TRY_EVERY_S,
        outage_s: float = LASTS_S,
    ) -> None:
        self._record = record
        self._receivers = receivers
        self._clock = clock
        self._random = random
        self._local = local
        self._sending = sending
        self._look_every_s = look_every_s
        self._message_every_s = message_every_s
        self._try_every_s = try_every_s
        self._outage = Outage(receivers, clock, sending, lasts_s=outage_s, try_every_s=min(outage_s, try_every_s))

    async def run(self, stop: asyncio.Event) -> None:
        """Alert until `stop` is set; what is being sent then is waited for, `FINISH_S` at most."""
        telling = asyncio.create_task(self._outage.run(), name="outage of PostgreSQL")
        try:
            await self._alert(stop)
        finally:
            await ended([telling])

    async def _alert(self, stop: asyncio.Event) -> None:
        is_ours = True  # of an outage the process tells that held the desk last; who cannot know tells too
        while not stop.is_set():
            try:
                async with self._record.desk() as desk:
                    is_ours = desk is not None
                    if desk is None:
                        self._outage.is_over()
                    else:
                        log.info("alerting", receivers=[receiver.name for receiver in self._receivers])
                        await self._work(desk, stop)
            except StoreUnavailable as error:
                log.warning("alerts_wait", reason=str(error))
                if is_ours:
                    self._outage.goes_on()
            except Exception:  # the task's edge: alerts must not end the API
                log.exception("alerting_failed")
            await happens(stop, self._try_every_s)

    async def _work(self, desk: AlertDesk, stop: asyncio.Event) -> None:
        await desk.register([receiver.id for receiver in self._receivers])
        self._outage.is_over()
        couriers = [
            Courier(receiver, desk, self._sending, self._clock, self._random, self._message_every_s)
            for receiver in self._receivers
        ]

        def wake() -> None:
            for courier in couriers:
                courier.wake.set()

        collector = Collector(desk, self._clock, wake, self._local, self._look_every_s)
        works = (_set(stop), collector.run(), *(courier.run() for courier in couriers))
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await ended(tasks)
            await asyncio.gather(*(courier.finish(FINISH_S) for courier in couriers), return_exceptions=True)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
