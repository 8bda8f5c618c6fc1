"""Faults on request: each is asked for by the control API and felt through Alpaca's paths."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import msgspec
import pytest

from paperbroker.testing import Control, ControlError, PaperBroker, running_broker

LIMIT = {"type": "limit", "limit_price": "1", "qty": "1"}


@pytest.fixture(scope="module")
def process() -> Iterator[PaperBroker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
def broker(process: PaperBroker) -> Iterator[PaperBroker]:
    yield process.account()
    process.control.clear_faults()
    process.control.let_go()


@pytest.fixture
def control(broker: PaperBroker) -> Control:
    return broker.control


@pytest.fixture
async def client(broker: PaperBroker, client_of: Any) -> AsyncIterator[Any]:
    async with client_of(broker.url, broker.key) as client:
        yield client


@contextlib.asynccontextmanager
async def listening(broker: PaperBroker) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{broker.ws_url}/stream") as socket:
        await socket.send_json({"action": "auth", "key": broker.key, "secret": "any"})
        await socket.receive()
        await socket.send_json({"action": "listen", "data": {"streams": ["trade_updates"]}})
        await socket.receive()
        yield socket


async def events_until(socket: Any, event: str, order_id: str) -> list[str]:
    """The events that come, of whichever order, up to this one of this order."""
    events: list[str] = []
    async with asyncio.timeout(60):
        async for message in socket:
            data = msgspec.json.decode(message.data)["data"]
            events.append(data["event"])
            if (data["event"], data["order"]["id"]) == (event, order_id):
                return events
    raise AssertionError(events)


async def until(client: Any, order_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (order := await client.get(f"/v2/orders/{order_id}"))["status"] != status:
            await asyncio.sleep(0.01)
    return dict(order)


async def test_the_next_order_is_rejected_with_a_code_of_choice(control: Control, client: Any) -> None:
    control.fault("reject", status=403, code=40310000, message="no", extras={"buying_power": "0"})
    assert await client.order(qty="1") == (403, {"code": 40310000, "message": "no", "buying_power": "0"})
    assert (await client.order(qty="1"))[0] == 200
    assert control.faults() == []


async def test_an_error_can_be_executed_or_not_and_can_be_html(control: Control, client: Any) -> None:
    control.fault("error", method="POST", status=503, when="after")
    assert (await client.order(client_order_id="done", **LIMIT))[0] == 503
    assert (await client.get("/v2/orders:by_client_order_id", client_order_id="done"))["client_order_id"] == "done"
    control.fault("error", method="POST", status=502, html=True)
    async with client._session.post("/v2/orders", json={"client_order_id": "not"}) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")
    assert (await client.call("GET", "/v2/orders:by_client_order_id", params={"client_order_id": "not"}))[0] == 404


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["timeout", "drop"])
async def test_a_connection_ends_without_an_answer(control: Control, client: Any, when: str, kind: str) -> None:
    control.fault(kind, method="POST", when=when, seconds=0.05)
    with pytest.raises(aiohttp.ClientError):
        await client.order(client_order_id="lost", **LIMIT)
    status, _ = await client.call("GET", "/v2/orders:by_client_order_id", params={"client_order_id": "lost"})
    assert status == (200 if when == "after" else 404)


async def test_a_rate_limit_and_denied_keys(control: Control, client: Any) -> None:
    control.fault("rate_limit", seconds=3)
    async with client._session.get("/v2/account") as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "3"
        assert answer.headers["X-RateLimit-Remaining"] == "0"
    mode = control.fault("deny", count=None)
    assert await client.call("GET", "/v2/account") == (401, {"message": "unauthorized."})
    assert (await client.call("GET", "/v2/positions"))[0] == 401
    control.remove_fault(mode)
    assert (await client.call("GET", "/v2/account"))[0] == 200


async def test_an_accepted_order_is_not_found_for_a_while(control: Control, client: Any) -> None:
    control.fault("hide", seconds=4)  # longer than the two questions take on a busy machine
    status, order = await client.order(client_order_id="hidden", **LIMIT)
    assert status == 200
    assert (await client.call("GET", f"/v2/orders/{order['id']}"))[0] == 404
    assert (await client.call("GET", f"/v2/orders/{order['id'].replace('-', '')}"))[0] == 404
    assert (await client.call("GET", "/v2/orders:by_client_order_id", params={"client_order_id": "hidden"}))[0] == 404
    async with asyncio.timeout(60):
        while (await client.call("GET", f"/v2/orders/{order['id']}"))[0] != 200:
            await asyncio.sleep(0.05)


async def test_updates_are_lost_doubled_late_and_out_of_order(broker: PaperBroker, client: Any) -> None:
    control = broker.control
    async with listening(broker) as socket:
        control.fault("drop_updates", event="new")
        control.fault("double_updates", event="pending_cancel")
        control.fault("delay_updates", event="pending_new", seconds=4)
        _, order = await client.order(**LIMIT)
        await until(client, order["id"], "new")
        await client.call("DELETE", f"/v2/orders/{order['id']}")
        events = await events_until(socket, "pending_new", order["id"])
        assert events == ["pending_cancel", "pending_cancel", "canceled", "pending_new"]
        control.fault("reorder_updates", event="pending_new")
        _, order = await client.order(**LIMIT)
        assert await events_until(socket, "pending_new", order["id"]) == ["new", "pending_new"]


async def test_a_stream_can_be_mute_cut_and_refused(broker: PaperBroker, client: Any) -> None:
    control = broker.control
    async with listening(broker) as socket:
        mute = control.fault("mute_updates", count=None)
        _, order = await client.order(**LIMIT)
        await until(client, order["id"], "new")
        control.remove_fault(mute)
        assert control.cut_streams("trade") == 1  # and nothing of the order comes before that
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    control.fault("refuse_stream", path="/stream")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{broker.ws_url}/stream")


async def test_one_fill_is_lost_on_the_stream_but_not_by_rest(broker: PaperBroker, client: Any) -> None:
    async with listening(broker) as socket:
        broker.control.fault("drop_updates", event="fill")
        _, order = await client.order(qty="1")
        await until(client, order["id"], "filled")
        _, later = await client.order(**LIMIT)
        assert "fill" not in await events_until(socket, "new", later["id"])
    assert len(await client.get("/v2/account/activities/FILL", order_id=order["id"])) >= 1


@pytest.mark.parametrize("race", ["fill_before_cancel", "fill_before_replace"])
async def test_a_fill_wins_the_race(control: Control, client: Any, race: str) -> None:
    _, order = await client.order(**LIMIT)
    await until(client, order["id"], "new")
    control.fault(race)
    if race == "fill_before_cancel":
        assert (await client.call("DELETE", f"/v2/orders/{order['id']}"))[0] == 204
    else:
        status, new = await client.call("PATCH", f"/v2/orders/{order['id']}", json={"limit_price": "2"})
        assert status == 200
        await until(client, new["id"], "rejected")
    assert (await until(client, order["id"], "filled"))["filled_avg_price"] == "1"


async def test_a_cancel_is_turned_down_and_an_accepted_order_rejected(control: Control, client: Any) -> None:
    _, order = await client.order(**LIMIT)
    await until(client, order["id"], "new")
    control.fault("reject_cancel")
    assert (await client.call("DELETE", f"/v2/orders/{order['id']}"))[0] == 204
    await asyncio.sleep(0.1)
    await until(client, order["id"], "new")
    control.fault("reject_accepted")
    _, order = await client.order(**LIMIT)
    await until(client, order["id"], "rejected")


async def test_someone_trades_by_hand_and_a_fill_is_busted(broker: PaperBroker, client: Any) -> None:
    async with listening(broker) as socket:
        order = broker.control.trade("AAPL", "buy", 3, price="123.45")
        position = await client.get("/v2/positions/AAPL")
        assert (position["qty"], position["avg_entry_price"]) == ("3", "123.45")
        (fill,) = broker.control.fills(order_id=order["id"])
        cash = float((await client.get("/v2/account"))["cash"])
        broker.control.bust(fill["execution_id"])
        await events_until(socket, "restated", order["id"])
    assert (await client.call("GET", "/v2/positions/AAPL"))[0] == 404
    assert float((await client.get("/v2/account"))["cash"]) == pytest.approx(cash + 3 * 123.45)
    assert (await client.get(f"/v2/orders/{order['id']}"))["filled_qty"] == "0"
    activities = await client.get("/v2/account/activities/FILL")
    assert activities[0]["execution_type"] == "trade_bust"


@pytest.mark.parametrize(
    "terms",
    [
        {"probability": 1.5},
        {"probability": -0.1},
        {"count": 0},
        {"status": 42},
        {"status": 600},
        {"seconds": -1},
        {"seconds": 1e9},
        {"headers": {"X-Note": "two\r\nlines"}},
        {"headers": {"not a name": "x"}},
        {"headers": {"X-Price": "1 \u20ac"}},
    ],
)
def test_faults_that_cannot_be_are_refused(control: Control, terms: dict[str, object]) -> None:
    with pytest.raises(ControlError, match=rf"422.*{next(iter(terms))}"):
        control.fault("rate_limit", **terms)
    assert control.faults() == []


async def test_prices_are_set_pushed_and_frozen_and_symbols_halted(control: Control, client: Any) -> None:
    control.set_price("AAPL", bid="99.99", ask="100", price="99.99")
    control.halt("AAPL")
    _, order = await client.order(qty="1")
    await asyncio.sleep(0.1)
    assert (await client.get(f"/v2/orders/{order['id']}"))["status"] == "pending_new"
    control.resume("AAPL")
    assert (await until(client, order["id"], "filled"))["filled_avg_price"] == "100"
    _, stop = await client.order(side="sell", qty="1", type="stop", stop_price="90")
    await until(client, stop["id"], "new")
    control.push([{"symbol": "AAPL", "bid": "89", "ask": "89.02"}, {"symbol": "AAPL", "price": "89.01", "size": 5}])
    assert (await until(client, stop["id"], "filled"))["filled_avg_price"] == "89"
    control.freeze()
    first = await client.get("/v2/stocks/quotes/latest", symbols="MSFT")
    await asyncio.sleep(1.5)
    assert await client.get("/v2/stocks/quotes/latest", symbols="MSFT") == first


async def test_an_account_is_reset(control: Control, client: Any) -> None:
    await client.order(client_order_id="old", **LIMIT)
    control.reset(cash="5000", positions={"AAPL": 7})
    assert (await client.get("/v2/account"))["cash"] == "5000"
    assert [(p["symbol"], p["qty"]) for p in await client.get("/v2/positions")] == [("AAPL", "7")]
    assert await client.get("/v2/orders", status="all") == []
    assert (await client.order(client_order_id="old", **LIMIT))[0] == 200


async def test_requests_are_logged(control: Control, client: Any) -> None:
    await client.order(client_order_id="mine", **LIMIT)
    await client.get("/v2/positions")
    (post,) = control.requests(method="POST", path="/v2/orders")
    assert (post["status"], post["body"]["client_order_id"], post["fault"]) == (200, "mine", None)
    assert len(control.requests()) == 2


async def test_faults_of_one_account_can_be_removed_alone(control: Control) -> None:
    mine = control.fault("error")
    control.fault("error", key="mock-another")
    control.clear_faults("mock-another")
    assert [one["id"] for one in control.faults()] == [mine]
    control.clear_faults("mock-another")
    control.clear_faults()
    assert control.faults() == []


async def test_chance_comes_from_a_seed(control: Control, client: Any) -> None:
    outcomes = []
    for _ in range(2):
        control.fault("error", path="/v2/clock", probability=0.5, count=None, seed=7)
        outcomes.append([(await client.call("GET", "/v2/clock"))[0] for _ in range(20)])
        control.clear_faults()
    assert outcomes[0] == outcomes[1]
    assert {200, 500} == set(outcomes[0])


async def test_an_answer_is_late_but_what_was_asked_for_is_done(control: Control, client: Any) -> None:
    control.fault("delay", method="POST", seconds=0.3)
    began = time.monotonic()
    assert (await client.order(client_order_id="late", **LIMIT))[0] == 200
    assert time.monotonic() - began >= 0.3
    assert (await client.get("/v2/orders:by_client_order_id", client_order_id="late"))["client_order_id"] == "late"


async def test_a_stream_does_not_accept_the_key(broker: PaperBroker) -> None:
    broker.control.fault("deny_stream")
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{broker.ws_url}/stream") as socket:
        for status in ("unauthorized", "authorized"):  # once, as it was asked for
            await socket.send_json({"action": "auth", "key": broker.key, "secret": "any"})
            assert msgspec.json.decode((await socket.receive()).data)["data"]["status"] == status


async def test_a_data_stream_goes_mute_while_it_is_connected(broker: PaperBroker) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{broker.ws_url}/v2/iex") as socket:
        await socket.receive()
        await socket.send_json({"action": "auth", "key": broker.key, "secret": "any"})
        await socket.receive()
        broker.control.freeze()
        mute = broker.control.fault("mute_data", count=None)
        await socket.send_json({"action": "subscribe", "quotes": ["AAPL"]})
        assert (await socket.receive_json())[0]["T"] == "subscription"
        broker.control.push([{"symbol": "AAPL", "bid": "1", "ask": "2"}])
        broker.control.remove_fault(mute)
        broker.control.push([{"symbol": "AAPL", "bid": "3", "ask": "4"}])
        (heard,) = await socket.receive_json(timeout=20)
        assert (heard["bp"], heard["ap"]) == (3, 4)


async def test_data_streams_fail_too(broker: PaperBroker) -> None:
    async with aiohttp.ClientSession() as session:
        for code in (402, 406):
            broker.control.fault("data_error", code=code)
            async with session.ws_connect(f"{broker.ws_url}/v2/iex") as socket:
                await socket.receive()
                await socket.send_json({"action": "auth", "key": broker.key, "secret": "any"})
                assert (await socket.receive_json())[0]["code"] == code
        async with session.ws_connect(f"{broker.ws_url}/v2/iex") as socket:
            await socket.receive()
            await socket.send_json({"action": "auth", "key": broker.key, "secret": "any"})
            assert (await socket.receive_json())[0]["msg"] == "authenticated"
            broker.control.fault("data_error", event="subscribe", code=409)
            await socket.send_json({"action": "subscribe", "quotes": ["*"]})
            assert (await socket.receive_json())[0]["code"] == 409
            assert broker.control.cut_streams("data") == 1


async def test_the_clock_can_be_set(process: PaperBroker, client_of: Any) -> None:
    with running_broker("--hours", "nyse", "--now", "2026-11-23T12:00:00-05:00", "--prices", "pushed") as broker:
        async with client_of(broker.url, broker.key) as client:
            broker.control.set_price("AAPL", bid="99.99", ask="100")
            _, order = await client.order(**LIMIT)
            await until(client, order["id"], "new")
            broker.control.set_clock("2026-11-23T16:00:01-05:00")
            await until(client, order["id"], "expired")
            assert (await client.get("/v2/clock"))["is_open"] is False
            _, order = await client.order(qty="1")
            assert order["status"] == "accepted"
            broker.control.set_clock("2026-11-24T09:30:01-05:00")
            await until(client, order["id"], "filled")


async def test_what_the_control_api_does_not_understand_it_refuses(control: Control) -> None:
    for wrong in (
        lambda: control.fault("earthquake"),
        lambda: control.fault("reject", colour="red"),
        lambda: control.set_price("AAPL"),
        lambda: control.set_price("AAPL", bid="many"),
        lambda: control.set_clock("noon"),
        lambda: control.bust("nothing"),
    ):
        with pytest.raises(ControlError):
            wrong()
