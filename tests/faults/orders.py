"""Rows 26 to 28: cancels and replacements that fills overtake. The OMS sends no replacements itself: another client of
the account replaces its orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import aiohttp
from tests.faults.bench import Site
from tests.faults.convergence import position_error
from tests.faults.matrix import row
from tests.faults.proxy import Do
from tests.faults.rig import Rig, in_thread

DISPLAYED = ("--fills", "displayed", "--prices", "pushed")
SYMBOL = "KO"


async def _quoted(rig: Rig, ask: str, size: int) -> None:
    """A market that shows so many shares."""
    bid = str(Decimal(ask) - Decimal("0.01"))
    await in_thread(rig.control.set_price, SYMBOL, bid=bid, ask=ask, bid_size=size, ask_size=size, price=bid)


async def _resting(rig: Rig, qty: int = 10, price: str = "50.00") -> tuple[str, str]:
    """A limit order of ours that rests below the market; its id here and at the broker."""
    await _quoted(rig, "60.00", 4)
    order_id = await rig.accept(symbol=SYMBOL, qty=qty, type="limit", limit_price=price)
    alpaca_id = await rig.until("select alpaca_id from orders where id = $1::text::uuid", order_id)
    return order_id, str(alpaca_id)


async def _filled_qty(rig: Rig, order_id: str) -> Decimal:
    found: Decimal = await rig.value("select filled_qty from orders where id = $1::text::uuid", order_id)
    return found


@row(26, "partial fill, then cancel", "fills kept")
async def partial_fill_then_cancel(site: Site) -> str:
    """Four of ten, then the cancel; and a cancel that the whole fill overtakes."""
    rig = await site.rig(broker_url=await site.own_broker(*DISPLAYED))
    order_id, _ = await _resting(rig)
    await _quoted(rig, "50.00", 4)
    await rig.until("select filled_qty = 4 from orders where id = $1::text::uuid", order_id)
    await _quoted(rig, "60.00", 4)
    await rig.ask("DELETE", f"/api/v1/trading/orders/{order_id}")
    await rig.ended(order_id, "cancelled")
    assert await _filled_qty(rig, order_id) == 4
    order_id, _ = await _resting(rig)
    await in_thread(rig.control.fault, "fill_before_cancel")
    await rig.ask("DELETE", f"/api/v1/trading/orders/{order_id}")
    await rig.ended(order_id)
    await rig.converged()
    held = await rig.value("select qty from positions where symbol = $1", SYMBOL)
    error = position_error(await rig.ours())
    assert (held, error) == (14, 0)
    return f"4 of 10 kept; position − sum of fills = {error.normalize():f} (invariant 6)"


async def _replaced(rig: Rig, url: str, alpaca_id: str, **terms: object) -> tuple[int, Any]:
    """Another client of the account replaces an order."""
    headers = {"APCA-API-KEY-ID": rig.key, "APCA-API-SECRET-KEY": "none"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.patch(f"{url}/v2/orders/{alpaca_id}", json=terms) as answer,
    ):
        return answer.status, await answer.json()


@row(27, "fill beats replace", "old filled, new refused")
async def fill_beats_replace(site: Site) -> str:
    """The order is filled between its replacement's arrival and its execution."""
    url = await site.own_broker(*DISPLAYED)
    rig = await site.rig(broker_url=url)
    order_id, alpaca_id = await _resting(rig)
    await in_thread(rig.control.fault, "fill_before_replace")
    status, new = await _replaced(rig, url, alpaca_id, limit_price="49.00")
    await rig.ended(order_id)
    await rig.converged()
    refused = status == 422
    if not refused:
        await rig.until("select status = 'rejected' from orders where alpaca_id = $1", new["id"])
    filled = sum((order["filled_qty"] for order in (await rig.ours()).orders), Decimal(0))
    assert filled == 10, f"the chain for 10 has filled {filled}"
    return f"chain filled {filled.normalize():f} of 10 (invariant 8), the new one {'422' if refused else 'rejected'}"


@row(28, "answer to a replace lost", "one live order")
async def replace_unanswered(site: Site) -> str:
    """The other client asks again, as it must; then we cancel what lives."""
    rig = await site.rig(broker_url=await site.own_broker(*DISPLAYED))
    order_id, alpaca_id = await _resting(rig)
    between = await rig.proxy(rig.at.broker_url)
    between.trap(b"PATCH /v2/orders", Do.LOSE_ANSWER)
    terms = {"limit_price": "49.00", "client_order_id": "replaced-by-hand"}
    url = f"http://127.0.0.1:{between.port}"
    try:
        await _replaced(rig, url, alpaca_id, **terms)
    except aiohttp.ClientError:
        status, _ = await _replaced(rig, url, alpaca_id, **terms)
        assert status == 422
    else:
        raise AssertionError("the answer was not lost")
    await rig.ended(order_id, "replaced")
    await rig.converged()
    leaves = [order for order in (await rig.ours()).orders if order["status"] == "submitted"]
    assert [order["client_order_id"] for order in leaves] == ["replaced-by-hand"]
    await rig.ask("DELETE", f"/api/v1/trading/orders/{leaves[0]['id']}")
    await rig.ended(str(leaves[0]["id"]), "cancelled")
    return f"live leaves = {len(leaves)}"
