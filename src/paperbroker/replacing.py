"""PATCH: an order is replaced by another one with an id of its own.

The new quantity counts what the old order has filled: what the new order works on is the difference, so that both
together never fill more than was asked for. (Alpaca's paper API of 2021 did otherwise, which users reported as a
defect: Alpaca-API#165.) While the replacement is under way the larger of the two orders is reserved for, and a fill
of the old one can still win: the new one is rejected then.
"""

from dataclasses import dataclass
from decimal import Decimal

from msgspec.structs import replace

from paperbroker import matching
from paperbroker.accounts import Account
from paperbroker.assets import Assets
from paperbroker.checks import Hold, check, check_account, check_stop_is_ahead
from paperbroker.desk import Desk
from paperbroker.errors import malformed, not_to_be_replaced, unprocessable
from paperbroker.exits import check_changed_exits
from paperbroker.faults import Facts, Faults
from paperbroker.floor import Floor, Timers
from paperbroker.groups import Groups
from paperbroker.intake import Fields, OrderRequest, choice, given, positive, read_client_order_id
from paperbroker.ledger import Ledger
from paperbroker.matching import Dice
from paperbroker.money import ZERO
from paperbroker.orders import EXITS, Order, OrderType, TimeInForce
from paperbroker.prices.market import Prices
from paperbroker.rules import check_request
from paperbroker.statuses import Event, Status
from paperbroker.triggers import set_trailing_stop

_NOT_NOW = frozenset({Status.ACCEPTED, Status.PENDING_NEW, Status.PENDING_CANCEL, Status.PENDING_REPLACE})


@dataclass(frozen=True, slots=True)
class Changes:
    """What a PATCH may change; None leaves it."""

    qty: Decimal | None
    time_in_force: TimeInForce | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail: Decimal | None
    client_order_id: str


def read_changes(body: object) -> Changes:
    """Read the body of a PATCH. Raises Refusal."""
    if not isinstance(body, dict):
        raise malformed()
    fields: Fields = given(body)
    if "notional" in fields:
        raise unprocessable("notional orders cannot be replaced")
    return Changes(
        qty=positive(fields, "qty"),
        time_in_force=(
            choice(fields["time_in_force"], "time_in_force", TimeInForce) if "time_in_force" in fields else None
        ),
        limit_price=positive(fields, "limit_price"),
        stop_price=positive(fields, "stop_price"),
        trail=positive(fields, "trail"),
        client_order_id=read_client_order_id(fields),
    )


