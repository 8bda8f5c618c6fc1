"""The exchange's sessions, and the broker's time."""

from datetime import date

import exchange_calendars
import pytest

from paperbroker import calendar
from paperbroker.clock import Clock, day_order_ends, market_at, next_change, stocks_trade
from paperbroker.timestamps import SECOND, eastern, midnight_after, parse, rfc3339


def test_every_session_is_that_of_the_library() -> None:
    last = date(2027, 10, 1)
    theirs = exchange_calendars.get_calendar("XNYS", start="2004-01-01", end=last.isoformat()).schedule
    ours = {session.day: (session.open_ns, session.close_ns) for session in calendar.sessions(date(2004, 1, 1), last)}
    assert ours == {day.date(): (row.open.value, row.close.value) for day, row in theirs.iterrows()}


@pytest.mark.parametrize(
    ("moment", "is_open", "next_open", "next_close"),
    [
        ("2026-11-23T12:00:00-05:00", True, "2026-11-24T09:30:00-05:00", "2026-11-23T16:00:00-05:00"),
        ("2026-11-23T16:00:00-05:00", False, "2026-11-24T09:30:00-05:00", "2026-11-24T16:00:00-05:00"),
        ("2026-11-26T12:00:00-05:00", False, "2026-11-27T09:30:00-05:00", "2026-11-27T13:00:00-05:00"),
        ("2026-11-27T12:59:59-05:00", True, "2026-11-30T09:30:00-05:00", "2026-11-27T13:00:00-05:00"),
        ("2026-03-06T20:00:00-05:00", False, "2026-03-09T09:30:00-04:00", "2026-03-09T16:00:00-04:00"),
        ("2026-10-30T15:00:00-04:00", True, "2026-11-02T09:30:00-05:00", "2026-10-30T16:00:00-04:00"),
        ("2026-07-02T17:00:00-04:00", False, "2026-07-06T09:30:00-04:00", "2026-07-06T16:00:00-04:00"),
    ],
    ids=[
        "in session",
        "at the close",
        "holiday",
        "half day",
        "before summer time",
        "before winter time",
        "long weekend",
    ],
)
def test_nyse_hours(moment: str, is_open: bool, next_open: str, next_close: str) -> None:
    market = market_at("nyse", parse(moment))
    assert market.is_open is is_open
    assert (eastern(market.next_open_ns), eastern(market.next_close_ns)) == (next_open, next_close)


def test_with_all_hours_it_is_open_on_christmas_and_days_end_at_midnight() -> None:
    moment = parse("2026-12-25T03:00:00-05:00")
    market = market_at("all", moment)
    assert market.is_open
    assert eastern(market.next_close_ns) == "2026-12-26T00:00:00-05:00"
    assert day_order_ends("all", moment, extended=False) == midnight_after(moment)


def test_a_day_order_ends_with_the_running_or_the_next_session() -> None:
    friday_evening = parse("2026-11-20T18:00:00-05:00")
    assert rfc3339(day_order_ends("nyse", friday_evening, extended=False)) == "2026-11-23T21:00:00Z"
    assert rfc3339(day_order_ends("nyse", friday_evening, extended=True)) == "2026-11-21T01:00:00Z"


def test_extended_orders_are_worked_on_from_four_to_eight() -> None:
    early = parse("2026-11-23T04:00:00-05:00")
    assert stocks_trade("nyse", early, extended=True)
    assert not stocks_trade("nyse", early - 1, extended=True)
    assert not stocks_trade("nyse", early, extended=False)


def test_the_next_change_is_always_later() -> None:
    now = parse("2026-11-25T00:00:00-05:00")
    for _ in range(20):
        following = next_change("nyse", now)
        assert following > now
        now = following
    assert eastern(now).startswith("2026-12-01")


def test_trades_settle_on_the_next_session() -> None:
    assert calendar.settlement_date(date(2026, 11, 25)) == date(2026, 11, 27)
    assert calendar.settlement_date(date(2020, 1, 2)) == date(2020, 1, 6)


def test_a_clock_that_starts_elsewhere_runs_on_at_its_speed_and_never_repeats_itself() -> None:
    start = parse("2013-10-07T13:30:00Z")
    clock = Clock(start, speed=1000.0)
    stamps = [clock.now() for _ in range(1000)]
    assert start <= stamps[0]
    assert sorted(set(stamps)) == stamps
    assert clock.seconds_until(clock.peek() + 1000 * SECOND) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2026-11-23", "2026-11-23T00:00:00Z"),
        ("2026-11-23T17:52:36.120500000Z", "2026-11-23T17:52:36.1205Z"),
        ("2026-11-23T12:52:36-05:00", "2026-11-23T17:52:36Z"),
        ("2026-11-23T18:52:36.000000001 01:00", "2026-11-23T17:52:36.000000001Z"),
        ("2026-11-23 17:52Z", "2026-11-23T17:52:00Z"),
    ],
)
def test_times_are_read_and_written_to_the_nanosecond(given: str, written: str) -> None:
    assert rfc3339(parse(given)) == written


@pytest.mark.parametrize(
    "given", ["", "now", "2026-13-01", "2026-11-23T25:00:00Z", "9999-01-01", "0001-01-01", "١٢٣٤-٠١-٠١"]
)
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(given)
