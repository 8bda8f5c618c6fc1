"""Time as Alpaca writes it. Inside, an instant is an int: nanoseconds since 1970, UTC."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SECOND = 1_000_000_000
_HOUR = 3600 * SECOND

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)([Tt ](\d\d:\d\d)(:(\d\d)(\.(\d{1,9})\d*)?)?\s*([Zz]|[+ -]\d\d:?\d\d)?)?", re.ASCII
)


@lru_cache(maxsize=1024)  # an order tells its times with each of its events
def rfc3339(ns: int) -> str:
    """Nanoseconds with trailing zeros trimmed, `Z`: 2026-11-23T17:52:36.1205Z."""
    seconds, fraction = divmod(ns, SECOND)
    return f"{_utc_second(seconds)}{_fraction(fraction)}Z"


def rfc3339_or_none(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)


def eastern(ns: int) -> str:
    """The same instant with New York's offset, as the clock sends it."""
    seconds, fraction = divmod(ns, SECOND)
    local = datetime.fromtimestamp(seconds, NEW_YORK).isoformat()
    return f"{local[:19]}{_fraction(fraction)}{local[19:]}"


def new_york(ns: int) -> datetime:
    """New York local time, cut to the microsecond."""
    return datetime.fromtimestamp(ns // SECOND, NEW_YORK) + timedelta(microseconds=ns % SECOND // 1000)


def new_york_date(ns: int) -> date:
    return datetime.fromtimestamp(ns // SECOND, NEW_YORK).date()


def at(day: date, hour: int, minute: int = 0) -> int:
    """The instant of a New York wall time."""
    return to_ns(datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK))


def utc_date(ns: int) -> date:
    return datetime.fromtimestamp(ns // SECOND, UTC).date()


def utc_midnight(day: date) -> int:
    return to_ns(datetime(day.year, day.month, day.day, tzinfo=UTC))


def midnight_after(ns: int) -> int:
    """The next midnight in New York, strictly later."""
    return _midnight_after_hour(ns // _HOUR)


def to_ns(moment: datetime) -> int:
    return int(moment.replace(microsecond=0).timestamp()) * SECOND + moment.microsecond * 1000


def parse(value: str) -> int:
    """Read a date or an RFC 3339 time (no offset: UTC; a + that a URL made a space is understood).

    Raises ValueError when it is neither.
    """
    match = _RFC3339.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value[:40]!r} is neither a date (2026-11-23) nor a time (2026-11-23T14:30:00Z)")
    day, _, minute, _, second, _, fraction, offset = match.groups()
    zone = "+00:00" if offset is None or offset in "Zz" else offset.replace(" ", "+")
    moment = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}{zone}")
    if not 1900 < moment.year < 2200:
        raise ValueError(f"the year {moment.year} is out of range")
    return to_ns(moment) + int((fraction or "0").ljust(9, "0"))


@lru_cache(maxsize=64)  # midnight is always at a full hour of UTC, too
def _midnight_after_hour(hour: int) -> int:
    return at(new_york_date(hour * _HOUR) + timedelta(days=1), 0)


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""


@lru_cache(maxsize=64)
def _utc_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
