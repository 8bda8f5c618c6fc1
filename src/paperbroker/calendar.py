"""The sessions of the New York Stock Exchange, from its rules.

Rules rather than the library `exchange-calendars`, because importing that costs 1.5 s and 150 MB at every start; a
unit test compares every session from 2004 on with it. Rules: NYSE rule 7.2 and the exchange's holiday lists; closures
that no rule foresees are listed.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from paperbroker.timestamps import at, new_york_date

FIRST_YEAR, LAST_YEAR = 2004, 2040

UNFORESEEN_CLOSURES = frozenset(
    {
        date(2004, 6, 11),  # President Reagan's funeral
        date(2007, 1, 2),  # President Ford's funeral
        date(2012, 10, 29),  # hurricane Sandy
        date(2012, 10, 30),
        date(2018, 12, 5),  # President Bush's funeral
        date(2025, 1, 9),  # President Carter's funeral
    }
)


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day. Instants in nanoseconds UTC.

    Pre-market starts at 4:00, after-hours end 4 hours after the close.
    """

    day: date
    open_ns: int
    close_ns: int
    early_ns: int
    late_ns: int
    half: bool


def session_on(day: date) -> Session | None:
    """The session of a day, None when the exchange is closed."""
    return _sessions_of(day.year).get(day)


def sessions(start: date, end: date) -> Iterator[Session]:
    """Every session from start to end, both included."""
    for year in range(max(start.year, FIRST_YEAR), min(end.year, LAST_YEAR) + 1):
        yield from (session for day, session in _sessions_of(year).items() if start <= day <= end)


def session_at(ns: int) -> Session | None:
    """The session in whose regular hours an instant lies."""
    session = session_on(new_york_date(ns))
    return session if session and session.open_ns <= ns < session.close_ns else None


def next_session(ns: int) -> Session:
    """The first session that opens strictly after an instant."""
    day = new_york_date(ns)
    for offset in range(15):
        session = session_on(day + timedelta(days=offset))
        if session and session.open_ns > ns:
            return session
    raise LookupError(f"no session within two weeks of {day}: this calendar covers {FIRST_YEAR} to {LAST_YEAR}")


def next_close(ns: int) -> int:
    """The end of the running session, else of the next one."""
    running = session_at(ns)
    return running.close_ns if running else next_session(ns).close_ns


def settlement_date(day: date) -> date:
    """When a trade of a day settles: T+1 since 2024-05-28, T+2 since 2017-09-05, T+3 before (SEC rule 15c6-1)."""
    lag = 1 if day >= date(2024, 5, 28) else 2 if day >= date(2017, 9, 5) else 3
    days = [s.day for s in sessions(day, day + timedelta(days=15))]
    return days[bisect_right(days, day) + lag - 1]


@lru_cache(maxsize=64)
def _sessions_of(year: int) -> dict[date, Session]:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return {}
    closed, halves = _holidays(year), _half_days(year)
    days = (date(year, 1, 1) + timedelta(days=n) for n in range(366))
    return {
        day: _session(day, half=day in halves)
        for day in days
        if day.year == year and day.weekday() < 5 and day not in closed and day not in UNFORESEEN_CLOSURES
    }


def _session(day: date, *, half: bool) -> Session:
    close = 13 if half else 16
    return Session(day, at(day, 9, 30), at(day, close), at(day, 4), at(day, close + 4), half)


def _holidays(year: int) -> set[date]:
    days = {
        _weekday(year, 1, 0, 3),  # Martin Luther King
        _weekday(year, 2, 0, 3),  # Washington
        _easter(year) - timedelta(days=2),  # Good Friday
        _last_monday_of_may(year),
        _observed(date(year, 7, 4)),
        _weekday(year, 9, 0, 1),  # Labor Day
        _weekday(year, 11, 3, 4),  # Thanksgiving
        _observed(date(year, 12, 25)),
    }
    new_year = date(year, 1, 1)
    if new_year.weekday() != 5:  # on a Saturday it is not moved to the Friday, which closes the books of the year
        days.add(_observed(new_year))
    if year >= 2022:
        days.add(_observed(date(year, 6, 19)))
    return days


def _half_days(year: int) -> set[date]:
    """Closing at 13:00: the day after Thanksgiving, Christmas Eve, the eve of Independence Day."""
    days = {_weekday(year, 11, 3, 4) + timedelta(days=1)}
    if date(year, 12, 24).weekday() < 4:
        days.add(date(year, 12, 24))
    fourth = date(year, 7, 4).weekday()
    if fourth in {1, 2, 4} or (fourth == 3 and year >= 2013):
        days.add(date(year, 7, 3))
    elif fourth == 3:
        days.add(date(year, 7, 5))  # until 2013 the Friday after a Thursday's holiday
    return days


def _observed(day: date) -> date:
    return day + timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0))


def _weekday(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - timedelta(days=last.weekday())


def _easter(year: int) -> date:
    """Western Easter Sunday, by the anonymous Gregorian algorithm."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)
