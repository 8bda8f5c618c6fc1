"""The breaker in a session: lost answers stop what is new, cancels pass, one question brings trading back."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from tests.integration.execution.conftest import Trading

from oms.domain.values import OrderType
from oms.execution.status import EngineStatus


async def fault(trading: Trading, kind: str, **terms: object) -> str:
    return await asyncio.to_thread(lambda: trading.paper.control.fault(kind, **terms))


async def requests(trading: Trading, method: str, path: str) -> list[Any]:
    return await asyncio.to_thread(lambda: trading.paper.control.requests(method=method, path=path))


async def test_five_lost_answers_make_it_cancel_only_until_one_question_is_answered(trading: Trading) -> None:
    resting = await trading.signal("AAPL", "buy", 1, type=OrderType.LIMIT, limit_price=Decimal(1))
    await trading.until(lambda: resting in trading.session.book.orders)
    await trading.until(lambda: trading.session.book.orders[resting].alpaca_id is not None)
    before = len(await requests(trading, "POST", "/v2/orders"))
    asked = len(await requests(trading, "GET", "/v2/clock"))

    silent = await fault(trading, "error", method="GET", path="/v2/clock", status=503, count=None)
    # 503 without having executed it; what became of it is not to be seen for a while
    await fault(trading, "error", method="GET", path="/v2/orders:by_client_order_id", status=503, count=20)
    failing = await fault(trading, "error", method="POST", path="/v2/orders", status=503, count=None)
    lost = [await trading.signal("MSFT", "buy", 1, valid_for_s=Decimal(300)) for _ in range(5)]
    await trading.until(lambda: trading.session.breaker.is_open)
    assert trading.session.status is EngineStatus.CANCEL_ONLY
    later = await trading.signal("AAPL", "buy", 2, valid_for_s=Decimal(300))

    async def probed() -> bool:
        return len(await requests(trading, "GET", "/v2/clock")) >= asked + 3

    await trading.until(probed)  # asked, again and again, and not answered
    assert trading.session.status is EngineStatus.CANCEL_ONLY
    assert len(await requests(trading, "POST", "/v2/orders")) == before + 5
    await trading.ask_cancel(resting)
    assert (await trading.ended(resting))["status"] == "cancelled"

    await asyncio.to_thread(lambda: trading.paper.control.remove_fault(failing))
    await asyncio.to_thread(lambda: trading.paper.control.remove_fault(silent))
    await trading.until(lambda: trading.session.status is EngineStatus.RUNNING)
    for order_id in (*lost, later):
        assert (await trading.ended(order_id))["status"] == "filled"
    sent = [post for post in await requests(trading, "POST", "/v2/orders") if post["status"] == 200]
    assert len(sent) == len({post["body"]["client_order_id"] for post in sent}) == 7  # one each, and the resting one


async def test_refusals_do_not_open_it(trading: Trading) -> None:
    """A definite no is an answer."""
    await fault(trading, "reject", count=8, status=403, code=40310000, message="insufficient buying power")
    for _ in range(8):
        assert (await trading.traded("AAPL", "buy", 1))["status"] == "rejected"
    assert not trading.session.breaker.is_open
    assert (await trading.traded("AAPL", "buy", 1))["status"] == "filled"
