"""Rows 5 to 10: requests to the broker, and its answers, that do not come, come late, or say what is not so."""

from __future__ import annotations

import asyncio
import time

from tests.faults.bench import Site
from tests.faults.matrix import row
from tests.faults.proxy import Do, Trap
from tests.faults.rig import Rig, in_thread

POST = b"POST /v2/orders "
LOOKUP = b"GET /v2/orders:by_client_order_id"


async def one_order(rig: Rig, order_id: str) -> None:
    """It is filled, and the broker has it once."""
    await rig.ended(order_id)
    name = await rig.value("select client_order_id from orders where id = $1::text::uuid", order_id)
    theirs = await in_thread(rig.broker.orders)
    assert [order["client_order_id"] for order in theirs].count(name) == 1


async def unknown_s(rig: Rig, order_id: str) -> float:
    """How long nobody knew."""
    return await rig.between(order_id, "outcome_unknown", "outcome_known|submitted|filled")


@row(5, "request lost", "unknown, same-id retry")
async def request_lost(site: Site) -> str:
    """Cut, and swallowed by a connection that stays open."""
    rig = await site.rig()
    times = []
    for do in (Do.LOSE, Do.SWALLOW):
        trap = rig.to_broker.trap(POST, do)
        order_id = await rig.accept()
        await trap.sprung()
        await one_order(rig, order_id)
        assert len(await rig.posts_of(order_id)) == 1  # the first never arrived
        times.append(await unknown_s(rig, order_id))
    return f"{times[0]:.2f} s in unknown when cut; {times[1]:.2f} s after the 10 s without an answer when swallowed"


@row(6, "response lost", "adopted")
async def response_lost(site: Site) -> str:
    """Executed; the connection is cut instead of the answer, or stays silent. The stream tells nothing meanwhile."""
    rig = await site.rig()
    posts = []
    for do in (Do.LOSE_ANSWER, Do.HOLD_ANSWER):
        await in_thread(rig.control.fault, "drop_updates", count=None)
        trap = rig.to_broker.trap(POST, do)
        order_id = await rig.accept()
        await trap.sprung()
        await one_order(rig, order_id)
        posts.append(len(await rig.posts_of(order_id)))
        await in_thread(rig.control.clear_faults, rig.key)
        rig.to_broker.clear()
    assert posts == [1, 1]
    return "duplicates = 0"


async def _twice(rig: Rig, order_id: str) -> None:
    """The order was sent twice, and the broker took the first. It counts a request after having answered it."""
    end = time.monotonic() + 30
    while len(posts := await rig.posts_of(order_id)) < 2 and time.monotonic() < end:
        await asyncio.sleep(0.05)
    statuses = [post["status"] for post in posts]
    assert statuses == [200, 422], statuses


@row(7, "request arrives 2–8 s late", "retry gets 422, adopt")
async def request_late(site: Site) -> str:
    """Later than the retry (the late one gets the 422), and between the look-up and the retry (the retry gets it)."""
    rig = await site.rig()
    late: list[tuple[Trap, str]] = []
    for seconds in (2.0, 8.0):
        trap = rig.to_broker.trap(POST, Do.LATE, late_s=seconds)
        trap.may_arrive.clear()
        order_id = await rig.accept()
        await rig.ended(order_id)
        trap.may_arrive.set()
        late.append((trap, order_id))
    for trap, order_id in late:
        await trap.delivered.wait()
        await one_order(rig, order_id)
        await _twice(rig, order_id)
    # Neither the stream nor a listing may tell of it before.
    await in_thread(rig.control.fault, "drop_updates", count=None)
    lists = (b"GET /v2/orders?", b"GET /v2/account/activities")
    listings = [rig.to_broker.trap(one, Do.HOLD, times=1_000) for one in lists]
    first = rig.to_broker.trap(POST, Do.LATE, late_s=3.0)
    asked = rig.to_broker.trap(LOOKUP, Do.HOLD_ANSWER)  # it was 404 when it was asked
    order_id = await rig.accept()
    await first.sprung()
    await asked.sprung()
    await first.delivered.wait()
    rig.to_broker.release(LOOKUP)
    await _twice(rig, order_id)
    for listing in listings:
        listing.times = 0
    rig.to_broker.release()
    await one_order(rig, order_id)
    return "duplicates = 0; 422 for the late one twice, for the retry once"


