"""The streams over real sockets: handshakes, frames of both kinds, refusals, and connections that die quietly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from time import monotonic

import pytest
from aiohttp import WSMsgType, web
from tests.acceptance.broker.broker_recorder import IMPATIENT, KEY, SECRET, Hole, Recorder, an_order, gateway

from oms.domain.errors import BrokerBusy, BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.domain.instruments import Instrument
from oms.domain.market import Quote, Trade
from oms.domain.reports import OrderUpdate, UnreadableUpdate
from oms.domain.values import AssetClass

AUTHORIZED = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
LISTENING = {"stream": "listening", "data": {"streams": ["trade_updates"]}}
FILL = {
    "stream": "trade_updates",
    "data": {
        "event": "fill", "execution_id": "e-1", "timestamp": "2026-07-01T13:30:02.123456789Z", "price": "190.05",
        "qty": "1", "position_qty": "1", "order": an_order(1, status="filled", filled_qty="1"),
    },
}  # fmt: skip
Script = Callable[[web.WebSocketResponse], Awaitable[None]]


def trade_updates(then: Script, authorization: object = AUTHORIZED, listening: object = LISTENING) -> Recorder:
    """A server of `/stream` that answers in binary frames, as Alpaca's paper endpoint does."""

    async def answer(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await server.next_frame(ws)
        await ws.send_bytes(json.dumps(authorization).encode())
        if authorization == AUTHORIZED:
            await server.next_frame(ws)
            await ws.send_bytes(json.dumps(listening).encode())
            await then(ws)
        return ws

    server = Recorder(answer)
    return server


async def idle(ws: web.WebSocketResponse) -> None:
    async for _ in ws:
        pass


async def test_updates_come_in_binary_and_in_text_frames_and_bad_ones_are_shown() -> None:
    async def script(ws: web.WebSocketResponse) -> None:
        await ws.send_bytes(json.dumps(FILL).encode())
        await ws.send_str(json.dumps(FILL))
        await ws.send_str(json.dumps({"stream": "account_updates", "data": {}}))
        await ws.send_str('{"stream": "trade_updates", "data": {"event": "fill"}}')
        await ws.send_bytes(b"\xff not json")
        option = {**an_order(2), "asset_class": "us_option", "symbol": "AAPL240119C00100000"}
        await ws.send_str(json.dumps({"stream": "trade_updates", "data": {"event": "new", "order": option}}))
        await ws.send_bytes(json.dumps(FILL).encode())
        await ws.close()

    found: list[OrderUpdate | UnreadableUpdate] = []
    async with trade_updates(script) as server:
        broker, _ = gateway(server.url)
        async with broker.updates() as updates:
            began = updates.last_message_at
            reading = aiter(updates)
            for _ in range(5):
                found.append(await anext(reading))  # noqa: PERF401 - one after the other
            with pytest.raises(BrokerUnknown, match="closed"):
                await anext(reading)
            assert updates.last_message_at >= began
        await broker.close()
    assert [type(update) for update in found] == [
        OrderUpdate, OrderUpdate, UnreadableUpdate, UnreadableUpdate, OrderUpdate
    ]  # fmt: skip
    assert isinstance(found[0], OrderUpdate)
    assert found[0].fill is not None
    assert found[0].fill.cum_qty == Decimal(1)
    assert server.frames == [
        {"action": "authenticate", "data": {"key_id": KEY, "secret_key": SECRET}},
        {"action": "listen", "data": {"streams": ["trade_updates"]}},
    ]
    assert "APCA-API-KEY-ID" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("authorization", "listening", "expected"),
    [
        ({"stream": "authorization", "data": {"status": "unauthorized"}}, None, BrokerUnauthorized),
        (AUTHORIZED, {"stream": "listening", "data": {"streams": []}}, BrokerUnknown),
        (AUTHORIZED, {"stream": "listening", "data": "?"}, BrokerUnknown),
        (AUTHORIZED, [], BrokerUnknown),
        (AUTHORIZED, {"stream": "gossip"}, BrokerUnknown),  # no answer, in time
    ],
)
async def test_both_answers_are_checked(authorization: object, listening: object, expected: type[Exception]) -> None:
    async with trade_updates(idle, authorization, listening) as server:
        broker, _ = gateway(server.url, patience=IMPATIENT)
        with pytest.raises(expected):
            async with broker.updates():
                pass
        await broker.close()


