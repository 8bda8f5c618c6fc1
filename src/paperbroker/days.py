"""Time passing: sessions begin and end, orders expire, days are closed."""

from datetime import date

from paperbroker.activities import fee_activity
from paperbroker.assets import Assets
from paperbroker.clock import Clock, Hours, next_change
from paperbroker.floor import Floor, Timers
from paperbroker.ledger import Ledger
from paperbroker.orders import Order, TimeInForce
from paperbroker.prices.market import Prices
from paperbroker.statuses import Event, Status
from paperbroker.store import Store
from paperbroker.timestamps import new_york_date

_LONGEST_SLEEP_SECONDS = (
    60.0  # a machine that was suspended, or an order that expires by its own time: a minute late at most
)


class Days:
    """Wakes up whenever the broker's day has something to end or begin."""

    def __init__(
        self,
        *,
        clock: Clock,
        hours: Hours,
        assets: Assets,
        prices: Prices,
        store: Store,
        ledger: Ledger,
        floor: Floor,
        timers: Timers,
    ) -> None:
        self._clock = clock
        self._hours: Hours = hours
        self._assets = assets
        self._prices = prices
        self._store = store
        self._ledger = ledger
        self._floor = floor
        self._timers = timers
        self._today: date = new_york_date(clock.peek())

    def start(self) -> None:
        """Close the days that ended while the broker was down, and go on with this one."""
        self._close_days()
        self._expire()
        self._sleep()

    def moved(self) -> None:
        """The clock was set: end and begin what is due now. The usual wake-ups go on."""
        self._pass()

    def _sleep(self) -> None:
        until = self._clock.seconds_until(next_change(self._hours, self._clock.peek()))
        self._timers.call_later(min(until + 0.001, _LONGEST_SLEEP_SECONDS), self._wake_up)

    def _wake_up(self) -> None:
        self._pass()
        self._sleep()

    def _pass(self) -> None:
        today = new_york_date(self._clock.peek())
        if self._today < today:
            self._today = today
            self._prices.day_ended()
        self._close_days()
        self._hold_closing_auction()
        self._expire()
        self._floor.wake()

    def _hold_closing_auction(self) -> None:
        for order in self._open_orders():
            due = order.due_ns is not None and order.due_ns <= self._clock.peek()
            waits = order.status is not Status.PENDING_CANCEL and order.asked_qty is None  # else it is about to replace
            if due and waits and order.time_in_force is TimeInForce.CLS:
                self._floor.close_auction(order)

    def _open_orders(self) -> list[Order]:
        return [order for account in self._ledger.accounts() for order in account.open_orders.values()]

    def _expire(self) -> None:
        now = self._clock.peek()
        for order in self._open_orders():
            if order.expires_ns <= now:
                self._floor.end(order, Event.EXPIRED)

    def _close_days(self) -> None:
        """Post the fees of past days, one entry a pair and day, and note yesterday's equity."""
        today = new_york_date(self._clock.peek())
        for account in self._ledger.accounts():
            state = account.state
            if state.day >= today:
                continue
            for fees in [fees for fees in state.fees if fees.day < today]:
                self._store.put_activity(fee_activity(state.id, fees, self._assets[fees.symbol], self._clock.now()))
                state.fees.remove(fees)
            state.day = today
            state.last_equity = account.figures(self._prices).equity
            self._store.put_account(account)
