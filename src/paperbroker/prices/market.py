"""The current quotes, the last trades and the running bars; tells those who listen."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from paperbroker.prices.levels import reference_price
from paperbroker.prices.quotes import Bar, Halt, Quote, Trade
from paperbroker.prices.timeframes import Timeframe
from paperbroker.timestamps import SECOND

MINUTE = 60 * SECOND


class Prices:
    """What is known of every symbol's price. Listeners are called at once, in the order in which they were added."""

    def __init__(self) -> None:
        self.quotes: dict[str, Quote] = {}
        self.trades: dict[str, Trade] = {}
        self.minute_bars: dict[str, Bar] = {}
        self.day_bars: dict[str, Bar] = {}
        self.previous_day_bars: dict[str, Bar] = {}
        self.on_quote: list[Callable[[Quote], None]] = []
        self.on_trade: list[Callable[[Trade], None]] = []
        self.on_bar: list[Callable[[Bar], None]] = []
        self.on_updated_bar: list[Callable[[Bar], None]] = []
        self.on_halt: list[Callable[[Halt], None]] = []
        self.frozen: set[str] = set()
        self.by_hand_since: dict[str, int] = {}  # symbols (`*`: all) whose prices do not only come from the feed
        self._day_ends: dict[str, int] = {}
        self._closes: dict[str, Decimal] = {}
        self._told: dict[str, int] = {}  # the minute of each symbol's last bar that was told

    def feed(self, event: Quote | Trade) -> None:
        """What the feed brings; a frozen symbol (`*`: every one) keeps its price."""
        if self.frozen and (event.symbol in self.frozen or "*" in self.frozen):
            return
        if isinstance(event, Quote):
            self.quote(event)
        else:
            self.trade(event)

    def moved_by_hand(self, symbol: str, ns: int) -> None:
        """From now on the past of a symbol (`*`: of all) is what was shown, not what its source says."""
        self.by_hand_since.setdefault(symbol, ns)

    def quote(self, quote: Quote) -> None:
        self.quotes[quote.symbol] = quote
        for listener in self.on_quote:
            listener(quote)

    def trade(self, trade: Trade) -> None:
        self.trades[trade.symbol] = trade
        self._add_to_minute(trade)
        self._add_to_day(trade)
        for listener in self.on_trade:
            listener(trade)

    def stand(self, event: Quote | Trade) -> None:
        """What stands when the broker starts: shown like the rest, but no part of a minute that is still to be told."""
        if isinstance(event, Quote):
            self.quote(event)
            return
        self.trades[event.symbol] = event
        self._add_to_day(event)
        for listener in self.on_trade:
            listener(event)

    def note(self, trade: Trade) -> None:
        """What traded while the broker was not there, or its clock leapt: a part of its minute, not shown to anyone."""
        if trade.symbol not in self.by_hand_since and "*" not in self.by_hand_since:
            self._add_to_minute(trade)

    def halt(self, halt: Halt) -> None:
        for listener in self.on_halt:
            listener(halt)

    def end_minutes(self, ns: int) -> None:
        """Tell the bars of the minutes that have ended by an instant; what trades later updates them."""
        for bar in self.minute_bars.values():
            if bar.ns + MINUTE <= ns:
                self._tell(bar)

    def set_close(self, symbol: str, price: Decimal) -> None:
        """Tell yesterday's last price."""
        self._closes[symbol] = price

    def lastday(self, symbol: str) -> Decimal | None:
        """Yesterday's last price; when the broker does not know it, the first one it saw."""
        close = self._closes.get(symbol)
        if close is None and (current := self.current(symbol)) is not None:
            close = self._closes.setdefault(symbol, current)
        return close

    def current(self, symbol: str) -> Decimal | None:
        """The last trade, clamped into the current bid and ask; without a trade the bid. None before any price."""
        quote, trade = self.quotes.get(symbol), self.trades.get(symbol)
        if quote is None:
            return trade.price if trade else None
        if trade is None:
            return quote.bid if quote.bid > 0 else quote.ask
        price = quote.ask if trade.price > quote.ask > 0 else trade.price
        return quote.bid if quote.bid > price else price  # noqa: FURB136  (max() costs thrice that)

    def reckoned(self, symbol: str) -> Decimal:
        """The current price, or the symbol's level when there is none yet.

        For valuing and reserving, never for filling.
        """
        current = self.current(symbol)
        return reference_price(symbol) if current is None else current

    def day_ended(self) -> None:
        """At New York's midnight: what is the price now was yesterday's last."""
        for symbol in self.quotes.keys() | self.trades.keys():
            if (current := self.current(symbol)) is not None:
                self._closes[symbol] = current

    def _add_to_minute(self, trade: Trade) -> None:
        symbol, minute = trade.symbol, trade.ns - trade.ns % MINUTE
        bar = self.minute_bars.get(symbol)
        if bar is None or bar.ns != minute:
            if bar is not None:
                self._tell(bar)
            self.minute_bars[symbol] = Bar.of(trade, minute)
        else:
            bar.add(trade)
            if self._told.get(symbol) == minute:
                for listener in self.on_updated_bar:
                    listener(replace(bar))

    def _add_to_day(self, trade: Trade) -> None:
        symbol = trade.symbol
        if trade.ns >= self._day_ends.get(symbol, 0):
            day = Timeframe(1, "Day").of(symbol)
            begin = day.start_of(trade.ns)
            self._day_ends[symbol] = day.after(begin)
            if (yesterday := self.day_bars.get(symbol)) is not None:
                self.previous_day_bars[symbol] = yesterday
            self.day_bars[symbol] = Bar.of(trade, begin)
        else:
            self.day_bars[symbol].add(trade)

    def _tell(self, bar: Bar) -> None:
        """Tell a minute's bar, once."""
        if self._told.get(bar.symbol) != bar.ns:
            self._told[bar.symbol] = bar.ns
            for listener in self.on_bar:
                listener(replace(bar))
