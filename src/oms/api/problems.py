"""Errors → HTTP, in one place: RFC 9457 problem details, each with a stable `code`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from oms.api.encoding import encode
from oms.domain.errors import (
    AccountUnknown,
    InvalidInput,
    NotFound,
    SignalConflict,
    StoreUnavailable,
    Unavailable,
)
from oms.signals.intake import OutcomeUnknown
from oms.signals.reader import InvalidSignal

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# code → HTTP status, title. A code that is not here is a refused value: 422.
CODES: Mapping[str, tuple[int, str]] = {
    "not_json": (400, "The body is not JSON"),
    "unauthenticated": (401, "A bearer token is needed"),
    "origin_not_allowed": (403, "Not for other web pages"),
    "not_found": (404, "There is no such thing"),
    "order_not_found": (404, "There is no such order"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "signal_conflict": (409, "The signal's identity is taken"),
    "order_not_open": (409, "The order is not open"),
    "cancel_refused": (409, "The cancel was refused"),
    "command_refused": (409, "The engine refused the command"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body must be JSON"),
    "host_not_allowed": (421, "Not the host of this API"),
    "internal_error": (500, "Something went wrong here"),
    "store_unavailable": (503, "PostgreSQL does not answer"),
    "outcome_unknown": (503, "Whether the signal was stored is not known"),
    "account_unknown": (503, "The account is not known yet"),
    "not_configured": (503, "No keys are configured"),
    "unauthorized": (503, "The broker refuses the keys"),
    "unavailable": (503, "A dependency does not answer"),
}
INVALID_TITLE = "A value is not valid"
RETRY_AFTER_S = {"store_unavailable": 2, "outcome_unknown": 2, "account_unknown": 2, "unavailable": 2}


@dataclass(eq=False)
class Problem(Exception):
    """An answer that is a problem. `errors` has one entry for each refused value, `extra` further members."""

    code: str
    detail: str
    errors: Sequence[Mapping[str, object]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES.get(self.code, (422, ""))[0]

    def body(self) -> dict[str, object]:
        """The members of the problem."""
        status, title = CODES.get(self.code, (422, INVALID_TITLE))
        members: dict[str, object] = {
            "type": f"urn:trademk1:problem:{self.code}",
            "title": title,
            "status": status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            members["field"] = self.errors[0]["field"]
            members["errors"] = list(self.errors)
        return members | dict(self.extra)

    def all_headers(self) -> dict[str, str]:
        """The response's headers beside the content type."""
        retry = RETRY_AFTER_S.get(self.code)
        return {**({"Retry-After": str(retry)} if retry else {}), **self.headers}

    def response(self) -> Response:
        """The response."""
        return Response(encode(self.body()), self.status, self.all_headers(), MEDIA_TYPE)

    async def send(self, send: Send) -> None:
        """Answer without a framework."""
        body = encode(self.body())
        headers = [(name.lower().encode(), value.encode()) for name, value in self.all_headers().items()]
        headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def problem_of(error: Exception) -> Problem:
    """What an error means to the caller. What nobody foresaw is logged and says nothing of the inside."""
    match error:
        case Problem():
            return error
        case InvalidSignal():
            return _invalid(error.problems)
        case InvalidInput():
            return _invalid((error,))
        case SignalConflict():
            extra = {"signal_id": error.signal_id, "order_id": error.order_id}
            return Problem("signal_conflict", str(error), extra=extra)
        case NotFound():
            return Problem("order_not_found", str(error))
        case OutcomeUnknown():
            extra = {"id": str(error.order_id), "signal_id": error.signal_id}
            how = (
                f"Send it again with the header Idempotency-Key: {error.signal_id} to learn; it is never stored twice."
            )
            return Problem("outcome_unknown", f"PostgreSQL was lost while it stored the signal. {how}", extra=extra)
        case StoreUnavailable():
            log.warning("%s", error)
            return Problem("store_unavailable", "PostgreSQL does not answer; nothing was stored. Try again.")
        case AccountUnknown():
            return Problem("account_unknown", str(error))
        case Unavailable():
            log.warning("a dependency is away: %s", error)
            return Problem("unavailable", "A dependency does not answer; nothing was stored. Try again.")
        case RequestValidationError():
            return _refused_by_fastapi(error)
        case HTTPException():
            return _of_http(error)
    log.error("a request failed", exc_info=error)
    return Problem("internal_error", "The request failed for a reason that the log of the API names.")


def _invalid(problems: Sequence[InvalidInput]) -> Problem:
    first = problems[0]
    more = f" (and {len(problems) - 1} more: see errors)" if len(problems) > 1 else ""
    errors = [{"field": one.field, "code": one.code, "reason": one.reason} for one in problems]
    return Problem(first.code, first.reason + more, errors)


def _refused_by_fastapi(error: RequestValidationError) -> Problem:
    """FastAPI's own findings about paths and queries, without the values that it repeats."""
    problems = []
    for found in error.errors():
        if found["type"] == "json_invalid":
            return Problem("not_json", f"The body is not JSON: {found['ctx']['error']}")
        name = str(found["loc"][-1]) if found.get("loc") else None
        problems.append(InvalidInput(f"invalid_{name}" if name else "invalid_request", f"{name}: {found['msg']}", name))
    return _invalid(problems)


def _of_http(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return Problem("not_found", "There is nothing at this path; /docs lists what there is.")
    if error.status_code == 405:
        return Problem("method_not_allowed", "This path does not take that method.", headers=error.headers or {})
    return Problem("invalid_request", str(error.detail), headers=error.headers or {})
