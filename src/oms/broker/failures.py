"""Which of our errors an answer of Alpaca's is.

Alpaca's HTTP status and numeric code are stable, its texts are not; one code has many causes. So: status, then code,
then text. An answer counts as a definite no only where it says so itself; whatever an edge, a proxy or a broken server
might have written leaves the outcome unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

from oms.domain.errors import (
    BrokerBusy,
    BrokerDuplicateId,
    BrokerError,
    BrokerNotFound,
    BrokerRefused,
    BrokerUnauthorized,
    BrokerUnknown,
)

NOT_FOUND = 40410000
INVALID_FIELD = 40010001
_KEYS_CODES = range(40110000, 40120000)  # "request is not authorized", "access key verification failed"
_ABOUT_KEYS = re.compile(r"forbidden|unauthori[sz]ed|not authori[sz]ed|access key|api key|credential", re.IGNORECASE)
_ABOUT_ADDRESS = re.compile(r"endpoint|route|page not found", re.IGNORECASE)
_DUPLICATE = re.compile(r"client.?order.?id.*(unique|duplicate|exists|already|taken)", re.IGNORECASE | re.DOTALL)
_MESSAGE_MAX = 500


def failure(
    status: int, headers: Mapping[str, str], body: bytes, now: datetime, *, is_lookup: bool = False
) -> BrokerError:
    """The error for an answer that is no success.

    `is_lookup`: the request names an order, so that the definite "not found" is about that order. `now` is our clock,
    for a rate limit's end where the answer carries no date of its own.
    """
    fields = _fields(body)
    code, message = _code(fields), _message(fields, body)
    if status == 429:
        return BrokerBusy(f"{message} (HTTP 429)", retry_after_s(headers, now))
    if status == 401 or (status == 403 and _concerns_keys(fields, code, message)):
        return BrokerUnauthorized(status, code, message)
    if status == 404 and code == NOT_FOUND and is_lookup and not _ABOUT_ADDRESS.search(message):
        return BrokerNotFound(message)
    is_definite_404 = fields is not None and code is not None and not _ABOUT_ADDRESS.search(message)
    if status == 408 or not 400 <= status < 500 or (status == 404 and not is_definite_404):
        request_id = headers.get("X-Request-ID")
        return BrokerUnknown(f"{message} (HTTP {status}{f', request {request_id}' if request_id else ''})")
    extras = {name: value for name, value in (fields or {}).items() if name not in {"code", "message"}}
    if code == INVALID_FIELD and _DUPLICATE.search(message):
        return BrokerDuplicateId(status, code, message, extras)
    return BrokerRefused(status, code, message, extras)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the broker takes requests again, by `Retry-After` or `X-RateLimit-Reset`; None where neither says.

    Counted from the answer's own `Date`, so that a clock of ours that is wrong does not matter.
    """
    wanted = headers.get("Retry-After", "").strip()
    if wanted.isdecimal():
        return float(min(int(wanted), 3600))
    sent_at = _http_date(headers.get("Date")) or now
    until = _http_date(wanted)
    reset = whole(headers.get("X-RateLimit-Reset"))
    if until is None and reset is None:
        return None
    seconds = (until - sent_at).total_seconds() if until else (reset or 0) - sent_at.timestamp()
    return max(0.0, min(seconds, 3600.0))


def resets_in_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the broker counts requests anew, by its own clock where the answer carries its date."""
    reset = whole(headers.get("X-RateLimit-Reset"))
    return None if reset is None else reset - (_http_date(headers.get("Date")) or now).timestamp()


def whole(text: str | None) -> int | None:
    """A header's whole number, or None."""
    plain = (text or "").strip()
    return int(plain) if plain.isdecimal() and len(plain) <= 15 else None


def _http_date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError):
        return None
    return found if found is not None and found.tzinfo is not None else None


def _fields(body: bytes) -> dict[str, object] | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _code(fields: Mapping[str, object] | None) -> int | None:
    found = (fields or {}).get("code")
    if isinstance(found, str):
        return whole(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _message(fields: Mapping[str, object] | None, body: bytes) -> str:
    if fields is not None:
        return str(fields.get("message") or "no message")[:_MESSAGE_MAX]
    text = " ".join(re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace")).split())
    return f"an answer that is not JSON: {text[:80]!r}" if text else "an empty answer"


def _concerns_keys(fields: Mapping[str, object] | None, code: int | None, message: str) -> bool:
    """Whether a 403 is about the keys: Alpaca's refusals of orders always carry their code (40310000)."""
    if code is not None:
        return code in _KEYS_CODES
    return not fields or not fields.get("message") or bool(_ABOUT_KEYS.search(message))
