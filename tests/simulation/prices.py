"""The port Prices: what one engine knows of the venue's prices, and how fresh that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from oms.domain.instruments import Instrument
from oms.domain.market import Price
from tests.simulation.store import _done
from tests.simulation.venue import Venue
from tests.simulation.world import World


class SimPrices:
    """`fresh_at` has when a fresh price of each symbol was shown: an invariant looks at it.

    Mute prices do not move and are stale, blank ones were never seen, until somebody asks the broker.
    """

    def __init__(self, world: World, venue: Venue, fresh_at: dict[str, list[float]]) -> None:
        self._world = world
        self._venue = venue
        self._asked_at: dict[str, float] = {}
        self.fresh_at = fresh_at
        self.is_mute_until = -1.0
        self.is_blank_until = -1.0

    def price(self, symbol: str, max_age_s: Decimal) -> Price:
        now = self._world.loop.time()
        is_asked = self._asked_at.get(symbol, -9.0) > now - 0.5
        is_fresh = now >= self.is_mute_until or is_asked
        last = self._venue.prices[symbol]
        if now < self.is_blank_until and not is_asked:
            return Price(symbol, None, None, None, None, fresh=False)
        if is_fresh:
            self.fresh_at.setdefault(symbol, []).append(now)
        return Price(symbol, last, last, last, self._world.now(), fresh=is_fresh)

    async def ask(self, instruments: Iterable[Instrument]) -> None:
        future = self._world.loop.create_future()
        self._world.loop.at(self._world.random.uniform(0.005, 0.05), _done, future)
        await future
        if not self._world.chance(0.3):
            for instrument in instruments:
                self._asked_at[instrument.symbol] = self._world.loop.time()

    def follow(self, instruments: Sequence[Instrument]) -> None: ...
