"""Orders that are open here and that the broker says it does not know."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from oms.domain.drift import Cause, DriftKind, Resolution
from oms.domain.errors import BrokerNotFound
from oms.domain.orders import Order, OrderStatus
from oms.execution.book import ORDER_GONE
from oms.execution.desk import Desk
from oms.ports import Changes

PROVEN_AFTER_S = 60.0  # 404s must span this before a listing is asked, and its order ended here


class GoneOrders:
    """Ends an order that was bound and is gone, with proof: 404s across a minute, by either id, and a full listing."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._since: dict[UUID, float] = {}

    def found(self, order: Order) -> None:
        """The broker shows it."""
        if self._since.pop(order.id, None) is not None:
            self._desk.journal.record(self._desk.book.drift.over(DriftKind.ORDER, order.alpaca_id or ""))

    async def missing(self, order: Order) -> None:
        """The broker answered a definite 404. Raises BrokerError."""
        desk, now = self._desk, self._desk.outside.clock.monotonic()
        subject = order.alpaca_id or ""
        if desk.book.drift.find(DriftKind.ORDER, subject) is None:
            self._since[order.id] = now  # the first, or it was shown in between
        since = self._since.setdefault(order.id, now)
        desk.journal.record(
            desk.book.drift.found(
                DriftKind.ORDER, subject, order.symbol, Cause.ORDER_GONE, order.status, "no such order",
                order_id=order.id,
            )
        )  # fmt: skip
        if now - since < PROVEN_AFTER_S or await self._is_shown(order):
            return
        self._since.pop(order.id, None)  # a light pass may have asked at the same time
        after = desk.book.orders[order.id]  # the stream may have told of it meanwhile
        changes = Changes()
        if after.is_open:
            text = f"For {PROVEN_AFTER_S:.0f} s the broker has shown no such order; its fills until then are kept"
            changes = desk.book.end(after, OrderStatus.EXPIRED, ORDER_GONE, text)
        changes.merge(desk.book.drift.over(DriftKind.ORDER, subject, Resolution.ENDED))
        desk.journal.record(changes)

    async def _is_shown(self, order: Order) -> bool:
        """Whether it is there by our own id, or in the listing of all orders since it was sent."""
        broker = self._desk.outside.broker
        try:
            await broker.order_by_client_id(order.client_order_id)
        except BrokerNotFound:
            listed = await broker.orders_since((order.submitted_at or order.created_at) - timedelta(minutes=1))
            return any(seen.client_order_id == order.client_order_id for seen in listed)
        return True
