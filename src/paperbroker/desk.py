"""The desk: orders come in and are taken or refused, cancels are asked for, and after a restart work goes on.

Everything happens at once in memory, on the event loop; the store commits it, and only then is it told: the stream's
events wait for the commit, and so do the answers to requests (see `api.endpoint`).
"""

import uuid
from collections import defaultdict
from functools import partial

from paperbroker.accounts import Account
from paperbroker.checks import Hold, check
from paperbroker.clock import Clock, Hours, day_order_ends
from paperbroker.errors import invalid
from paperbroker.floor import Floor
from paperbroker.intake import OrderRequest
from paperbroker.ledger import Ledger
from paperbroker.orders import Event, Order, Status, TimeInForce
from paperbroker.prices.market import Prices
from paperbroker.store import Store
from paperbroker.timestamps import SECOND

GTC_NS = 90 * 24 * 3600 * SECOND  # Alpaca: "about 90 days"


class Desk:
    """What clients ask of their orders."""

    def __init__(
        self, *, clock: Clock, hours: Hours, prices: Prices, store: Store, ledger: Ledger, floor: Floor
    ) -> None:
        self._clock = clock
        self._hours: Hours = hours
        self._prices = prices
        self._store = store
        self._ledger = ledger
        self._floor = floor
        self._uncommitted: dict[str, set[str]] = defaultdict(set)

    def resume(self) -> None:
        """Go on with what the store holds. Call it once, before serving."""
        for order in self._ledger.load():
            if order.expires_ns <= self._clock.peek():
                self._floor.end(order, Event.EXPIRED)
            elif order.status is Status.PENDING_CANCEL:
                self._floor.end(order, Event.CANCELED)
            elif order.status in {Status.PENDING_NEW, Status.ACCEPTED}:
                self._floor.bring(order)
            else:
                self._floor.work(order)

    def submit(self, account: Account, request: OrderRequest) -> bytes:
        """Take an order; returns its JSON, `pending_new` or, outside the session, `accepted`. Raises Refusal."""
        self._refuse_if_taken(account, request.client_order_id)
        hold = check(request, account, self._prices)
        trading = self._floor.trades_now(request.asset, extended=request.extended_hours)
        order = self._order(account, request, hold, Status.PENDING_NEW if trading else Status.ACCEPTED)
        self._claim(order)
        wire = self._ledger.change(order, Event.PENDING_NEW if trading else Event.ACCEPTED, order.created_ns)
        self._floor.bring(order)
        return wire

    def cancel(self, account: Account, order_id: str) -> None:
        """Ask for the cancel of an open order. Raises KeyError."""
        self._floor.cancel(account.open_orders[order_id])

    def _order(self, account: Account, request: OrderRequest, hold: Hold, status: Status) -> Order:
        ns = self._clock.now()
        return Order(
            id=str(uuid.uuid4()),
            account_id=account.id,
            seq=self._store.next_order_seq(),
            client_order_id=request.client_order_id,
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
            extended_hours=request.extended_hours,
            position_intent=request.position_intent or hold.intent,
            order_class=request.order_class,
            hold_price=hold.price,
            hold_qty=hold.qty,
        )

    def _expiry(self, request: OrderRequest, ns: int) -> int:
        if request.time_in_force is TimeInForce.GTC or request.asset.crypto:
            return ns + GTC_NS
        return day_order_ends(self._hours, ns, extended=request.extended_hours)

    def _refuse_if_taken(self, account: Account, client_order_id: str) -> None:
        uncommitted = client_order_id in self._uncommitted[account.id]
        if uncommitted or self._store.client_order_id_taken(account.id, client_order_id):
            raise invalid("client_order_id must be unique")

    def _claim(self, order: Order) -> None:
        """Remember an id until the commit makes it known to the store."""
        fresh = self._uncommitted[order.account_id]
        fresh.add(order.client_order_id)
        self._store.after_commit(partial(fresh.discard, order.client_order_id))
