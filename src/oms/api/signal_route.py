"""POST /api/v1/trading/signal: the one hot route, on ASGI with msgspec; answered after the commit."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl
from uuid import UUID

from oms.api.encoding import encode
from oms.api.parameters import given_twice
from oms.api.problems import Problem, problem_of
from oms.api.security import Receive, Scope, Send
from oms.api.shapes import order_of_acceptance, order_of_row
from oms.api.state import State
from oms.domain.errors import InvalidInput, StoreUnavailable
from oms.ports import Acceptance
from oms.signals.reader import Origin, read_signal

PATH = "/api/v1/trading/signal"
WAIT_S_MAX = 30.0
REPLAYED = (b"idempotent-replayed", b"true")


class SignalRoute:
    """Takes a signal. 202 with its order, also when the same signal was taken before (`Idempotent-Replayed: true`)."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body, headers = await self._answer(scope, receive)
        except Exception as error:  # noqa: BLE001 — the edge of the request; what is unforeseen is logged there
            await problem_of(error).send(send)
            return
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        if scope["method"] != "POST":
            raise Problem("method_not_allowed", "Signals are sent with POST.", headers={"Allow": "POST"})
        wait_s = _wait(scope["query_string"])
        key = _idempotency_key(scope)
        body = await _body(receive)
        state = self._state
        account_id = await state.accounts.for_signals()
        symbols = await state.symbols.get()
        order_id = state.intake.new_id()
        signal = read_signal(body, symbols, Origin("rest", f"rest:{order_id}", key))
        acceptance = await state.intake.accept(account_id, signal, order_id)
        order, ahead = order_of_acceptance(acceptance.order), acceptance.ahead
        if wait_s and order["status"] == "pending":
            order, ahead = await self._decided(account_id, acceptance, wait_s)
        answer: dict[str, object] = {"status": "accepted", "id": acceptance.order.id, "order": order}
        if order["status"] == "pending":
            answer["ahead"] = ahead
        content = encode(answer)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"location", f"/api/v1/trading/orders/{acceptance.order.id}".encode()),
        ]
        if not acceptance.created:
            headers.append(REPLAYED)
        return content, headers

    async def _decided(self, account_id: UUID, acceptance: Acceptance, wait_s: float) -> tuple[dict[str, object], int]:
        """The order when it is no longer pending or the time is over, and how many wait before it."""
        state, stored = self._state, acceptance.order
        order, ahead = order_of_acceptance(stored), acceptance.ahead
        until = state.clock.monotonic() + wait_s
        try:
            with state.tail.watch(account_id, stored.id, stored.seq) as watch:
                while True:
                    row = await state.queries.order(account_id, stored.id)
                    if row is not None:
                        order = order_of_row(row)
                    if order["status"] != "pending" or not await watch.changed(until - state.clock.monotonic()):
                        break
            if order["status"] == "pending":
                ahead = await state.queries.ahead(account_id, stored.seq)
        except StoreUnavailable:
            pass  # it is accepted all the same: the answer is its state as last known
        return order, ahead


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


def _idempotency_key(scope: Scope) -> str | None:
    """The header `Idempotency-Key`, plain or quoted as its draft standard has it; checks the content type too."""
    key: str | None = None
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            text = _utf8(value)
            if key is not None and key != text:
                raise InvalidInput("identities_differ", "the header Idempotency-Key is given twice", "Idempotency-Key")
            key = text
        elif name == b"content-type" and not _is_json(value):
            how = "Send a JSON object with the header Content-Type: application/json (curl: -H 'Content-Type: …')."
            raise Problem("unsupported_media_type", how)
    if key is not None and len(key) >= 2 and key[0] == key[-1] == '"':
        return key[1:-1]
    return key


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        reason = "the header Idempotency-Key is not UTF-8"
        raise InvalidInput("invalid_characters", reason, "Idempotency-Key") from None


def _is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _wait(query: bytes) -> float:
    """`?wait=` in seconds; 0 when not given. Raises InvalidInput, also for any other parameter."""
    if not query:
        return 0.0
    wait_s = 0.0
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    for name, text in given:
        if name != "wait":
            raise InvalidInput("unknown_parameter", f"{name[:40]!r} is not a parameter here; there is wait", name[:40])
        try:
            wait_s = float(text)
        except ValueError:
            wait_s = math.nan
        if not 0 <= wait_s <= WAIT_S_MAX:
            raise InvalidInput(
                "invalid_wait", f"wait must be seconds from 0 to {WAIT_S_MAX:g}, not {text[:40]!r}", "wait"
            )
    if len(given) > 1:
        raise given_twice("wait")
    return wait_s
