"""What became of orders whose answer was lost: looked up, sent again with the same id, or proven absent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

import structlog

from oms.domain.errors import (
    BrokerBusy,
    BrokerDuplicateId,
    BrokerError,
    BrokerNotFound,
    BrokerRefused,
    BrokerUnauthorized,
)
from oms.domain.orders import Order, OrderStatus
from oms.domain.reports import BrokerOrder
from oms.execution.book import PROVEN_ABSENT
from oms.execution.desk import Desk
from oms.execution.ledger import Ledger
from oms.execution.wire import Wire
from oms.ports import Purpose
from oms.waiting import pause_s

log = structlog.get_logger(__name__)

ABSENT_AFTER_S = 60.0  # 404s must span this, since the last request, before an order counts as never arrived
BACKOFF_S = (0.25, 30.0)
ASKED_SINGLY_MAX = 5  # more at once are asked for together, by a listing of all orders
LISTING_HOLDS_S = 5.0


class Again(Enum):
    """What a second request with the same id came to."""

    SETTLED = "settled"
    DOUBTFUL = "doubtful"  # it may have been executed now: the proof of absence begins anew
    NOT_EXECUTED = "not executed"
    REFUSED = "refused"  # definitely, which proves nothing about the first


@dataclass(frozen=True, slots=True)
class _Listing:
    """All orders since that time, by our id; begun when, by the monotonic clock. `is_whole`: no record was left out."""

    begun: float
    since: datetime
    orders: Mapping[str, BrokerOrder]
    is_whole: bool


class Resolver:
    """Asks until the broker shows an order or it is proven absent. A query that failed counts as nothing.

    A second POST carries the same id, which the broker refuses when the first one arrived. `being_sent` are orders
    whose first request is under way, `given_up` those that somebody wants cancelled: they are only looked up.

    Many at once are looked up in a listing that they share. Where it has left out a record that it cannot read, what it
    does not show is asked for by its id before it counts as absent.
    """

    def __init__(self, desk: Desk, ledger: Ledger, wire: Wire) -> None:
        self._broker = desk.outside.broker
        self._clock = desk.outside.clock
        self._random = desk.outside.random
        self._budget = desk.outside.budget
        self._book = desk.book
        self._journal = desk.journal
        self._worth = desk.worth
        self._ledger = ledger
        self._wire = wire
        self._turn = asyncio.Lock()  # first come, first served: who asks often keeps nobody from a first question
        self._asking: dict[UUID, float] = {}  # with when its last request had ended
        self._listing: _Listing | None = None
        self.being_sent: set[UUID] = set()
        self.given_up: set[UUID] = set()

    async def resolve(self, order_id: UUID) -> None:
        """Follow one order to its fate.

        One asker at a time for an order, and none while it is being sent: a refusal of that request would prove nothing
        once a second one is on its way.
        """
        if order_id in self._asking or order_id in self.being_sent:
            return
        self._asking[order_id] = self._clock.monotonic()
        try:
            await self._resolve(order_id)
        finally:
            del self._asking[order_id]
            self.given_up.discard(order_id)

    async def _resolve(self, order_id: UUID) -> None:
        absent_since: float | None = None
        attempt = 0
        while (order := self._open(order_id)) is not None:
            try:
                await self._ledger.observe(await self._look_up(order))
                if self._open(order_id) is None:
                    return  # else it is somebody else's under our id: told, and asked for again
            except BrokerNotFound:
                absent_since = await self._absent(order_id, absent_since)
            except BrokerUnauthorized:
                pass  # whoever asks next ends the session
            except BrokerError as error:
                log.info("lookup_failed", order_id=str(order_id), reason=str(error))
            attempt += 1
            await asyncio.sleep(pause_s(self._random, attempt, BACKOFF_S))

    async def _look_up(self, order: Order) -> BrokerOrder:
        """Ask for it alone, or with all the others. Raises BrokerError."""
        if len(self._asking) <= ASKED_SINGLY_MAX:
            return await self._asked_singly(order)
        found = (await self._listed(order)).orders.get(order.client_order_id)
        if found is None:
            raise BrokerNotFound("the listing does not show it")
        return found

    async def _asked_singly(self, order: Order) -> BrokerOrder:
        async with self._turn:
            await self._room()
        return await self._broker.order_by_client_id(order.client_order_id)

    async def _listed(self, order: Order, after: float = 0.0) -> _Listing:
        """A listing that would show it, begun after that time: the one that another just asked for, or a new one."""
        async with self._turn:
            no_older = max(after, self._asking[order.id], self._clock.monotonic() - LISTING_HOLDS_S)
            listing = self._listing
            if listing is None or listing.begun < no_older or listing.since > _before(order):
                await self._room()
                since = min(map(_before, [order, *filter(None, map(self._open, self._asking))]))
                begun, left_out = self._clock.monotonic(), self._broker.left_out
                orders = {seen.client_order_id: seen for seen in await self._broker.orders_since(since)}
                listing = self._listing = _Listing(begun, since, orders, self._broker.left_out == left_out)
            return listing

    async def _room(self) -> None:
        while self._budget.spare(Purpose.RECONCILE) < 1:  # noqa: ASYNC110 — time is what it waits for
            await asyncio.sleep(1.0)

    async def _absent(self, order_id: UUID, absent_since: float | None) -> float | None:
        """The broker shows no such order: send it again while it is worth it, or end it when that is proven."""
        now = self._clock.monotonic()
        absent_since = now if absent_since is None else absent_since
        order = self._open(order_id)
        if order is None:
            return None
        if order_id not in self.given_up and self._worth.is_fresh(order) and not self._worth.is_halted:
            outcome = await self._again(order) if self._worth.may_send() else Again.NOT_EXECUTED
            if outcome is not Again.REFUSED:
                return None if outcome is Again.DOUBTFUL else absent_since
        if now - absent_since >= ABSENT_AFTER_S:
            await self._prove_absence(order, absent_since + ABSENT_AFTER_S)
        return absent_since

    async def _again(self, order: Order) -> Again:
        """POST once more with the same id."""
        if order.qty is None or not self._budget.available(Purpose.SUBMIT):
            return Again.NOT_EXECUTED
        self._budget.promise(Purpose.SUBMIT)
        try:
            await self._ledger.observe(await self._wire.post(order, order.qty))
        except BrokerBusy:
            return Again.NOT_EXECUTED
        except BrokerDuplicateId:
            return Again.DOUBTFUL  # it is there, and will be shown
        except BrokerRefused as error:
            # It proves nothing about the first attempt, which may have taken the money; without one, it is the end.
            log.info("same_id_refused", order_id=str(order.id), reason=str(error))
            return Again.NOT_EXECUTED if isinstance(error, BrokerUnauthorized) else Again.REFUSED
        except BrokerError as error:
            log.info("same_id_unknown", order_id=str(order.id), reason=str(error))
            return Again.DOUBTFUL
        finally:
            self._asking[order.id] = self._clock.monotonic()
        return Again.SETTLED

    async def _prove_absence(self, order: Order, after: float) -> None:
        """End it when a full listing since before the attempt, begun after that time, does not show it either."""
        try:
            listing = await self._listed(order, after)
            found = listing.orders.get(order.client_order_id)
            if found is None and not listing.is_whole:
                found = await self._asked_singly(order)
        except BrokerNotFound:
            found = None
        except BrokerError:
            return
        if found is not None:
            await self._ledger.observe(found)
            return
        now = self._open(order.id)  # the stream may have told of it meanwhile
        if now is not None:
            text = f"The broker's answer was lost, and for {ABSENT_AFTER_S:.0f} s it has shown no such order"
            self._journal.record(self._book.end(now, OrderStatus.EXPIRED, PROVEN_ABSENT, text))

    def _open(self, order_id: UUID) -> Order | None:
        """The order while its fate is unknown."""
        order = self._book.orders.get(order_id)
        return order if order is not None and order.is_open and order.alpaca_id is None else None


def _before(order: Order) -> datetime:
    """When it cannot have been sent yet."""
    return (order.attempted_at or order.created_at) - timedelta(minutes=1)
