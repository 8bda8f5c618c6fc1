"""The broker's truth: orders, executions, holdings, fees. It never errs; the wire in `broker.py` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from zoneinfo import ZoneInfo

from oms.domain.errors import BrokerDuplicateId, BrokerNotFound, BrokerRefused
from oms.domain.instruments import Instrument
from oms.domain.orders import OrderStatus
from oms.domain.reports import (
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    FeeActivity,
    MarketClock,
    OrderUpdate,
    UpdateKind,
)
from oms.domain.values import ZERO, AssetClass, OrderType, Side, TimeInForce
from oms.ports import Ticket
from tests.simulation.world import World

NEW_YORK = ZoneInfo("America/New_York")
TAKER, MAKER = Decimal("0.0025"), Decimal("0.0015")
FEE_STEP = Decimal("1e-9")
OPEN = frozenset({OrderStatus.SUBMITTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.HELD})
WORDS = {
    OrderStatus.SUBMITTED: "new",
    OrderStatus.HELD: "held",
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
    OrderStatus.CANCELLED: "canceled",
    OrderStatus.EXPIRED: "expired",
    OrderStatus.REJECTED: "rejected",
    OrderStatus.REPLACED: "replaced",
}
INSTRUMENTS = (
    Instrument("AAPL", AssetClass.STOCK, "a1", tradable=True, fractionable=True, shortable=True),
    Instrument("MSFT", AssetClass.STOCK, "a2", tradable=True, fractionable=True, shortable=True),
    Instrument("BTC/USD", AssetClass.CRYPTO, "c1", qty_min=Decimal("0.0001"), qty_increment=Decimal("1e-9")),
)


@dataclass(slots=True)
class VenueOrder:
    """One order as the broker has it."""

    id: str
    client_id: str
    instrument: Instrument
    side: Side
    qty: Decimal
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    submitted_at: datetime
    visible_at: float  # before, look-ups and listings do not show it
    status: OrderStatus = OrderStatus.SUBMITTED
    filled: Decimal = ZERO
    value: Decimal = ZERO
    updated_at: datetime | None = None
    fills: list[BrokerFill] = field(default_factory=list)
    is_maker: bool = False
    replaced_by: str | None = None
    replaces: str | None = None

    @property
    def leaves(self) -> Decimal:
        return self.qty - self.filled if self.status in OPEN else ZERO

    def view(self) -> BrokerOrder:
        average = None if not self.filled else self.value / self.filled
        return BrokerOrder(
            self.id, self.client_id, self.instrument.symbol, self.instrument.asset_class, self.side, self.qty,
            str(self.type), self.time_in_force, self.status, WORDS[self.status], self.filled, average,
            self.limit_price, self.submitted_at, self.updated_at or self.submitted_at, self.replaced_by, self.replaces,
        )  # fmt: skip


class Venue:
    """`tell` is called with every update, `on_submit` before an order is taken (the invariants look there)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.orders: dict[str, VenueOrder] = {}
        self.by_client: dict[str, VenueOrder] = {}
        self.held: dict[str, Decimal] = {}
        self.cost: dict[str, Decimal] = {}
        self.fees: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}  # not posted yet
        self.fee_of: dict[str, tuple[str, Decimal, Decimal]] = {}  # of each execution: the day, coin, cash
        self.posted: list[FeeActivity] = []
        self.fills: list[tuple[float, BrokerFill]] = []  # with when the activities show it; busts too
        self.busted: set[str] = set()  # executions
        self.prices: dict[str, Decimal] = {"AAPL": Decimal(100), "MSFT": Decimal(50), "BTC/USD": Decimal(20000)}
        self.lowest = dict(self.prices)  # so far
        self.frozen_at: dict[str, datetime] = {}  # prices that do not move any more
        self.closes_at = world.base + timedelta(hours=1)
        self.is_open = True
        self.funds = True
        self.tell: Callable[[OrderUpdate], None] = lambda _: None
        self.on_submit: Callable[[VenueOrder], None] = lambda _: None
        self._activities = 0

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def clock(self) -> MarketClock:
        now = self._world.now()
        opens = self.closes_at + timedelta(hours=17, minutes=30)
        return MarketClock(now, self.is_open, opens, self.closes_at if self.is_open else opens + timedelta(hours=6.5))

    def submit(
        self, ticket: Ticket, *, visible_after_s: float = 0.0, external: bool = False, held: bool = False
    ) -> VenueOrder:
        """Take an order; it does not work while it is `held`. Raises BrokerDuplicateId, BrokerRefused."""
        if ticket.client_order_id in self.by_client:
            raise BrokerDuplicateId(422, 40010001, "client_order_id must be unique")
        instrument = next(one for one in INSTRUMENTS if one.symbol == ticket.symbol)
        if not self.funds and ticket.side is Side.BUY:
            raise BrokerRefused(403, 40310000, "insufficient buying power")
        if instrument.is_crypto and ticket.side is Side.SELL:
            selling = sum(
                (o.leaves for o in self.orders.values() if o.side is Side.SELL and o.instrument is instrument), ZERO
            )
            if ticket.qty + selling > self.held.get(instrument.symbol, ZERO):
                raise BrokerRefused(403, 40310000, "insufficient balance for BTC")
        world = self._world
        order = VenueOrder(
            str(world.new_id()), ticket.client_order_id, instrument, ticket.side, ticket.qty, ticket.type,
            ticket.time_in_force, ticket.limit_price, world.now(), world.loop.time() + visible_after_s,
        )  # fmt: skip
        price = self.prices[instrument.symbol]
        if order.limit_price is not None:
            order.is_maker = order.limit_price < price if order.side is Side.BUY else order.limit_price > price
        if not external:
            self.on_submit(order)
        self.orders[order.id] = self.by_client[order.client_id] = order
        world.note("taken", order.client_id[-6:], order.side, order.qty, instrument.symbol, order.limit_price)
        if held:
            order.status = OrderStatus.HELD
        self._event(order, UpdateKind.ACCEPTED, WORDS[order.status])
        return order

    def wake(self, order: VenueOrder) -> bool:
        """A bracket's leg begins to work; whether it had waited until now."""
        if order.status is not OrderStatus.HELD:
            return False
        order.status, order.updated_at = OrderStatus.SUBMITTED, self._world.now()
        self._world.note("woken", order.client_id[-6:])
        self._event(order, UpdateKind.ACCEPTED, "new")
        return True

    def cancel(self, broker_order_id: str) -> None:
        """Raises BrokerNotFound, BrokerRefused (it ended otherwise). The cancel happens a little later."""
        order = self.orders.get(broker_order_id)
        if order is None:
            raise BrokerNotFound("order not found")
        if order.status is OrderStatus.CANCELLED:
            return
        if order.status not in OPEN:
            raise BrokerRefused(422, 42210000, f'order is already in "{WORDS[order.status]}" state')
        self._world.loop.at(self._world.random.choice((0.0, 0.01, 0.3)), self.end, order, OrderStatus.CANCELLED)

    def positions(self) -> list[BrokerPosition]:
        return [
            BrokerPosition(symbol, self._class(symbol), qty, self.cost.get(symbol, Decimal(1)))
            for symbol, qty in self.held.items()
            if qty
        ]

    @staticmethod
    def _class(symbol: str) -> AssetClass:
        return AssetClass.CRYPTO if "/" in symbol else AssetClass.STOCK

    # --- what happens -------------------------------------------------------------------------------------------------

    def fill(self, order: VenueOrder, qty: Decimal, price: Decimal, *, activity_after_s: float = 0.0) -> None:
        """An execution of at most `qty`."""
        qty = min(qty, order.leaves)
        if qty <= 0 or order.status is OrderStatus.HELD:
            return
        self._fill(order, qty, price, activity_after_s)

    def fill_late(self, order: VenueOrder, qty: Decimal, price: Decimal) -> None:
        """An execution that was under way when its order was cancelled or expired: the end stays."""
        if order.status in {OrderStatus.CANCELLED, OrderStatus.EXPIRED} and qty <= order.qty - order.filled:
            self._fill(order, qty, price, 0.0)

    def _fill(self, order: VenueOrder, qty: Decimal, price: Decimal, activity_after_s: float) -> None:
        world = self._world
        order.filled += qty
        order.value += qty * price
        if order.status in OPEN:
            order.status = OrderStatus.FILLED if order.filled == order.qty else OrderStatus.PARTIALLY_FILLED
        order.updated_at = world.now()
        execution = f"x-{len(self.fills)}"
        fill = BrokerFill(
            order.id, order.instrument.symbol, order.side, qty, price, order.filled, order.updated_at, execution
        )
        order.fills.append(fill)
        self.fills.append((world.loop.time() + activity_after_s, fill))
        self._hold(order, qty, price, execution)
        world.note("filled", order.client_id[-6:], qty, order.filled)
        word = "fill" if order.filled == order.qty else "partial_fill"
        self._event(order, UpdateKind.FILL, word, fill)

    def _hold(self, order: VenueOrder, qty: Decimal, price: Decimal, execution: str) -> None:
        symbol = order.instrument.symbol
        before = self.held.get(symbol, ZERO)
        self.held[symbol] = before + order.side.sign * qty
        self.cost[symbol] = price
        if order.instrument.is_crypto:
            rate = MAKER if order.is_maker else TAKER
            bought = order.side is Side.BUY
            fee = (qty * rate * (1 if bought else price)).quantize(FEE_STEP, ROUND_UP)
            coin, cash = (fee, ZERO) if bought else (ZERO, fee)
            self.held[symbol] -= coin
            self.fee_of[execution] = (self.today(), coin, cash)
            self._owe(self.today(), symbol, coin, cash)

    def _owe(self, day: str, symbol: str, coin: Decimal, cash: Decimal) -> None:
        """Fees of a day that its end will post; negative where they are given back."""
        before = self.fees.pop((day, symbol), (ZERO, ZERO))
        after = (before[0] - coin, before[1] - cash)
        if any(after):
            self.fees[day, symbol] = after

    def bust(self, fill: BrokerFill) -> None:
        """Take an execution of an ended order back, with its fee: not posted where it was not yet, else posted as given
        back, on the day of the execution."""
        order, world, symbol = self.orders[fill.broker_order_id], self._world, fill.symbol
        assert fill.execution_id is not None
        if order.status in OPEN or fill.execution_id in self.busted:
            return
        self.busted.add(fill.execution_id)
        order.filled -= fill.qty
        order.value -= fill.qty * fill.price
        order.updated_at = world.now()
        self.held[symbol] -= fill.side.sign * fill.qty
        if order.instrument.is_crypto:
            day, coin, cash = self.fee_of[fill.execution_id]
            self.held[symbol] += coin
            self._owe(day, symbol, -coin, -cash)
        name = f"bust-{fill.execution_id}"
        taken_back = replace(
            fill, cum_qty=ZERO, transacted_at=order.updated_at, execution_id=name, activity_id=name, is_bust=True
        )
        self.fills.append((world.loop.time(), taken_back))
        world.note("busted", order.client_id[-6:], fill.qty)
        self._event(order, UpdateKind.RESTATED, "restated")

    def replace(self, old: VenueOrder, client_id: str, qty: Decimal, limit_price: Decimal | None) -> VenueOrder | None:
        """PATCH: another order takes over what is left of `qty`; None where the old one has ended or filled so much."""
        if old.status not in OPEN or qty <= old.filled or client_id in self.by_client:
            return None
        world = self._world
        new = VenueOrder(
            str(world.new_id()), client_id, old.instrument, old.side, qty - old.filled, old.type, old.time_in_force,
            limit_price, world.now(), world.loop.time(), is_maker=old.is_maker, replaces=old.id,
        )  # fmt: skip
        self.orders[new.id] = self.by_client[new.client_id] = new
        old.status, old.replaced_by, old.updated_at = OrderStatus.REPLACED, new.id, world.now()
        world.note("replaced", old.client_id[-6:], "by", client_id, new.qty)
        self._event(old, UpdateKind.REPLACED, "replaced")
        self._event(new, UpdateKind.ACCEPTED, "new")
        return new

    def end(self, order: VenueOrder, status: OrderStatus) -> None:
        """Cancelled, expired, or rejected after it was accepted."""
        if order.status not in OPEN or (status is OrderStatus.REJECTED and order.filled):
            return
        order.status = status
        order.updated_at = self._world.now()
        self._world.note(WORDS[status], order.client_id[-6:], order.filled)
        kind = {
            OrderStatus.CANCELLED: UpdateKind.CANCELLED,
            OrderStatus.EXPIRED: UpdateKind.EXPIRED,
            OrderStatus.REJECTED: UpdateKind.REJECTED,
        }[status]
        self._event(order, kind, WORDS[status])

    def post_fees(self) -> None:
        """The day's end: each coin's fees of a day as one activity; what was posted is not posted again."""
        for (day, symbol), (coin, cash) in self.fees.items():
            self._activities += 1
            self.posted.append(FeeActivity(f"fee-{self._activities}", symbol, day, coin, None, cash))
            self._world.note("fees", day, symbol, coin, cash)
        self.fees.clear()

    def close_market(self) -> None:
        """Stocks stop trading: DAY orders expire."""
        self.is_open = False
        for order in list(self.orders.values()):
            if order.status in OPEN and order.time_in_force is TimeInForce.DAY:
                self.end(order, OrderStatus.EXPIRED)

    def today(self) -> str:
        return f"{self._world.now().astimezone(NEW_YORK):%Y-%m-%d}"

    def _event(self, order: VenueOrder, kind: UpdateKind, word: str, fill: BrokerFill | None = None) -> None:
        self.tell(OrderUpdate(kind, word, order.view(), self._world.now(), fill))
