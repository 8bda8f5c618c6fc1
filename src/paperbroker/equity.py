"""What each account was worth: a point every minute of the broker's clock, thinned out as it ages."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from paperbroker import tables
from paperbroker.clock import Clock
from paperbroker.ledger import Ledger
from paperbroker.prices.market import Prices
from paperbroker.store import Store
from paperbroker.timestamps import SECOND, midnight_after

MINUTE = 60 * SECOND
DAY = 24 * 3600 * SECOND
_SHORTEST_PAUSE_SECONDS = 1.0  # where the clock runs fast, not every minute is measured
_KEPT = ((15, 8 * DAY), (60, 32 * DAY))  # points of a shorter grain go when they are older than this


@dataclass(frozen=True, slots=True)
class Point:
    """An account's worth at an instant, USD."""

    ns: int
    equity: Decimal


class EquityPoints:
    """Measures every account, and reads what was measured."""

    def __init__(self, clock: Clock, prices: Prices, ledger: Ledger, store: Store) -> None:
        self._clock = clock
        self._prices = prices
        self._ledger = ledger
        self._store = store

    async def run(self) -> None:
        """Measure at each full minute until cancelled."""
        thin_at = 0
        while True:
            now = self._clock.peek()
            minute = now - now % MINUTE + MINUTE
            await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, self._clock.seconds_until(minute)))
            now = self._clock.peek()
            self.measure(now - now % MINUTE)
            if now >= thin_at:
                thin_at = midnight_after(now)
                for grain, age in _KEPT:
                    self._store.put(tables.THIN_EQUITY, (grain, now - age))

    def measure(self, ns: int) -> None:
        """Note what every account is worth; `ns` is the minute that it is noted under."""
        grain = next(grain for grain in (60, 15, 5, 1) if ns // MINUTE % grain == 0)
        for account in list(self._ledger.accounts()):
            equity = account.figures(self._prices).equity
            self._store.put(tables.PUT_EQUITY, (account.id, ns, grain, str(equity)))

    def between(self, account_id: str, start_ns: int, end_ns: int) -> list[Point]:
        """The points of an account from start to end, both included, oldest first."""
        sql = "select ns, equity from equity where account_id = ? and ns between ? and ? order by ns"
        rows = self._store.read(sql, (account_id, start_ns, end_ns))
        return [Point(ns, Decimal(str(equity))) for ns, equity in rows if isinstance(ns, int)]

    def last_before(self, account_id: str, ns: int) -> Point | None:
        sql = "select ns, equity from equity where account_id = ? and ns < ? order by ns desc limit 1"
        for at, equity in self._store.read(sql, (account_id, ns)):
            if isinstance(at, int):
                return Point(at, Decimal(str(equity)))
        return None