async def test_an_update_that_overtakes_the_answer_is_not_lost() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        await ws.send_str(json.dumps(AUTHORIZED))
        await ws.receive()
        await ws.send_str(json.dumps(FILL))
        await ws.send_str(json.dumps(LISTENING))
        await idle(ws)
        return ws

    async with Recorder(answer) as server:
        broker, _ = gateway(server.url)
        async with broker.updates() as updates:
            assert isinstance(await anext(aiter(updates)), OrderUpdate)
        await broker.close()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, BrokerUnauthorized),
        (403, BrokerUnauthorized),
        (429, BrokerBusy),
        (404, BrokerUnknown),
        (500, BrokerUnknown),
    ],
)
async def test_a_handshake_that_is_refused_says_why(status: int, expected: type[Exception]) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with Recorder(answer) as server:
        broker, data = gateway(server.url)
        with pytest.raises(expected):
            async with broker.updates():
                pass
        with pytest.raises(expected):
            async with data.stream(AssetClass.STOCK):
                pass
        await broker.close()
        await data.close()


async def test_a_half_open_stream_is_noticed_by_its_heartbeat() -> None:
    async with trade_updates(idle) as server, Hole(server.port) as hole:
        broker, _ = gateway(hole.url, patience=IMPATIENT)
        async with broker.updates() as updates:
            reading = asyncio.ensure_future(anext(aiter(updates)))
            await asyncio.sleep(1.8)  # longer than a heartbeat and a half, and longer than a request may take
            assert not reading.done()
            hole.swallow()
            began = monotonic()
            with pytest.raises(BrokerUnknown):
                await reading
            assert monotonic() - began < 30
        assert monotonic() - began < 40
        await broker.close()


