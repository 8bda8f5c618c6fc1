"""Requests over real sockets: errors, timeouts, budget, and that nothing is ever sent twice."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal
from time import monotonic

import pytest
from aiohttp import web
from tests.acceptance.broker.broker_recorder import (
    IMPATIENT,
    KEY,
    SECRET,
    FreeBudget,
    Recorder,
    an_order,
    answering,
    gateway,
)

from oms.broker import AlpacaBroker
from oms.domain.errors import (
    BrokerBusy,
    BrokerDuplicateId,
    BrokerError,
    BrokerNotFound,
    BrokerRefused,
    BrokerUnauthorized,
    BrokerUnknown,
    BrokerUnreadable,
)
from oms.domain.values import OrderType, Side, TimeInForce
from oms.ports import Purpose, Ticket

TICKET = Ticket("t1-1", "AAPL", Side.BUY, Decimal("1E+2"), OrderType.LIMIT, TimeInForce.DAY, Decimal("190.10"))
SUBMIT: Callable[[AlpacaBroker], Awaitable[object]] = lambda broker: broker.submit(TICKET)  # noqa: E731
CANCEL: Callable[[AlpacaBroker], Awaitable[object]] = lambda broker: broker.cancel("o-1")  # noqa: E731
LOOK_UP: Callable[[AlpacaBroker], Awaitable[object]] = lambda broker: broker.order_by_client_id("t1-1")  # noqa: E731
CLOCK = {
    "timestamp": "2026-07-01T09:30:00-04:00",
    "is_open": True,
    "next_open": "2026-07-02T09:30:00-04:00",
    "next_close": "2026-07-01T16:00:00-04:00",
}
ALL = pytest.mark.parametrize("call", [SUBMIT, CANCEL, LOOK_UP], ids=["submit", "cancel", "look_up"])


@pytest.mark.parametrize(
    ("call", "status", "body", "expected"),
    [
        (SUBMIT, 422, '{"code": 40010001, "message": "client_order_id must be unique"}', BrokerDuplicateId),
        (SUBMIT, 403, '{"code": 40310000, "message": "insufficient buying power"}', BrokerRefused),
        (SUBMIT, 404, '{"code": 40410000, "message": "symbol not found: X"}', BrokerRefused),
        (SUBMIT, 401, '{"message": "unauthorized."}', BrokerUnauthorized),
        (SUBMIT, 503, "<html>", BrokerUnknown),
        (SUBMIT, 200, "<html>", BrokerUnreadable),
        (SUBMIT, 200, '{"id": "o-1", "status": "new"', BrokerUnreadable),
        (SUBMIT, 200, "{}", BrokerUnreadable),
        (CANCEL, 422, '{"code": 42210000, "message": "order is already in \\"filled\\" state"}', BrokerRefused),
        (CANCEL, 404, '{"code": 40410000, "message": "order not found for o-1"}', BrokerNotFound),
        (CANCEL, 404, "<html>", BrokerUnknown),
        (LOOK_UP, 404, '{"code": 40410000, "message": "order not found for t1-1"}', BrokerNotFound),
        (LOOK_UP, 404, '{"code": 40410000, "message": "endpoint not found"}', BrokerUnknown),
        (LOOK_UP, 200, "[]", BrokerUnreadable),
    ],
)
async def test_an_answer_raises_what_it_means(
    call: Callable[[AlpacaBroker], Awaitable[object]], status: int, body: str, expected: type[BrokerError]
) -> None:
    async with Recorder(answering(status, body)) as server:
        broker, _ = gateway(server.url)
        with pytest.raises(BrokerError) as raised:
            await call(broker)
        await broker.close()
    assert type(raised.value) is expected
    assert len(server.seen) == 1


async def test_a_cancel_that_was_taken_answers_nothing() -> None:
    async with Recorder(answering(204, b"")) as server:
        broker, _ = gateway(server.url)
        await broker.cancel("o/1")
        await broker.close()
    assert (server.seen[0].method, server.seen[0].path) == ("DELETE", "/v2/orders/o/1")  # escaped on the wire


async def test_a_429_tells_the_budget_and_every_answer_shows_it_the_limits() -> None:
    limits = {"X-RateLimit-Limit": "200", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1782912000"}
    sent = {"Date": "Wed, 01 Jul 2026 13:19:20 GMT"}  # the broker's clock counts, whatever ours says
    budget = FreeBudget()
    body = '{"code": 42910000, "message": "rate limit exceeded"}'
    async with Recorder(answering(429, body, {**limits, **sent, "Retry-After": "3"})) as server:
        broker, _ = gateway(server.url, budget)
        with pytest.raises(BrokerBusy) as busy:
            await broker.submit(TICKET)
        await broker.close()
    assert busy.value.retry_after_s == 3
    assert budget.refusals == [3]
    assert budget.observed == [(200, 0, 40.0)]
    assert len(server.seen) == 1


async def test_each_request_says_to_the_budget_what_it_is_for() -> None:
    budget = FreeBudget()
    async with Recorder(answering(200, json.dumps(an_order()))) as server:
        broker, _ = gateway(server.url, budget)
        await broker.submit(TICKET)
        await broker.cancel("o-1")
        await broker.order("o-1")
        await broker.order_by_client_id("t1-1")
        await broker.close()
    assert budget.acquired == [Purpose.SUBMIT, Purpose.CANCEL, Purpose.RECONCILE, Purpose.RECONCILE]


async def test_numbers_go_out_as_plain_strings() -> None:
    async with Recorder(answering(200, json.dumps(an_order()))) as server:
        broker, _ = gateway(server.url)
        await broker.submit(TICKET)
        await broker.close()
    assert server.seen[0].body == {
        "symbol": "AAPL", "qty": "100", "side": "buy", "type": "limit", "time_in_force": "day",
        "client_order_id": "t1-1", "limit_price": "190.1",
    }  # fmt: skip


@ALL
async def test_a_server_that_does_not_answer_is_unknown_in_time(
    call: Callable[[AlpacaBroker], Awaitable[object]],
) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with Recorder(never) as server:
        broker, _ = gateway(server.url, patience=IMPATIENT)
        began = monotonic()
        with pytest.raises(BrokerUnknown):
            await call(broker)
        assert monotonic() - began < 25
        await broker.close()


@ALL
async def test_a_body_that_never_ends_is_unknown_in_time(call: Callable[[AlpacaBroker], Awaitable[object]]) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"id": ')
        await asyncio.sleep(30)
        return response

    async with Recorder(half) as server:
        broker, _ = gateway(server.url, patience=IMPATIENT)
        with pytest.raises(BrokerUnknown):
            await call(broker)
        await broker.close()


@ALL
async def test_nobody_listening_is_unknown(call: Callable[[AlpacaBroker], Awaitable[object]]) -> None:
    async with Recorder(answering(200, "{}")) as server:
        url = server.url
    broker, _ = gateway(url)
    with pytest.raises(BrokerUnknown):
        await call(broker)
    await broker.close()


@ALL
async def test_a_connection_that_dies_under_a_request_gets_no_second_one(
    call: Callable[[AlpacaBroker], Awaitable[object]],
) -> None:
    """A kept-alive connection is cut when the next request comes in: aiohttp would repeat DELETE and GET by itself."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            requests.append(head.split(b" ")[0])
            if len(requests) == 1:  # the first is answered and the connection kept
                body = json.dumps(CLOCK).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                continue
            break
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    broker, _ = gateway(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await broker.clock()
    with pytest.raises(BrokerUnknown):
        await call(broker)
    await asyncio.sleep(0.05)
    await broker.close()
    server.close()
    assert len(requests) == 2


@pytest.mark.parametrize("status", [301, 307])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with Recorder(answering(200, "{}")) as elsewhere:
        async with Recorder(answering(status, "", {"Location": f"{elsewhere.url}/v2/account"})) as server:
            broker, _ = gateway(server.url)
            with pytest.raises(BrokerUnknown):
                await broker.account()
            await broker.close()
        assert elsewhere.seen == []


async def test_keys_are_sent_and_appear_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for status, body in ((401, f'{{"message": "bad key {KEY} {SECRET}"}}'), (500, f"<p>{SECRET}</p>"), (200, SECRET)):
        async with Recorder(answering(status, body)) as server:
            broker, data = gateway(server.url)
            with pytest.raises(BrokerError) as raised:
                await broker.account()
            texts += [str(raised.value), repr(raised.value), repr(vars(raised.value)), repr(broker._transport)]
            with pytest.raises(BrokerError) as raised:
                async with broker.updates():
                    pass
            assert raised.value.__cause__ is None
            assert raised.value.__context__ is None
            texts += [str(raised.value), repr(raised.value)]
            await broker.close()
            await data.close()
        assert server.seen[0].headers["APCA-API-KEY-ID"] == KEY
        assert server.seen[0].headers["APCA-API-SECRET-KEY"] == SECRET
    assert not [text for text in [*texts, caplog.text] if KEY in text or SECRET in text]


async def test_after_closing_nothing_is_sent() -> None:
    async with Recorder(answering(200, "{}")) as server:
        broker, data = gateway(server.url)
        await broker.close()
        await data.close()
        with pytest.raises(BrokerUnknown):
            await broker.account()
    assert server.seen == []
