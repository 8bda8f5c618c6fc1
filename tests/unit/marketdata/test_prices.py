"""What is fresh and what is newest, against a plain restatement of the rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from oms.domain.market import Quote, Tick, Trade
from oms.domain.values import AssetClass
from oms.marketdata.prices import PriceBook

T0 = datetime(2026, 1, 5, 15, tzinfo=UTC)
D = Decimal


@dataclass
class ManualClock:
    """Time that stands until it is moved."""

    seconds: float = 1000.0

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def trade(price: str | int, at_s: float = 0, symbol: str = "AAPL") -> Trade:
    return Trade(symbol, D(price), D(1), T0 + timedelta(seconds=at_s))


def quote(bid: str | int | None, ask: str | int | None, at_s: float = 0, symbol: str = "AAPL") -> Quote:
    return Quote(symbol, None if bid is None else D(bid), None if ask is None else D(ask), T0 + timedelta(seconds=at_s))


def book_of() -> tuple[PriceBook, ManualClock]:
    clock = ManualClock()
    return PriceBook(clock), clock


def test_an_unknown_symbol_has_no_price() -> None:
    book, _ = book_of()
    price = book.price("AAPL", 5)
    assert (price.last, price.bid, price.ask, price.at, price.fresh) == (None, None, None, None, False)
    assert book.newest_age_s() is None


def test_a_received_tick_is_fresh_for_the_age_and_keeps_its_value_beyond() -> None:
    book, clock = book_of()
    book.apply([trade(10), quote(9, 11)])
    clock.seconds += 5
    assert book.price("AAPL", D("5")).fresh
    clock.seconds += 0.1
    stale = book.price("AAPL", 5)
    assert not stale.fresh
    assert (stale.valuation, stale.at) == (D(10), T0)


def test_a_quiet_symbol_on_a_live_stream_is_not_stale() -> None:
    book, clock = book_of()
    book.set_live(AssetClass.STOCK, ["AAPL"])
    book.apply([trade(10)])
    clock.seconds += 3600
    assert book.price("AAPL", 5).fresh
    assert book.held() == [(0.0, trade(10))]
    book.set_live(AssetClass.STOCK, ["AAPL", "MSFT"])  # others come and go
    assert book.price("AAPL", 5).fresh
    book.stream_lost(AssetClass.STOCK)
    assert not book.price("AAPL", 5).fresh
    assert book.held() == [(3600.0, trade(10))]


def test_what_was_seen_before_the_stream_carried_it_may_have_been_overtaken() -> None:
    book, clock = book_of()
    book.apply([trade(10)])
    clock.seconds += 60
    book.set_live(AssetClass.STOCK, ["AAPL"])
    assert not book.price("AAPL", 5).fresh
    book.apply_asked([trade(10)], asked_at=clock.seconds - 0.1)  # asked before it was carried: a gap is left
    clock.seconds += 60
    assert not book.price("AAPL", 5).fresh
    book.apply_asked([trade(10)], asked_at=clock.seconds)
    clock.seconds += 600
    assert book.price("AAPL", 5).fresh


def test_an_answer_is_as_old_as_its_question_and_vouches_for_what_is_held() -> None:
    book, clock = book_of()
    book.apply([trade(10, at_s=7)])
    clock.seconds += 60
    assert book.apply_asked([trade(10, at_s=7)], asked_at=clock.seconds - 4) == []
    assert book.price("AAPL", 5).fresh
    clock.seconds += 2
    assert not book.price("AAPL", 5).fresh
    assert book.apply_asked([trade(9, at_s=3)]) == []  # REST lags behind the stream: what is held is newer
    assert book.price("AAPL", 5).fresh
    assert book.price("AAPL", 5).last == D(10)
    assert book.apply_asked([trade(11, at_s=8)]) == [trade(11, at_s=8)]


def test_an_old_quote_does_not_bound_a_trade_of_now() -> None:
    book, clock = book_of()
    book.apply([quote(99, 101, at_s=0)])
    clock.seconds += 600
    book.apply([trade(50, at_s=600)])
    price = book.price("AAPL", 5)
    assert (price.fresh, price.bid, price.ask, price.valuation) == (True, None, None, D(50))


def test_an_old_trade_is_moved_into_the_quote_of_now() -> None:
    book, clock = book_of()
    book.apply([trade(50, at_s=0)])
    clock.seconds += 600
    book.apply([quote(99, 101, at_s=600)])
    price = book.price("AAPL", 5)
    assert (price.fresh, price.valuation, price.at) == (True, D(99), T0 + timedelta(seconds=600))


ticks = st.builds(
    lambda is_trade, price, at_s: trade(price, at_s) if is_trade else quote(price, price + 1, at_s),
    st.booleans(),
    st.integers(1, 50),
    st.integers(0, 5),
)


@given(st.lists(ticks, max_size=20))
def test_the_newest_by_exchange_time_is_held_and_of_equals_the_later_received(arrived: list[Tick]) -> None:
    book, _ = book_of()
    for tick in arrived:
        book.apply([tick])
    for kind in (Quote, Trade):
        of_kind = [tick for tick in arrived if isinstance(tick, kind)]
        newest = max(enumerate(of_kind), key=lambda one: (one[1].at, one[0]), default=(0, None))[1]
        assert [tick for _, tick in book.held() if isinstance(tick, kind)] == ([newest] if newest else [])


steps = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 8)),
    st.tuples(st.just("tick"), st.just(0.0)),
    st.tuples(st.just("asked"), st.floats(0, 8)),
    st.tuples(st.just("live"), st.just(0.0)),
    st.tuples(st.just("lost"), st.just(0.0)),
)


@given(st.lists(steps, max_size=25), st.floats(0.5, 10))
def test_freshness_is_what_the_rule_says_after_any_history(history: list[tuple[str, float]], max_age_s: float) -> None:
    book, clock = book_of()
    seen: float | None = None
    live: float | None = None
    for n, (what, amount) in enumerate(history):
        if what == "wait":
            clock.seconds += amount
        elif what == "tick":
            book.apply([trade(1, n)])
            seen = clock.seconds
        elif what == "asked":
            book.apply_asked([trade(1, n)], asked_at=clock.seconds - amount)
            seen = max(seen or 0, clock.seconds - amount)
        elif what == "live":
            book.set_live(AssetClass.STOCK, ["AAPL"])
            live = clock.seconds if live is None else live
        else:
            book.stream_lost(AssetClass.STOCK)
            live = None
    carried = seen is not None and live is not None and seen >= live
    received = seen is not None and seen >= clock.seconds - max_age_s
    assert book.price("AAPL", max_age_s).fresh is (received or carried)
