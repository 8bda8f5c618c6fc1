"""Sends approved orders to the broker, and finds out what became of those whose answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

import structlog

from oms.domain.errors import (
    BrokerBusy,
    BrokerDuplicateId,
    BrokerError,
    BrokerNotFound,
    BrokerRefused,
    BrokerUnauthorized,
    BrokerUnknown,
)
from oms.domain.orders import Order, OrderStatus
from oms.domain.reports import BrokerOrder
from oms.execution.book import Book
from oms.execution.journal import Journal
from oms.execution.ledger import Ledger
from oms.ports import Broker, Clock, Ticket
from oms.risk.gate import ApprovedOrder

log = structlog.get_logger(__name__)

ABSENT_AFTER_S = 60.0  # 404s must span this before an order counts as never arrived
BACKOFF_S = (0.25, 30.0)


class Sender:
    """Turns committed intents into broker orders.

    A definite refusal ends an order. Timeout, cut connection and 5xx do not: the order is looked up by its id until the
    broker shows it, or until it is proven absent. A second POST carries the same id, which the broker refuses when the
    first one arrived.
    """

    def __init__(
        self,
        broker: Broker,
        book: Book,
        journal: Journal,
        ledger: Ledger,
        clock: Clock,
        random: Random,
        fresh_for_s: Callable[[Order], Decimal],
        may_send: Callable[[], bool],
    ) -> None:
        self._broker = broker
        self._book = book
        self._journal = journal
        self._ledger = ledger
        self._clock = clock
        self._random = random
        self._fresh_for_s = fresh_for_s
        self._may_send = may_send
        self._asking: set[UUID] = set()
        self._sending: set[UUID] = set()
        self._unknown_at: list[float] = []
        self.unauthorized: BrokerUnauthorized | None = None

    async def send(self, approved: ApprovedOrder) -> None:
        """Send an order whose intent is committed, and follow it until its fate is known."""
        order = self._book.orders[approved.order.id]
        self._sending.add(order.id)
        try:
            if await self._sent(order, approved):
                return
        finally:
            self._sending.discard(order.id)
        await self.resolve(order.id)

    async def _sent(self, order: Order, approved: ApprovedOrder) -> bool:
        """Whether the answer settled it; else it must be looked up."""
        ticket = Ticket(
            order.client_order_id, order.symbol, order.side, approved.qty, order.type, order.time_in_force,
            order.limit_price,
        )  # fmt: skip
        attempt = 0
        while True:
            try:
                await self._ledger.observe(await self._broker.submit(ticket))
                return True
            except BrokerBusy:
                attempt += 1  # 429 says that nothing was executed: the budget makes the next try wait
            except BrokerDuplicateId:
                return False
            except BrokerUnauthorized as error:
                self.unauthorized = error
                self._refuse(order.id, error)
                return True
            except BrokerRefused as error:
                self._refuse(order.id, error)
                return True
            except BrokerUnknown as error:
                self._unknown(order.id, str(error))
                return False
            if not self._is_fresh(order):
                text = "The broker was too busy to take it before the signal was stale; it was not executed"
                self._end_refused(order.id, "SIGNAL_STALE", text)
                return True
            await asyncio.sleep(self._pause_s(attempt))

    def unknown_within(self, seconds: float) -> int:
        """How many outcomes became unknown lately."""
        since = self._clock.monotonic() - seconds
        self._unknown_at = [at for at in self._unknown_at if at >= since]
        return len(self._unknown_at)

    def forget_unknown(self) -> None:
        """The broker answers again: count anew."""
        self._unknown_at.clear()

    async def resolve(self, order_id: UUID) -> None:
        """Ask until the broker shows the order or it is proven absent.

        One asker at a time for an order, and none while it is being sent: a refusal of that request would prove nothing
        once a second one is on its way.
        """
        if order_id in self._asking or order_id in self._sending:
            return
        self._asking.add(order_id)
        try:
            await self._resolve(order_id)
        finally:
            self._asking.discard(order_id)

    async def _resolve(self, order_id: UUID) -> None:
        absent_since: float | None = None
        attempt = 0
        while (order := self._book.orders.get(order_id)) is not None and order.is_open and order.alpaca_id is None:
            try:
                seen = await self._broker.order_by_client_id(order.client_order_id)
                if asks_the_same(order, seen):
                    await self._ledger.observe(seen)
                    return
                self._book.anomalies.append(f"the broker's order for {order.client_order_id} has other terms")
            except BrokerNotFound:
                absent_since = self._clock.monotonic() if absent_since is None else absent_since
                if self._is_fresh(order) and self._may_send() and await self._again(order):
                    return
                if self._clock.monotonic() - absent_since >= ABSENT_AFTER_S and await self._proven_absent(order):
                    return
            except BrokerUnauthorized as error:
                self.unauthorized = error
            except BrokerError as error:
                log.info("lookup_failed", order_id=str(order_id), reason=str(error))  # counts as nothing
            attempt += 1
            await asyncio.sleep(self._pause_s(attempt))

    async def _again(self, order: Order) -> bool:
        """POST once more with the same id. Whether the order's fate is known now."""
        if order.qty is None:
            return False
        ticket = Ticket(
            order.client_order_id, order.symbol, order.side, order.qty, order.type, order.time_in_force,
            order.limit_price,
        )  # fmt: skip
        try:
            await self._ledger.observe(await self._broker.submit(ticket))
        except BrokerError as error:
            # Even a definite refusal proves nothing about the first attempt, which may have taken the money.
            log.info("same_id_again", order_id=str(order.id), reason=str(error))
            return False
        return True

    async def _proven_absent(self, order: Order) -> bool:
        """A full listing since before the attempt does not show it either."""
        begin = (order.attempted_at or order.created_at) - timedelta(minutes=1)
        try:
            listed = await self._broker.orders_since(begin)
        except BrokerError:
            return False
        found = next((seen for seen in listed if seen.client_order_id == order.client_order_id), None)
        if found is not None:
            await self._ledger.observe(found)
            return True
        text = f"The broker's answer was lost, and for {ABSENT_AFTER_S:.0f} s it has shown no such order"
        self._journal.record(self._book.end(order, OrderStatus.EXPIRED, "PROVEN_ABSENT", text))
        return True

    def _refuse(self, order_id: UUID, error: BrokerRefused) -> None:
        code = f"BROKER_{error.code}" if error.code is not None else f"BROKER_HTTP_{error.status}"
        extras = "".join(f", {key}: {value}" for key, value in error.extras.items())
        self._end_refused(order_id, code, f"Alpaca refused it: {error.message}{extras}")

    def _end_refused(self, order_id: UUID, code: str, text: str) -> None:
        order = self._book.orders[order_id]
        if order.alpaca_id is None and order.is_open:
            self._journal.record(self._book.reject(order, code, text))

    def _unknown(self, order_id: UUID, reason: str) -> None:
        order = self._book.orders[order_id]
        self._unknown_at.append(self._clock.monotonic())
        log.warning("outcome_unknown", order_id=str(order_id), reason=reason)
        if order.alpaca_id is None:
            self._journal.record(self._book.mark_unknown(order, reason))

    def _is_fresh(self, order: Order) -> bool:
        age = (self._clock.now() - order.created_at).total_seconds()
        return Decimal(str(age)) <= self._fresh_for_s(order)

    def _pause_s(self, attempt: int) -> float:
        """Full jitter."""
        low, high = BACKOFF_S
        return low + self._random.random() * (min(low * 2.0**attempt, high) - low)


def asks_the_same(order: Order, seen: BrokerOrder) -> bool:
    """Whether the broker's order is what ours asked for."""
    return (order.symbol, order.side, order.qty) == (seen.symbol, seen.side, seen.qty)
