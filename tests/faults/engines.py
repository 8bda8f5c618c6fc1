"""Rows 16 and 17: two engines for one account."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.faults.bench import Site
from tests.faults.matrix import row
from tests.faults.parts import Part
from tests.faults.proxy import Do
from tests.faults.rig import Rig, field_text

POST = b"POST /v2/orders "
STANDS_BY = "standby: another engine has the account"


async def _written(rig: Rig) -> Any:
    """What an engine that is fenced must not change."""
    query = """
    select (select event_seq from accounts), (select sum(version) from orders), (select count(*) from fills),
        (select sum(version) from positions)
    """
    return tuple((await rig.sql(query))[0])


async def _takes_over(rig: Rig, frozen: Part, other: Part) -> float:
    """Freeze one engine; seconds until the other trades."""
    begun = time.monotonic()
    frozen.freeze()
    await rig.running(other)
    return time.monotonic() - begun


async def _fenced(rig: Rig, frozen: Part) -> None:
    """Wake the frozen engine: it finds out, and nothing of what it does then is stored."""
    before = await _written(rig)
    frozen.thaw()
    await frozen.says("fenced|" + STANDS_BY)
    await asyncio.sleep(2)  # long enough for whatever it would still write
    assert await _written(rig) == before, "a fenced engine wrote"


@row(16, "engine frozen (SIGSTOP) and resumed", "standby takes over; fenced after", long=True)
async def frozen_and_resumed(site: Site) -> str:
    """Frozen with a POST on its way, which arrives after the take-over; then the other with a commit on its way."""
    rig = await site.rig()
    second = await rig.engine_beside("standby")
    second_to_postgres, second_to_broker = rig.proxies_of(second)
    second.start()
    await second.says(STANDS_BY)

    on_its_way = rig.to_broker.trap(POST, Do.HOLD)
    order_id = await rig.accept()
    await on_its_way.sprung()
    took = await _takes_over(rig, rig.engine, second)
    also = await rig.accept()
    for one in (order_id, also):
        await rig.ended(one)
    rig.to_broker.release()
    await rig.converged()
    await _fenced(rig, rig.engine)
    statuses = [post["status"] for post in await rig.posts_of(order_id)]
    assert sorted(statuses) == [200, 422], statuses
    second_posts = [request for request in second_to_broker.passed if request.startswith(POST)]
    assert len(second_posts) == 2

    # Now the other way round, with a commit that arrives when the lease has changed hands and nothing else has
    # happened: only the epoch tells that it is late.
    rig.engine.kill()
    rig.to_broker.clear()
    rig.engine.start()
    await rig.engine.says(STANDS_BY)
    on_its_way = second_to_postgres.trap(field_text("approved"), Do.HOLD)
    catches_up = rig.to_broker.trap(b"GET /v2/clock", Do.HOLD)
    order_id = await rig.accept()
    await on_its_way.sprung()
    second.freeze()
    await catches_up.sprung(60)
    before = await _written(rig)
    second_to_postgres.release()
    await asyncio.sleep(1)
    assert await _written(rig) == before, "a commit of a former epoch was stored"
    rig.to_broker.release()
    await rig.running(rig.engine)
    await rig.ended(order_id)
    await rig.converged()
    await _fenced(rig, second)
    return f"take-over {took:.1f} s, late commits = 0"


@row(17, "two engines", "second is standby")
async def two_engines(site: Site) -> str:
    """Both run while orders flow; when the first is stopped in order, the second goes on."""
    rig = await site.rig()
    second = await rig.engine_beside("standby")
    _, second_to_broker = rig.proxies_of(second)
    second.start()
    await second.says(STANDS_BY)
    for _ in range(10):
        await rig.ended(await rig.accept())
    posts = [request for request in second_to_broker.passed if request.startswith(POST)]
    assert not posts
    assert (await rig.health())["execution_engine_status"] == "running"
    begun = time.monotonic()
    await rig.engine.terminate(30)
    await rig.running(second)
    took = time.monotonic() - begun
    await rig.ended(await rig.accept())
    return f"POSTs by the second = {len(posts)}; after SIGTERM to the first it trades in {took:.1f} s"
