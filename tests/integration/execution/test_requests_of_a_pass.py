"""What a pass of reconciliation costs with fifty open orders, counted by the broker itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

from tests.integration.execution.conftest import Trading

from oms.domain.values import OrderType

OPEN = 50


async def requests(trading: Trading) -> Counter[str]:
    """The account's requests so far, by path."""
    found = await asyncio.to_thread(trading.paper.control.requests)
    return Counter(f"{one['method']} {one['path'].partition('?')[0]}" for one in found)


async def test_a_pass_over_fifty_open_orders_is_a_handful_of_requests(trading: Trading) -> None:
    limit = {"type": OrderType.LIMIT, "limit_price": Decimal(1)}
    orders = [await trading.signal("AAPL", "buy", 1, **limit) for _ in range(OPEN)]
    await trading.until(lambda: all(one in trading.session.book.orders for one in orders))
    await trading.until(lambda: all(trading.session.book.orders[one].alpaca_id for one in orders))
    await trading.stop()  # so that nothing but the passes is counted
    session = await trading.idle()
    reconciler, writing = session.reconciler, asyncio.ensure_future(session.journal.run())
    before = await requests(trading)
    await reconciler.light()
    light = await requests(trading) - before
    await reconciler.full()
    full = await requests(trading) - before - light
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert light == {"GET /v2/orders": 1}
    assert full == {
        "GET /v2/clock": 1, "GET /v2/orders": 2, "GET /v2/account/activities": 2, "GET /v2/positions": 1,
        "GET /v2/account": 1,
    }  # fmt: skip
    assert len(session.book.open_orders()) == OPEN
    # Twelve light passes and a full one a minute, and the account as often after fills: within what the budget gives.
    assert 12 * light.total() + full.total() + 12 <= 35