@row(8, "503, executed or not", "as unknown")
async def answered_503(site: Site) -> str:
    """Both kinds, as JSON and as an edge server's page."""
    rig = await site.rig()
    orders = []
    for when, html in (("before", False), ("after", False), ("before", True), ("after", True)):
        where = {"method": "POST", "path": "/v2/orders"}
        await in_thread(rig.control.fault, "error", status=503, when=when, html=html, **where)
        order_id = await rig.accept()
        await one_order(rig, order_id)
        kinds = await rig.sql("select kind from order_events where order_id = $1::text::uuid", order_id)
        assert "rejected" not in {kind for (kind,) in kinds}
        orders.append(order_id)
    answered = await in_thread(rig.requests, "POST", "/v2/orders", status=503)
    assert len(answered) == len(orders), "not each was answered 503"
    return f"false rejects = 0 of {len(orders)}"


@row(9, "404 for a while after accept", "keeps resolving", long=True)
async def hidden(site: Site) -> str:
    """The answer is lost, the stream is silent, and the broker does not show the order for 6 s."""
    rig = await site.rig()
    await in_thread(rig.control.fault, "drop_updates", count=None)
    await in_thread(rig.control.fault, "hide", seconds=6)
    trap = rig.to_broker.trap(POST, Do.LOSE_ANSWER)
    order_id = await rig.accept()
    await trap.sprung()
    await one_order(rig, order_id)
    asked = await in_thread(rig.requests, "GET", "/v2/orders:by_client_order_id", status=404)
    assert asked, "the broker never said 404"
    seconds = await unknown_s(rig, order_id)
    return f"false rejects = 0; {len(asked)} times 404, {seconds:.1f} s in unknown"


async def _resting(rig: Rig, count: int) -> list[str]:
    """Limit orders that rest at the broker."""
    terms = {"type": "limit", "limit_price": 1, "qty": 1}
    orders = await asyncio.gather(*(rig.accept(**terms) for _ in range(count)))
    for order_id in orders:
        await rig.until("select status = 'submitted' from orders where id = $1::text::uuid", order_id)
    return list(orders)


@row(10, "429 storm", "submits wait, cancels pass", long=True)
async def storm_of_429(site: Site) -> str:
    """Every POST and GET is refused with 429, and the first cancel too, while twenty orders are cancelled."""
    rig = await site.rig()
    orders = await _resting(rig, 20)
    for method, path in (("POST", "/v2/orders"), ("GET", "/v2")):
        await in_thread(rig.control.fault, "rate_limit", method=method, path=path, seconds=2, count=None)
    await in_thread(rig.control.fault, "rate_limit", method="DELETE", path="/v2/orders", seconds=2)
    waiting = [await rig.accept() for _ in range(5)]
    times = sorted(await asyncio.gather(*(_cancelled_s(rig, order_id) for order_id in orders)))
    executed = await in_thread(rig.requests, "POST", "/v2/orders", status=200)
    assert len(executed) == len(orders), "a submit passed in the storm"
    refused = await in_thread(rig.requests, "POST", "/v2/orders", status=429)
    assert refused, "no submit met the storm"
    assert await in_thread(rig.requests, "DELETE", "/v2/orders", status=429), "no cancel was refused at first"
    await in_thread(rig.control.clear_faults, rig.key)
    for order_id in waiting:
        await one_order(rig, order_id)
    return (
        f"cancel p99 {times[-1]:.1f} s, median {times[len(times) // 2]:.1f} s; {len(refused)} submits refused meanwhile"
    )


async def _cancelled_s(rig: Rig, order_id: str) -> float:
    """Cancel an order; seconds until it is."""
    begun = time.monotonic()
    answer = await rig.ask("DELETE", f"/api/v1/trading/orders/{order_id}")
    assert answer.status == 202, answer
    await rig.ended(order_id, "cancelled")
    return time.monotonic() - begun
