"""The past of the generated prices, computed again from seed, symbol and time.

Quotes, trades and bars of less than five minutes are exactly what was streamed, and in the last hours those of an hour
or less. A day has some 30,000 changes, so that other bars are estimated: the middle price at regular instants, and the
volume that the level makes likely.
"""

from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal

from paperbroker.prices.history import Found, Kind, bar_of, joined
from paperbroker.prices.levels import LEVELS
from paperbroker.prices.quotes import Bar, Quote, Size, Trade
from paperbroker.prices.timeframes import HOUR, MINUTE, Timeframe
from paperbroker.prices.walk import Walk
from paperbroker.timestamps import SECOND

_KEPT_MINUTES = 20_000
_FEWEST_SAMPLES, _SAMPLES = 8, 64
_ALWAYS_EXACT = 4  # minutes; longer bars are as long as they are recent
_RECENT = 6 * HOUR
_SHARE_OF_TRADES = Decimal("0.4")  # as in `walk`: how many changes of the quote come with a trade


class WalkHistory:
    """Every second of every generated symbol, before and after the broker's start."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._walks: dict[str, Walk] = {}
        self._minutes: OrderedDict[tuple[str, int], Bar | None] = OrderedDict()

    def events(self, symbol: str, kind: Kind, start_ns: int, end_ns: int, *, descending: bool) -> Iterator[Found]:
        wanted = Quote if kind == "quotes" else Trade
        if symbol not in LEVELS or end_ns < start_ns:
            return
        seconds = range(start_ns // SECOND - 1, end_ns // SECOND + 1)  # a trade may end up in the second after its own
        for second in reversed(seconds) if descending else seconds:
            events = sorted(self._walk(symbol).second(second), key=lambda event: event.ns, reverse=descending)
            for event in events:
                if isinstance(event, wanted) and start_ns <= event.ns <= end_ns:
                    yield event.ns, event
            if start_ns <= second * SECOND <= end_ns:
                yield second * SECOND, None

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, *, present_ns: int, descending: bool
    ) -> Iterator[Found]:
        if symbol not in LEVELS:
            return
        present = present_ns - present_ns % MINUTE
        for begin, end in timeframe.windows(start_ns, end_ns, descending=descending):
            last = min(end, present)
            if last <= begin:
                yield begin, None
            elif timeframe.minutes and (timeframe.minutes <= _ALWAYS_EXACT or begin >= present - _RECENT):
                minutes = (self._minute(symbol, ns) for ns in range(begin, last, MINUTE))
                yield begin, joined((bar for bar in minutes if bar is not None), begin)
            else:
                yield begin, self._estimate(symbol, begin, last)

    def _walk(self, symbol: str) -> Walk:
        if symbol not in self._walks:
            self._walks[symbol] = Walk(self._seed, symbol, LEVELS[symbol])
        return self._walks[symbol]

    def _minute(self, symbol: str, start_ns: int) -> Bar | None:
        key = (symbol, start_ns)
        if key in self._minutes:
            self._minutes.move_to_end(key)
            return self._minutes[key]
        found = self.events(symbol, "trades", start_ns, start_ns + MINUTE - 1, descending=False)
        bar = bar_of((trade for _, trade in found if isinstance(trade, Trade)), start_ns)
        self._minutes[key] = bar
        if len(self._minutes) > _KEPT_MINUTES:
            self._minutes.popitem(last=False)
        return bar

    def _estimate(self, symbol: str, start_ns: int, end_ns: int) -> Bar:
        walk, level = self._walk(symbol), LEVELS[symbol]
        samples = min(_SAMPLES, max(_FEWEST_SAMPLES, (end_ns - start_ns) // MINUTE))
        step = (end_ns - start_ns) // samples
        prices = [walk.middle(start_ns + index * step) for index in range(samples)] + [walk.middle(end_ns)]
        trades = max(1, int((end_ns - start_ns) / SECOND * level.per_second * float(_SHARE_OF_TRADES)))
        volume: Size = trades * level.size if "/" in symbol else int(trades * level.size)
        average = sum(prices, Decimal(0)) / len(prices)
        return Bar(symbol, start_ns, prices[0], max(prices), min(prices), prices[-1], volume, trades, average * volume)
