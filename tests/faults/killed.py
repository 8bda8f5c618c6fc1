"""Rows 1 to 4 and 30: kill -9 (and SIGTERM) at a point that is chosen, not met by luck."""

from __future__ import annotations

import asyncio
import os
import time

import aiohttp
from tests.faults.bench import Site
from tests.faults.convergence import position_error
from tests.faults.matrix import row
from tests.faults.parts import until
from tests.faults.proxy import Do, Proxy
from tests.faults.rig import Rig, field_text, in_thread

POST = b"POST /v2/orders "
COMMIT = b"COMMIT"
GONE_S = 10  # with what must be drained, in at most 5 s, and the end of a Python process


@row(1, "kill before the accepting commit", "caller retries, one order")
async def before_the_accepting_commit(site: Site) -> str:
    """Four points: nothing of the statement arrived, half of it, all but COMMIT, and (after it) all but the answer."""
    rig = await site.rig()
    points: list[tuple[str, Do, bool]] = [
        ("statement", Do.HOLD, False),
        ("half", Do.HALF, False),
        ("commit", Do.HOLD, True),
        ("answer", Do.HOLD_ANSWER, False),
    ]
    for name, do, by_look_up in points:
        signal_id = f"killed-at-{name}"
        if by_look_up:  # after an identity was met again, accepting is a transaction of several statements
            await rig.accept("known")
            await rig.accept("known")
        needle = COMMIT if by_look_up else field_text(signal_id)
        trap = rig.api_to_postgres.trap(needle, do)
        caller = asyncio.ensure_future(rig.signal(signal_id))
        await trap.sprung()
        if do is Do.HOLD_ANSWER:
            await rig.until("select count(*) = 1 from orders where signal_id = $1", signal_id)
        rig.api.kill()
        rig.api_to_postgres.clear()
        assert isinstance((await asyncio.gather(caller, return_exceptions=True))[0], aiohttp.ClientError)
        stored = await rig.value("select count(*) from orders where signal_id = $1", signal_id)
        assert stored == (do is Do.HOLD_ANSWER), f"{name}: {stored} stored"
        await rig.restart_api()
        await rig.ended(await rig.accept_at_last(signal_id))
    most = await rig.value("select max(count) from (select count(*) from orders group by signal_id) as each(count)")
    assert most == 1
    return f"{most} order per signal at {len(points)} points"


async def _restarted(rig: Rig, order_id: str) -> float:
    """Kill the engine and start another; seconds from the kill until the order is filled."""
    killed = time.monotonic()
    await rig.kill_engine()
    await rig.restart_engine()
    await rig.ended(order_id)
    return time.monotonic() - killed


@row(2, "kill between commit and POST", "submitted on restart", long=True)
async def between_commit_and_post(site: Site) -> str:
    """Accepted only; gated, with the intent on its way to PostgreSQL; the intent committed and not yet answered."""
    rig = await site.rig()
    times = []
    rig.engine.kill()
    times.append(await _restarted(rig, await rig.accept()))
    for do in (Do.HOLD, Do.HOLD_ANSWER):
        trap = rig.to_postgres.trap(field_text("approved"), do)
        order_id = await rig.accept()
        await trap.sprung()
        if do is Do.HOLD_ANSWER:
            await rig.until("select attempted_at is not null from orders where id = $1::text::uuid", order_id)
        assert not await rig.posts_of(order_id)
        times.append(await _restarted(rig, order_id))
        assert [post["status"] for post in await rig.posts_of(order_id)] == [200]
    return f"recovery {max(times):.1f} s at most ({', '.join(f'{one:.1f}' for one in times)})"


@row(3, "kill between POST and bind", "adopted by id", long=True)
async def between_post_and_bind(site: Site) -> str:
    """The answer on its way; the bind on its way to PostgreSQL; the bind committed and not yet answered."""
    rig = await site.rig()
    times = []
    points: list[tuple[Proxy, bytes, Do]] = [
        (rig.to_broker, POST, Do.HOLD_ANSWER),
        (rig.to_postgres, field_text("submitted"), Do.HOLD),
        (rig.to_postgres, field_text("submitted"), Do.HOLD_ANSWER),
    ]
    for proxy, needle, do in points:
        trap = proxy.trap(needle, do)
        order_id = await rig.accept()
        await trap.sprung()
        if proxy is rig.to_broker:
            rig.to_broker.hold(up=False)  # the stream must not bind it either
        times.append(await _restarted(rig, order_id))
        assert [post["status"] for post in await rig.posts_of(order_id)] == [200]
    return f"duplicates = 0; recovery {max(times):.1f} s at most"


