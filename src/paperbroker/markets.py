"""The markets that `/v3/clock` and `/v3/calendar` know: those that keep the New York Stock Exchange's days."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from paperbroker import calendar
from paperbroker.calendar import Session
from paperbroker.timestamps import at, new_york_date

Phase = Literal["closed", "pre", "core", "post"]
TIMEZONE = "America/New_York"


@dataclass(frozen=True, slots=True)
class Venue:
    """A market; without `extended` hours it has its core session only."""

    acronym: str
    name: str
    mic: str | None
    extended: bool = True


@dataclass(frozen=True, slots=True)
class Moment:
    """What a market's clock tells of an instant."""

    is_market_day: bool
    phase: Phase
    phase_until_ns: int
    next_open_ns: int
    next_close_ns: int


_NYSE = Venue("NYSE", "New York Stock Exchange", "XNYS")
_NASDAQ = Venue("NASDAQ", "Nasdaq Stock Market", "XNAS")
_IEX = Venue("IEX", "Investors Exchange", "IEXG")
_OTC = Venue("OTC", "OTC Markets", "OTCM")
_OPRA = Venue("OPRA", "Options Price Reporting Authority", None, extended=False)
DEFAULT = (_NYSE, _NASDAQ)

_BY_NAME = {name: venue for venue in (_NYSE, _NASDAQ, _IEX, _OTC, _OPRA) for name in (venue.acronym, venue.mic) if name}


def find(name: str) -> Venue | None:
    """By acronym or market identifier code."""
    return _BY_NAME.get(name.upper())


def known() -> str:
    return ", ".join(_BY_NAME)


def moment(venue: Venue, ns: int) -> Moment:
    """Which phase of its day a market is in, and when that ends. Raises LookupError beyond the calendar's years."""
    day = new_york_date(ns)
    session = calendar.session_on(day)
    if session is None:
        phase: Phase = "closed"
        until = _start(venue, calendar.next_session(ns))
    else:
        phase, until = _phase(venue, session, ns)
    return Moment(session is not None, phase, until, calendar.next_session(ns).open_ns, calendar.next_close(ns))


def _phase(venue: Venue, session: Session, ns: int) -> tuple[Phase, int]:
    if venue.extended and session.early_ns <= ns < session.open_ns:
        return "pre", session.open_ns
    if session.open_ns <= ns < session.close_ns:
        return "core", session.close_ns
    if venue.extended and session.close_ns <= ns < session.late_ns:
        return "post", session.late_ns
    if ns < _start(venue, session):
        return "closed", _start(venue, session)
    following = calendar.next_session(at(session.day + timedelta(days=1), 0))
    return "closed", _start(venue, following)


def _start(venue: Venue, session: Session) -> int:
    return session.early_ns if venue.extended else session.open_ns
