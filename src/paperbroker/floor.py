"""The floor: accepted orders wait here for their session, trigger or price, are filled against quotes, or end."""

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from paperbroker import matching
from paperbroker.assets import Asset, Assets
from paperbroker.clock import Clock, Hours, stocks_trade
from paperbroker.displayed import Displayed
from paperbroker.executions import Executions
from paperbroker.faults import Facts, Faults
from paperbroker.groups import Groups
from paperbroker.ledger import Ledger
from paperbroker.matching import Dice, RestingOrders, fill_price, rest_of
from paperbroker.orders import Order, Side, TimeInForce
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote, Trade
from paperbroker.statuses import Event, Status
from paperbroker.triggers import Stops, is_triggered, trail

_AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK, TimeInForce.OPG, TimeInForce.CLS})
_LEAVING = frozenset({Status.PENDING_CANCEL, Status.PENDING_REPLACE})
_ASLEEP = frozenset({Status.PENDING_NEW, Status.ACCEPTED})


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
        ledger: Ledger,
        groups: Groups,
        executions: Executions,
        dice: Dice,
        timers: Timers,
        displayed: Displayed | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._clock = clock
        self._hours: Hours = hours
        self._assets = assets
        self._prices = prices
        self._ledger = ledger
        self._groups = groups
        self._executions = executions
        self._dice = dice
        self._timers = timers
        self._displayed = displayed
        self._faults = Faults() if faults is None else faults
        self._asleep: dict[str, Order] = {}
        self._resting: dict[str, RestingOrders] = defaultdict(RestingOrders)
        self._stops = Stops()
        self.halted: set[str] = set()
        groups.floor = self
        prices.on_quote.append(self._on_quote)
        prices.on_trade.append(self._on_trade)

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
            self._asleep[order.id] = order

    def work(self, order: Order) -> None:
        """Fill it soon if it is marketable; else let it wait, or end it if its time in force does not wait."""
        if not order.is_open:
            return
        if order.awaits_trigger:
            self._stops.add(order)
            self._watch(order)
            return
        quote = self._prices.quotes.get(order.symbol)
        working = self._works(order)
        if working and quote is not None and self._price_for(order, quote) is not None:
            self._fill_soon(order)
        elif working and quote is not None and order.time_in_force in _AT_ONCE:
            self._ledger.change(order, Event.CANCELED)
        else:
            self._rest(order)

    def cancel(self, order: Order) -> None:
        """Ask for a cancel: it happens a little later, and a fill that is on its way may be faster."""
        if order.status is Status.PENDING_CANCEL:
            return
        self.take_off(order)
        self._ledger.change(order, Event.PENDING_CANCEL)
        delay = self._dice.delay(order, "cancel", matching.CANCEL_MS)
        self._timers.call_later(delay, self._cancel, order)

    def _cancel(self, order: Order) -> None:
        facts = Facts(self._ledger[order.account_id].state.key, None, None, order.symbol, order.client_order_id)
        if order.is_open and self._faults.take(facts, "fill_before_cancel"):
            self.fill_all(order)
        elif _can_stay(order) and self._faults.take(facts, "reject_cancel"):
            self._ledger.change(order, Event.ORDER_CANCEL_REJECTED)
            if order.status in _ASLEEP:
                self.bring(order)
            elif order.status is not Status.HELD:
                self.work(order)
            elif not self._groups.waits_for_entry(order):  # which was filled while the cancel was pending
                self._groups.go_on(order)
            return
        self.end(order, Event.CANCELED)

    def end(self, order: Order, event: Event) -> None:
        """Cancel or expire an order, if that can still happen to it."""
        if order.can(event):
            self.take_off(order)
            self._ledger.change(order, event)

    def take_off(self, order: Order) -> None:
        """Let an order wait for nothing any more; a fill that is on its way still comes."""
        self._asleep.pop(order.id, None)
        self._resting[order.symbol].discard(order)
        self._stops.discard(order)

    def wake(self) -> None:
        """A session began or ended, or a halt was lifted: work on what waited for it."""
        for order in list(self._asleep.values()):
            if self._works(order):
                del self._asleep[order.id]
                if order.status in _ASLEEP:
                    self._accept(order) if order.due_ns else self.bring(order)
                else:
                    self.work(order)
        for symbol in list(self._resting):
            if symbol in self._prices.quotes:
                self._on_quote(self._prices.quotes[symbol])
        for order in self._stops:
            self._watch(order)

    def close_auction(self, order: Order) -> None:
        """Fill what was meant for the close at the quote of this moment, or cancel it."""
        self.take_off(order)
        quote = self._prices.quotes.get(order.symbol)
        self._accept_at_once(order)
        if quote is not None and order.is_open and order.symbol not in self.halted:
            price = fill_price(order, quote)
            if price is not None:
                rest = self._rest_of(order, self._assets[order.symbol], price)
                self._executions.execute(order, quote, qty=rest, price=price, leaves=Decimal(0))
        self.end(order, Event.CANCELED)

    def fill_now(self, order: Order, price: Decimal) -> None:
        """Fill a fresh order at once at a price, whatever the market's is; reject it where that costs too much."""
        self._accept_at_once(order)
        self.fill_all(order, price)
        if order.symbol in self._prices.quotes:
            self.end(order, Event.REJECTED)
        else:
            self.work(order)

    def fill_all(self, order: Order, price: Decimal | None = None) -> None:
        """Fill the whole rest at once, at a price, else its own, else the market's: a fill that wins a race."""
        quote = self._prices.quotes.get(order.symbol)
        if quote is None or not order.can(Event.FILL):
            return
        price = price or order.limit_price or (quote.ask if order.side is Side.BUY else quote.bid)
        asset = self._assets[order.symbol]
        rest = self._rest_of(order, asset, price)
        if rest > 0 and self._executions.affordable(order, asset, qty=rest, price=price):
            self.take_off(order)
            self._executions.execute(order, quote, qty=rest, price=price, leaves=Decimal(0))

    def _accept_at_once(self, order: Order) -> None:
        if order.status in _ASLEEP:
            self._ledger.change(order, Event.NEW)

    def _works(self, order: Order) -> bool:
        if order.symbol in self.halted or (order.due_ns is not None and self._clock.peek() < order.due_ns):
            return False
        return self.trades_now(self._assets[order.symbol], extended=order.extended_hours)

    def _accept(self, order: Order) -> None:
        if not (order.can(Event.NEW) and order.status in _ASLEEP):
            return
        if self._faults:
            facts = Facts(self._ledger[order.account_id].state.key, None, None, order.symbol, order.client_order_id)
            if self._faults.take(facts, "reject_accepted"):
                self.end(order, Event.REJECTED)
                return
        self._ledger.change(order, Event.NEW)
        self.work(order)

    def _rest(self, order: Order) -> None:
        if order.limit_price is not None and not order.rested:
            order.rested = True  # from now on a maker
            self._ledger.keep(order)
        self._resting[order.symbol].add(order)

    def _fill_soon(self, order: Order) -> None:
        self._timers.call_later(self._dice.delay(order, "fill", matching.FILL_MS), self._fill, order)

    def _on_trade(self, trade: Trade) -> None:
        self._watch_all(trade.symbol)

    def _on_quote(self, quote: Quote) -> None:
        self._watch_all(quote.symbol)
        resting = self._resting.get(quote.symbol)
        if not resting or not self.trades_now(self._assets[quote.symbol], extended=True):
            return
        still_waiting = []
        for order in resting.take_marketable(quote):
            if self._works(order) and self._price_for(order, quote) is not None:
                self._fill_soon(order)
            else:
                still_waiting.append(order)
        for order in still_waiting:
            resting.add(order)

    def _watch_all(self, symbol: str) -> None:
        for order in self._stops.of(symbol):
            self._watch(order)

    def _watch(self, order: Order) -> None:
        """Trail the price, and go to work once it has reached the stop."""
        price = self._prices.current(order.symbol)
        if price is None or not order.is_open or not self._works(order) or not order.awaits_trigger:
            return
        if trail(order, price):
            self._ledger.keep(order)
        if is_triggered(order, price):
            self._stops.discard(order)
            order.triggered = True
            if order.status is Status.HELD:
                self._groups.trigger(order)
            else:
                self._ledger.keep(order)
            self.work(order)

    def _price_for(self, order: Order, quote: Quote) -> Decimal | None:
        """The price at which a quote fills an order; None, too, when its displayed size is used up."""
        price = fill_price(order, quote)
        if price is None or self._displayed is None:
            return price
        rest = self._rest_of(order, self._assets[order.symbol], price)
        return price if self._displayed.part(order, quote, rest) > 0 else None

    def _fill(self, order: Order) -> None:
        """Fill against the quote of this moment; what is not marketable any more goes back to waiting."""
        if not order.is_open:
            return
        asset, quote = self._assets[order.symbol], self._prices.quotes[order.symbol]
        price = self._price_for(order, quote)
        leaving = order.status in _LEAVING
        if price is None or not self._works(order):
            if not leaving:
                self.work(order)
            return
        rest = self._rest_of(order, asset, price)
        if rest <= 0:  # the money that is left buys nothing any more
            self.end(order, Event.CANCELED)
            return
        qty = self._dice.portion(order, rest) if self._displayed is None else self._displayed.part(order, quote, rest)
        if not self._executions.affordable(order, asset, qty=qty, price=price):
            self.end(order, Event.CANCELED if order.filled_qty else Event.REJECTED)
            return
        if self._displayed is not None:
            self._displayed.take(order, quote, qty)
        self._executions.execute(order, quote, qty=qty, price=price, leaves=rest - qty)
        if qty < rest and order.is_open and not leaving:
            if order.time_in_force is TimeInForce.IOC:
                self._ledger.change(order, Event.CANCELED)
            else:
                self.work(order)

    def _rest_of(self, order: Order, asset: Asset, price: Decimal) -> Decimal:
        """What is left to fill; a sale for an amount of money never sells more than is held."""
        rest = rest_of(order, price)
        held = self._ledger[order.account_id].qty(asset.holding)
        if order.notional is not None and order.side is Side.SELL and held > 0:
            rest = min(rest, held)
        return rest


def _can_stay(order: Order) -> bool:
    """Whether the cancel of an order can be turned down: not of one that is just replacing another."""
    replacing = order.replaces is not None and order.former_status is Status.PENDING_NEW
    return order.can(Event.ORDER_CANCEL_REJECTED) and not replacing
