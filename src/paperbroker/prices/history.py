"""What prices were: the same quotes, trades and bars that were streamed, and those before the broker was started."""

from collections.abc import Iterator
from typing import Literal, Protocol

from paperbroker.prices.quotes import Bar, Quote, Trade
from paperbroker.prices.timeframes import Timeframe

Kind = Literal["quotes", "trades"]
Found = tuple[int, Quote | Trade | Bar | None]  # None: nothing at this instant, but searched so far


class History(Protocol):
    """The past of every symbol. Used by one thread at a time.

    Instants are ns, start and end included; nothing after the end is looked at, so a caller that may not see the future
    ends with the present. With `descending` the newest comes first.
    """

    def events(self, symbol: str, kind: Kind, start_ns: int, end_ns: int, *, descending: bool) -> Iterator[Found]:
        """The quotes or trades of a symbol."""

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, *, present_ns: int, descending: bool
    ) -> Iterator[Found]:
        """The bars that begin between start and end, made of the whole minutes that have ended by `present_ns`."""


class NoHistory:
    """Where prices come from nowhere but the caller, nothing is known of the past."""

    def events(self, symbol: str, kind: Kind, start_ns: int, end_ns: int, *, descending: bool) -> Iterator[Found]:
        return iter(())

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, *, present_ns: int, descending: bool
    ) -> Iterator[Found]:
        return iter(())


def joined(bars: Iterator[Bar], start_ns: int) -> Bar | None:
    """One bar made of shorter ones in the order of time; None without any."""
    whole: Bar | None = None
    for bar in bars:
        if whole is None:
            whole = Bar(bar.symbol, start_ns, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades, bar.value)
            continue
        whole.high, whole.low = max(whole.high, bar.high), min(whole.low, bar.low)
        whole.close = bar.close
        whole.volume += bar.volume
        whole.trades += bar.trades
        whole.value += bar.value
    return whole


def bar_of(trades: Iterator[Trade], start_ns: int) -> Bar | None:
    """One bar made of trades in the order of time; None without any."""
    bar: Bar | None = None
    for trade in trades:
        if bar is None:
            bar = Bar.of(trade, start_ns)
        else:
            bar.add(trade)
    return bar
