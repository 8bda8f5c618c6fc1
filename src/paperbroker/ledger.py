"""The ledger: every account, and the one place where an order changes.

The event is applied, kept, and told once committed.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial

from paperbroker.accounts import Account, open_account
from paperbroker.activities import Execution
from paperbroker.assets import Assets
from paperbroker.clock import Clock
from paperbroker.money import ZERO
from paperbroker.order_json import order_json
from paperbroker.orders import Order
from paperbroker.prices.market import Prices
from paperbroker.statuses import Event
from paperbroker.store import Store
from paperbroker.timestamps import new_york_date
from paperbroker.updates import Update, update_body

_log = logging.getLogger(__name__)


Listener = Callable[[Update], None]


class Ledger:
    """All accounts of one broker, by id and by key."""

    def __init__(
        self, clock: Clock, assets: Assets, prices: Prices, store: Store, opening: Mapping[str, Decimal]
    ) -> None:
        """`opening`: what a fresh account holds, by symbol."""
        self._clock = clock
        self._assets = assets
        self._prices = prices
        self._store = store
        self.opening = opening
        self._by_id: dict[str, Account] = {}
        self._by_key: dict[str, Account] = {}
        self.listeners: list[Listener] = []  # told of every update after its commit
        self.on_group_change: Callable[[Order, Event, Decimal], None] = lambda *_: None
        self.recorders: list[Listener] = []  # called before the commit, to put something into it

    def __getitem__(self, account_id: str) -> Account:
        return self._by_id[account_id]

    def accounts(self) -> Iterable[Account]:
        return self._by_id.values()

    def account(self, key: str) -> Account:
        """The account of a key, opened at its first contact."""
        account = self._by_key.get(key)
        if account is None:
            ns = self._clock.now()
            account = open_account(key, self.opening, self._prices, ns, new_york_date(ns))
            self._add(account)
            self._store.put_account(account)
            _log.info("account opened", extra={"account": account.id, "key": key})
        return account

    def stranger(self) -> Account:
        """An account that is nobody's and is not kept: for what is answered without a key."""
        ns = self._clock.now()
        return open_account("", {}, self._prices, ns, new_york_date(ns))

    def load(self) -> list[Order]:
        """Read the accounts and their open orders from the store; returns the orders, oldest first."""
        for account in self._store.load_accounts():
            self._add(account)
            for holding in account.state.positions:
                self._assets.ensure_stock(holding)  # of a tape that may not be played any more
        orders = list(self._store.load_open_orders())
        for order in orders:
            self[order.account_id].keep_hold(order, self._assets.ensure_stock(order.symbol))
        return orders

    def change(self, order: Order, event: Event, ns: int | None = None, execution: Execution | None = None) -> bytes:
        """Apply an event to an order, keep it, and tell it once it is committed. Returns the order's JSON.

        Raises ValueError when the event cannot happen in the order's status.
        """
        ns = self._clock.now() if ns is None else ns
        order.apply(event, ns)
        wire = self.keep(order)
        body = update_body(event, order.id, wire, ns, execution)
        self.tell(
            Update(event, order.account_id, order.id, order.client_order_id, order.symbol, ns, wire, execution, body)
        )
        if order.group_id is not None:
            self.on_group_change(order, event, execution.qty if execution else ZERO)
        return wire

    def tell(self, update: Update) -> None:
        """Record an update, and tell it once that is committed."""
        for record in self.recorders:
            record(update)
        self._store.after_commit(partial(self._tell, update))

    def keep(self, order: Order) -> bytes:
        """Store an order, and bring what it holds back up to date. Returns its JSON."""
        asset = self._assets[order.symbol]
        self[order.account_id].keep_hold(order, asset)
        wire = order_json(order, asset)
        self._store.put_order(order, asset, wire)
        return wire

    def _add(self, account: Account) -> None:
        self._by_id[account.id] = account
        self._by_key[account.state.key] = account

    def _tell(self, update: Update) -> None:
        for listener in self.listeners:
            listener(update)
