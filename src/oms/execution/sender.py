"""Sends approved orders to the broker."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from oms.domain.errors import BrokerBusy, BrokerDuplicateId, BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.domain.orders import Order
from oms.execution.desk import Desk
from oms.execution.ledger import Ledger
from oms.execution.resolver import Resolver
from oms.execution.wire import Wire
from oms.execution.worth import HALTED
from oms.ports import Purpose
from oms.risk.gate import ApprovedOrder

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1


class Sender:
    """Turns committed intents into broker orders.

    A definite refusal ends an order. Timeout, cut connection and 5xx do not: the resolver finds out.
    """

    def __init__(self, desk: Desk, ledger: Ledger, resolver: Resolver, wire: Wire) -> None:
        self._book = desk.book
        self._journal = desk.journal
        self._budget = desk.outside.budget
        self._worth = desk.worth
        self._ledger = ledger
        self._resolver = resolver
        self._wire = wire
        self.unauthorized: BrokerUnauthorized | None = None
        self.refusals = 0  # by the broker
        self.waiting: set[UUID] = set()  # orders whose request has not gone out: for a turn in the budget, mostly

    async def send(self, approved: ApprovedOrder) -> None:
        """Send an order whose intent is committed and for which a request is promised; follow it to its fate."""
        order = self._book.orders[approved.order.id]
        self._resolver.being_sent.add(order.id)
        try:
            is_settled = await self._sent(order, approved)
        finally:
            self._resolver.being_sent.discard(order.id)
        if not is_settled:
            await self._resolver.resolve(order.id)

    async def _sent(self, order: Order, approved: ApprovedOrder) -> bool:
        """Whether the answer settled it; else it must be looked up."""
        is_promised = True
        while True:
            if not await self._turn(order, is_promised=is_promised):
                if self._worth.is_halted:
                    self._end_refused(order.id, HALTED, self._worth.why_halted)
                else:
                    text = "It could not be sent before the signal was stale; nothing was executed"
                    self._end_refused(order.id, "SIGNAL_STALE", text)
                return True
            is_promised = False
            try:
                await self._ledger.observe(await self._wire.post(order, approved.qty))
                return True
            except BrokerBusy:
                await asyncio.sleep(LOOK_EVERY_S)  # 429 says that nothing was executed
            except BrokerDuplicateId:
                return False
            except BrokerRefused as error:
                if isinstance(error, BrokerUnauthorized):
                    self.unauthorized = error
                self._refuse(order.id, error)
                return True
            except BrokerUnknown as error:
                self._unknown(order.id, str(error))
                return False

    async def _turn(self, order: Order, *, is_promised: bool) -> bool:
        """Wait until a request may go out at once; False when before it was withdrawn or stale, or trading halted."""
        self.waiting.add(order.id)
        try:
            while self._is_wanted(order):
                is_free = self._budget.blocked_s(Purpose.SUBMIT) == 0
                if self._worth.may_send() and is_free and (is_promised or self._budget.available(Purpose.SUBMIT)):
                    if not is_promised:
                        self._budget.promise(Purpose.SUBMIT)
                    return True
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self.waiting.discard(order.id)
        if is_promised:
            self._budget.release(Purpose.SUBMIT)
        return False

    def _is_wanted(self, order: Order) -> bool:
        is_open = self._book.orders[order.id].is_open
        return is_open and self._worth.is_fresh(order) and not self._worth.is_halted

    def _refuse(self, order_id: UUID, error: BrokerRefused) -> None:
        self.refusals += 1
        code = f"BROKER_{error.code}" if error.code is not None else f"BROKER_HTTP_{error.status}"
        extras = "".join(f", {key}: {value}" for key, value in error.extras.items())
        self._end_refused(order_id, code, f"Alpaca refused it: {error.message}{extras}")

    def _end_refused(self, order_id: UUID, code: str, text: str) -> None:
        order = self._book.orders[order_id]
        if order.alpaca_id is None and order.is_open:
            log.warning("order_rejected", order_id=str(order_id), symbol=order.symbol, code=code, reason=text)
            self._journal.record(self._book.reject(order, code, text))

    def _unknown(self, order_id: UUID, reason: str) -> None:
        order = self._book.orders[order_id]
        log.warning("outcome_unknown", order_id=str(order_id), reason=reason)
        if order.alpaca_id is None:
            self._journal.record(self._book.mark_unknown(order, reason))
