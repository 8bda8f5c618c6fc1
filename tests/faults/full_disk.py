"""Row 20: the disk of PostgreSQL is full.

PostgreSQL takes a limit on the size of files (RLIMIT_FSIZE) for a full disk: it ignores SIGXFSZ for this very purpose.
So no mount and no root is needed: the table of orders is made larger than the limit, and cannot grow any more. The
write-ahead log stays below it, as on a disk that is full while its recycled files are still there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

from tests.alert_receiver import AlertReceiver, alert_receiver
from tests.faults.bench import Site
from tests.faults.matrix import row
from tests.faults.parts import until
from tests.faults.rig import Rig

LIMIT = 16 << 20  # the size of a WAL file: those are recycled, and can be written
FILLERS = 18_000
_FILLER_ACCOUNT = """
insert into accounts (id, name, broker_account_id, created_at)
values (gen_random_uuid(), 'filler', 'filler', now())
"""
_FILLERS = f"""
insert into orders (id, account_id, seq, client_order_id, symbol, asset_class, side, qty, type, time_in_force, reason,
    status, created_at, updated_at)
select gen_random_uuid(), a.id, n, 'filler-' || n, 'KO', 'stock', 'buy', 1, 'market', 'day',
    repeat(md5(n::text), 30), 'cancelled', now(), now()
from accounts a cross join generate_series(1, {FILLERS}) as n where a.name = 'filler'
"""


@row(20, "disk full", "intake stops, cancels work", long=True)
async def disk_full(site: Site) -> str:
    """Signals get 503 and are lost nowhere, the broker is asked to cancel; when there is room again, all goes on."""
    with alert_receiver() as receiver:
        return await _disk_full(site, receiver)


async def _disk_full(site: Site, receiver: AlertReceiver) -> str:
    postgres = await site.own_postgres()
    rig = await site.rig(database_url=postgres.url, ALERT_URLS=receiver.url)
    await rig.sql(_FILLER_ACCOUNT)
    await rig.sql(_FILLERS)
    resting = await rig.accept(type="limit", limit_price=1)
    await rig.until("select alpaca_id is not null from orders where id = $1::text::uuid", resting)
    assert await rig.value("select pg_relation_size('orders')") > LIMIT
    await rig.sql("checkpoint")
    assert postgres.process is not None
    _limit_files(postgres.process.pid, LIMIT)
    told = asyncio.ensure_future(_told_at(receiver))
    refused, begun = await _until_refused(rig)
    health = (await rig.ask("GET", "/api/health")).body
    shown = health["checks"]["intake"]
    assert health["status"] == "degraded", health
    assert "make room" in shown, shown
    asked = time.monotonic()
    answer = await rig.ask("DELETE", f"/api/v1/trading/orders/{resting}")
    assert answer.status == 202, answer
    name = await rig.value("select client_order_id from orders where id = $1::text::uuid", resting)
    await _cancelled_there(rig, name)
    cancelled = time.monotonic() - asked
    alert = await told - begun
    _limit_files(postgres.process.pid, "unlimited")
    for signal_id in refused:
        await rig.ended(await rig.accept_at_last(signal_id))
    await rig.ended(resting, "cancelled")
    await until(lambda: receiver.told("intake: in order again"), 60, "nobody was told that signals are taken again")
    await rig.sql("delete from orders where client_order_id like 'filler-%'")  # no orders that were ever accepted
    await rig.sql("delete from accounts where name = 'filler'")
    signals = f"{len(refused)} signals got 503 and went through later"
    return f"alert {alert:.1f} s after the first 503, cancel at the broker after {cancelled:.1f} s; {signals}"


async def _told_at(receiver: AlertReceiver) -> float:
    """By the API, which refuses signals; whether the engine has anything to write does not matter."""
    await until(lambda: receiver.told("could not be stored since the start"), 90, "nobody was told of the full disk")
    return time.monotonic()


def _limit_files(pid: int, size: int | str) -> None:
    """For the postmaster, who hands it on, and all that it has started."""
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    owner = Path(f"/proc/{pid}").stat()
    who: dict[str, int] = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    for one in (str(pid), *started):
        # By its own user: root in a container may not.
        done = subprocess.run(["prlimit", "--pid", one, f"--fsize={size}:"], check=False, capture_output=True, **who)
        assert done.returncode == 0 or not Path(f"/proc/{one}").exists(), done.stderr


async def _until_refused(rig: Rig, wanted: int = 3) -> tuple[list[str], float]:
    """Signals until some are refused, and when the first one was: pages that have room left are filled up before."""
    refused: list[str] = []
    begun = 0.0
    for number in range(400):
        answer = await rig.signal(f"full-{number}", reason="x" * 490)
        assert answer.status in {202, 503}, answer
        if answer.status == 503:
            assert answer.headers.get("Retry-After"), answer
            refused.append(f"full-{number}")
            begun = begun or time.monotonic()
        if len(refused) == wanted:
            return refused, begun
    raise AssertionError("the disk did not become full")


async def _cancelled_there(rig: Rig, client_order_id: str, within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while True:
        theirs = (await rig.theirs()).orders
        if [order["status"] for order in theirs if order["client_order_id"] == client_order_id] == ["canceled"]:
            return
        assert time.monotonic() < end, "the cancel did not reach the broker"
        await asyncio.sleep(0.2)
