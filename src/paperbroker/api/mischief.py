"""What the waiting faults do to requests, and the log of all requests."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paperbroker.faults import REQUEST_KINDS, Facts, Fault, Faults, plain

LOGGED = 5_000
LOGGED_BODY = 8_192  # bytes of a body that is kept
LOGGED_TEXT = 2_000  # of path and query
_ANSWERS = {
    "reject": (403, 40310000, "rejected on request"),
    "rate_limit": (429, 42910000, "rate limit exceeded"),
    "error": (500, 50010000, "internal server error"),
}
_HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
Logged = tuple[int, float, str | None, str | None, str | None, bytes, int, str | None, bytes | None]
Answer = Callable[[Request], Awaitable[Response]]


class Hidden:
    """Orders that are 404 for a while after they were accepted."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def hide(self, wire: bytes, seconds: float) -> None:
        order = msgspec.json.decode(wire)
        until = time.monotonic() + seconds
        for name in ("id", "client_order_id"):
            self._until[order[name]] = until

    def __contains__(self, order_id: str) -> bool:
        return self._until.get(order_id, 0.0) > time.monotonic()

    def __bool__(self) -> bool:
        return bool(self._until)


class RequestLog:
    """The last requests, with what came of them."""

    def __init__(self) -> None:
        self._entries: deque[Logged] = deque(maxlen=LOGGED)
        self._numbers = itertools.count(1)

    def add(self, request: Request, facts: Facts, content: bytes | None, status: int, fault: Fault | None) -> None:
        """`content`: a body's JSON, which is read when somebody looks at it."""
        query = request.scope["query_string"][:LOGGED_TEXT]
        kind = fault.kind if fault else None
        if content is not None and len(content) > LOGGED_BODY:
            content = b'"(too long to be kept)"'
        path = (facts.path or "")[:LOGGED_TEXT]
        row = (next(self._numbers), time.time(), facts.key, facts.method, path, query, status, kind, content)
        self._entries.append(row)

    def listed(self, *, after: int, **wanted: str | None) -> list[dict[str, object]]:
        """The oldest first; only those whose fields are as wanted (`path`: begins so)."""
        entries = (_entry(row) for row in self._entries if row[0] > after)
        return [entry for entry in entries if all(_is(entry, name, value) for name, value in wanted.items())]

    def clear(self) -> None:
        self._entries.clear()


def _entry(row: Logged) -> dict[str, object]:
    seq, at, key, method, path, query, status, fault, content = row
    return {
        "seq": seq, "time": at, "key": key, "method": method, "path": path, "query": query.decode("latin-1"),
        "status": status, "fault": fault, "body": None if content is None else _shown(content),
    }  # fmt: skip


def _shown(content: bytes) -> object:
    try:
        return plain(_decode(content))
    except RecursionError:
        return "(too deep to be shown)"


def _is(entry: dict[str, object], name: str, value: str | None) -> bool:
    if not value:
        return True
    return str(entry[name]).startswith(value) if name == "path" else str(entry[name]) == value


class Mischief:
    """Stands before every answer of the protocol's paths."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.hidden = Hidden()
        self.log = RequestLog()

    def take(self, facts: Facts) -> Fault | None:
        return self._faults.take(facts, *REQUEST_KINDS)

    async def suffer(self, request: Request, fault: Fault, execute: Callable[[], Awaitable[Response]]) -> Response:
        """Answer as the fault wants it; `execute` does what was asked for."""
        if fault.kind in {"deny", "reject", "rate_limit"}:
            return _refuse(fault)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
            return await execute()
        if fault.kind == "hide":
            answer = await execute()
            if answer.status_code == 200:
                self.hidden.hide(bytes(answer.body), fault.seconds)
            return answer
        if fault.when == "after":
            await execute()
        if fault.kind == "error":
            return _refuse(fault)
        if fault.kind == "timeout":
            await asyncio.sleep(fault.seconds)
        return cut(request)


def _refuse(fault: Fault) -> Response:
    default = (401, None, "unauthorized.") if fault.kind == "deny" else _ANSWERS[fault.kind]
    status, code = fault.status or default[0], fault.code or default[1]
    headers = dict(fault.headers)
    if fault.kind == "rate_limit":
        reset = str(int(time.time() + fault.seconds) + 1)
        limits = {"X-RateLimit-Limit": "200", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        headers = {**limits, "Retry-After": str(max(1, round(fault.seconds))), **headers}
    message = fault.message or ("forbidden." if fault.kind == "deny" and status == 403 else default[2])
    if fault.html:
        return Response(_HTML.format(message), status, headers, media_type="text/html")
    head = {} if code is None else {"code": code}
    content = msgspec.json.encode({**head, "message": message, **fault.extras})
    return Response(content, status, headers, media_type="application/json; charset=UTF-8")


def cut(request: Request) -> Response:
    """Close the connection without an answer: uvicorn's request cycle, which `receive` belongs to, knows the socket."""
    cycle = getattr(request.receive, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is not None:
        transport.close()
    return Response(status_code=504)