@row(4, "kill inside the fill transaction", "all or nothing", long=True)
async def inside_the_fill_transaction(site: Site) -> str:
    """Before it, in the middle of its bytes, after its commit, and while it holds locks and waits for another."""
    rig = await site.rig()
    for do in (Do.HOLD, Do.HALF, Do.HOLD_ANSWER):
        trap = rig.to_postgres.trap(field_text("filled"), do)
        order_id = await rig.accept()
        await trap.sprung()
        rig.engine.kill()
        assert not position_error(await rig.ours())
        await _restarted(rig, order_id)
    await rig.value("select 1")
    async with rig.connection() as blocker:
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("lock table positions in share mode")
        order_id = await rig.accept()
        waiting = "select count(*) > 0 from pg_locks where not granted and relation = 'positions'::regclass"
        await rig.until(waiting, why="no transaction of the engine waited for the table positions")
        rig.engine.kill()
        await transaction.rollback()
    await _restarted(rig, order_id)
    error = position_error(await rig.ours())
    assert error == 0
    return f"position − sum of fills = {error.normalize():f} at 4 points"


@row(30, "SIGTERM mid-submit", "drained <= 5 s, gone <= 10 s", long=True)
async def terminated_mid_submit(site: Site) -> str:
    """One answer of the broker comes two seconds later, one not at all; then, for the API and for the engine, a commit
    under way that PostgreSQL does not answer. A machine with far more work than cores is given twice the time."""
    rig = await site.rig()
    await in_thread(rig.control.fault, "delay", method="POST", path="/v2/orders", seconds=2)
    slow = await rig.accept()
    await until(lambda: [one for one in rig.to_broker.passed if one.startswith(POST)], 30, "no POST was sent")
    silent = rig.to_broker.trap(POST, Do.HOLD)
    never = await rig.accept()
    await silent.sprung()
    code, gone = await rig.engine.terminate(60)
    assert code == 0, f"the engine ended with {code}"
    assert await rig.value("select alpaca_id is not null from orders where id = $1::text::uuid", slow), "not drained"
    unanswered = "select count(*) from orders where attempted_at is not null and alpaca_id is null"
    left = await rig.value(unanswered)
    assert left == 1
    later = await rig.accept()
    rig.to_broker.clear()
    await rig.restart_engine()
    for order_id in (slow, never, later):
        await rig.ended(order_id)
        assert [post["status"] for post in await rig.posts_of(order_id)] == [200]
    assert await rig.value(unanswered) == 0

    on_its_way = rig.api_to_postgres.trap(field_text("while-the-api-ends"), Do.HOLD)
    caller = asyncio.ensure_future(rig.signal("while-the-api-ends"))
    await on_its_way.sprung()
    rig.api_to_postgres.hold()  # PostgreSQL is silent, for everything
    code, api_gone = await rig.api.terminate(60)
    assert code == 0, f"the API ended with {code}"
    caller.cancel()
    rig.api_to_postgres.clear()
    await rig.restart_api()
    await rig.ended(await rig.accept_at_last("while-the-api-ends"))

    on_its_way = rig.to_postgres.trap(field_text("approved"), Do.HOLD)
    order_id = await rig.accept()
    await on_its_way.sprung()
    rig.to_postgres.hold()
    code, silent_gone = await rig.engine.terminate(60)
    assert code == 0, f"the engine ended with {code}"
    rig.to_postgres.clear()
    await rig.restart_engine()
    await rig.ended(order_id)
    is_busy = os.getloadavg()[0] > 3 * (os.cpu_count() or 1)
    assert max(gone, api_gone, silent_gone) <= GONE_S * (1 + is_busy), (gone, api_gone, silent_gone)
    silent_pg = f"with a silent PostgreSQL {silent_gone:.1f} s, the API {api_gone:.1f} s"
    return f"engine gone in {gone:.1f} s, {left} unknown left (then 0); {silent_pg}"
