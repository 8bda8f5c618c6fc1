"""The desk: orders come in and are taken or refused, cancels are asked for, and after a restart work goes on.

Everything happens at once in memory, on the event loop; the store commits it, and only then is it told: the stream's
events wait for the commit, and so do the answers to requests (see `api.endpoint`).
"""

from paperbroker.accounts import Account
from paperbroker.checks import Hold, check, check_stop_is_ahead
from paperbroker.clock import Clock, Hours, auction_closed, auction_due, day_order_ends
from paperbroker.errors import invalid
from paperbroker.floor import Floor
from paperbroker.groups import Groups, leg_requests
from paperbroker.ids import random_id
from paperbroker.intake import OrderRequest
from paperbroker.ledger import Ledger
from paperbroker.money import ZERO
from paperbroker.order_json import with_legs
from paperbroker.orders import Order, OrderClass, OrderType, Role, TimeInForce
from paperbroker.prices.market import Prices
from paperbroker.rules import auction_due_refusal, is_auction
from paperbroker.statuses import Event, Status
from paperbroker.store import Store
from paperbroker.timestamps import SECOND
from paperbroker.triggers import trail

GTC_NS = 90 * 24 * 3600 * SECOND  # Alpaca: "about 90 days"
_NO_HOLD = Hold(ZERO, ZERO, "")


class Desk:
    """What clients ask of their orders."""

    def __init__(
        self,
        *,
        clock: Clock,
        hours: Hours,
        prices: Prices,
        store: Store,
        ledger: Ledger,
        floor: Floor,
        groups: Groups,
    ) -> None:
        self._clock = clock
        self._hours: Hours = hours
        self._prices = prices
        self._store = store
        self._ledger = ledger
        self._floor = floor
        self._groups = groups

    def resume(self) -> list[Order]:
        """Go on with what the store holds; returns the replacements under way, which have a desk of their own.

        Call it once, before serving.
        """
        orders = self._ledger.load()
        for order in orders:
            self._groups.add(order)
        for order in orders:
            if order.expires_ns <= self._clock.peek():
                self._floor.end(order, Event.EXPIRED)
            elif order.status is Status.PENDING_CANCEL:
                self._floor.end(order, Event.CANCELED)
            elif order.status is Status.HELD:
                self._groups.resume(order)
            elif order.status is Status.ACCEPTED or (order.replaces is None and order.status is Status.PENDING_NEW):
                self._floor.bring(order)
            elif order.status not in {Status.PENDING_NEW, Status.PENDING_REPLACE}:
                self._floor.work(order)
        return [order for order in orders if order.replaces and order.status is Status.PENDING_NEW]

    def submit(self, account: Account, request: OrderRequest) -> bytes:
        """Take an order; returns its JSON, `pending_new` or, outside the session, `accepted`. Raises Refusal.

        A bracket, OCO or OTO has its legs in it.
        """
        self.refuse_if_taken(account, request.client_order_id)
        self.refuse_late_auction(request)
        auction = is_auction(request.asset, request.time_in_force)
        hold = check(request, account, self._prices)
        check_stop_is_ahead(request, self._prices)
        trading = not auction and self._floor.trades_now(request.asset, extended=request.extended_hours)
        order = self.make(account, request, hold, Status.PENDING_NEW if trading else Status.ACCEPTED)
        if trading and order.type is OrderType.TRAILING_STOP:
            self._start_trailing(order)
        legs = self._legs(account, order, request) if request.complex else []
        wire = self._ledger.change(order, Event.PENDING_NEW if trading else Event.ACCEPTED, order.created_ns)
        held = [self._ledger.change(leg, Event.HELD, leg.created_ns) for leg in legs]
        self._floor.bring(order)
        return with_legs(wire, held)

    def cancel(self, account: Account, order_id: str) -> None:
        """Ask for the cancel of an open order. Raises KeyError."""
        self._floor.cancel(account.open_orders[order_id])

    def make(self, account: Account, request: OrderRequest, hold: Hold, status: Status) -> Order:
        """An order as it is asked for, its client_order_id (or one made up for it) taken from now on."""
        ns = self._clock.now()
        order = Order(
            id=random_id(),
            account_id=account.id,
            seq=self._store.next_order_seq(),
            client_order_id=request.client_order_id or random_id(),
            unnamed=not request.client_order_id,
            symbol=request.asset.symbol,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            status=status,
            created_ns=ns,
            updated_ns=ns,
            submitted_ns=ns,
            expires_ns=self._expiry(request, ns),
            qty=request.qty,
            notional=request.notional,
            limit_price=request.limit_price,
            stop_price=request.stop_price,
            trail_price=request.trail_price,
            trail_percent=request.trail_percent,
            extended_hours=request.extended_hours,
            position_intent=request.position_intent or hold.intent,
            order_class=request.order_class,
            hold_price=hold.price,
            hold_qty=hold.qty,
        )
        if is_auction(request.asset, request.time_in_force):
            order.due_ns = auction_due(self._hours, ns, opening=self._opening(request))
        self._store.take_client_order_id(account.id, order.client_order_id)
        return order

    def refuse_if_taken(self, account: Account, client_order_id: str) -> None:
        if self._store.client_order_id_taken(account.id, client_order_id):
            raise invalid("client_order_id must be unique")

    def refuse_late_auction(self, request: OrderRequest) -> None:
        """Raises Refusal for an order for the open or the close after its cut-off."""
        auction = is_auction(request.asset, request.time_in_force)
        if auction and auction_closed(self._hours, self._clock.peek(), opening=self._opening(request)):
            raise auction_due_refusal(request)

    def _legs(self, account: Account, order: Order, request: OrderRequest) -> list[Order]:
        order.group_id = random_id()
        order.group_role = Role.TAKE_PROFIT if request.order_class == OrderClass.OCO else Role.ENTRY
        self._groups.add(order)
        legs = []
        for role, leg_request in leg_requests(request):
            leg = self.make(account, leg_request, _NO_HOLD, Status.HELD)
            leg.group_id, leg.group_role, leg.parent_id = order.group_id, role, order.id
            order.legs.append(leg.id)
            self._groups.add(leg)
            legs.append(leg)
        return legs

    def _start_trailing(self, order: Order) -> None:
        if (price := self._prices.current(order.symbol)) is not None:
            trail(order, price)

    def _opening(self, request: OrderRequest) -> bool:
        return request.time_in_force is TimeInForce.OPG

    def _expiry(self, request: OrderRequest, ns: int) -> int:
        if request.time_in_force is TimeInForce.GTC or request.asset.crypto:
            return ns + GTC_NS
        if request.time_in_force is TimeInForce.OPG:
            ns = auction_due(self._hours, ns, opening=True)
        return day_order_ends(self._hours, ns, extended=request.extended_hours)
