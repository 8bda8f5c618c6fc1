"""From the record to alerts, each once: they are stored in the transaction that moves the cursor behind their cause."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from oms.alerts.conditions import Condition, conditions_of
from oms.alerts.news import alerts_of
from oms.alerts.record import AlertDesk
from oms.alerts.watch import ConditionWatch
from oms.ports import Clock

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
AT_ONCE = 2_000
KEPT_FOR = timedelta(days=30)
FORGET_EVERY_S = 3600.0


class Collector:
    """Looks once a second. `on_new` is called when there is something to tell; `local` gives more conditions."""

    def __init__(
        self,
        desk: AlertDesk,
        clock: Clock,
        on_new: Callable[[], None],
        local: Callable[[], Mapping[str, Condition]],
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._on_new = on_new
        self._local = local
        self._every_s = every_s

    async def run(self) -> None:
        """Collect until cancelled. Raises StoreUnavailable."""
        cursor, told = await self._desk.cursor()
        watch = ConditionWatch(told, self._clock.monotonic())
        forget_at = 0.0
        while True:
            looked = await self._desk.look(cursor, AT_ONCE)
            now_s = self._clock.monotonic()
            conditions = conditions_of(looked.engine_status, looked.engine_age_s, looked.engine_detail)
            matters = {**conditions, **self._local()}
            alerts = [*alerts_of(looked.news), *watch.look(matters, looked.at, now_s)]
            if alerts or looked.head != cursor:
                await self._desk.keep(alerts, looked.head, watch.told, looked.at)
                cursor = looked.head
            if alerts:
                log.info("alerts", count=sum(alert.count for alert in alerts))
                self._on_new()
            if now_s >= forget_at:
                forget_at = now_s + FORGET_EVERY_S
                await self._desk.forget(looked.at - KEPT_FOR)
            if len(looked.news) < AT_ONCE:
                await asyncio.sleep(self._every_s)
