"""An order, its statuses, and the one table of what may happen to it."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from paperbroker.money import NINE_DECIMALS, ZERO


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class Status(StrEnum):
    PENDING_NEW = "pending_new"
    ACCEPTED = "accepted"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


class Event(StrEnum):
    """What the stream calls the changes."""

    PENDING_NEW = "pending_new"
    ACCEPTED = "accepted"
    NEW = "new"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


TERMINAL = frozenset({Status.FILLED, Status.CANCELED, Status.EXPIRED, Status.REJECTED})

# What may happen in which status, and the status after it. Nothing happens in a terminal one.
TRANSITIONS: dict[Status, dict[Event, Status]] = {
    Status.PENDING_NEW: {
        Event.PENDING_NEW: Status.PENDING_NEW,
        Event.NEW: Status.NEW,
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        Event.EXPIRED: Status.EXPIRED,
        Event.REJECTED: Status.REJECTED,
    },
    Status.ACCEPTED: {  # outside the session: waits for the open
        Event.ACCEPTED: Status.ACCEPTED,
        Event.NEW: Status.NEW,
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        Event.EXPIRED: Status.EXPIRED,
        Event.REJECTED: Status.REJECTED,
    },
    Status.NEW: {
        Event.PARTIAL_FILL: Status.PARTIALLY_FILLED,
        Event.FILL: Status.FILLED,
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        Event.CANCELED: Status.CANCELED,  # by its time in force: ioc, fok
        Event.EXPIRED: Status.EXPIRED,
    },
    Status.PARTIALLY_FILLED: {
        Event.PARTIAL_FILL: Status.PARTIALLY_FILLED,
        Event.FILL: Status.FILLED,
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        Event.CANCELED: Status.CANCELED,
        Event.EXPIRED: Status.EXPIRED,
    },
    Status.PENDING_CANCEL: {
        Event.PARTIAL_FILL: Status.PENDING_CANCEL,  # a fill can win the race against a cancel
        Event.FILL: Status.FILLED,
        Event.CANCELED: Status.CANCELED,
        Event.EXPIRED: Status.EXPIRED,
    },
}


class Order(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An order as the broker keeps it: quantities in shares or coins, money in the quote currency, instants in ns.

    Either `qty` or `notional` is given. `hold_price` is the price at which the unfilled rest reserves buying power (0
    when it reduces a position); `hold_qty` is what a sell, or a buy that covers, holds of the position.
    """

    id: str
    account_id: str
    seq: int
    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    status: Status
    created_ns: int
    updated_ns: int
    submitted_ns: int
    expires_ns: int
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    extended_hours: bool = False
    position_intent: str = ""
    order_class: str = ""
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO
    filled_ns: int | None = None
    expired_ns: int | None = None
    canceled_ns: int | None = None
    failed_ns: int | None = None
    rested: bool = False
    executions: int = 0
    hold_price: Decimal = ZERO
    hold_qty: Decimal = ZERO

    @property
    def is_open(self) -> bool:
        return self.status not in TERMINAL

    @property
    def filled_avg_price(self) -> Decimal | None:
        """Rounded to 9 decimals; None until something is filled."""
        return (self.filled_value / self.filled_qty).quantize(NINE_DECIMALS) if self.filled_qty else None

    @property
    def open_notional(self) -> Decimal:
        """What a notional order still has to spend."""
        return (self.notional or ZERO) - self.filled_value

    def fill(self, qty: Decimal, price: Decimal) -> None:
        """Add an execution to what is filled; its event is applied apart."""
        self.filled_qty += qty
        self.filled_value += qty * price
        self.executions += 1
        self.hold_qty = max(self.hold_qty - qty, ZERO)

    def can(self, event: Event) -> bool:
        return event in TRANSITIONS.get(self.status, {})

    def apply(self, event: Event, ns: int) -> None:
        """Go to the status that an event leads to and stamp its time.

        Raises ValueError when that cannot happen in the order's status.
        """
        allowed = TRANSITIONS.get(self.status, {})
        if event not in allowed:
            raise ValueError(f"order {self.id}: {event} cannot happen in {self.status}")
        self.status = allowed[event]
        self.updated_ns = ns
        if event is Event.NEW:
            self.submitted_ns = ns
        elif event is Event.FILL:
            self.filled_ns = ns
        elif event is Event.CANCELED:
            self.canceled_ns = ns
        elif event is Event.EXPIRED:
            self.expired_ns = ns
        elif event is Event.REJECTED:
            self.failed_ns = ns
