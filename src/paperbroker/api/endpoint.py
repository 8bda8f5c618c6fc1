"""What every request goes through: who asks, how often, the body, the answer, and refusals made HTTP in one place."""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from paperbroker.accounts import Account
from paperbroker.api.keys import shown_key, valid_key
from paperbroker.api.limits import Limits
from paperbroker.api.mischief import Hidden, Mischief
from paperbroker.api.parameters import plain_id
from paperbroker.errors import Refusal, endpoint_not_found, malformed, rate_limited, too_large, unauthorized
from paperbroker.errors import not_found as not_found_error
from paperbroker.faults import Facts, Faults
from paperbroker.ids import request_id
from paperbroker.ledger import Ledger
from paperbroker.store import Store

LARGEST_BODY = 1 << 16
OPEN_TO_ALL = "/v1beta3/crypto/"  # prices of coins need no key, though one that is shown has to be right
_NO_QUERY = QueryParams()

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Call(msgspec.Struct, frozen=True):
    """A request that has been let in. `body` is decoded JSON (numbers exact), None without one."""

    account: Account
    query: QueryParams
    path: Mapping[str, str]
    body: object


class Reply(msgspec.Struct, frozen=True):
    """An answer: JSON made of `body`, or JSON text as it is; nothing for None."""

    body: object
    status: int = 200


Handler = Callable[[Call], Reply | Response | Awaitable[Reply]]
Routes = list[tuple[str, str, Handler]]  # path, method, handler


class JsonText(Response):
    """JSON that is text already: Starlette's answer without the looking into what it is."""

    def __init__(self, content: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = content
        self.raw_headers = [
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            (b"content-length", b"%d" % len(content)),
            (b"content-type", b"application/json; charset=UTF-8"),
        ]


class Gate:
    """Lets requests in and answers out: keys, limits, and no answer before its commit."""

    def __init__(self, ledger: Ledger, store: Store, faults: Faults | None = None) -> None:
        self._ledger = ledger
        self._store = store
        self.mischief = Mischief(Faults() if faults is None else faults)

    def routes(self, routes: Routes, limits: Limits) -> list[Route]:
        return [self.route(path, method, handler, limits) for path, method, handler in routes]

    def route(self, path: str, method: str, handler: Handler, limits: Limits) -> Route:
        """A route whose handler runs at once, between two turns of the event loop, and cannot be interrupted.

        Unless it is a coroutine: what it does between two awaits then is.
        """
        return Route(path, _Endpoint(self, handler, limits), methods=[method])

    async def answer(self, request: Request, handler: Handler, limits: Limits) -> Response:
        """Let a fault have its way, if one waits for this request; and log it."""
        content: bytes | None = None
        try:
            content = await _content(request)
            body: object = None if content is None else _decoded(content)
        except Refusal as refusal:
            content, body = None, refusal
        except ClientDisconnect:  # nobody waits for an answer, and nothing was done
            return Response(status_code=400)
        facts = _facts(request, body)
        fault = self.mischief.take(facts)
        if fault is None:
            answer = await self._execute(request, facts.key, handler, limits, body)
        else:
            request.scope["paperbroker.fault"] = fault.kind
            answer = await self.mischief.suffer(
                request, fault, lambda: self._execute(request, facts.key, handler, limits, body)
            )
        self.mischief.log.add(request, facts, content, answer.status_code, fault)
        return answer

    async def _execute(
        self, request: Request, key: str | None, handler: Handler, limits: Limits, body: object
    ) -> Response:
        headers = {"X-Request-ID": request_id()}
        try:
            stranger = key is None and request.scope["path"].startswith(OPEN_TO_ALL)
            if not stranger and not valid_key(key):  # secrets are not looked at
                raise unauthorized()
            if allowance := limits.count(key or ""):
                headers |= allowance.headers()
                if allowance.exceeded:
                    raise rate_limited()
            if isinstance(body, Refusal):
                raise body
            if self.mischief.hidden:
                _refuse_hidden(request, self.mischief.hidden)
            query = request.query_params if request.scope["query_string"] else _NO_QUERY
            account = self._ledger.account(key) if key else self._ledger.stranger()
            answer = handler(Call(account, query, request.path_params, body))
            if isinstance(answer, Response):  # a stream
                answer.headers.update(headers)
                return answer
            reply = answer if isinstance(answer, Reply) else await answer
        except Refusal as refusal:
            reply = Reply(refusal.body(), refusal.status)
        await self._store.settled()
        return respond(reply, headers)


class _Endpoint:
    """A route's handler as an ASGI application: Starlette leaves it alone, where it would wrap a function twice.

    What fails is answered in Alpaca's shape, and raised on to the server, which logs it.
    """

    def __init__(self, gate: Gate, handler: Handler, limits: Limits) -> None:
        self._gate = gate
        self._handler = handler
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._gate.answer(request, self._handler, self._limits)
        except Exception as error:
            await (await failed(request, error))(scope, receive, send)
            raise
        await response(scope, receive, send)


class FrontDoor:
    """The application, with the paths that have no parameters found at one look; the others go by its router."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._exact: dict[tuple[str, str], ASGIApp] = {}
        for route in app.routes:
            if isinstance(route, Route) and isinstance(route.endpoint, _Endpoint) and not route.param_convertors:
                self._exact |= {(method, route.path): route.app for method in route.methods or () if method != "HEAD"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = self._exact.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (known or self._app)(scope, receive, send)


def _facts(request: Request, body: object) -> Facts:
    fields = body if isinstance(body, dict) else {}
    symbol, client_order_id = fields.get("symbol"), fields.get("client_order_id")
    return Facts(
        shown_key(request.scope["headers"]),
        request.method,
        request.scope["path"],
        symbol if isinstance(symbol, str) else None,
        client_order_id if isinstance(client_order_id, str) else None,
    )


def _refuse_hidden(request: Request, hidden: Hidden) -> None:
    for order_id in (plain_id(request.path_params.get("id", "")), request.query_params.get("client_order_id", "")):
        if order_id in hidden:
            raise not_found_error(f"order not found for {order_id}")


def respond(reply: Reply, headers: dict[str, str] | None = None) -> Response:
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    content = reply.body if isinstance(reply.body, bytes) else _encode(reply.body)
    return JsonText(content, reply.status, headers or {})


async def _content(request: Request) -> bytes | None:
    """The body of a request, None for methods that have none. Raises ClientDisconnect, Refusal (413)."""
    if request.method in {"GET", "HEAD", "DELETE"}:
        return None
    content, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > LARGEST_BODY:
            raise too_large()
    return content


def _decoded(content: bytes) -> object:
    try:
        return _decode(content)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        raise malformed() from None


async def not_found(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in Alpaca's shape."""
    refusal = endpoint_not_found()
    return respond(Reply(refusal.body(), refusal.status), {"X-Request-ID": request_id()})


async def method_not_allowed(request: Request, error: Exception) -> Response:
    return respond(Reply({"code": 40510000, "message": "method not allowed"}, 405), {"X-Request-ID": request_id()})


async def failed(request: Request, error: Exception) -> Response:
    """A defect of the broker; logged by the server with its trace."""
    return respond(Reply({"code": 50010000, "message": "internal server error"}, 500), {"X-Request-ID": request_id()})


EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    404: not_found,
    405: method_not_allowed,
    500: failed,
}