def data_stream(then: Script, auth: object | None = None, greeting: object | None = None) -> Recorder:
    async def answer(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str(json.dumps([greeting or {"T": "success", "msg": "connected"}]))
        await server.next_frame(ws)
        await ws.send_str(json.dumps([auth or {"T": "success", "msg": "authenticated"}]))
        await then(ws)
        return ws

    server = Recorder(answer)
    return server


async def test_following_sends_differences_and_ticks_come_a_frame_at_a_time() -> None:
    frame = [
        {"T": "q", "S": "AAPL", "bp": 190.1, "ap": 0, "bs": 1, "as": 0, "t": "2026-07-01T13:30:00Z"},
        {"T": "t", "S": "AAPL", "p": 190.15, "s": 10, "x": "V", "t": "2026-07-01T13:30:00Z"},
    ]

    async def script(ws: web.WebSocketResponse) -> None:
        for _ in range(3):
            await server.next_frame(ws)
        await ws.send_str(json.dumps([{"T": "subscription", "trades": ["MSFT"], "quotes": ["MSFT"]}]))
        await ws.send_bytes(json.dumps(frame).encode())
        await idle(ws)

    async with data_stream(script) as server:
        _, data = gateway(server.url)
        async with data.stream(AssetClass.STOCK) as stream:
            await stream.follow(frozenset({"AAPL", "MSFT"}))
            await stream.follow(frozenset({"MSFT", "AAPL"}))
            await stream.follow(frozenset({"MSFT", "TSLA"}))
            found = await anext(aiter(stream))
        await data.close()
    assert isinstance(found[0], Quote)
    assert isinstance(found[1], Trade)
    assert (found[0].bid, found[0].ask, found[1].price) == (Decimal("190.1"), None, Decimal("190.15"))
    assert server.seen[0].path == "/v2/iex"
    assert server.frames == [
        {"action": "auth", "key": KEY, "secret": SECRET},
        {"action": "subscribe", "trades": ["AAPL", "MSFT"], "quotes": ["AAPL", "MSFT"]},
        {"action": "unsubscribe", "trades": ["AAPL"], "quotes": ["AAPL"]},
        {"action": "subscribe", "trades": ["TSLA"], "quotes": ["TSLA"]},
    ]


@pytest.mark.parametrize(
    ("code", "expected"), [(402, BrokerUnauthorized), (406, BrokerRefused), (409, BrokerRefused), (500, BrokerUnknown)]
)
async def test_a_data_stream_that_says_no_is_an_error_with_its_code(code: int, expected: type[Exception]) -> None:
    async with data_stream(idle, auth={"T": "error", "code": code, "msg": "no"}) as server:
        _, data = gateway(server.url)
        with pytest.raises(expected) as raised:
            async with data.stream(AssetClass.CRYPTO):
                pass
        await data.close()
    assert server.seen[0].path == "/v1beta3/crypto/us"
    if isinstance(raised.value, BrokerRefused):
        assert raised.value.code == code


async def test_too_many_symbols_come_out_of_the_iteration() -> None:
    async def script(ws: web.WebSocketResponse) -> None:
        await server.next_frame(ws)
        await ws.send_str(json.dumps([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]))
        await idle(ws)

    async with data_stream(script) as server:
        _, data = gateway(server.url)
        async with data.stream(AssetClass.STOCK) as stream:
            await stream.follow(frozenset({"AAPL"}))
            with pytest.raises(BrokerRefused) as raised:
                await anext(aiter(stream))
        await data.close()
    assert raised.value.code == 405


async def test_a_half_open_data_stream_is_noticed() -> None:
    async with data_stream(idle) as server, Hole(server.port) as hole:
        _, data = gateway(hole.url, patience=IMPATIENT)
        async with data.stream(AssetClass.STOCK) as stream:
            hole.swallow()
            began = monotonic()
            with pytest.raises(BrokerUnknown):
                await anext(aiter(stream))
            assert monotonic() - began < 30
        await data.close()


async def test_a_large_frame_leaves_room_for_others() -> None:
    quote = {"T": "q", "S": "AAPL", "bp": 190.1, "ap": 190.2, "bs": 1, "as": 1, "t": "2026-07-01T13:30:00.123456789Z"}

    async def script(ws: web.WebSocketResponse) -> None:
        await ws.send_str(json.dumps([quote] * 20_000))
        await idle(ws)

    async with data_stream(script) as server:
        _, data = gateway(server.url)
        async with data.stream(AssetClass.STOCK) as stream:
            ticks, turns = 0, 0

            async def others() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            running = asyncio.ensure_future(others())
            async for batch in stream:
                before = turns
                ticks += len(batch)
                if ticks == 20_000:
                    break
            running.cancel()
        await data.close()
    assert before >= 39


async def test_the_latest_are_asked_in_batches_and_answered_as_many_as_there_are() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        kind = "quotes" if "quotes" in request.path else "trades"
        value = {"bp": 1.5, "ap": 1.6, "bs": 1, "as": 1} if kind == "quotes" else {"p": 1.55, "s": 2}
        symbols = [symbol for symbol in request.query["symbols"].split(",") if symbol != "S7"]
        return web.json_response(
            {kind: {symbol: {**value, "t": "2026-07-01T13:30:00.123456789Z"} for symbol in symbols}}
        )

    stocks = [Instrument(f"S{number}", AssetClass.STOCK, "") for number in range(201)]
    async with Recorder(answer) as server:
        _, data = gateway(server.url)
        found = await data.latest([*stocks, Instrument("BTC/USD", AssetClass.CRYPTO, ""), stocks[0]])
        assert await data.latest([]) == []
        await data.close()
    assert len(found) == 2 * 201
    assert len(server.seen) == 6
    assert {seen.query.get("feed") for seen in server.seen if "stocks" in seen.path} == {"iex"}


async def test_our_own_closing_is_announced_to_the_server() -> None:
    closed = asyncio.Event()

    async def script(ws: web.WebSocketResponse) -> None:
        message = await ws.receive()
        if message.type is WSMsgType.CLOSE:
            closed.set()

    async with trade_updates(script) as server:
        broker, _ = gateway(server.url)
        async with broker.updates():
            pass
        await asyncio.wait_for(closed.wait(), 60)
        await broker.close()
