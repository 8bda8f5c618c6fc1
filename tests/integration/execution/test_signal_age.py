"""A signal that waited longer than it may is refused as stale, and never sent late."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.integration.execution.conftest import Trading


async def posts(trading: Trading) -> list[Any]:
    return await asyncio.to_thread(lambda: trading.paper.control.requests(method="POST", path="/v2/orders"))


async def grown_old(trading: Trading, *order_ids: UUID) -> None:
    """As if they had waited for minutes."""
    await trading.pool.execute(
        "update orders set created_at = created_at - interval '100 s' where id = any($1)", list(order_ids)
    )


async def limit(trading: Trading, value: str, mode: str = "enforce") -> None:
    await trading.pool.execute(
        "update configs set value = $1, mode = $2 where key = 'max_signal_age_s'", value, mode
    )  # fmt: skip


async def test_signals_that_waited_too_long_for_an_engine_are_refused(trading: Trading) -> None:
    await limit(trading, "60")
    await trading.stop()
    old = await trading.signal("AAPL", "buy", 1)
    lasting = await trading.signal("MSFT", "buy", 1, valid_for_s=Decimal(600))  # it says so itself
    await grown_old(trading, old, lasting)
    await trading.start()
    refused = await trading.ended(old)
    assert (refused["status"], refused["error_code"]) == ("rejected", "SIGNAL_STALE")
    assert "60 s" in refused["error_message"]
    assert (await trading.ended(lasting))["status"] == "filled"
    assert (await trading.traded("AAPL", "buy", 1))["status"] == "filled"  # a young one passes
    assert len(await posts(trading)) == 2


async def test_signals_that_wait_while_the_broker_is_away_become_stale_there(trading: Trading) -> None:
    await limit(trading, "2")
    fault = {"path": "/v2", "status": 503, "count": None}
    away = await asyncio.to_thread(lambda: trading.paper.control.fault("error", **fault))
    deny = await asyncio.to_thread(lambda: trading.paper.control.fault("refuse_stream", status=503, count=None))
    await asyncio.to_thread(trading.paper.control.cut_streams)
    await trading.until(lambda: not trading.session.worth.may_send())
    waiting = await trading.signal("AAPL", "buy", 1)
    refused = await trading.ended(waiting)
    assert refused["error_code"] == "SIGNAL_STALE"
    for fault_id in (away, deny):
        await asyncio.to_thread(trading.paper.control.remove_fault, fault_id)
    await trading.until(trading.session.worth.may_send)
    await limit(trading, "60")
    assert (await trading.traded("AAPL", "buy", 1))["status"] == "filled"
    assert len([post for post in await posts(trading) if post["status"] == 200]) == 1


@pytest.mark.parametrize("mode", ["warn", "off"])
async def test_where_the_limit_is_not_enforced_it_is_sent_all_the_same(trading: Trading, mode: str) -> None:
    await limit(trading, "60", mode)
    await trading.stop()
    old = await trading.signal("AAPL", "buy", 1)
    await grown_old(trading, old)
    await trading.start()
    assert (await trading.ended(old))["status"] == "filled"
