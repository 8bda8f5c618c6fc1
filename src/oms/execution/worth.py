"""Whether an order may go out at this moment, and what goes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from oms.domain.orders import Order
from oms.ports import Clock, Ticket


@dataclass(frozen=True, slots=True)
class Worth:
    """Is the signal still fresh, and may anything be sent at all?"""

    clock: Clock
    fresh_for_s: Callable[[Order], Decimal]
    may_send: Callable[[], bool]

    def is_fresh(self, order: Order) -> bool:
        """Whether its signal is still worth sending."""
        age = (self.clock.now() - order.created_at).total_seconds()
        return Decimal(str(age)) <= self.fresh_for_s(order)


def ticket_of(order: Order, qty: Decimal) -> Ticket:
    """What is sent; the same for every attempt."""
    return Ticket(
        order.client_order_id, order.symbol, order.side, qty, order.type, order.time_in_force, order.limit_price
    )
