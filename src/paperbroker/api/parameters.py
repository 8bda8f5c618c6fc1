"""Reading query parameters.

Capitalised booleans, dates and times, comma-separated lists, as Alpaca's clients send them.
"""

import re
import uuid

from starlette.datastructures import QueryParams

from paperbroker.errors import Refusal, invalid, unprocessable
from paperbroker.timestamps import SECOND, parse

_LARGEST_PAGE = 1_000_000
# all that Alpaca knows; there are orders and assets of us_equity and crypto
ASSET_CLASSES = (
    "us_equity", "us_option", "crypto", "crypto_perp", "treasury", "corporate", "global_equity", "us_index",
    "us_equity_chain", "ipo", "all",
)  # fmt: skip


def plain_id(given: str) -> str:
    """An id as it is kept: lower case with dashes, whichever way a UUID is written; what is none stays as it is."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        return given


def whole_number(query: QueryParams, name: str, default: int, most: int, least: int = 1) -> int:
    """Between `least` and `most`; beyond it is refused."""
    given = query.get(name, "")
    if not given:
        return default
    try:
        value = int(given) if len(given) < 12 else _LARGEST_PAGE
    except ValueError:
        raise invalid(f"{name} must be a whole number") from None
    if not least <= value <= most:
        raise unprocessable(f"{name} must be between {least} and {most}")
    return value


def instant(query: QueryParams, name: str) -> int | None:
    """A date or RFC 3339 time in nanoseconds; None when absent."""
    given = query.get(name, "")
    if not given:
        return None
    try:
        return parse(given)
    except (ValueError, OverflowError) as error:
        raise unprocessable(f"{name}: {error}") from None


def instant_or_epoch(query: QueryParams, name: str) -> int | None:
    """The same, or seconds since 1970."""
    given = query.get(name, "")
    return int(given) * SECOND if re.fullmatch(r"\d{9,10}", given, re.ASCII) else instant(query, name)


def words(query: QueryParams, name: str) -> list[str]:
    """A comma-separated list, also given by repeating the parameter."""
    return [word.strip() for given in query.getlist(name) for word in given.split(",") if word.strip()]


def flag(query: QueryParams, name: str) -> bool:
    """`true` or `false` in any case, as clients write them; absent is false."""
    given = query.get(name, "").lower()
    if given not in {"", "true", "false", "1", "0"}:
        raise invalid(f"{name} must be true or false")
    return given in {"true", "1"}


def one_of(query: QueryParams, name: str, choices: tuple[str, ...], default: str) -> str:
    value = query.get(name, "").lower() or default
    if value not in choices:
        raise _not_a_choice(name, choices)
    return value


def some_of(query: QueryParams, name: str, choices: tuple[str, ...]) -> list[str]:
    """A comma-separated list of some of the choices; empty when absent."""
    given = [word.lower() for word in words(query, name)]
    if not set(given) <= set(choices):
        raise _not_a_choice(name, choices)
    return given


def _not_a_choice(name: str, choices: tuple[str, ...]) -> Refusal:
    return unprocessable(f"{name} must be one of {', '.join(filter(None, choices))}")
