"""The broker's time: the wall's, or started elsewhere, or a tape's at its own speed; and the hours it trades in."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from paperbroker import calendar
from paperbroker.timestamps import SECOND, at, midnight_after, new_york_date

Hours = Literal["all", "nyse"]


class Clock:
    """Nanoseconds since 1970, never the same twice, so that what is stamped with them has an order."""

    def __init__(self, start_ns: int | None = None, speed: float = 1.0) -> None:
        """Start at `start_ns` (else at the wall's time) and run `speed` times as fast as the wall."""
        self.speed = speed
        self._start_ns = time.time_ns() if start_ns is None else start_ns
        self._follows_wall = start_ns is None and speed == 1.0
        self._monotonic_start = time.monotonic_ns()
        self._last = 0
        self.on_move: list[Callable[[], None]] = []

    def peek(self) -> int:
        """What time it is, without making the next stamp later."""
        if self._follows_wall:
            return time.time_ns()
        return self._start_ns + int((time.monotonic_ns() - self._monotonic_start) * self.speed)

    def now(self) -> int:
        """A stamp: what time it is, strictly later than the last one."""
        self._last = max(self.peek(), self._last + 1)
        return self._last

    def move(self, ns: int) -> None:
        """Set it to an instant and let it run on from there. Stamps still never repeat."""
        self._start_ns, self._monotonic_start = ns, time.monotonic_ns()
        self._follows_wall = False
        self._last = min(self._last, ns)
        for listener in self.on_move:
            listener()

    def seconds_until(self, ns: int) -> float:
        """Real seconds until the broker's clock shows an instant; 0 when it has passed."""
        return max(0.0, (ns - self.peek()) / SECOND / self.speed)


@dataclass(frozen=True, slots=True)
class Market:
    """What `/v2/clock` tells of a moment. Instants in nanoseconds."""

    is_open: bool
    next_open_ns: int
    next_close_ns: int


def market_at(hours: Hours, ns: int) -> Market:
    """With hours `all` it is always open; a day then ends at midnight in New York, and the next one begins.

    That is told as a second later: an open market's next opening comes after its close, and clients rely on it.
    """
    if hours == "all":
        return Market(True, midnight_after(ns) + SECOND, midnight_after(ns))
    return Market(calendar.session_at(ns) is not None, calendar.next_session(ns).open_ns, calendar.next_close(ns))


def stocks_trade(hours: Hours, ns: int, *, extended: bool) -> bool:
    """Whether a stock order is worked on now; `extended` orders also from 4:00 to 20:00."""
    if hours == "all":
        return True
    session = calendar.session_on(new_york_date(ns))
    if session is None:
        return False
    if extended:
        return session.early_ns <= ns < session.late_ns
    return session.open_ns <= ns < session.close_ns


def day_order_ends(hours: Hours, ns: int, *, extended: bool) -> int:
    """When a DAY order sent now expires: the close of the running or next session, midnight with hours `all`."""
    if hours == "all":
        return midnight_after(ns)
    today = calendar.session_on(new_york_date(ns))
    if today and ns < (today.late_ns if extended else today.close_ns):
        return today.late_ns if extended else today.close_ns
    following = calendar.next_session(ns)
    return following.late_ns if extended else following.close_ns


def next_change(hours: Hours, ns: int) -> int:
    """The next instant at which trading starts or stops, or a day ends: what the desk has to wake up for."""
    instants = [midnight_after(ns)]
    if hours == "nyse":
        for session in (calendar.session_on(new_york_date(ns)), calendar.next_session(ns)):
            if session:
                instants += [session.early_ns, session.open_ns, session.close_ns, session.late_ns]
    return min(instant for instant in instants if instant > ns)


def auction_due(hours: Hours, ns: int, *, opening: bool) -> int:
    """When an order for the open or the close sent now is worked on; with hours `all` both are at midnight."""
    if hours == "all":
        return midnight_after(ns)
    return calendar.next_session(ns).open_ns if opening else calendar.next_close(ns)


def auction_closed(hours: Hours, ns: int, *, opening: bool) -> bool:
    """Whether orders for the open (9:28 to 19:00) or the close (5 minutes before it to 19:00) are refused now."""
    session = calendar.session_on(new_york_date(ns)) if hours == "nyse" else None
    if session is None:
        return False
    cut_off = session.open_ns - 120 * SECOND if opening else session.close_ns - 300 * SECOND
    return cut_off <= ns < at(session.day, 19)
