"""The floor: accepted orders wait here for their session or their price, are filled against quotes, or end unfilled."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Protocol

import structlog

from paperbroker import matching
from paperbroker.accounts import Account
from paperbroker.activities import Execution, fill_activity
from paperbroker.assets import Asset, Assets
from paperbroker.clock import Clock, Hours, stocks_trade
from paperbroker.fees import fee
from paperbroker.ledger import Ledger
from paperbroker.matching import Dice, RestingOrders, fill_price, rest_of
from paperbroker.money import ZERO
from paperbroker.orders import Event, Order, Side, Status, TimeInForce
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote
from paperbroker.store import Store
from paperbroker.timestamps import new_york_date

_log = structlog.get_logger()


class Timers(Protocol):
    """How the broker waits (seconds): the event loop's `call_later`."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> object: ...


class Floor:
    """The orders of all accounts that are neither refused nor final."""

    def __init__(
        self,
        *,
        clock: Clock,
        hours: Hours,
        assets: Assets,
        prices: Prices,
        store: Store,
        ledger: Ledger,
        dice: Dice,
        timers: Timers,
    ) -> None:
        self._clock = clock
        self._hours: Hours = hours
        self._assets = assets
        self._prices = prices
        self._store = store
        self._ledger = ledger
        self._dice = dice
        self._timers = timers
        self._resting: dict[str, RestingOrders] = defaultdict(RestingOrders)
        prices.on_quote.append(self._on_quote)

    def trades_now(self, asset: Asset, *, extended: bool) -> bool:
        """Whether orders for an asset are worked on at the moment.

        `extended` ones also before and after the session.
        """
        return asset.crypto or stocks_trade(self._hours, self._clock.peek(), extended=extended)

    def bring(self, order: Order) -> None:
        """Accept a fresh order in a moment, or when its session opens."""
        if self._works(order):
            self._timers.call_later(self._dice.delay(order, "accept", matching.ACCEPT_MS), self._accept, order)
        else:
            self._resting[order.symbol].add(order)

    def work(self, order: Order) -> None:
        """Fill it soon if it is marketable; else let it rest, or end it if its time in force does not wait."""
        quote = self._prices.quotes.get(order.symbol)
        working = self._works(order)
        if working and quote is not None and fill_price(order, quote) is not None:
            self._fill_soon(order)
        elif working and quote is not None and order.time_in_force in {TimeInForce.IOC, TimeInForce.FOK}:
            self._ledger.change(order, Event.CANCELED)
        else:
            self._rest(order)

    def cancel(self, order: Order) -> None:
        """Ask for a cancel: it happens a little later, and a fill that is on its way may be faster."""
        if order.status is Status.PENDING_CANCEL:
            return
        self._resting[order.symbol].discard(order)
        self._ledger.change(order, Event.PENDING_CANCEL)
        delay = self._dice.delay(order, "cancel", matching.CANCEL_MS)
        self._timers.call_later(delay, self.end, order, Event.CANCELED)

    def end(self, order: Order, event: Event) -> None:
        """Cancel or expire an order, if that can still happen to it."""
        if order.can(event):
            self._resting[order.symbol].discard(order)
            self._ledger.change(order, event)

    def wake(self) -> None:
        """A session began or ended: work on what waited for it."""
        for symbol, resting in list(self._resting.items()):
            self._wake(self._assets[symbol], list(resting))

    def _wake(self, asset: Asset, waiting: Iterable[Order]) -> None:
        for order in waiting:
            if self.trades_now(asset, extended=order.extended_hours):
                self._resting[order.symbol].discard(order)
                if order.status is Status.ACCEPTED:
                    self.bring(order)
                else:
                    self.work(order)

    def _works(self, order: Order) -> bool:
        return self.trades_now(self._assets[order.symbol], extended=order.extended_hours)

    def _accept(self, order: Order) -> None:
        if order.can(Event.NEW):
            self._ledger.change(order, Event.NEW)
            self.work(order)

    def _rest(self, order: Order) -> None:
        if order.limit_price is not None and not order.rested:
            order.rested = True  # from now on a maker
            self._ledger.keep(order)
        self._resting[order.symbol].add(order)

    def _fill_soon(self, order: Order) -> None:
        self._timers.call_later(self._dice.delay(order, "fill", matching.FILL_MS), self._fill, order)

    def _on_quote(self, quote: Quote) -> None:
        resting = self._resting.get(quote.symbol)
        if not resting or not self.trades_now(self._assets[quote.symbol], extended=True):
            return
        still_waiting = []
        for order in resting.take_marketable(quote):
            if order.status is not Status.ACCEPTED and self._works(order):
                self._fill_soon(order)
            else:
                still_waiting.append(order)
        for order in still_waiting:
            resting.add(order)

    def _fill(self, order: Order) -> None:
        """Fill against the quote of this moment; what is not marketable any more goes back to resting."""
        if not order.is_open:
            return
        asset, quote = self._assets[order.symbol], self._prices.quotes[order.symbol]
        price = fill_price(order, quote)
        canceling = order.status is Status.PENDING_CANCEL
        if price is None or not self._works(order):
            if not canceling:
                self.work(order)
            return
        rest = self._rest_of(order, asset, price)
        if rest <= 0:  # the money that is left buys nothing any more
            self.end(order, Event.CANCELED)
            return
        qty = self._dice.portion(order, rest)
        self._execute(order, quote, qty=qty, price=price, leaves=rest - qty)
        if qty < rest and not canceling:
            if order.time_in_force is TimeInForce.IOC:
                self._ledger.change(order, Event.CANCELED)
            else:
                self._fill_soon(order)

    def _rest_of(self, order: Order, asset: Asset, price: Decimal) -> Decimal:
        """What is left to fill; a sale for an amount of money never sells more than is held."""
        rest = rest_of(order, price)
        held = self._ledger[order.account_id].qty(asset.holding)
        if order.notional is not None and order.side is Side.SELL and held > 0:
            rest = min(rest, held)
        return rest

    def _execute(self, order: Order, quote: Quote, *, qty: Decimal, price: Decimal, leaves: Decimal) -> None:
        ns = self._clock.now()
        asset = self._assets[order.symbol]
        account = self._ledger[order.account_id]
        charged = self._charge(account, order, qty=qty, price=price, ns=ns)
        account.book(asset, order.side, qty=qty, price=price, fee=charged, prices=self._prices, ns=ns)
        order.fill(qty, price)
        execution = Execution(
            id=str(uuid.uuid4()),
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
        self._ledger.change(order, Event.PARTIAL_FILL if leaves else Event.FILL, ns, execution)
        self._store.put_account(account)
        self._store.put_activity(fill_activity(execution))
        self._store.put_fill(execution)
        _log.info("fill", **execution.facts())

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
