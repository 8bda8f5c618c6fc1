"""Market data over websockets, by hand."""

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import msgpack


async def connected(
    session: aiohttp.ClientSession, broker: Any, path: str, **options: Any
) -> aiohttp.ClientWebSocketResponse:
    stream = await session.ws_connect(f"{broker.ws_url}{path}", **options)
    assert await stream.receive_json() == [{"T": "success", "msg": "connected"}]
    return stream


async def authenticated(
    session: aiohttp.ClientSession, broker: Any, path: str, key: str
) -> aiohttp.ClientWebSocketResponse:
    stream = await connected(session, broker, path)
    await stream.send_json({"action": "auth", "key": key, "secret": "x"})
    assert await stream.receive_json() == [{"T": "success", "msg": "authenticated"}]
    return stream


async def test_quotes_and_trades_of_what_was_subscribed_arrive(broker: Any) -> None:
    async with aiohttp.ClientSession() as session:
        stream = await authenticated(session, broker, "/v2/iex", f"mock-{uuid.uuid4()}")
        await stream.send_json({"action": "subscribe", "quotes": ["AAPL"], "trades": ["*"]})
        answer = (await stream.receive_json())[0]
        assert (answer["T"], answer["quotes"], answer["trades"], answer["bars"]) == (
            "subscription",
            ["AAPL"],
            ["*"],
            [],
        )
        seen: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(60):
            while len(seen) < 2:
                for message in await stream.receive_json():
                    assert message["T"] != "q" or message["S"] == "AAPL"
                    seen[message["T"]] = message
        assert set(seen["q"]) == {"T", "S", "bp", "bs", "ap", "as", "bx", "ax", "c", "z", "t"}
        assert set(seen["t"]) == {"T", "S", "i", "x", "p", "s", "c", "z", "t"}
        assert seen["q"]["bp"] < seen["q"]["ap"]
        await stream.send_json({"action": "unsubscribe", "quotes": ["AAPL"], "trades": ["*"]})


async def test_corrections_and_cancels_are_subscribed_to_with_trades(broker: Any) -> None:
    async with aiohttp.ClientSession() as session:
        stream = await authenticated(session, broker, "/v2/iex", f"mock-{uuid.uuid4()}")
        for asked, told in (
            ({"action": "subscribe", "trades": ["AAPL", "IBM"], "quotes": ["T"]}, ["AAPL", "IBM"]),
            ({"action": "unsubscribe", "trades": ["IBM"], "corrections": ["AAPL"]}, ["AAPL"]),
        ):
            await stream.send_json(asked)
            answer = (await stream.receive_json())[0]
            while answer["T"] != "subscription":  # a price was faster
                answer = (await stream.receive_json())[0]
            assert answer["trades"] == answer["corrections"] == answer["cancelErrors"] == told


async def test_prices_are_exact_in_the_text_of_the_frame(broker: Any) -> None:
    async with aiohttp.ClientSession() as session:
        stream = await authenticated(session, broker, "/v1beta3/crypto/us", f"mock-{uuid.uuid4()}")
        await stream.send_json({"action": "subscribe", "quotes": ["*"]})
        await stream.receive()
        text = await asyncio.wait_for(stream.receive_str(), 60)
        assert all(
            "e" not in m["bp"].lower() and len(m["bp"]) < 16 for m in json.loads(text, parse_float=str, parse_int=str)
        )


async def test_messagepack_has_timestamps_as_the_extension(broker: Any) -> None:
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": "application/msgpack"}
        stream = await session.ws_connect(f"{broker.ws_url}/v2/sip", headers=headers)
        assert msgpack.unpackb(await stream.receive_bytes())[0]["msg"] == "connected"
        await stream.send_bytes(msgpack.packb({"action": "auth", "key": f"mock-{uuid.uuid4()}", "secret": "x"}))
        await stream.receive_bytes()
        await stream.send_bytes(msgpack.packb({"action": "subscribe", "quotes": ["*"]}))
        await stream.receive_bytes()
        quotes = msgpack.unpackb(await asyncio.wait_for(stream.receive_bytes(), 60))
        assert isinstance(quotes[0]["t"], msgpack.Timestamp)
        assert isinstance(quotes[0]["bp"], float)


async def test_a_key_in_the_headers_is_let_in_or_refused_without_a_message(broker: Any) -> None:
    async with aiohttp.ClientSession() as session:
        for key, answer in (
            (f"mock-{uuid.uuid4()}", {"T": "success", "msg": "authenticated"}),
            ("AKREAL", {"T": "error", "code": 402, "msg": "auth failed"}),
        ):
            headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": "x"}
            stream = await session.ws_connect(f"{broker.ws_url}/v2/iex", headers=headers)
            assert await stream.receive_json() == [{"T": "success", "msg": "connected"}]
            assert await asyncio.wait_for(stream.receive_json(), 5) == [answer]


async def test_a_second_connection_of_a_key_is_refused_and_the_first_goes_on(broker: Any) -> None:
    key = f"mock-{uuid.uuid4()}"
    async with aiohttp.ClientSession() as session:
        first = await authenticated(session, broker, "/v2/iex", key)
        second = await connected(session, broker, "/v2/iex")
        await second.send_json({"action": "auth", "key": key, "secret": "x"})
        assert (await second.receive_json())[0]["code"] == 406
        assert (await second.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
        elsewhere = await authenticated(session, broker, "/v1beta3/crypto/us", key)
        await elsewhere.close()
        await first.send_json({"action": "subscribe", "quotes": ["SPY"]})
        assert (await first.receive_json())[0]["T"] == "subscription"
        await first.close()
        async with asyncio.timeout(60):  # until the broker has seen that the first is gone
            while True:
                third = await connected(session, broker, "/v2/iex")
                await third.send_json({"action": "auth", "key": key, "secret": "x"})
                if (await third.receive_json())[0].get("msg") == "authenticated":
                    break
                await asyncio.sleep(0.02)


async def test_mistakes_are_answered_by_code(broker: Any) -> None:
    async with aiohttp.ClientSession() as session:
        stream = await connected(session, broker, "/v2/iex")

        async def code_after(message: str) -> int:
            await stream.send_str(message)
            return int((await stream.receive_json())[0]["code"])

        assert await code_after("rubbish") == 400
        assert await code_after("[]") == 400
        assert await code_after('{"action":"dance"}') == 400
        assert await code_after('{"action":"subscribe","quotes":["AAPL"]}') == 401
        await stream.send_json({"action": "auth", "key": f"mock-{uuid.uuid4()}", "secret": "x"})
        await stream.receive()
        assert await code_after('{"action":"auth","key":"mock","secret":"x"}') == 403
        assert await code_after('{"action":"subscribe","quotes":"AAPL"}') == 400


async def test_the_plans_symbol_limit_holds(start_broker: Any) -> None:
    broker = start_broker("--stream-symbols", "2")
    async with aiohttp.ClientSession() as session:
        stream = await authenticated(session, broker, "/v2/iex", "mock")
        await stream.send_json({"action": "subscribe", "quotes": ["AAPL", "IBM", "BAC"]})
        assert (await stream.receive_json())[0]["code"] == 405
        await stream.send_json({"action": "subscribe", "quotes": ["AAPL", "IBM"], "trades": ["IBM"]})
        assert (await stream.receive_json())[0]["T"] == "subscription"
