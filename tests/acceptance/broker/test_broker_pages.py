"""Lists of any length are complete, also where thousands share one time, and always end."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aiohttp import web
from tests.acceptance.broker.broker_recorder import Recorder, an_order, answering, gateway

from oms.domain.errors import BrokerUnknown

AFTER = datetime(2026, 7, 1, 12, 0, 0, 5, tzinfo=UTC)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def paging(rows: Sequence[dict[str, object]], cursor: str, size: str) -> Answer:
    """Serve rows from behind the cursor's id on."""

    async def answer(request: web.Request) -> web.StreamResponse:
        behind = request.query.get(cursor)
        start = 0 if behind is None else 1 + [row["id"] for row in rows].index(behind)
        return web.json_response(rows[start : start + int(request.query[size])])

    return answer


def fills(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"20260701093000000::{number:05}", "activity_type": "FILL", "order_id": "o-1", "symbol": "AAPL",
            "side": "buy", "qty": "1", "price": "190", "cum_qty": str(count - number), "type": "partial_fill",
            "transaction_time": "2026-07-01T13:30:00Z",
        }
        for number in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1001])
async def test_all_open_orders_are_found_although_they_share_one_time(count: int) -> None:
    rows = [an_order(number) for number in range(count)]
    async with Recorder(paging(rows, "after_order_id", "limit")) as server:
        broker, _ = gateway(server.url)
        found = await broker.open_orders()
        await broker.close()
    assert [order.broker_order_id for order in found] == [row["id"] for row in rows]
    assert len(server.seen) == count // 500 + 1
    assert server.seen[0].query == {"status": "open", "direction": "asc", "limit": "500", "nested": "false"}


async def test_orders_since_names_the_time_on_the_first_page_only() -> None:
    rows = [an_order(number, status="canceled") for number in range(700)]
    async with Recorder(paging(rows, "after_order_id", "limit")) as server:
        broker, _ = gateway(server.url)
        assert len(await broker.orders_since(AFTER)) == 700
        await broker.close()
    first, second = (seen.query for seen in server.seen)
    assert (first["after"], first["status"], first["direction"]) == ("2026-07-01T12:00:00.000005Z", "all", "asc")
    assert "after" not in second
    assert second["after_order_id"] == rows[499]["id"]


async def test_an_order_that_moves_to_a_later_page_meanwhile_comes_once_and_newest() -> None:
    rows = [an_order(number) for number in range(500)]
    moved = {**rows[3], "status": "filled", "filled_qty": "1"}

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response([moved] if "after_order_id" in request.query else rows)

    async with Recorder(answer) as server:
        broker, _ = gateway(server.url)
        found = await broker.open_orders()
        await broker.close()
    assert len(found) == 500
    assert found[3].broker_status == "filled"


async def test_a_full_page_of_skipped_orders_does_not_end_the_list() -> None:
    rows = [an_order(number, asset_class="us_option", symbol="AAPL240119C00100000") for number in range(500)]
    rows.append(an_order(500))
    async with Recorder(paging(rows, "after_order_id", "limit")) as server:
        broker, _ = gateway(server.url)
        assert len(await broker.open_orders()) == 1
        await broker.close()


@pytest.mark.parametrize("what", ["orders", "fills"])
async def test_a_server_that_ignores_the_cursor_is_no_endless_loop_and_no_half_list(what: str) -> None:
    rows: list[dict[str, object]] = [an_order(number) for number in range(500)] if what == "orders" else fills(100)
    async with Recorder(answering(200, json.dumps(rows))) as server:
        broker, _ = gateway(server.url)
        with pytest.raises(BrokerUnknown, match="repeat"):
            await (broker.open_orders() if what == "orders" else broker.fills_since(AFTER))
        await broker.close()
    assert len(server.seen) == 2


async def test_a_page_that_fails_makes_the_whole_list_unknown() -> None:
    rows = [an_order(number) for number in range(500)]

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=502) if "after_order_id" in request.query else web.json_response(rows)

    async with Recorder(answer) as server:
        broker, _ = gateway(server.url)
        with pytest.raises(BrokerUnknown):
            await broker.open_orders()
        await broker.close()


async def test_fills_are_complete_and_sorted_by_cumulative_quantity() -> None:
    async with Recorder(paging(fills(250), "page_token", "page_size")) as server:
        broker, _ = gateway(server.url)
        found = await broker.fills_since(AFTER)
        await broker.close()
    assert [fill.cum_qty for fill in found] == [Decimal(number) for number in range(1, 251)]
    assert [seen.query.get("page_token") for seen in server.seen] == [
        None, "20260701093000000::00099", "20260701093000000::00199"
    ]  # fmt: skip
    assert {seen.query["after"] for seen in server.seen} == {"2026-07-01T12:00:00.000005Z"}


