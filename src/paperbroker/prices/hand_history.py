"""The past where somebody moved prices by hand: what was shown since then, as no seed and no tape knows it."""

from collections import defaultdict
from collections.abc import Iterator

from paperbroker.prices.history import Found, History, Kind, bar_of, joined
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Bar, Quote, Trade
from paperbroker.prices.timeframes import MINUTE, Timeframe

_MOST = 200_000  # events kept of a symbol; then the older half goes


class HandHistory:
    """The past of another source, up to the moment at which a symbol was first touched by hand; then its own notes."""

    def __init__(self, source: History, prices: Prices) -> None:
        self._source = source
        self._since = prices.by_hand_since
        self._notes: dict[str, list[Quote | Trade]] = defaultdict(list)
        prices.on_quote.append(self._note)
        prices.on_trade.append(self._note)

    def events(self, symbol: str, kind: Kind, start_ns: int, end_ns: int, *, descending: bool) -> Iterator[Found]:
        since = self._touched(symbol)
        if since is None or end_ns < since:
            yield from self._source.events(symbol, kind, start_ns, end_ns, descending=descending)
            return
        wanted = Quote if kind == "quotes" else Trade
        notes = self._notes[symbol][:]  # at once: the event loop goes on adding
        own = [(event.ns, event) for event in notes if isinstance(event, wanted) and start_ns <= event.ns <= end_ns]
        if not descending:
            yield from self._source.events(symbol, kind, start_ns, since - 1, descending=False)
            yield from own
        else:
            yield from reversed(own)
            yield from self._source.events(symbol, kind, start_ns, since - 1, descending=True)

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, *, present_ns: int, descending: bool
    ) -> Iterator[Found]:
        since = self._touched(symbol)
        if since is None:
            yield from self._source.bars(
                symbol, timeframe, start_ns, end_ns, present_ns=present_ns, descending=descending
            )
            return
        for begin, end in timeframe.windows(start_ns, end_ns, descending=descending):
            last = min(end, present_ns - present_ns % MINUTE)
            by_hand = min(max(begin, since - since % MINUTE), last)
            parts: list[Bar | None] = []
            if by_hand > begin:
                before = self._source.bars(symbol, timeframe, begin, begin, present_ns=by_hand, descending=False)
                parts = [bar for _, bar in before if isinstance(bar, Bar)]
            found = self.events(symbol, "trades", by_hand, last - 1, descending=False) if last > by_hand else iter(())
            parts.append(bar_of((trade for _, trade in found if isinstance(trade, Trade)), begin))
            yield begin, joined((bar for bar in parts if bar is not None), begin)

    def _touched(self, symbol: str) -> int | None:
        since = [self._since[name] for name in (symbol, "*") if name in self._since]
        return min(since, default=None)

    def _note(self, event: Quote | Trade) -> None:
        if not self._since or self._touched(event.symbol) is None:
            return
        notes = self._notes[event.symbol]
        notes.append(event)
        if len(notes) > _MOST:
            del notes[: _MOST // 2]
