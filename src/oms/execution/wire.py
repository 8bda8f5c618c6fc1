"""The one place from which orders go out: what is under way at this moment is known here."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from oms.domain.errors import BrokerUnknown
from oms.domain.orders import Order
from oms.domain.reports import BrokerOrder
from oms.execution.breaker import Breaker
from oms.execution.worth import ticket_of
from oms.ports import Broker


class Wire:
    """Sends. `under_way` are the orders whose request has not been answered; the breaker hears of lost answers."""

    def __init__(self, broker: Broker, breaker: Breaker) -> None:
        self._broker = broker
        self._breaker = breaker
        self.under_way: set[UUID] = set()

    async def post(self, order: Order, qty: Decimal) -> BrokerOrder:
        """One request, whose budget is promised. Raises what Broker.submit does."""
        self.under_way.add(order.id)
        try:
            return await self._broker.submit(ticket_of(order, qty))
        except BrokerUnknown:
            self._breaker.unknown()
            raise
        finally:
            self.under_way.discard(order.id)
