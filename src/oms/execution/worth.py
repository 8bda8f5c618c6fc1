"""Whether an order may go out at this moment, and what goes out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from oms.domain.orders import Order
from oms.ports import Clock, Halt, Ticket

REMEMBERED = 100_000
HALTED = "HALTED"  # what is refused while a person has stopped trading


class Worth:
    """Is the signal still fresh, and may anything be sent at all?

    A signal's age is counted by the wall clock since it was accepted, and by the monotonic clock since this process
    first saw it: a clock that is set back must not make an old signal young.
    """

    def __init__(self, clock: Clock, fresh_for_s: Callable[[Order], Decimal], may_send: Callable[[], bool]) -> None:
        self._clock = clock
        self._fresh_for_s = fresh_for_s
        self._may_send = may_send
        self._seen_at: OrderedDict[UUID, float] = OrderedDict()
        self.halt: Halt | None = None

    @property
    def is_halted(self) -> bool:
        """Whether a person stopped trading."""
        return self.halt is not None and self.halt.is_on

    @property
    def why_halted(self) -> str:
        """For the orders that are refused."""
        if self.halt is None:
            return ""
        since = f"{self.halt.at:%Y-%m-%d %H:%M:%S} UTC"
        return f"Trading is halted since {since} by {self.halt.by}: {self.halt.reason}. To go on: oms resume"

    def may_send(self) -> bool:
        """Whether new orders may go out now."""
        return not self.is_halted and self._may_send()

    def waited_s(self, order: Order) -> Decimal:
        """How long its signal has waited."""
        now = self._clock.monotonic()
        seen_at = self._seen_at.setdefault(order.id, now)
        if len(self._seen_at) > REMEMBERED:
            self._seen_at.popitem(last=False)
        by_wall = (self._clock.now() - order.created_at).total_seconds()
        return Decimal(str(max(by_wall, now - seen_at, 0.0)))

    def is_fresh(self, order: Order) -> bool:
        """Whether its signal is still worth sending."""
        return self.waited_s(order) <= self._fresh_for_s(order)


def ticket_of(order: Order, qty: Decimal) -> Ticket:
    """What is sent; the same for every attempt."""
    return Ticket(
        order.client_order_id, order.symbol, order.side, qty, order.type, order.time_in_force, order.limit_price
    )