async def test_fills_of_one_order_are_its_own_even_if_the_server_ignores_the_filter() -> None:
    rows = fills(3)
    rows[1]["order_id"] = "another"
    async with Recorder(answering(200, json.dumps(rows))) as server:
        broker, _ = gateway(server.url)
        assert len(await broker.fills_of("o-1")) == 2
        await broker.close()
    assert server.seen[0].query["order_id"] == "o-1"


async def test_fees_are_asked_for_some_days_back_since_they_are_posted_late() -> None:
    fee = {"id": "20260630000000000::1", "activity_type": "CFEE", "date": "2026-06-30", "symbol": "BTCUSD",
           "qty": "-0.00025", "net_amount": "0", "price": "67000"}  # fmt: skip
    async with Recorder(answering(200, json.dumps([fee]))) as server:
        broker, _ = gateway(server.url)
        (found,) = await broker.fees_since(AFTER)
        await broker.close()
    assert (found.symbol, found.day, found.qty, found.cash) == ("BTC/USD", "2026-06-30", Decimal("-0.00025"), 0)
    assert server.seen[0].query["after"].startswith("2026-06-28")


@pytest.mark.parametrize(
    "odd",
    [
        {"qty": "many"},
        {"side": "sideways"},
        {"status": 7},
        {"submitted_at": "yesterday"},
        {"symbol": 5},
        {"filled_qty": {"deeply": ["wrong"]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", [0, 499, 500, 700])
async def test_an_order_that_cannot_be_read_is_left_out_and_told_of(odd: dict[str, object], place: int) -> None:
    """Also at a page's end, from where the next page goes on."""
    rows = [an_order(number) for number in range(701)]
    rows[place] = {**rows[place], **odd}
    async with Recorder(paging(rows, "after_order_id", "limit")) as server:
        broker, _ = gateway(server.url)
        found = await broker.open_orders()
        [told] = broker.take_unreadable()
        assert broker.take_unreadable() == []
        await broker.close()
    assert [order.broker_order_id for order in found] == [row["id"] for row in rows if row is not rows[place]]
    assert (told.what, told.id) == ("order", rows[place]["id"])
    assert told.symbol == ("" if "symbol" in odd else "AAPL")
    assert told.reason
    assert str(rows[place]["id"]) in told.text


@pytest.mark.parametrize("place", [0, 499, 500])
async def test_an_order_without_an_id_does_not_end_the_list(place: int) -> None:
    rows = [an_order(number) for number in range(701)]
    ids = [row["id"] for row in rows]

    async def answer(request: web.Request) -> web.StreamResponse:
        behind = request.query.get("after_order_id")
        start = 0 if behind is None else 1 + ids.index(behind)
        shown = [{**row, "id": 5} if row["id"] == ids[place] else row for row in rows]
        return web.json_response(shown[start : start + 500])

    async with Recorder(answer) as server:
        broker, _ = gateway(server.url)
        found = await broker.open_orders()
        [told] = broker.take_unreadable()
        await broker.close()
    assert {order.broker_order_id for order in found} == {one for one in ids if one != ids[place]}
    assert (told.id, told.symbol) == ("", "AAPL")


async def test_a_position_and_a_fill_that_cannot_be_read_are_left_out_and_told_of() -> None:
    positions = [
        {"symbol": symbol, "asset_class": "us_equity", "qty": qty, "avg_entry_price": "10", "side": "long"}
        for symbol, qty in (("AAPL", "1"), ("MSFT", "one"), ("KO", "3"))
    ]
    async with Recorder(answering(200, json.dumps(positions))) as server:
        broker, _ = gateway(server.url)
        assert [(held.symbol, held.qty) for held in await broker.positions()] == [("AAPL", 1), ("KO", 3)]
        [told] = broker.take_unreadable()
        await broker.close()
    assert (told.what, told.symbol) == ("position", "MSFT")
    rows = fills(120)
    rows[99]["price"] = "dear"
    async with Recorder(paging(rows, "page_token", "page_size")) as server:
        broker, _ = gateway(server.url)
        assert len(await broker.fills_since(AFTER)) == 119
        [told] = broker.take_unreadable()
        await broker.close()
    assert (told.what, told.id, told.symbol) == ("fill", rows[99]["id"], "AAPL")
