"""Brackets, OCO and OTO: the legs of an order, what wakes them and what ends them.

The entry's complete fill wakes its exits. A take-profit then works in the market, while the stop beside it stays
`held` and only watches the price; when it is triggered, the take-profit is canceled first. A partial fill of an exit
takes its quantity from the other one. Whatever else ends one order of a group ends the others. Source: Alpaca,
"Orders at Alpaca", and recorded orders.
"""

from collections import defaultdict
from decimal import Decimal
from typing import Protocol

from msgspec.structs import replace

from paperbroker.accounts import Account
from paperbroker.assets import Assets
from paperbroker.ids import id_of
from paperbroker.intake import OrderRequest
from paperbroker.ledger import Ledger
from paperbroker.money import ZERO
from paperbroker.orders import Order, OrderClass, OrderType, Role
from paperbroker.statuses import TERMINAL, Event, Status


class Work(Protocol):
    """What the groups ask of the floor."""

    def work(self, order: Order) -> None: ...

    def end(self, order: Order, event: Event) -> None: ...


def leg_requests(request: OrderRequest) -> list[tuple[Role, OrderRequest]]:
    """The orders that a complex request brings with it."""
    side = request.side if request.order_class == OrderClass.OCO else request.side.opposite
    bare = replace(
        request, side=side, type=OrderType.LIMIT, limit_price=request.take_profit, stop_price=None,
        trail_price=None, trail_percent=None, take_profit=None, stop_loss=None,
        position_intent=f"{side}_to_close",
    )  # fmt: skip
    legs = []
    if request.take_profit is not None and request.order_class != OrderClass.OCO:
        legs.append((Role.TAKE_PROFIT, replace(bare, client_order_id=_leg_id(request, Role.TAKE_PROFIT))))
    if (stop := request.stop_loss) is not None:
        kind = OrderType.STOP if stop.limit_price is None else OrderType.STOP_LIMIT
        leg = replace(bare, type=kind, limit_price=stop.limit_price, stop_price=stop.stop_price)
        legs.append((Role.STOP_LOSS, replace(leg, client_order_id=_leg_id(request, Role.STOP_LOSS))))
    return legs


def _leg_id(request: OrderRequest, role: Role) -> str:
    """Made of the entry's id, so that the same orders meet the same luck; none when the entry has none."""
    return id_of(request.client_order_id, role) if request.client_order_id else ""


def _has_profit(orders: list[Order]) -> bool:
    return any(order.group_role is Role.TAKE_PROFIT for order in orders)


class Groups:
    """The open orders of every group."""

    def __init__(self, assets: Assets, ledger: Ledger) -> None:
        self._assets = assets
        self._ledger = ledger
        self._members: dict[str, dict[str, Order]] = defaultdict(dict)
        self.floor: Work | None = None
        ledger.on_group_change = self.changed

    def add(self, order: Order) -> None:
        if order.group_id is not None:
            self._members[order.group_id][order.id] = order

    def others(self, order: Order) -> list[Order]:
        """The other open orders of a group."""
        members = self._members.get(order.group_id or "", {})
        return [member for member in members.values() if member.id != order.id]

    def resume(self, order: Order) -> None:
        """After a restart: a held leg whose entry is done goes on."""
        if not self.waits_for_entry(order):
            self.go_on(order)

    def go_on(self, order: Order) -> None:
        """A held leg whose entry is done watches the price if it has a take-profit beside it, else works."""
        if order.group_role is Role.STOP_LOSS and _has_profit(self.others(order)):
            self._work(order)
        else:
            self._wake([order])

    def trigger(self, order: Order) -> None:
        """A held stop has been triggered: it takes the place of the take-profit."""
        self._ledger.change(order, Event.NEW)
        for other in self.others(order):
            self._end(other)
        self._take_hold(order)

    def changed(self, order: Order, event: Event, qty: Decimal) -> None:
        """An order of a group has changed; `qty` is what an execution filled."""
        if order.status in TERMINAL:
            self._forget(order)
        if event is Event.REJECTED and order.asked_qty is not None:
            return  # a replacement that was turned down: the others stay with the order that it was for
        if event in {Event.CANCELED, Event.EXPIRED, Event.REJECTED}:
            for other in self.others(order):
                if not other.triggered:
                    self._end(other)
        elif order.group_role is Role.ENTRY:
            if event is Event.FILL:
                self._wake(self.others(order))
        elif event is Event.FILL:
            for other in self.others(order):
                self._end(other)
        elif event is Event.PARTIAL_FILL:
            self._reduce(self.others(order), qty)
        elif event is Event.NEW and order.group_role is Role.TAKE_PROFIT:
            for other in self.others(order):
                if other.status is Status.HELD:  # not one that is just being replaced, or replacing
                    self._work(other)

    def _wake(self, exits: list[Order]) -> None:
        """The entry is filled: the first exit holds the position, a stop beside it waits for its price."""
        for order in exits:
            if order.group_role is Role.STOP_LOSS and _has_profit(exits):
                continue  # woken by its take-profit
            if order.status is not Status.HELD:
                continue
            if not self._take_hold(order):
                self._floor.end(order, Event.REJECTED)
                return
            self._ledger.change(order, Event.NEW)
            self._work(order)

    def _take_hold(self, order: Order) -> bool:
        """Hold the position for an exit; False when it is not there any more."""
        asset = self._assets[order.symbol]
        account: Account = self._ledger[order.account_id]
        needed = (order.qty or ZERO) - order.filled_qty
        free = abs(account.qty(asset.holding)) - account.held(asset.holding, order.side)
        if free < needed and not order.hold_qty:
            return False
        order.hold_qty = needed
        self._ledger.keep(order)
        return True

    def _reduce(self, others: list[Order], qty: Decimal) -> None:
        for other in others:
            if other.qty is not None:
                other.qty = max(other.qty - qty, other.filled_qty)
                other.hold_qty = min(other.hold_qty, other.qty)
                if other.asked_qty is not None:  # it is about to replace one that is reduced, too
                    other.asked_qty -= qty
                self._ledger.keep(other)

    def waits_for_entry(self, order: Order) -> bool:
        return any(other.group_role is Role.ENTRY for other in self.others(order))

    def _forget(self, order: Order) -> None:
        members = self._members.get(order.group_id or "")
        if members is not None:
            members.pop(order.id, None)
            if not members:
                del self._members[order.group_id or ""]

    @property
    def _floor(self) -> Work:
        assert self.floor is not None  # noqa: S101  (wired at start)
        return self.floor

    def _work(self, order: Order) -> None:
        self._floor.work(order)

    def _end(self, order: Order) -> None:
        self._floor.end(order, Event.CANCELED)
