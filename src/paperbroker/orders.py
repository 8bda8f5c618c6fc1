"""An order as the broker keeps it."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from paperbroker.money import NINE_DECIMALS, ZERO
from paperbroker.statuses import TERMINAL, TRANSITIONS, TURNED_DOWN, Event, Status


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


STOPS = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})


class TimeInForce(StrEnum):
    DAY = "day"
    GTC = "gtc"
    OPG = "opg"
    CLS = "cls"
    IOC = "ioc"
    FOK = "fok"


class OrderClass(StrEnum):
    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"


COMPLEX = frozenset({OrderClass.BRACKET, OrderClass.OCO, OrderClass.OTO})


class Role(StrEnum):
    """What an order is within its bracket, OCO or OTO."""

    ENTRY = "entry"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"


EXITS = frozenset({Role.TAKE_PROFIT, Role.STOP_LOSS})


class Order(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Quantities in shares or coins, money in the quote currency, instants in ns.

    Either `qty` or `notional` is given. `hold_price` is the price at which the unfilled rest reserves buying power (0
    when it reduces a position); `hold_qty` is what a sell, or a buy that covers, holds of the position. A stop waits
    until it is `triggered`. An `opg` or `cls` order is worked on at `due_ns`. `legs` are the ids of a group's other
    orders, kept by its first one; each of those names it as `parent_id`. While an order is about to replace another
    one, `asked_qty` is the quantity of both together and the `full_` holds are those that it gets then. An `unnamed`
    one has a `client_order_id` that the broker made up.
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
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    triggered: bool = False
    extended_hours: bool = False
    position_intent: str = ""
    order_class: str = ""
    group_id: str | None = None
    group_role: Role | None = None
    parent_id: str | None = None
    legs: list[str] = []
    replaces: str | None = None
    replaced_by: str | None = None
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO
    filled_ns: int | None = None
    expired_ns: int | None = None
    canceled_ns: int | None = None
    failed_ns: int | None = None
    replaced_ns: int | None = None
    due_ns: int | None = None
    former_status: Status | None = None
    asked_qty: Decimal | None = None
    full_hold_price: Decimal = ZERO
    full_hold_qty: Decimal = ZERO
    rested: bool = False
    executions: int = 0
    hold_price: Decimal = ZERO
    hold_qty: Decimal = ZERO
    unnamed: bool = False

    @property
    def is_open(self) -> bool:
        return self.status not in TERMINAL

    @property
    def is_complex(self) -> bool:
        return self.group_id is not None

    @property
    def awaits_trigger(self) -> bool:
        return self.type in STOPS and not self.triggered

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
        if event in TURNED_DOWN:
            return self.status is TURNED_DOWN[event] and self.former_status is not None
        return event in TRANSITIONS.get(self.status, {})

    def apply(self, event: Event, ns: int) -> None:
        """Go to the status that an event leads to and stamp its time.

        Raises ValueError when that cannot happen in the order's status.
        """
        if not self.can(event):
            raise ValueError(f"order {self.id}: {event} cannot happen in {self.status}")
        before = self.status
        self.status = self._after(event)
        self.updated_ns = ns
        if event in {Event.PENDING_CANCEL, Event.PENDING_REPLACE}:
            self.former_status = self.former_status if before is Status.PENDING_REPLACE else before
        elif event is Event.NEW:
            self.submitted_ns = ns
        elif event is Event.FILL:
            self.filled_ns = ns
        elif event is Event.CANCELED:
            self.canceled_ns = ns
        elif event is Event.EXPIRED:
            self.expired_ns = ns
        elif event is Event.REJECTED:
            self.failed_ns = ns
        elif event is Event.REPLACED:
            self.replaced_ns = ns

    def _after(self, event: Event) -> Status:
        if event not in TURNED_DOWN:
            return TRANSITIONS[self.status][event]
        former = self.former_status or Status.NEW
        return Status.PARTIALLY_FILLED if self.filled_qty and former is Status.NEW else former
