"""Rows 11 to 15: updates of the stream that are doubled, reordered, missing; a stream that is cut or half dead."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from decimal import Decimal

from tests.faults.bench import Site
from tests.faults.convergence import OURS, position_error
from tests.faults.frames import Shuffled, Thrice
from tests.faults.matrix import row
from tests.faults.proxy import Do
from tests.faults.rig import Rig, in_thread

STREAM = b"GET /stream"
ORDERS = 12  # one fill in ten comes in parts
SPELLED = {"canceled": "cancelled"}


async def _traded(rig: Rig, count: int = ORDERS) -> None:
    """So many orders on both sides of three symbols, and one that is cancelled."""
    resting = await rig.accept(symbol="F", type="limit", limit_price=1)
    orders = [
        await rig.accept(symbol=("KO", "PFE", "ETH/USD")[n % 3], qty=("3", "7", "0.01")[n % 3]) for n in range(count)
    ]
    for order_id in orders:
        await rig.ended(order_id)
    await rig.ended(await rig.accept(symbol="KO", side="sell", qty=2))
    await rig.until("select alpaca_id is not null from orders where id = $1::text::uuid", resting)
    await rig.ask("DELETE", f"/api/v1/trading/orders/{resting}")
    await rig.ended(resting, "cancelled")


@row(11, "every update three times", "no-op")
async def every_update_three_times(site: Site) -> str:
    """The proxy sends each update of the stream three times."""
    made: list[Thrice] = []

    def mangler() -> Thrice:
        made.append(Thrice())
        return made[-1]

    rig = await site.rig(mangler=mangler)
    await _traded(rig)
    await rig.converged()
    record = await rig.ours()
    error = position_error(record)
    assert error == 0
    assert sum(one.updates for one in made) >= len(record.orders) + len(record.fills), "they were not sent three times"
    return f"position error = {error.normalize():f} after {len(record.fills)} fills"


@row(12, "updates reordered", "same final state")
async def updates_reordered(site: Site) -> str:
    """Updates wait a quarter of a second in the proxy and go out shuffled, by three seeds."""
    hashes = []
    for seed in (1, 2, 3):
        made: list[Shuffled] = []

        def mangler(seed: int = seed, made: list[Shuffled] = made) -> Shuffled:
            made.append(Shuffled(seed, 0.25))
            return made[-1]

        rig = await site.rig(mangler=mangler)
        await _traded(rig)
        await rig.converged()
        ours, theirs = await _state(rig)
        assert ours == theirs
        assert sum(one.another for one in made), "no update overtook another"
        hashes.append(ours[:8])
        rig.kill()
    return f"state hash here = there, for three orders of arrival ({', '.join(hashes)})"


async def _state(rig: Rig) -> tuple[str, str]:
    """A hash of orders and positions as they are here, and as they are at the broker."""
    ours, theirs = await rig.ours(), await rig.theirs()
    here = sorted((one["client_order_id"], one["status"], f"{one['filled_qty'].normalize():f}") for one in ours.orders)
    there = sorted(
        (one["client_order_id"], SPELLED.get(one["status"], one["status"]), f"{_number(one['filled_qty']):f}")
        for one in theirs.orders
        if one["client_order_id"].startswith(OURS)
    )
    held = sorted(
        (one["symbol"].replace("/", ""), f"{one['qty'].normalize():f}") for one in ours.positions if one["qty"]
    )
    held_there = sorted((one["symbol"], f"{_number(one['qty']):f}") for one in theirs.positions)
    return _hash(here, held), _hash(there, held_there)


def _number(text: object) -> Decimal:
    return Decimal(str(text)).normalize()


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@row(13, "one fill silently missing, heartbeats on", "sweep repairs", long=True)
async def one_fill_missing(site: Site) -> str:
    """The stream is healthy, one `fill` never comes; three times."""
    rig = await site.rig()
    drifts = []
    for _ in range(3):
        await in_thread(rig.control.fault, "drop_updates", event="fill")
        order_id = await rig.accept()
        await rig.ended(order_id)
        query = "select max(booked_at - transacted_at) from fills where order_id = $1::text::uuid"
        drifts.append((await rig.value(query, order_id)).total_seconds())
        waiting = [fault for fault in await in_thread(rig.control.faults) if fault["key"] == rig.key]
        assert not waiting, "the update was not dropped"
    assert "update_stream_lost" not in rig.engine.logged()
    return f"drift {max(drifts):.1f} s at most"


@row(14, "stream cut mid-fills", "backfill before running")
async def stream_cut(site: Site) -> str:
    """Updates are under way when it is cut, and the next three connections fail; signals come in meanwhile."""
    rig = await site.rig()
    rig.to_broker.hold(up=False, opening=STREAM)
    missed = [await rig.accept(symbol=symbol, qty=3) for symbol in ("KO", "PFE", "F", "INTC")]
    for order_id in missed:
        await rig.until("select alpaca_id is not null from orders where id = $1::text::uuid", order_id)
    refused = rig.to_broker.trap(STREAM, Do.LOSE, times=3)
    cut_at = time.monotonic()
    assert rig.to_broker.cut(STREAM) == 1
    await refused.sprung()
    waiting = [await rig.accept() for _ in range(2)]
    assert await rig.value("select status from engines") != "running"
    for order_id in [*missed, *waiting]:
        await rig.ended(order_id)
    back = await rig.engine.says(r"(\S+) \[info\s*\] engine_status.*before=cancel_only.*status=running")
    gap = time.monotonic() - cut_at
    running_at = datetime.fromisoformat(back[1])
    late = "select count(*) from fills where order_id = any($1::text[]::uuid[]) and booked_at > $2"
    assert await rig.value(late, missed, running_at) == 0, "running before what was missed was booked"
    for order_id in waiting:
        for post in await rig.posts_of(order_id):
            assert post["time"] >= running_at.timestamp(), "sent before what was missed was booked"
    return f"gap {gap:.1f} s, with three connections refused"


@row(15, "stream half-open", "noticed", long=True)
async def stream_half_open(site: Site) -> str:
    """Nothing passes any more in either direction, and nobody closes."""
    rig = await site.rig()
    resting = await rig.accept(type="limit", limit_price=1)
    await rig.until("select alpaca_id is not null from orders where id = $1::text::uuid", resting)
    begun = time.monotonic()
    rig.to_broker.hold(opening=STREAM)
    await rig.engine.says("update_stream_lost")
    noticed = time.monotonic() - begun
    await rig.ended(await rig.accept())
    return f"noticed after {noticed:.1f} s"
