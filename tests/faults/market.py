"""Rows 24, 25 and 31: prices that stand still, clocks that do not agree, trades that somebody else makes."""

from __future__ import annotations

import asyncio
import json
import time

from tests.alert_receiver import AlertReceiver, alert_receiver
from tests.faults.bench import Site
from tests.faults.matrix import row
from tests.faults.parts import until
from tests.faults.proxy import Do
from tests.faults.rig import Rig, in_thread

HOUR_S = 3600
AGE_S = 6


@row(24, "prices frozen", "PRICE_STALE")
async def prices_frozen(site: Site) -> str:
    """No price comes any more: the data streams are cut and refused, questions get no answer. A symbol that is merely
    quiet on a live stream is not stale; an order that reduces needs no price."""
    rig = await site.rig()
    await rig.sql(f"update configs set value = '{AGE_S}' where key = 'max_price_age_s'")
    await in_thread(rig.control.freeze, "GE")  # quiet from here on, and its stream lives
    await rig.ended(await rig.accept(symbol="GE"))
    await rig.ended(await rig.accept(symbol="KO", qty=5))
    await asyncio.sleep(2 * AGE_S)
    await rig.ended(await rig.accept(symbol="GE"))

    for needle in (b"GET /v2/stocks", b"GET /v2/iex"):
        rig.to_broker.trap(needle, Do.LOSE, times=1_000_000)
    assert rig.to_broker.cut(b"GET /v2/iex") == 1
    await asyncio.sleep(AGE_S + 1)
    rig.refusals = {"PRICE_STALE"}
    refused = await rig.accept(symbol="KO")
    await rig.ended(refused, "rejected")
    checks = json.loads(await rig.value("select checks::text from orders where id = $1::text::uuid", refused))
    [check] = [one for one in checks if one["code"] == "PRICE_STALE"]
    assert check["verdict"] == "refuse"
    assert check["value"] > AGE_S
    await rig.ended(await rig.accept(symbol="KO", side="sell", qty=2))
    return f"refused at an age of {check['value']:.1f} s (limit {AGE_S}); reducing passes"


@row(25, "clock ± 1 h", "timers unaffected, alarm", long=True)
async def clock_moved(site: Site) -> str:
    """The broker's clock is moved under a running engine: to it that is the same as its own clock being wrong."""
    forth, back = await asyncio.gather(_clock_moved(site, HOUR_S), _clock_moved(site, -HOUR_S))
    return f"shown after {max(forth, back):.0f} s (+1 h: {forth:.0f} s, −1 h: {back:.0f} s)"


async def _clock_moved(site: Site, seconds: int) -> float:
    rig = await site.rig(broker_url=await site.own_broker())
    waiting = await rig.accept(symbol="F", type="limit", limit_price=1, valid_for_s=20)
    await rig.until("select alpaca_id is not null from orders where id = $1::text::uuid", waiting)
    await in_thread(rig.control.advance, seconds)
    begun = time.monotonic()
    for side in ("buy", "sell"):  # sent and filled as before: neither stale nor early
        await rig.ended(await rig.accept(side=side, valid_for_s=20))
    while True:
        # An engine that has lost its session for a moment tells of no clock.
        offset = (await rig.health())["components"].get("clock", {}).get("offset_s")
        if offset is not None and abs(offset - seconds) < 60:
            break
        assert time.monotonic() - begun < 150, f"health does not show the offset: {offset}"
        await asyncio.sleep(0.5)
    shown = time.monotonic() - begun
    for side in ("buy", "sell"):
        await rig.ended(await rig.accept(side=side, valid_for_s=20))
    assert await rig.value("select status from engines") == "running"
    await rig.ask("DELETE", f"/api/v1/trading/orders/{waiting}")
    await rig.ended(waiting, "cancelled")
    return shown


@row(31, "manual trade at the broker", "external, alert, no auto-fix")
async def manual_trade(site: Site) -> str:
    """A trade that none of our processes sent, while the stream lives, and one while the engine is away."""
    with alert_receiver() as receiver:
        return await _manual_trade(site, receiver)


async def _manual_trade(site: Site, receiver: AlertReceiver) -> str:
    rig = await site.rig(ALERT_URLS=receiver.url)
    await rig.ended(await rig.accept(symbol="MSFT"))
    begun = time.monotonic()
    made = await in_thread(rig.control.trade, "MSFT", "buy", 3)
    await _shown(rig, made["id"], 4)
    took = time.monotonic() - begun
    await until(lambda: receiver.told("buy 3 MSFT: an order in the account that is not ours"), 60, "nobody was told")
    alert = time.monotonic() - begun
    await rig.kill_engine()
    made = await in_thread(rig.control.trade, "MSFT", "sell", 2)
    await rig.restart_engine()
    await _shown(rig, made["id"], 2)
    posts = await in_thread(rig.requests, "POST", "/v2/orders")
    assert len(posts) == 1, "somebody traded the difference away"
    return f"shown as external after {took:.2f} s, alert after {alert:.1f} s; orders of ours = {len(posts)}"


async def _shown(rig: Rig, broker_order_id: str, qty: int) -> None:
    """The order is in the list as external, the position is moved, and it is told as somebody else's."""
    query = "select qty = $1 from positions where symbol = 'MSFT'"
    await rig.until(query, qty, why="the position does not show the trade")
    found = (await rig.ask("GET", "/api/v1/trading/orders?symbol=MSFT")).body
    [shown] = [order for order in found if order["alpaca_id"] == broker_order_id]
    assert (shown["origin"], shown["status"]) == ("external", "filled")
    ledger = (await rig.ask("GET", "/api/v1/trading/drift")).body["drift"]
    [told] = [row for row in ledger if row["subject"] == broker_order_id]
    seen = (told["kind"], told["cause"], told["state"], told["resolution"], told["order_id"])
    assert seen == ("order", "external_trade", "resolved", "taken_in", shown["id"]), told
