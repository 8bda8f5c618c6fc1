"""Signals from Redis: the channel wakes the engine or brings foreign signals, the stream brings them at least once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

from oms.domain.errors import InvalidInput, SignalConflict, StoreUnavailable, Unavailable
from oms.domain.instruments import Symbols
from oms.domain.signals import Signal
from oms.ports import Bus, BusMessage, SignalStore
from oms.signals.intake import Intake
from oms.signals.reader import Origin, read_object, signal_of

log = logging.getLogger(__name__)

PAYLOAD_MAX = 4096  # characters of a malformed message that are kept
PAUSE_S_MIN = 0.25
PAUSE_S_MAX = 30.0


@dataclass(slots=True)
class Counts:
    """What came since the start."""

    woken: int = 0
    accepted: int = 0
    repeated: int = 0
    refused: int = 0
    reconnects: int = 0


class RedisIntake:
    """Reads the bus for the engine that owns `account_id`. `symbols` gives the asset list as it is now.

    `on_wake` is called when something waits for the engine in PostgreSQL. `connected`: Redis is being listened to.
    """

    def __init__(
        self,
        *,
        account_id: UUID,
        bus: Bus,
        intake: Intake,
        store: SignalStore,
        symbols: Callable[[], Symbols],
        on_wake: Callable[[], None],
        random: Random,
    ) -> None:
        self._account_id = account_id
        self._bus = bus
        self._intake = intake
        self._store = store
        self._symbols = symbols
        self._on_wake = on_wake
        self._random = random
        self.connected = False
        self.counts = Counts()

    async def run(self) -> None:
        """Read until cancelled; a lost Redis is tried again with backoff and full jitter."""
        failures = 0
        while True:
            try:
                async with self._bus.signals() as batches:
                    self.connected = True
                    async for batch in batches:
                        failures = 0
                        await self._take(batch)
            except Unavailable as error:
                if self.connected or failures == 0:
                    log.warning("Redis is not listened to, signals come by REST only: %s", error)
            finally:
                self.connected = False
            failures += 1
            self.counts.reconnects += 1
            await self._pause(failures)

    async def _take(self, batch: Sequence[BusMessage]) -> None:
        """Handle a batch, all of it together so that it shares commits; acknowledged when every message is settled."""
        results = await asyncio.gather(*(self._settle(message) for message in batch))
        if any(results):
            self._on_wake()
        entries = [message.entry_id for message in batch if message.entry_id is not None]
        if entries:
            await self._bus.acknowledge(entries)

    async def _settle(self, message: BusMessage) -> bool:
        """Make one message an order or a recorded error, however long PostgreSQL is away. Whether the engine has work.

        The order's id is made once, so that a repetition finds what an earlier attempt stored.
        """
        order_id = self._intake.new_id()
        failures = 0
        while True:
            try:
                return await self._handle(message, order_id)
            except StoreUnavailable as error:
                failures += 1
                if failures == 1:
                    log.warning("a signal from Redis waits for PostgreSQL: %s", error)
                await self._pause(failures)

    async def _handle(self, message: BusMessage, order_id: UUID) -> bool:
        try:
            signal = self._read(message, order_id)
            if signal is None:
                self.counts.woken += 1
                return True
            acceptance = await self._intake.accept(self._account_id, signal, order_id)
        except InvalidInput as error:
            await self._refuse(message, error.code, f"{error.field}: {error.reason}" if error.field else error.reason)
            return False
        except SignalConflict as error:
            await self._refuse(message, "signal_conflict", str(error))
            return False
        except Unavailable:
            raise
        except Exception as error:  # the edge of the task: one message must not stop those behind it
            log.exception("a signal from Redis could not be handled")
            await self._refuse(message, "internal_error", f"{type(error).__name__}; see the log")
            return False
        if acceptance.created:
            self.counts.accepted += 1
        else:
            self.counts.repeated += 1
        return acceptance.created

    def _read(self, message: BusMessage, order_id: UUID) -> Signal | None:
        """The signal of a message; None for one of ours on the channel, which only wakes."""
        fields = read_object(message.payload)
        if message.source == "channel" and "order_id" in fields and ("source" in fields or "command" in fields):
            return None
        fallback = f"stream:{message.entry_id}" if message.entry_id is not None else f"{message.source}:{order_id}"
        return signal_of(fields, self._symbols(), Origin(message.source, fallback))

    async def _refuse(self, message: BusMessage, code: str, reason: str) -> None:
        payload = message.payload.decode(errors="replace")[:PAYLOAD_MAX]
        await self._store.record_error(self._account_id, message.source, payload, reason, code)
        self.counts.refused += 1

    async def _pause(self, failures: int) -> None:
        longest = min(PAUSE_S_MAX, PAUSE_S_MIN * 2 ** min(failures - 1, 10))
        await asyncio.sleep(self._random.uniform(0, longest))
