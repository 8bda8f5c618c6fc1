"""The tasks that bring the walks or a tape to the market as the broker's time goes by."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from paperbroker.assets import Assets
from paperbroker.clock import Clock
from paperbroker.prices.levels import LEVELS
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote, Trade
from paperbroker.prices.shift import Shift
from paperbroker.prices.tape import Tape
from paperbroker.prices.walk import Walk
from paperbroker.timestamps import SECOND, at, new_york_date

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.02  # what falls due within it goes out together: fewer wake-ups, one frame for each client
_LONGEST_QUIET_SECONDS = 300  # the quietest symbol trades every few seconds
_YIELD_EVERY = 200  # events after which a busy tape lets the others run


class Feed(Protocol):
    """A source of prices."""

    def start(self) -> None:
        """Show what is known at once, before anyone can ask."""

    async def run(self) -> None:
        """Bring prices until cancelled, or until there are no more."""


class WalkFeed:
    """Generated prices of every asset, each second's changes made when the second begins."""

    def __init__(self, seed: int, prices: Prices, clock: Clock) -> None:
        self._walks = [Walk(seed, symbol, level) for symbol, level in LEVELS.items()]
        self._symbols = list(LEVELS)
        self._prices = prices
        self._clock = clock
        self._number = 0  # the second that is being shown
        self._due: deque[Quote | Trade] = deque()  # what is left of it
        clock.on_move.append(self._leap)

    def start(self) -> None:
        now = self._clock.peek()
        midnight = at(new_york_date(now), 0)
        for symbol, walk in zip(self._symbols, self._walks, strict=True):
            self._prices.set_close(symbol, walk.middle(midnight))
            if (trade := _last_trade(walk, now // SECOND)) is not None:
                self._prices.stand(trade)
            self._prices.stand(walk.quote_at(now))
        self._enter(now // SECOND)

    async def run(self) -> None:
        while True:
            if self._due:
                wait = self._clock.seconds_until(self._due[0].ns)
                if wait > 0:
                    await asyncio.sleep(min(1.0, max(_TICK_SECONDS, wait)))
                else:
                    self._prices.feed(self._due.popleft())
                continue
            following = self._number + 1
            await asyncio.sleep(min(1.0, self._clock.seconds_until(following * SECOND)))
            if self._number == following - 1:  # else the clock was moved
                if abs(self._clock.peek() // SECOND - following) > 1:  # a suspended machine woke up
                    self._leap()
                else:
                    self._show(following)

    def _show(self, number: int) -> None:
        """Go on with a second."""
        self._number = number
        self._due = deque(sorted((e for walk in self._walks for e in walk.second(number)), key=lambda event: event.ns))

    def _enter(self, number: int) -> None:
        """Go on with a second whose minute has begun without us."""
        self._note(range(number - number % 60, number))
        self._show(number)

    def _leap(self) -> None:
        """To the present: not what was slept through, but the minute that was begun becomes whole for its bar."""
        number = self._clock.peek() // SECOND
        if number == self._number:
            return
        if number < self._number:
            self._enter(number)
            return
        for event in self._due:
            if isinstance(event, Trade):
                self._prices.note(event)
        end = self._number - self._number % 60 + 60
        self._note(range(self._number + 1, min(end, number)))
        if number < end:
            self._show(number)
        else:
            self._enter(number)

    def _note(self, seconds: range) -> None:
        for number in seconds:
            for walk in self._walks:
                for event in walk.second(number):
                    if isinstance(event, Trade):
                        self._prices.note(event)


def _last_trade(walk: Walk, before: int) -> Trade | None:
    """The last trade of the seconds before one; what that second itself brings, the feed will show."""
    for number in range(before - 1, before - _LONGEST_QUIET_SECONDS, -1):
        trades = [event for event in walk.second(number) if isinstance(event, Trade) and event.ns < before * SECOND]
        if trades:
            return trades[-1]
    return None


class PushedFeed:
    """No prices but those that the control API is given."""

    def start(self) -> None:
        pass

    async def run(self) -> None:
        await asyncio.Event().wait()


class TapeFeed:
    """A tape, its events shown when a clock reaches them; with a `shift` they carry the time at which they are due.

    `clock` is the tape's: the broker's own, but with a `shift` another, because the broker's is then the wall's.
    """

    def __init__(self, tape: Tape, clock: Clock, prices: Prices, assets: Assets, shift: Shift | None) -> None:
        self._tape = tape
        self._clock = clock
        self._prices = prices
        self._assets = assets
        self._shift = shift

    def start(self) -> None:
        """Where the replay begins later than the tape, each symbol's last quote and trade before it stand."""
        for event in self._tape.standing:
            self._assets.ensure_stock(event.symbol)
            self._prices.stand(self._shown(event))
        if self._shift is None:
            for trade in self._tape.running:
                self._prices.note(trade)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        slices = self._tape.slices()
        upcoming = loop.run_in_executor(None, _next_slice, slices)
        while events := await upcoming:
            upcoming = loop.run_in_executor(None, _next_slice, slices)
            await self._play(events)
        _log.info("the tape has ended; its last prices stay")

    async def _play(self, events: list[Quote | Trade]) -> None:
        for count, event in enumerate(events):
            wait = self._clock.seconds_until(event.ns)
            if wait > 0:
                await asyncio.sleep(max(wait, 0.001))
            elif count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
            self._show(event)

    def _show(self, event: Quote | Trade) -> None:
        self._assets.ensure_stock(event.symbol)
        self._prices.feed(self._shown(event))

    def _shown(self, event: Quote | Trade) -> Quote | Trade:
        return event if self._shift is None else replace(event, ns=self._shift.shown(event.ns))


def _next_slice(slices: Iterator[list[Quote | Trade]]) -> list[Quote | Trade]:
    return next(slices, [])
