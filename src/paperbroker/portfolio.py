"""The time series of portfolio history: which instants it shows, and what the account was worth then.

Instants are left-labelled: an entry tells what the account was worth at the end of the window that begins there. Daily
ones are the closes of the exchange's sessions.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from paperbroker import calendar
from paperbroker.equity import Point
from paperbroker.timestamps import SECOND, at, new_york_date

Reporting = Literal["market_hours", "extended_hours", "continuous"]
TIMEFRAMES = {"1Min": 60, "5Min": 300, "15Min": 900, "1H": 3600, "1D": 86_400}
MOST_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of the series; None where nothing was known of the account yet."""

    ns: int
    equity: Decimal | None


def instants(start_ns: int, end_ns: int, timeframe: str, reporting: Reporting) -> list[int]:
    """The beginnings of the windows from start to end; the last 20,000 of them where there are more."""
    if timeframe == "1D":
        days = calendar.sessions(new_york_date(start_ns), new_york_date(end_ns))
        return [session.close_ns for session in days][-MOST_ENTRIES:]
    step = TIMEFRAMES[timeframe] * SECOND
    found: list[int] = []
    for first, last in _hours(start_ns, end_ns, reporting):
        aligned = first if reporting != "continuous" else first - first % step
        begin = aligned + max(0, -(-(start_ns - aligned) // step)) * step
        found.extend(range(begin, min(last, end_ns + 1), step))
    return found[-MOST_ENTRIES:]


def _hours(start_ns: int, end_ns: int, reporting: Reporting) -> Iterator[tuple[int, int]]:
    if reporting == "continuous":
        yield start_ns, end_ns + 1
        return
    for session in calendar.sessions(new_york_date(start_ns), new_york_date(end_ns)):
        if reporting == "market_hours":
            yield session.open_ns, session.close_ns
        else:
            yield session.early_ns, session.late_ns


def series(labels: list[int], timeframe: str, points: list[Point], before: Point | None) -> list[Entry]:
    """What the account was worth at the end of each window: the last point that is known by then."""
    width = window_of(timeframe)
    times = [point.ns for point in points]
    entries = []
    for label in labels:
        index = bisect_right(times, label + width)
        known = points[index - 1] if index else before
        entries.append(Entry(label, known.equity if known else None))
    return entries


def window_of(timeframe: str) -> int:
    """How long after its label an entry's window ends, ns; a day's label is its end."""
    return 0 if timeframe == "1D" else TIMEFRAMES[timeframe] * SECOND


def minus_period(end_ns: int, number: int, unit: str) -> int:
    """Go back by `number` days, weeks, months or years (`D`, `W`, `M`, `A`)."""
    return _shift(end_ns, -number, unit)


def plus_period(start_ns: int, number: int, unit: str) -> int:
    return _shift(start_ns, number, unit)


def _shift(ns: int, number: int, unit: str) -> int:
    if unit in {"D", "W"}:
        return ns + number * (7 if unit == "W" else 1) * 86_400 * SECOND
    day = new_york_date(ns)
    months = day.year * 12 + day.month - 1 + number * (12 if unit in {"A", "Y"} else 1)
    year, month = divmod(months, 12)
    shifted = _clip(year, month + 1, day.day)
    return at(shifted, 0) + (ns - at(day, 0))


def _clip(year: int, month: int, day: int) -> date:
    """The 31st of a month that has none becomes its last day."""
    following = date(year + month // 12, month % 12 + 1, 1)
    return min(date(year, month, 1) + timedelta(days=day - 1), following - timedelta(days=1))
