"""Path and query parameters: read strictly, refused with how to write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_origin
from uuid import UUID

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from oms.domain.errors import InvalidInput
from oms.domain.orders import OrderStatus

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPACE_FOR_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}$)")
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


class StrictRoute(APIRoute):
    """A route that refuses query parameters that it does not know, or two where one counts: no filter is ignored."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler after the check."""
        handle = super().get_route_handler()
        takes_list = _takes_list(self.dependant)
        known = sorted(takes_list)

        async def strict(request: Request) -> Response:
            for name in request.query_params:
                if name not in known:
                    there = f"there are {', '.join(known)}" if known else "there are none"
                    raise InvalidInput(
                        "unknown_parameter", f"{name[:40]!r} is not a parameter here; {there}", name[:40]
                    )
                if not takes_list[name] and len(request.query_params.getlist(name)) > 1:
                    raise given_twice(name)
            return await handle(request)

        return strict


def _takes_list(dependant: Dependant) -> dict[str, bool]:
    """Each query parameter's name, and whether it may be given several times."""
    found = {field.alias: get_origin(field.field_info.annotation) is list for field in dependant.query_params}
    for inner in dependant.dependencies:
        found |= _takes_list(inner)
    return found


def given_twice(name: str) -> InvalidInput:
    """Two values where one counts: taking one of them would be a guess."""
    return InvalidInput("given_twice", f"{name} is given more than once; give it once", name)


def order_id_of(text: str) -> UUID:
    """The id in a path. Raises InvalidInput with how to give one."""
    if not _UUID.fullmatch(text):
        how = (
            "put an order's id in the place of {order_id}, such as "
            "/api/v1/trading/orders/0197a3f0-5c1e-7d4b-9a77-2f6f0c9b1e55; /api/v1/trading/orders lists the orders"
        )
        raise InvalidInput("invalid_order_id", f"{text[:60]!r} is not the id of an order; {how}", "order_id")
    return UUID(text)


def statuses_of(texts: Sequence[str]) -> list[str] | None:
    """Statuses, several separated by commas; `canceled` is `cancelled`. Raises InvalidInput with the list."""
    if not texts:
        return None
    found = []
    for word in ",".join(texts).split(","):
        name = word.strip().lower()
        name = "cancelled" if name == "canceled" else name
        if name not in set(OrderStatus):
            known = ", ".join(OrderStatus)
            raise InvalidInput("invalid_status", f"{word.strip()[:40]!r} is not a status; there are {known}", "status")
        found.append(name)
    return found


def time_of(text: str | None, name: str = "since") -> datetime | None:
    """An ISO time with its zone, or a date, which begins at midnight UTC. Raises InvalidInput."""
    if text is None:
        return None
    how = "write 2025-01-31T14:30:00Z, or a date such as 2025-01-31, which begins at midnight UTC"
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        # a plus that was not encoded arrives as a space
        at = datetime.fromisoformat(_SPACE_FOR_PLUS.sub("+", text.strip()))
        if at.tzinfo is None:
            raise InvalidInput(f"invalid_{name}", f"{name} {text[:40]!r} has no time zone; {how}", name)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(f"invalid_{name}", f"{text[:40]!r} is not a time; {how}", name) from None


def cursor_of(at: datetime, seq: int) -> str:
    """Where a page ended."""
    return f"{(at - EPOCH) // timedelta(microseconds=1)}-{seq}"


def place_of(cursor: str | None) -> tuple[datetime, int] | None:
    """The place that a cursor names. Raises InvalidInput."""
    if cursor is None:
        return None
    match = re.fullmatch(r"(-?[0-9]{1,17})-([0-9]{1,18})", cursor)
    if match is None:
        raise InvalidInput("invalid_cursor", "cursor must be taken from the Link header of the page before", "cursor")
    try:
        return EPOCH + timedelta(microseconds=int(match.group(1))), int(match.group(2))
    except OverflowError:
        raise InvalidInput(
            "invalid_cursor", "cursor must be taken from the Link header of the page before", "cursor"
        ) from None
