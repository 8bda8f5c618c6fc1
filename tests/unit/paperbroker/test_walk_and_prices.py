"""Generated prices, and what the market knows."""

from decimal import Decimal
from itertools import pairwise

import pytest

from paperbroker.prices.levels import LEVELS
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Bar, Quote, Trade
from paperbroker.prices.walk import Walk
from paperbroker.timestamps import SECOND

START = 1_790_000_000


@pytest.mark.parametrize("symbol", ["AAPL", "BAC", "BTC/USD", "DOGE/USD", "USDT/USD"])
def test_the_same_seed_gives_the_same_prices_whenever_they_are_asked_for(symbol: str) -> None:
    one, other = (Walk(7, symbol, LEVELS[symbol]) for _ in range(2))
    seconds = list(range(START, START + 30))
    forwards = [event for number in seconds for event in one.second(number)]
    backwards = [list(other.second(number)) for number in reversed(seconds)]
    assert forwards == [event for events in reversed(backwards) for event in events]
    assert forwards != [event for number in seconds for event in Walk(8, symbol, LEVELS[symbol]).second(number)]


@pytest.mark.parametrize("symbol", LEVELS)
def test_prices_are_on_their_grid_with_a_spread_and_near_their_level(symbol: str) -> None:
    level = LEVELS[symbol]
    walk = Walk(1, symbol, level)
    quotes = [event for number in range(START, START + 20) for event in walk.second(number) if isinstance(event, Quote)]
    quotes.append(walk.quote_at(START * SECOND))
    for quote in quotes:
        assert 0 < quote.bid < quote.ask
        assert quote.bid % level.tick == 0
        assert quote.ask % level.tick == 0
        assert abs(quote.bid / level.price - 1) < Decimal("0.5")
        assert quote.bid_size > 0


def test_seconds_are_in_the_order_of_time_and_a_few_changes_at_most() -> None:
    walk = Walk(1, "AAPL", LEVELS["AAPL"])
    counts = []
    for number in range(START, START + 200):
        events = list(walk.second(number))
        assert all(number * SECOND <= event.ns <= (number + 1) * SECOND + 1000 for event in events)
        assert all(a.ns <= b.ns for a, b in pairwise(events))
        counts.append(sum(isinstance(event, Quote) for event in events))
    assert max(counts) <= 8
    assert 2 < sum(counts) / len(counts) < 4


def quote(bid: str, ask: str, ns: int = START * SECOND) -> Quote:
    return Quote("IBM", ns, Decimal(bid), Decimal(ask), 100, 100)


def trade(price: str, ns: int, size: int = 100) -> Trade:
    return Trade("IBM", ns, Decimal(price), size, 1)


def test_the_current_price_is_the_last_trade_clamped_into_the_quote() -> None:
    prices = Prices()
    assert prices.current("IBM") is None
    prices.trade(trade("100", START * SECOND))
    assert prices.current("IBM") == 100
    prices.quote(quote("101", "102"))
    assert prices.current("IBM") == 101
    prices.trade(trade("103", START * SECOND))
    assert prices.current("IBM") == 102


def test_a_minutes_trades_make_a_bar_that_is_told_when_the_next_begins() -> None:
    prices, bars = Prices(), list[Bar]()
    prices.on_bar.append(bars.append)
    minute = START * SECOND // (60 * SECOND) * 60 * SECOND
    for offset, price in ((0, "10"), (20, "12"), (40, "9"), (59, "11")):
        prices.trade(trade(price, minute + offset * SECOND))
    assert bars == []
    prices.trade(trade("20", minute + 60 * SECOND))
    (bar,) = bars
    assert (bar.ns, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades) == (minute, 10, 12, 9, 11, 400, 4)
    assert prices.day_bars["IBM"].trades == 5


def test_yesterdays_price_is_what_was_current_when_the_day_ended() -> None:
    prices = Prices()
    prices.quote(quote("101", "102"))
    assert prices.lastday("IBM") == 101
    prices.quote(quote("105", "106"))
    assert prices.lastday("IBM") == 101
    prices.day_ended()
    assert prices.lastday("IBM") == 105
