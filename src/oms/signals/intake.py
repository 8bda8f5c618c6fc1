"""Takes signals in: one order for each, stored before anyone is told, published after."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from oms.domain.errors import InvalidInput, SignalConflict, StoreUnavailable, Unavailable
from oms.domain.orders import Order
from oms.domain.signals import Signal
from oms.domain.values import trimmed
from oms.group_commit import GroupCommit
from oms.ports import Acceptance, Bus, Clock, Ids, SignalStore
from oms.waiting import ended

log = logging.getLogger(__name__)

DOUBT_S_MAX = 5.0
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
TROUBLE_S = 60.0
PUBLISH_AT_ONCE = 512
PUBLISH_QUEUE_MAX = 20_000

_Arrival = tuple[UUID, UUID, Signal, datetime]  # account, order id, signal, time


class OutcomeUnknown(StoreUnavailable):
    """Whether the signal was stored is not known: the answer to its COMMIT was lost, and could not be had since.

    `order_id` is the order's id if it was; giving the signal again with `signal_id` is safe.
    """

    def __init__(self, order_id: UUID, signal_id: str) -> None:
        super().__init__(f"PostgreSQL was lost while it stored order {order_id}; it may or may not be stored")
        self.order_id = order_id
        self.signal_id = signal_id


class Intake:
    """Signals into orders, over group commit. `run` must be running.

    `doubtful` are the errors of the store that leave open whether it stored; other StoreUnavailable mean that it did
    not.
    """

    def __init__(
        self,
        store: SignalStore,
        bus: Bus,
        clock: Clock,
        ids: Ids,
        *,
        doubtful: tuple[type[StoreUnavailable], ...] = (StoreUnavailable,),
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._doubtful = doubtful
        self._commit = GroupCommit[_Arrival, Acceptance](self._store_batch, poisonous=(InvalidInput,))
        self._publisher = Publisher(bus)
        self._refused_at = 0.0
        self._refusal = ""
        self.refused = 0  # signals that the store did not take, since the start

    @property
    def trouble(self) -> str:
        """Why signals are not taken, where the last one was not and that is not long ago; else empty."""
        if not self._refusal or self._clock.monotonic() - self._refused_at > TROUBLE_S:
            return ""
        return f"{self.refused} signals could not be stored since the start and were answered 503. {self._refusal}"

    @property
    def waiting(self) -> int:
        """Signals that wait for a commit."""
        return len(self._commit)

    @property
    def unpublished(self) -> int:
        """Signals that were stored but not published, because Redis was away, since the start."""
        return self._publisher.lost

    def new_id(self) -> UUID:
        """An id for the order of the next signal."""
        return self._ids()

    async def run(self) -> None:
        """Commit and publish until cancelled."""
        tasks = [
            asyncio.create_task(self._commit.run(), name="signals: commit"),
            asyncio.create_task(self._publisher.run(), name="signals: publish"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
        finally:
            await ended(tasks)

    async def accept(self, account_id: UUID, signal: Signal, order_id: UUID | None = None) -> Acceptance:
        """Store the signal as a pending order; answered after the commit.

        A known identity with the same terms answers its order. Raises SignalConflict, StoreUnavailable (nothing was
        stored), OutcomeUnknown (after having tried for 5 s), InvalidInput (PostgreSQL refused a value).
        """
        arrival = (account_id, order_id or self._ids(), signal, self._clock.now())
        try:
            acceptance = await self._stored(arrival)
        except StoreUnavailable as error:
            self.refused += 1
            cause = error.__cause__ if isinstance(error, OutcomeUnknown) else error
            self._refused_at, self._refusal = self._clock.monotonic(), str(cause)
            raise
        self._refusal = ""
        if acceptance.order.terms != signal.terms:
            raise SignalConflict(signal.signal_id, str(acceptance.order.id))
        if acceptance.created and signal.source != "channel":
            self._publisher.put(message_of(acceptance.order))
        return acceptance

    def wake(self, message: Mapping[str, object]) -> None:
        """Publish something else that concerns the engine, such as a command; must carry `order_id`."""
        self._publisher.put(msgspec.json.encode(message))

    async def _stored(self, arrival: _Arrival) -> Acceptance:
        """Store; a lost answer is asked for again with the same order id, which finds the order if it is stored."""
        give_up = self._clock.monotonic() + DOUBT_S_MAX
        in_doubt = False
        attempt = 0
        while True:
            try:
                return await self._commit.submit(arrival)
            except StoreUnavailable as error:
                in_doubt = in_doubt or isinstance(error, self._doubtful)
                if not in_doubt:
                    raise
                pause = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
                attempt += 1
                if self._clock.monotonic() + pause > give_up:
                    raise OutcomeUnknown(arrival[1], arrival[2].signal_id) from error
                await asyncio.sleep(pause)

    async def _store_batch(self, batch: Sequence[_Arrival]) -> Sequence[Acceptance]:
        accounts = {arrival[0] for arrival in batch}
        if len(accounts) == 1:
            return await self._store.accept(batch[0][0], [arrival[1:] for arrival in batch])
        answers: dict[int, Acceptance] = {}
        for account_id in accounts:
            places = [place for place, arrival in enumerate(batch) if arrival[0] == account_id]
            stored = await self._store.accept(account_id, [batch[place][1:] for place in places])
            answers.update(zip(places, stored, strict=True))
        return [answers[place] for place in range(len(batch))]


class Publisher:
    """Publishes on the bus behind the callers' backs: what Redis misses is counted, and found by the engine's sweep."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queue: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self.lost = 0

    def put(self, message: bytes) -> None:
        """Publish soon. When Redis does not keep up the oldest are dropped."""
        if len(self._queue) >= PUBLISH_QUEUE_MAX:
            self._queue.popleft()
            self.lost += 1
        self._queue.append(message)
        self._filled.set()

    async def run(self) -> None:
        """Publish until cancelled; what came in during one round trip goes with the next."""
        was_lost = False
        while True:
            await self._filled.wait()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), PUBLISH_AT_ONCE))]
            try:
                await self._bus.publish_signals(batch)
            except Unavailable as error:
                self.lost += len(batch)
                if not was_lost:
                    log.warning("signals are stored but not published: %s", error)
                was_lost = True
                await asyncio.sleep(0.2)  # a refused connection fails at once: do not spin
            else:
                was_lost = False
            if not self._queue:
                self._filled.clear()


def message_of(order: Order) -> bytes:
    """What is published of an accepted signal: its fields, `order_id` and `source`; numbers exactly."""
    fields: dict[str, object] = {
        "order_id": str(order.id),
        "source": order.source,
        "symbol": order.symbol,
        "side": str(order.side),
        "qty": "all" if order.qty is None else _plain(order.qty),
        "type": str(order.type),
        "limit_price": _plain(order.limit_price),
        "time_in_force": str(order.time_in_force),
        "reason": order.reason,
        "strategy": order.strategy,
        "signal_id": order.signal_id,
        "valid_for_s": _plain(order.valid_for_s),
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _plain(value: Decimal | None) -> msgspec.Raw | None:
    """A JSON number, exactly and without an exponent."""
    return None if value is None else msgspec.Raw(format(trimmed(value), "f").encode())
