"""Fills are booked here: what one does to order, account and fees, and that it is kept; and taken back by a bust."""

from decimal import Decimal

from paperbroker.accounts import Account
from paperbroker.activities import Execution, fill_activity
from paperbroker.assets import Asset, Assets
from paperbroker.clock import Clock
from paperbroker.fees import fee
from paperbroker.ids import random_id
from paperbroker.ledger import Ledger
from paperbroker.money import ZERO
from paperbroker.orders import Order, Side
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote
from paperbroker.statuses import Event
from paperbroker.store import Store
from paperbroker.timestamps import new_york_date


class Executions:
    """Books the fills of all accounts."""

    def __init__(self, *, clock: Clock, assets: Assets, prices: Prices, store: Store, ledger: Ledger) -> None:
        self._clock = clock
        self._assets = assets
        self._prices = prices
        self._store = store
        self._ledger = ledger

    def execute(self, order: Order, quote: Quote, *, qty: Decimal, price: Decimal, leaves: Decimal) -> None:
        """Fill a quantity of an order at a price; `leaves` is what is still to be filled then."""
        ns = self._clock.now()
        asset = self._assets[order.symbol]
        account = self._ledger[order.account_id]
        charged = self._charge(account, order, qty=qty, price=price, ns=ns)
        account.book(asset, order.side, qty=qty, price=price, fee=charged, prices=self._prices, ns=ns)
        order.fill(qty, price)
        execution = Execution(
            id=random_id(),
            ns=ns,
            order=order,
            asset=asset,
            qty=qty,
            price=price,
            cum_qty=order.filled_qty,
            leaves_qty=leaves,
            position_qty=account.qty(asset.holding),
            fee=charged,
            quote=quote,
        )
        self._store.put_account(account)
        self._store.put_fill(execution)
        event = Event.PARTIAL_FILL if leaves else Event.FILL
        self._store.put_activity(fill_activity(execution, final=event is Event.FILL))
        self._ledger.change(order, event, ns, execution)

    def affordable(self, order: Order, asset: Asset, *, qty: Decimal, price: Decimal) -> bool:
        """Whether the account can pay for a fill at a worse price than was reserved."""
        if order.side is Side.SELL or not order.hold_price or price <= order.hold_price or order.qty is None:
            return True
        account = self._ledger[order.account_id]
        more = (price - order.hold_price) * qty
        if asset.quote_currency != "USD":
            paid_with = f"{asset.quote_currency}/USD"
            return more <= account.qty(paid_with) - account.held(paid_with, Side.SELL)
        figures = account.figures(self._prices)
        return more <= (figures.non_marginable if asset.crypto else figures.buying_power)

    def _charge(self, account: Account, order: Order, *, qty: Decimal, price: Decimal, ns: int) -> Decimal:
        """The fee of an execution, noted for the day's end: in coins when coins are credited, else in dollars."""
        asset = self._assets[order.symbol]
        if not asset.crypto:
            return ZERO
        buying = order.side is Side.BUY
        charged = fee(qty if buying else qty * price, maker=order.rested)
        credited = asset.holding if buying or asset.quote_currency == "USD" else f"{asset.quote_currency}/USD"
        fees = account.fees_of(new_york_date(ns), credited)
        if buying or asset.quote_currency != "USD":
            at_price = price if buying and asset.quote_currency == "USD" else self._prices.reckoned(credited)
            fees.coin += charged
            fees.value += charged * at_price
        else:
            fees.dollars += charged
        return charged
