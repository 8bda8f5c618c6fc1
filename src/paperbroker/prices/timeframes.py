"""The windows of bars: minutes, hours, days, weeks and months, counted from midnight: New York's, for coins UTC's."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from paperbroker.timestamps import SECOND, at, new_york_date, utc_date, utc_midnight

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_TIMEFRAME = re.compile(r"(\d{1,2})(Min|min|T|Hour|hour|H|Day|day|D|Week|week|W|Month|month|M)", re.ASCII)
_UNITS = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}
_ALLOWED = {
    "Min": range(1, 60),
    "Hour": range(1, 24),
    "Day": range(1, 2),
    "Week": range(1, 2),
    "Month": (1, 2, 3, 4, 6, 12),
}


@dataclass(frozen=True, slots=True)
class Timeframe:
    """`number` of `unit` (Min, Hour, Day, Week, Month), counted from New York's midnight or from UTC's."""

    number: int
    unit: str
    utc: bool = False

    @property
    def minutes(self) -> int | None:
        """How long a window is, if it is an hour or less."""
        if self.unit == "Hour" and self.number == 1:
            return 60
        return self.number if self.unit == "Min" else None

    def of(self, symbol: str) -> "Timeframe":
        """The windows of a symbol: a coin's day is UTC's, as Alpaca's bars of 2026 are."""
        return Timeframe(self.number, self.unit, utc="/" in symbol)

    def start_of(self, ns: int) -> int:
        """The beginning of the window in which an instant lies."""
        day = self._day(ns)
        if self.unit in {"Min", "Hour"}:
            midnight, step = self._midnight(day), self._step()
            return midnight + (ns - midnight) // step * step
        return self._midnight(self._first_day(day))

    def after(self, start_ns: int) -> int:
        """The beginning of the window that follows the one that begins at `start_ns`."""
        day = self._day(start_ns)
        if self.unit in {"Min", "Hour"}:
            return min(start_ns + self._step(), self._midnight(day + timedelta(days=1)))
        longest = {"Day": 1, "Week": 7}.get(self.unit, self.number * 31)
        return self._midnight(self._first_day(day + timedelta(days=longest)))

    def before(self, ns: int) -> int:
        """The beginning of the window before the one in which an instant lies."""
        return self.start_of(self.start_of(ns) - 1)

    def windows(self, start_ns: int, end_ns: int, *, descending: bool) -> Iterator[tuple[int, int]]:
        """Beginning and end of every window that begins between start and end, both included."""
        if descending:
            begin = self.start_of(end_ns)
            while begin >= start_ns:
                yield begin, self.after(begin)
                begin = self.start_of(begin - 1)
            return
        begin = self.start_of(start_ns)
        begin = begin if begin == start_ns else self.after(begin)
        while begin <= end_ns:
            yield begin, self.after(begin)
            begin = self.after(begin)

    def _day(self, ns: int) -> date:
        return utc_date(ns) if self.utc else new_york_date(ns)

    def _midnight(self, day: date) -> int:
        return utc_midnight(day) if self.utc else at(day, 0)

    def _step(self) -> int:
        return self.number * (MINUTE if self.unit == "Min" else HOUR)

    def _first_day(self, day: date) -> date:
        if self.unit == "Week":
            return day - timedelta(days=day.weekday())
        if self.unit == "Month":
            return date(day.year, (day.month - 1) // self.number * self.number + 1, 1)
        return day


def parse_timeframe(given: str) -> Timeframe:
    """Read `5Min`, `1Hour`, `1Day`, `1Week`, `3Month` or their short forms (`5T`, `1H` …), `5min` as ccxt writes it.

    Raises ValueError.
    """
    match = _TIMEFRAME.fullmatch(given)
    if match is None:
        raise ValueError(f"invalid timeframe: {given[:20]}")
    number, unit = int(match[1]), _UNITS.get(match[2], match[2].capitalize())
    if number not in _ALLOWED[unit]:
        raise ValueError(f"invalid timeframe: {given[:20]}")
    return Timeframe(number, unit)
