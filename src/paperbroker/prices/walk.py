"""Seeded random walks: a pure function of seed, symbol and time.

Because the price of any instant can be computed without what came before, a broker that was down, was started
elsewhere in time or lost its data folder shows the same prices again, and yesterday's close is known without having
been awake.

The middle price is its level times exp of a sum of noises, one for each period of 0.5 s, 1 s, 2 s … 48 days; each
noise is linear between values that a hash gives. Amplitudes grow with the square root of the period, which makes
differences look like those of a random walk, while the level never runs away. Every second of a symbol is drawn from
a hash of its own: how many changes, when, spreads, sizes, trades; some seconds are bursts, as on real days.
"""

import math
import random
from collections.abc import Iterator
from decimal import Decimal
from hashlib import blake2b

from paperbroker.prices.levels import Level
from paperbroker.prices.quotes import Quote, Size, Trade
from paperbroker.timestamps import SECOND

_OCTAVES = range(-1, 23)
_DAY_SECONDS = 86_400.0
_AMPLITUDE = 0.9  # found by measuring: makes one day's differences scatter by the level's volatility
_BURST_CHANCE, _BURST_FACTOR, _CALM_FACTOR = 0.04, 6.0, 0.8
_MOST_A_SECOND = 8
_TRADE_CHANCE = 0.4
_EXCHANGES = "VQPZKNY"


class Walk:
    """One symbol's prices."""

    def __init__(self, seed: int, symbol: str, level: Level) -> None:
        self._key = f"{seed}/{symbol}".encode()
        self._symbol = symbol
        self._level = level
        self._coin = "/" in symbol
        self._level_ticks = float(level.price / level.tick)
        noise_key = f"{seed}/{level.follows or symbol}".encode()
        self._octaves = [_Octave(noise_key, 2.0**n, level.volatility) for n in _OCTAVES]

    def middle_ticks(self, ns: int) -> float:
        """The middle price of an instant, in ticks."""
        seconds = ns / SECOND
        return self._level_ticks * math.exp(sum(octave.at(seconds) for octave in self._octaves))

    def middle(self, ns: int) -> Decimal:
        return self._level.tick * round(self.middle_ticks(ns))

    def quote_at(self, ns: int) -> Quote:
        """A quote of an instant, outside the regular flow: what a broker that just starts shows."""
        return self._quote(ns, self._roll("start", ns))

    def second(self, number: int) -> Iterator[Quote | Trade]:
        """All changes of one second (number: seconds since 1970), in the order of time."""
        roll = self._roll("second", number)
        burst = roll.random() < _BURST_CHANCE
        rate = self._level.per_second * (_BURST_FACTOR if burst else _CALM_FACTOR)
        offsets: list[float] = []
        elapsed = roll.expovariate(rate)
        while elapsed < 1.0 and len(offsets) < _MOST_A_SECOND:
            offsets.append(elapsed)
            elapsed += roll.expovariate(rate)
        for index, offset in enumerate(offsets):
            ns = number * SECOND + int(offset * SECOND)
            quote = self._quote(ns, roll)
            yield quote
            if roll.random() < _TRADE_CHANCE:
                yield self._trade(quote, number * 16 + index, roll)

    def _quote(self, ns: int, roll: random.Random) -> Quote:
        spread = max(1, round(roll.triangular(0.5, 2.0, 1.0) * self._level.spread_ticks))
        bid = math.floor(self.middle_ticks(ns) - spread / 2)
        bid = max(bid, 1)
        tick = self._level.tick
        sizes = self._size(roll), self._size(roll)
        if self._coin:
            return Quote(self._symbol, ns, bid * tick, (bid + spread) * tick, *sizes)
        return Quote(
            self._symbol,
            ns,
            bid * tick,
            (bid + spread) * tick,
            *sizes,
            roll.choice(_EXCHANGES),
            roll.choice(_EXCHANGES),
        )

    def _trade(self, quote: Quote, trade_id: int, roll: random.Random) -> Trade:
        buyer = roll.random() < 0.5
        exchange = quote.ask_exchange if buyer else quote.bid_exchange
        price = quote.ask if buyer else quote.bid
        return Trade(self._symbol, quote.ns + 1000, price, self._size(roll), trade_id, exchange, buyer)

    def _size(self, roll: random.Random) -> Size:
        """Most are small, a few are large.

        Exponential around the usual size, in lots of 100 shares or with 4 decimals.
        """
        size = roll.expovariate(1.0) * float(self._level.size)
        if self._coin:
            return Decimal(max(1, round(size * 10_000))).scaleb(-4)
        return max(1, round(size / 100)) * 100

    def _roll(self, purpose: str, number: int) -> random.Random:
        return random.Random(_hash(self._key, f"{purpose}/{number}"))


class _Octave:
    """The noise of one period; keeps the two values between which it is at the moment."""

    def __init__(self, key: bytes, period_seconds: float, volatility: float) -> None:
        self._key = key
        self._period = period_seconds
        self._amplitude = _AMPLITUDE * volatility * math.sqrt(period_seconds / _DAY_SECONDS)
        self._index: int | None = None
        self._from = self._to = 0.0

    def at(self, seconds: float) -> float:
        position = seconds / self._period
        index = math.floor(position)
        if index != self._index:
            self._from = self._to if self._index is not None and index == self._index + 1 else self._value(index)
            self._to = self._value(index + 1)
            self._index = index
        return self._from + (self._to - self._from) * (position - index)

    def _value(self, index: int) -> float:
        """Evenly spread between -amplitude and +amplitude."""
        return (_hash(self._key, f"{self._period}/{index}") / 2**63 - 1.0) * self._amplitude


def _hash(key: bytes, what: str) -> int:
    return int.from_bytes(blake2b(what.encode(), digest_size=8, key=key[:64]).digest())
