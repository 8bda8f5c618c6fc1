"""Where the record and the broker differ: told, counted, blocked, settled; never traded away."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from tests.integration.execution.conftest import Trading

from oms.execution.status import EngineStatus


async def made_to_differ(trading: Trading, by: str = "2") -> None:
    """Ten AAPL, of which our record then says something else: as after a defect, or somebody's SQL."""
    order = await trading.traded("AAPL", "buy", 10)
    assert order["status"] == "filled"
    await trading.stop()
    await trading.pool.execute("update positions set qty = qty - $1 where symbol = 'AAPL'", Decimal(by))
    await trading.start()


async def test_a_position_that_differs_blocks_its_symbol_after_two_passes(trading: Trading) -> None:
    await made_to_differ(trading)
    [drift] = trading.standing()
    assert (drift.kind, drift.symbol, drift.ours, drift.theirs) == ("position", "AAPL", "8", "10")
    await trading.until(lambda: trading.standing()[0].blocks)  # the next pass starts by itself
    assert trading.standing()[0].cause == "unexplained"
    refused = await trading.traded("AAPL", "buy", 1)
    assert (refused["status"], refused["error_code"]) == ("rejected", "SYMBOL_BLOCKED")
    assert f"oms drift adopt {drift.id}" in refused["error_message"]
    assert (await trading.traded("MSFT", "buy", 1))["status"] == "filled"
    assert (await trading.traded("AAPL", "sell", 1))["status"] == "filled"  # it reduces by either count
    assert (await trading.traded("AAPL", "sell", 8))["error_code"] == "SYMBOL_BLOCKED"  # 7 here: it would go through 0


async def test_a_block_outlives_the_engine(trading: Trading) -> None:
    await made_to_differ(trading)
    await trading.until(lambda: trading.standing()[0].blocks)
    await trading.session.journal.flush()
    await trading.stop()
    await trading.start(wait=False)
    assert trading.standing()[0].blocks  # before any pass
    assert (await trading.traded("AAPL", "buy", 1))["error_code"] == "SYMBOL_BLOCKED"


async def test_adopting_books_the_difference_once(trading: Trading) -> None:
    await made_to_differ(trading)
    await trading.until(lambda: trading.standing()[0].blocks)
    [drift] = trading.standing()
    asked = [trading.command("drift_adopt", drift_id=drift.id) for _ in range(3)]
    outcomes = [outcome for outcome, _ in await asyncio.gather(*asked)]
    assert sorted(outcomes) == ["done", "refused", "refused"]
    assert await trading.position("AAPL") == 10
    booked = await trading.pool.fetch("select * from adjustments where kind = 'correction'")
    assert [(one["qty"], one["reference"]) for one in booked] == [(2, f"drift:{drift.id}")]
    [row] = await trading.drift()
    assert (row["state"], row["resolution"], row["resolved_by"], row["reason"]) == (
        "resolved", "adopted", "ann", "because",
    )  # fmt: skip
    assert (await trading.traded("AAPL", "buy", 1))["status"] == "filled"
    await trading.passes(2)
    assert trading.standing() == []
    assert trading.session.reconciler.findings.in_sync_at is not None


async def test_a_blocking_difference_that_becomes_another_has_another_number(trading: Trading) -> None:
    """What a person saw was 2: when it has become 3, that number adopts nothing."""
    await made_to_differ(trading)
    await trading.until(lambda: trading.standing()[0].blocks)
    [seen] = trading.standing()
    await trading.session.journal.flush()
    await trading.stop()
    await trading.pool.execute("update positions set qty = qty - 1 where symbol = 'AAPL'")
    await trading.start()
    [now] = trading.standing()
    assert (now.id > seen.id, now.delta, now.blocks) == (True, 3, True)
    outcome, message = await trading.command("drift_adopt", drift_id=seen.id)
    assert (outcome, message.startswith(f"no drift {seen.id} stands")) == ("refused", True)
    assert await trading.position("AAPL") == 7
    assert (await trading.command("drift_adopt", drift_id=now.id))[0] == "done"
    assert await trading.position("AAPL") == 10
    assert [(row["state"], row["resolution"]) for row in await trading.drift()] == [
        ("resolved", "changed"), ("resolved", "adopted"),
    ]  # fmt: skip


async def test_ignoring_unblocks_until_the_difference_changes(trading: Trading) -> None:
    await made_to_differ(trading)
    await trading.until(lambda: trading.standing()[0].blocks)
    [drift] = trading.standing()
    assert (await trading.command("drift_ignore", drift_id=drift.id))[0] == "done"
    assert (await trading.traded("AAPL", "buy", 1))["status"] == "filled"  # both sides move, the difference stays
    await trading.passes(3)
    assert [(one.id, one.state, one.blocks) for one in trading.standing()] == [(drift.id, "ignored", False)]
    await trading.stop()
    await trading.pool.execute("update positions set qty = qty - 1 where symbol = 'AAPL'")
    await trading.start()
    await trading.passes(2)
    [changed] = trading.standing()
    assert (changed.id > drift.id, changed.state, changed.blocks, changed.delta) == (True, "open", True, 3)
    resolved = [(row["state"], row["resolution"]) for row in await trading.drift() if row["id"] == drift.id]
    assert resolved == [("resolved", "changed")]