class Replacing:
    """The replacements of all accounts."""

    def __init__(
        self,
        *,
        desk: Desk,
        assets: Assets,
        prices: Prices,
        ledger: Ledger,
        floor: Floor,
        groups: Groups,
        dice: Dice,
        timers: Timers,
        faults: Faults | None = None,
    ) -> None:
        self._desk = desk
        self._assets = assets
        self._prices = prices
        self._ledger = ledger
        self._floor = floor
        self._groups = groups
        self._dice = dice
        self._timers = timers
        self._faults = Faults() if faults is None else faults

    def replace(self, account: Account, order_id: str, changes: Changes) -> bytes:
        """Ask for a replacement; returns the new order's JSON. Raises KeyError, Refusal."""
        old = account.open_orders[order_id]
        request = self._request(old, changes)
        self._desk.refuse_if_taken(account, request.client_order_id)
        check_request(request)
        self._desk.refuse_late_auction(request)
        if old.group_role is not None:
            check_changed_exits(old, request, self._groups.others(old), self._prices)
        if old.group_role not in EXITS and request.stop_price != old.stop_price:
            check_stop_is_ahead(request, self._prices)
        hold = self._check(account, old, request)
        new = self._new_order(account, old, request, hold)
        self._floor.take_off(old)
        self._ledger.change(old, Event.PENDING_REPLACE)
        wire = self._ledger.change(new, Event.PENDING_NEW, new.created_ns)
        self._timers.call_later(self._dice.delay(old, "replace", matching.CANCEL_MS), self._finish, old, new)
        return wire

    def resume(self, under_way: list[Order]) -> None:
        """After a restart: end the replacements that were under way."""
        for new in under_way:
            old = self._ledger[new.account_id].open_orders.get(new.replaces or "")
            if old is None:
                self._floor.end(new, Event.REJECTED)
            else:
                self._finish(old, new)
        for account in self._ledger.accounts():
            for old in list(account.open_orders.values()):
                if old.status is not Status.PENDING_NEW:
                    old.asked_qty = None  # which earlier versions left behind
                self._turn_down(old)  # those whose replacement had ended already

    def _request(self, old: Order, changes: Changes) -> OrderRequest:
        """The old order with the changes. Raises Refusal for what cannot be changed."""
        if old.status in _NOT_NOW:
            raise not_to_be_replaced(old.status)
        if old.notional is not None or old.qty is None:
            raise unprocessable("notional orders cannot be replaced")
        asset = self._assets[old.symbol]
        qty = old.qty if changes.qty is None else changes.qty
        if changes.qty is not None:
            _check_qty(old, qty, crypto=asset.crypto)
        if old.is_complex and changes.time_in_force not in {None, old.time_in_force}:
            raise unprocessable(f"time_in_force of {old.order_class} orders cannot be replaced")
        if changes.trail is not None and old.type is not OrderType.TRAILING_STOP:
            raise unprocessable("trail can only be replaced for trailing stop orders")
        by_price = old.trail_price is not None
        request = OrderRequest(
            asset=asset,
            side=old.side,
            type=old.type,
            time_in_force=changes.time_in_force or old.time_in_force,
            qty=qty,
            limit_price=changes.limit_price or old.limit_price,
            stop_price=changes.stop_price or (None if old.type is OrderType.TRAILING_STOP else old.stop_price),
            trail_price=changes.trail or old.trail_price if by_price else None,
            trail_percent=None if by_price else changes.trail or old.trail_percent,
            extended_hours=old.extended_hours,
            client_order_id=changes.client_order_id,
        )
        if not _differs(old, request):
            raise unprocessable("order parameters are not changed")
        if qty <= old.filled_qty:
            raise unprocessable("qty must be > filled_qty")
        return request

    def _check(self, account: Account, old: Order, request: OrderRequest) -> Hold:
        """What the new order needs, as if the old one were not there. Raises Refusal."""
        asset = self._assets[old.symbol]
        if old.group_role in EXITS:  # it holds what it held
            check_account(account)
            return Hold(ZERO, old.hold_qty, old.position_intent)
        remaining = (request.qty or ZERO) - old.filled_qty
        account.release(old)
        try:
            of_its_class = replace(_with_qty(request, remaining), order_class=old.order_class)
            return check(of_its_class, account, self._prices, filled=old.filled_qty)
        finally:
            account.keep_hold(old, asset)

    def _new_order(self, account: Account, old: Order, request: OrderRequest, hold: Hold) -> Order:
        new = self._desk.make(
            account, _with_qty(request, (request.qty or ZERO) - old.filled_qty), hold, Status.PENDING_NEW
        )
        new.replaces = old.id
        new.asked_qty = request.qty
        new.order_class = old.order_class
        if old.time_in_force is new.time_in_force:
            new.expires_ns = old.expires_ns
        new.group_id, new.group_role, new.parent_id = old.group_id, old.group_role, old.parent_id
        new.legs = list(old.legs)
        new.hwm = old.hwm
        new.triggered = old.triggered and new.stop_price == old.stop_price
        if new.type is OrderType.TRAILING_STOP:
            set_trailing_stop(new)
        new.full_hold_price, new.full_hold_qty = hold.price, hold.qty
        rest = new.qty or ZERO
        reserved = old.hold_price * ((old.qty or ZERO) - old.filled_qty)
        new.hold_price = max(hold.price * rest - reserved, ZERO) / rest if rest else ZERO
        new.hold_qty = max(hold.qty - old.hold_qty, ZERO)
        self._groups.add(new)
        return new

    def _finish(self, old: Order, new: Order) -> None:
        """The replacement happens, unless one of the two has ended or filled meanwhile."""
        facts = Facts(self._ledger[old.account_id].state.key, None, None, old.symbol, old.client_order_id)
        if self._faults.take(facts, "fill_before_replace"):
            self._floor.fill_all(old)
        left = (new.asked_qty or ZERO) - old.filled_qty
        if old.status is not Status.PENDING_REPLACE or left <= 0:
            self._turn_down(old)
            self._floor.end(new, Event.REJECTED)
        elif not new.is_open or new.status is not Status.PENDING_NEW:
            self._turn_down(old)
        else:
            self._take_over(old, new, left)

    def _turn_down(self, old: Order) -> None:
        if old.status is Status.PENDING_REPLACE:
            self._ledger.change(old, Event.ORDER_REPLACE_REJECTED)
            self._work_again(old)

    def _work_again(self, old: Order) -> None:
        """A leg that is held goes on waiting for its entry, unless that was filled meanwhile."""
        if old.status is not Status.HELD:
            self._floor.work(old)
        elif not self._groups.waits_for_entry(old):
            self._groups.go_on(old)

    def _take_over(self, old: Order, new: Order, left: Decimal) -> None:
        held = old.former_status is Status.HELD
        old.replaced_by = new.id
        for other in self._groups.others(old):
            if other.parent_id == old.id:
                other.parent_id = new.id
                self._ledger.keep(other)
            if old.id in other.legs:
                other.legs[other.legs.index(old.id)] = new.id
                self._ledger.keep(other)
        self._ledger.change(old, Event.REPLACED)
        new.qty, new.asked_qty = left, None
        new.hold_price, new.hold_qty = new.full_hold_price, min(new.full_hold_qty, left)
        if new.due_ns is not None:  # it is for the open or the close now
            self._ledger.change(new, Event.ACCEPTED)
            self._floor.bring(new)
            return
        self._ledger.change(new, Event.HELD if held else Event.NEW)
        if not held:
            self._floor.work(new)
        elif not self._groups.waits_for_entry(new):
            self._groups.go_on(new)


def _check_qty(old: Order, qty: Decimal, *, crypto: bool) -> None:
    if qty != old.qty and old.is_complex:
        raise unprocessable("qty cannot be changed for advanced orders")
    if crypto:
        return
    if old.qty is not None and old.qty != old.qty.to_integral_value() and qty != old.qty:
        raise unprocessable("qty of fractional orders cannot be replaced")
    if qty != qty.to_integral_value() and qty != old.qty:
        raise unprocessable("qty must be a whole number of shares")


def _differs(old: Order, request: OrderRequest) -> bool:
    before = (old.qty, old.time_in_force, old.limit_price, old.trail_price, old.trail_percent)
    after = (request.qty, request.time_in_force, request.limit_price, request.trail_price, request.trail_percent)
    return before != after or (old.type is not OrderType.TRAILING_STOP and old.stop_price != request.stop_price)


def _with_qty(request: OrderRequest, qty: Decimal) -> OrderRequest:
    return replace(request, qty=qty)
