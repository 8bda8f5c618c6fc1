"""`/v3/clock` and `/v3/calendar/{market}`: times of several markets, with their phases."""

from collections.abc import Callable
from datetime import date, timedelta

from paperbroker import calendar, markets
from paperbroker.api.endpoint import Call, Reply, Routes
from paperbroker.api.parameters import instant, words
from paperbroker.calendar import FIRST_YEAR, LAST_YEAR, Session
from paperbroker.clock import Clock
from paperbroker.errors import Refusal
from paperbroker.markets import TIMEZONE, Venue
from paperbroker.timestamps import eastern, new_york_date, rfc3339

_WEEK = timedelta(days=7)


class Markets:
    """The handlers of clock and calendar, version 3. They tell of the exchanges, whatever hours the broker keeps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def routes(self) -> Routes:
        return [("/v3/clock", "GET", self.clock), ("/v3/calendar/{market}", "GET", self.calendar)]

    def clock(self, call: Call) -> Reply:
        """`markets` (default: NYSE and NASDAQ) at `time` (default: now)."""
        venues = [_venue(name) for name in words(call.query, "markets")] or list(markets.DEFAULT)
        given = _instant(call, "time")
        ns = self._clock.peek() if given is None else given
        if not FIRST_YEAR <= new_york_date(ns).year < LAST_YEAR:
            raise _bad(f"time must be between {FIRST_YEAR} and {LAST_YEAR - 1}")
        return Reply({"clocks": [_clock_json(venue, ns) for venue in venues]})

    def calendar(self, call: Call) -> Reply:
        """The sessions from `start` (default: today) to `end` (default: a week later), in local time or UTC."""
        venue = _venue(call.path["market"])
        zone = call.query.get("timezone") or TIMEZONE
        if zone not in {"UTC", TIMEZONE}:
            raise _bad("timezone must be UTC")
        first = _instant(call, "start")
        start = new_york_date(self._clock.peek()) if first is None else _date(call, "start", first)
        last = _instant(call, "end")
        end = start + _WEEK if last is None else _date(call, "end", last)
        if end < start:
            raise _bad("end must not be before start")
        show = rfc3339 if zone == "UTC" else eastern
        days = calendar.sessions(start, min(end, date(LAST_YEAR - 1, 12, 31)))
        return Reply({"market": _market_json(venue), "calendar": [_day_json(venue, day, show) for day in days]})


def _venue(name: str) -> Venue:
    venue = markets.find(name)
    if venue is None:
        raise _bad(f"market {name[:16]} is not known to the paper broker, which has {markets.known()}")
    return venue


def _clock_json(venue: Venue, ns: int) -> dict[str, object]:
    moment = markets.moment(venue, ns)
    return {
        "market": _market_json(venue),
        "timestamp": eastern(ns),
        "is_market_day": moment.is_market_day,
        "next_market_open": eastern(moment.next_open_ns),
        "next_market_close": eastern(moment.next_close_ns),
        "phase": moment.phase,
        "phase_until": eastern(moment.phase_until_ns),
    }


def _market_json(venue: Venue) -> dict[str, object]:
    market: dict[str, object] = {"acronym": venue.acronym, "name": venue.name, "timezone": TIMEZONE}
    return market if venue.mic is None else {**market, "mic": venue.mic}


def _day_json(venue: Venue, session: Session, show: Callable[[int], str]) -> dict[str, object]:
    day: dict[str, object] = {
        "date": session.day.isoformat(),
        "core_start": show(session.open_ns),
        "core_end": show(session.close_ns),
        "settlement_date": calendar.settlement_date(session.day).isoformat(),
    }
    if venue.extended:
        day["pre_start"], day["pre_end"] = show(session.early_ns), show(session.open_ns)
        day["post_start"], day["post_end"] = show(session.close_ns), show(session.late_ns)
    return day


def _instant(call: Call, name: str) -> int | None:
    try:
        return instant(call.query, name)
    except Refusal as refusal:
        raise _bad(refusal.message) from None


def _date(call: Call, name: str, ns: int) -> date:
    """A plain date is meant as it is written; of a time, New York's date."""
    given = call.query.get(name, "").strip()
    return date.fromisoformat(given) if len(given) == 10 else new_york_date(ns)


def _bad(message: str) -> Refusal:
    return Refusal(400, 40010000, message)