async def test_the_next_pass_that_agrees_lifts_the_block(trading: Trading) -> None:
    await made_to_differ(trading)
    await trading.until(lambda: trading.standing()[0].blocks)
    await trading.session.journal.flush()
    await trading.stop()
    await trading.pool.execute("update positions set qty = qty + 2 where symbol = 'AAPL'")
    await trading.start()
    assert trading.standing() == []
    [row] = await trading.drift()
    assert (row["state"], row["resolution"]) == ("resolved", "settled_itself")


async def test_a_busy_market_blocks_nothing(trading: Trading) -> None:
    """Fills come in while positions are compared, pass after pass."""

    async def trade(symbol: str, side: str) -> None:
        order = {"symbol": symbol, "qty": "1", "side": side, "type": "market", "time_in_force": "day"}
        for _ in range(40):
            await trading.post_at_broker(order)
            await asyncio.sleep(0.02)

    traders = asyncio.gather(*(trade(*what) for what in (("AAPL", "buy"), ("AAPL", "buy"), ("MSFT", "sell"))))
    while not traders.done():
        await trading.passes(1)
        assert not any(one.blocks for one in trading.standing())
    await traders
    await trading.until(lambda: not trading.session.book.awaiting_fills)
    await trading.passes(2)
    assert not any(row["blocks"] for row in await trading.drift())
    assert not [one for one in trading.standing() if one.kind == "position"]
    assert await trading.position("AAPL") == 80


async def test_a_manual_trade_moves_the_position_and_is_told(trading: Trading) -> None:
    trading.paper.control.trade("AAPL", "buy", 3, price="100.00")
    await trading.until(lambda: trading.session.book.position_qty("AAPL") == 3)
    await trading.session.journal.flush()
    assert await trading.position("AAPL") == 3
    [row] = await trading.drift()
    assert (row["kind"], row["cause"], row["state"], row["resolution"]) == (
        "order", "external_trade", "resolved", "taken_in",
    )  # fmt: skip
    [order] = await trading.pool.fetch("select * from orders")
    assert (order["origin"], order["id"]) == ("external", row["order_id"])
    await trading.passes(2)
    assert trading.standing() == []
    assert trading.session.status is EngineStatus.RUNNING


async def bust_all(trading: Trading) -> None:
    """Every fill of the account: one order in ten is filled in parts."""
    for fill in trading.paper.control.fills(account_id=(await trading.broker.account()).broker_account_id):
        trading.paper.control.bust(fill["execution_id"])


async def test_a_busted_trade_is_taken_back_once(trading: Trading) -> None:
    await trading.traded("AAPL", "buy", 10)
    await trading.until(lambda: trading.session.book.position_qty("AAPL") == 10)
    await bust_all(trading)
    await trading.until(lambda: trading.session.book.position_qty("AAPL") == 0)  # the stream says `restated`
    await trading.passes(3)
    await trading.stop()
    await trading.start()
    await trading.passes(2)
    assert await trading.position("AAPL") == await trading.at_broker("AAPL") == 0
    booked = await trading.pool.fetch("select kind, qty from adjustments")
    assert {one["kind"] for one in booked} == {"bust"}
    assert sum(one["qty"] for one in booked) == Decimal(-10)
    [order] = await trading.pool.fetch("select * from orders")
    assert (order["filled_qty"], order["busted_qty"]) == (10, 10)
    assert trading.standing() == []


async def test_a_busted_crypto_trade_gives_its_fee_back(trading: Trading) -> None:
    await trading.traded("BTC/USD", "buy", "0.01")
    await trading.until(lambda: trading.session.book.position_qty("BTC/USD") > Decimal("0.0099"))  # all but the fee
    await bust_all(trading)
    await trading.until(lambda: trading.session.book.position_qty("BTC/USD") == 0)
    await trading.passes(2)
    assert await trading.at_broker("BTC/USD") == 0
    assert trading.standing() == []


async def test_a_fill_that_the_stream_lost_is_backfilled_and_told(trading: Trading) -> None:
    trading.paper.control.fault("drop_updates", event="fill")
    order_id = await trading.signal("AAPL", "buy", 2)
    await trading.until(lambda: order_id in trading.session.book.orders)
    await asyncio.sleep(2.5)  # older than what may still be on its way
    await trading.passes(1)
    await trading.until(lambda: trading.session.book.position_qty("AAPL") == 2)
    await trading.session.journal.flush()
    assert [(row["kind"], row["cause"], row["resolution"]) for row in await trading.drift()] == [
        ("fill", "missed", "backfilled")
    ]
