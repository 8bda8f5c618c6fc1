"""A halt: from its acknowledgement on nothing new is sent, whatever was under way; cancels flow; a restart keeps it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.integration.execution.conftest import Trading

from oms.domain.values import OrderType
from oms.execution.status import EngineStatus
from oms.storage.decisions import Decisions

POSTS = {"method": "POST", "path": "/v2/orders"}


async def posts(trading: Trading) -> list[Any]:
    """The orders that reached the broker."""
    return await asyncio.to_thread(lambda: trading.paper.control.requests(**POSTS))


async def resting(trading: Trading) -> UUID:
    """An order that rests at the broker; its id."""
    order_id = await trading.signal("AAPL", "buy", 1, type=OrderType.LIMIT, limit_price=Decimal(1))
    await trading.until(lambda: order_id in trading.session.book.orders)
    await trading.until(lambda: trading.session.book.orders[order_id].alpaca_id is not None)
    return order_id


async def test_nothing_new_is_sent_once_a_halt_is_acknowledged(trading: Trading) -> None:
    await trading.traded("AAPL", "buy", 1)
    outcome, message = await trading.command("halt", reason="prices look wrong")
    assert (outcome, message) == ("done", "halted: nothing new is sent")
    sent = len(await posts(trading))
    orders = [await trading.signal(symbol, "buy", 1) for symbol in ("AAPL", "MSFT", "BTC/USD")]
    for order_id in orders:
        order = await trading.ended(order_id)
        assert (order["status"], order["error_code"]) == ("rejected", "HALTED")
        assert "by ann: prices look wrong" in order["error_message"]
        assert "oms resume" in order["error_message"]
    assert len(await posts(trading)) == sent
    assert trading.session.status is EngineStatus.HALTED


async def test_signals_on_their_way_are_either_sent_before_the_acknowledgement_or_never(trading: Trading) -> None:
    """Many signals come in while the halt does; on a quick machine they would reach the largest position before it."""
    await trading.pool.execute("update configs set value = '100000000' where key = 'max_position_size_usd'")
    stopped = asyncio.Event()
    orders = []

    async def signals() -> None:
        while not stopped.is_set():
            orders.append(await trading.signal("AAPL", "buy", 1))
            await asyncio.sleep(0)

    callers = [asyncio.ensure_future(signals()) for _ in range(4)]
    await trading.until(lambda: trading.session.ledger.fills_booked > 5)
    _, message = await trading.command("halt")
    sent = {request["body"]["client_order_id"] for request in await posts(trading)}
    named = message.partition("followed: ")[2]
    await asyncio.sleep(1)
    stopped.set()
    await asyncio.gather(*callers)
    for order_id in orders:
        await trading.ended(order_id)
    later = {request["body"]["client_order_id"] for request in await posts(trading)} - sent
    assert all(str(row["id"]) in named for row in await trading.rows_of(later)), (later, message)
    refused = await trading.pool.fetchval("select count(*) from orders where error_code = 'HALTED'")
    filled = await trading.pool.fetchval("select count(*) from orders where status = 'filled'")
    assert refused > 0
    assert filled + refused == len(orders)


async def test_what_is_on_the_wire_is_named_and_followed(trading: Trading) -> None:
    await asyncio.to_thread(lambda: trading.paper.control.fault("delay", method="POST", path="/v2/orders", seconds=10))
    slow = await trading.signal("AAPL", "buy", 1)
    await trading.until(lambda: trading.session.dispatcher.in_flight == 1)
    outcome, message = await trading.command("halt")
    assert (outcome, message) == ("done", f"halted: nothing new is sent; already on the wire, and followed: {slow}")
    assert (await trading.ended(slow))["status"] == "filled"


async def test_cancels_flow_while_trading_is_halted(trading: Trading) -> None:
    order_id = await resting(trading)
    await trading.command("halt")
    await trading.ask_cancel(order_id)
    assert (await trading.ended(order_id))["status"] == "cancelled"
    assert trading.session.status is EngineStatus.HALTED


async def test_a_halt_does_not_wait_behind_cancels_without_an_answer(trading: Trading) -> None:
    """As many cancels as are carried out at once, and then as many as are read at once: the broker answers none."""
    order_id = await resting(trading)
    fault = {"method": "DELETE", "count": None, "seconds": 11}
    fault_id = await asyncio.to_thread(lambda: trading.paper.control.fault("timeout", **fault))
    for _ in range(600):
        await trading.ask_cancel(order_id)
    await trading.until(lambda: len(trading.session.commands.under_way) >= 16)
    assert (await trading.command("halt"))[0] == "done"
    assert (await trading.command("resume"))[0] == "done"
    await asyncio.to_thread(lambda: trading.paper.control.remove_fault(fault_id))


async def test_a_halt_outlives_the_engine_and_a_resume_too(trading: Trading) -> None:
    await trading.command("halt")
    await trading.stop()
    await trading.start()
    assert trading.session.status is EngineStatus.HALTED
    assert (await trading.traded("AAPL", "buy", 1))["error_code"] == "HALTED"
    assert (await trading.command("resume", reason="they were right"))[0] == "done"
    await trading.stop()
    await trading.start()
    assert trading.session.status is EngineStatus.RUNNING
    assert (await trading.traded("AAPL", "buy", 1))["status"] == "filled"
    halt = (await Decisions(trading.pool).standing(trading.account_id)).halt
    assert halt is not None
    assert (halt.is_on, halt.by, halt.reason) == (False, "ann", "they were right")


async def test_a_halt_that_was_asked_for_while_no_engine_ran_comes_before_anything_is_sent(trading: Trading) -> None:
    await trading.stop()
    asked = asyncio.ensure_future(trading.command("halt"))
    await trading.until(lambda: trading.pool.fetchval("select count(*) > 0 from commands"))
    orders = [await trading.signal("AAPL", "buy", 1) for _ in range(5)]
    await trading.start()
    assert (await asked)[0] == "done"
    for order_id in orders:
        assert (await trading.ended(order_id))["error_code"] == "HALTED"
    assert await posts(trading) == []


async def test_a_second_halt_and_a_second_resume_say_so(trading: Trading) -> None:
    await trading.command("halt", reason="first")
    outcome, message = await trading.command("halt", by="bob", reason="second")
    assert outcome == "done"
    assert message.startswith("already halted since ")
    assert message.endswith("by ann: first")
    assert (await trading.command("resume"))[0] == "done"
    assert await trading.command("resume") == ("refused", "trading is not halted")
