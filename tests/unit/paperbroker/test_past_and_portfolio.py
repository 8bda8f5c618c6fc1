"""The windows of bars, the past of the generated prices, the instants of portfolio history, ids of events."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperbroker import markets
from paperbroker.api import history
from paperbroker.api.history import HistoryPages, Question, What
from paperbroker.assets import Assets
from paperbroker.clock import Clock
from paperbroker.equity import Point
from paperbroker.portfolio import instants, minus_period, series
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Bar, Trade
from paperbroker.prices.shift import Shift
from paperbroker.prices.timeframes import MINUTE, Timeframe, parse_timeframe
from paperbroker.prices.walk_history import WalkHistory
from paperbroker.timestamps import SECOND, at, new_york_date, parse
from paperbroker.trade_events import seq_of, ulid

NOON = parse("2026-11-20T17:00:00Z")
TIMEFRAMES = ["1Min", "7Min", "59T", "5min", "1Hour", "5H", "1Day", "1Week", "1Month", "3M", "12Month"]
instants_of_time = st.integers(parse("2020-01-01"), parse("2030-01-01"))


@settings(deadline=None)
@given(st.sampled_from(TIMEFRAMES), st.sampled_from(["AAPL", "BTC/USD"]), instants_of_time)
def test_every_instant_lies_in_one_window_and_windows_follow_each_other(given_frame: str, symbol: str, ns: int) -> None:
    frame = parse_timeframe(given_frame).of(symbol)
    begin = frame.start_of(ns)
    assert begin <= ns < frame.after(begin)
    assert frame.start_of(frame.after(begin)) == frame.after(begin)
    assert frame.start_of(frame.after(begin) - 1) == begin


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(TIMEFRAMES), st.sampled_from(["AAPL", "BTC/USD"]), instants_of_time, st.integers(0, 40))
def test_windows_are_the_same_forwards_and_backwards(given_frame: str, symbol: str, start: int, days: int) -> None:
    frame = parse_timeframe(given_frame).of(symbol)
    end = start + days * 3600 * SECOND
    forwards = list(frame.windows(start, end, descending=False))
    assert forwards[::-1] == list(frame.windows(start, end, descending=True))
    assert all(first[1] == second[0] for first, second in pairwise(forwards))
    assert all(start <= begin <= end for begin, _ in forwards)


def test_a_coins_day_is_utcs_and_a_stocks_new_yorks() -> None:
    day, hours = parse_timeframe("1Day"), parse_timeframe("4Hour")
    assert day.of("BTC/USD").start_of(NOON) == parse("2026-11-20T00:00:00Z")
    assert day.of("AAPL").start_of(NOON) == parse("2026-11-20T05:00:00Z")
    assert hours.of("BTC/USD").start_of(NOON) == parse("2026-11-20T16:00:00Z")
    assert day.of("BTC/USD").before(NOON) == parse("2026-11-19T00:00:00Z")


def test_bars_of_minutes_are_exact_when_they_are_recent_and_near_it_before() -> None:
    history = WalkHistory(1)
    now = parse("2026-11-20T17:00:00Z")

    def bars(timeframe: str, begin: int, end: int) -> list[Bar]:
        found = history.bars("KO", parse_timeframe(timeframe), begin, end, present_ns=now, descending=False)
        return [bar for _, bar in found if isinstance(bar, Bar)]

    for hours, exact in ((1, True), (9, False)):
        begin = now - hours * 3600 * SECOND
        minutes = bars("1Min", begin, begin + 29 * MINUTE)
        (half,) = bars("30Min", begin, begin)
        high, low = max(bar.high for bar in minutes), min(bar.low for bar in minutes)
        assert ((half.high, half.low, half.trades) == (high, low, sum(bar.trades for bar in minutes))) is exact
        assert abs(half.high - high) / high < Decimal("0.005") > abs(half.low - low) / low


@pytest.mark.parametrize(
    "given_frame", ["0Min", "60Min", "24Hour", "2Day", "2Week", "5Month", "1MIN", "Min", "", "1.5H"]
)
def test_what_is_no_timeframe_is_refused(given_frame: str) -> None:
    with pytest.raises(ValueError, match="invalid timeframe"):
        parse_timeframe(given_frame)


def test_the_past_is_the_same_forwards_and_backwards_and_in_any_cut() -> None:
    history = WalkHistory(1)
    span = (NOON, NOON + 90 * SECOND)
    forwards = [e for _, e in history.events("AAPL", "trades", *span, descending=False) if e]
    assert forwards == [e for _, e in history.events("AAPL", "trades", *span, descending=True) if e][::-1]
    middle = NOON + 33 * SECOND
    parts = [
        event
        for start, end in ((NOON, middle), (middle + 1, span[1]))
        for _, event in history.events("AAPL", "trades", start, end, descending=False)
        if event
    ]
    assert parts == forwards


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("what", ["quotes", "trades", "bars"])
def test_pages_that_have_no_time_still_bring_everything_once(
    monkeypatch: pytest.MonkeyPatch, what: What, descending: bool
) -> None:
    pages = HistoryPages(Assets(), Clock(), Prices(), WalkHistory(1))
    timeframe = Timeframe(2, "Min") if what == "bars" else None
    span = 30 * MINUTE if what == "bars" else 40 * SECOND
    asked = Question(
        what, ["AAPL", "KO"], NOON, NOON + span, 1000, descending, timeframe, token=None, present_ns=NOON + span
    )
    monkeypatch.setattr(history, "PAGE_SECONDS", 600.0)
    whole, end = pages._page(asked)
    assert end is None
    monkeypatch.setattr(history, "PAGE_SECONDS", 0.0)
    found: dict[str, list[object]] = {"AAPL": [], "KO": []}
    for _ in range(1000):
        page, token = pages._page(asked)
        for symbol, entries in page.items():
            found[symbol] += entries
        if token is None:
            break
        asked = replace(asked, token=history._token(token, asked.symbols))
    assert found == whole


def test_longer_bars_are_made_of_the_minutes_that_are_over() -> None:
    history, present = WalkHistory(1), NOON + 10 * MINUTE + 30 * SECOND
    minutes = [
        b for _, b in history.bars("KO", Timeframe(1, "Min"), NOON, present, present_ns=present, descending=False)
    ]
    whole = [bar for bar in minutes if isinstance(bar, Bar)]
    ((_, hour),) = history.bars("KO", Timeframe(1, "Hour"), NOON, present, present_ns=present, descending=False)
    assert isinstance(hour, Bar)
    assert (hour.volume, hour.trades) == (sum(bar.volume for bar in whole), sum(bar.trades for bar in whole))
    assert (hour.open, hour.close) == (whole[0].open, whole[-1].close)
    trades = [
        e
        for _, e in history.events("KO", "trades", NOON, NOON + 10 * MINUTE - 1, descending=False)
        if isinstance(e, Trade)
    ]
    assert hour.trades == len(trades), "the minute that is not over is not in it"


@settings(deadline=None)
@given(st.integers(0, 2**60), st.sampled_from([1.0, 20.0, 0.5, 3.7]))
def test_a_shift_there_and_back_is_within_a_microsecond(ns: int, speed: float) -> None:
    shift = Shift(2**59, NOON, speed)
    assert abs(shift.recorded(shift.shown(ns)) - ns) <= max(1000, speed * 1000)


def test_portfolio_instants_are_those_of_the_hours_that_were_asked_for() -> None:
    start, end = at(date(2026, 11, 27), 0), at(date(2026, 11, 28), 0)  # a half day
    assert len(instants(start, end, "1H", "market_hours")) == 4
    assert len(instants(start, end, "15Min", "market_hours")) == 14
    assert len(instants(start, end, "1H", "extended_hours")) == 13
    assert len(instants(start, end, "1H", "continuous")) == 25
    assert [new_york_date(ns) for ns in instants(start, end, "1D", "market_hours")] == [date(2026, 11, 27)]


def test_an_entry_is_what_was_known_at_the_end_of_its_window() -> None:
    points = [Point(NOON + minute * MINUTE, Decimal(minute)) for minute in (1, 2, 7)]
    labels = [NOON, NOON + 5 * MINUTE, NOON + 10 * MINUTE]
    entries = series(labels, "5Min", points, None)
    assert [entry.equity for entry in entries] == [2, 7, 7]
    early = series([NOON - 10 * MINUTE], "5Min", points, None)
    assert early[0].equity is None
    assert series([NOON - 10 * MINUTE], "5Min", points, Point(0, Decimal(9)))[0].equity == 9


def test_periods_go_back_to_the_same_day_or_the_months_last() -> None:
    may = at(date(2026, 5, 31), 12)
    assert new_york_date(minus_period(may, 3, "M")) == date(2026, 2, 28)
    assert new_york_date(minus_period(may, 1, "A")) == date(2025, 5, 31)
    assert new_york_date(minus_period(may, 2, "W")) == date(2026, 5, 17)


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(1, 2**62))
def test_an_events_id_tells_its_number_and_sorts_by_time(ns: int, seq: int) -> None:
    assert seq_of(ulid(ns, seq)) == seq
    assert ulid(ns, seq) < ulid(ns, seq + 1)
    assert ulid(ns, seq) < ulid(ns + 1_000_000, 1)


@settings(deadline=None)
@given(st.sampled_from(["NYSE", "OPRA"]), instants_of_time)
def test_a_markets_phase_ends_later_and_is_followed_by_another(name: str, ns: int) -> None:
    venue = markets.find(name)
    assert venue is not None
    now = markets.moment(venue, ns)
    assert now.phase_until_ns > ns
    assert markets.moment(venue, now.phase_until_ns).phase != now.phase
    assert now.next_open_ns > ns < now.next_close_ns
