"""The whole audit of the record, in one pass over one moment."""

from __future__ import annotations

import decimal
from collections.abc import AsyncIterator
from uuid import UUID

from oms.audit.findings import Difference, Findings
from oms.audit.holdings import Holding
from oms.audit.orders import check_order
from oms.audit.positions import check_position
from oms.audit.reading import Record, Row, Snapshot
from oms.audit.trail import TrailEvent, read_data

# More than the engine computes with, so that the audit's own rounding is never what differs.
EXACT = decimal.Context(prec=60, rounding=decimal.ROUND_HALF_EVEN)


async def audit_record(record: Record) -> Findings:
    """Compare tables with what events, fills and adjustments come to. Raises StoreUnavailable."""
    with decimal.localcontext(EXACT):
        async with record.snapshot() as snapshot:
            findings = Findings(at=await snapshot.moment())
            await _sequences(snapshot, findings)
            await _orders(snapshot, findings)
            await _positions(snapshot, findings)
    return findings


async def _sequences(snapshot: Snapshot, findings: Findings) -> None:
    """Sequences begin with 1 and have no gap: nothing was taken out of the trail."""
    for account in await snapshot.accounts():
        findings.checked["accounts"] += 1
        last = account["event_seq"]
        expected = (last, 1 if last else None, last or None)
        recorded = (account["events"], account["first_seq"], account["last_seq"])
        for what, one, other in zip(("events", "first event", "last event"), recorded, expected, strict=True):
            if one != other:
                findings.differs(Difference("event", f"account {account['name']}", what, one, other))


async def _orders(snapshot: Snapshot, findings: Findings) -> None:
    events, fills = _Groups(snapshot.events()), _Groups(snapshot.fills())
    async for order in snapshot.orders():
        told, executed = await events.of(order["id"]), await fills.of(order["id"])
        own = [TrailEvent(row["seq"], row["kind"], row["status"], row["at"], read_data(row["data"])) for row in told]
        for account_id in {row["account_id"] for row in [*told, *executed]} - {order["account_id"]}:
            findings.differs(
                Difference("order", str(order["id"]), "account_id", str(order["account_id"]), str(account_id))
            )
        findings.checked.update(orders=1, events=len(own), fills=len(executed))
        for difference in check_order(order, own, executed):
            findings.differs(difference)
        if own and "client_order_id" not in own[0].data:
            findings.checked["orders with an old trail"] += 1
    for fee in await snapshot.stray_fees():
        name = f"{fee['symbol']} of {fee['broker_order_id']}"
        findings.differs(Difference("fee", name, "fill", "none", f"one up to {fee['cum_qty']}"))


async def _positions(snapshot: Snapshot, findings: Findings) -> None:
    rows = {(row["account_id"], row["symbol"]): row for row in await snapshot.positions()}
    current: tuple[UUID, str] | None = None
    holding = Holding()

    def close() -> None:
        if current is not None:
            findings.checked["positions"] += 1
            for difference in check_position(current[1], rows.pop(current, None), holding):
                findings.differs(difference)

    async for step in snapshot.steps():
        key = (step["account_id"], step["symbol"])
        if key != current:
            close()
            current, holding = key, Holding()
        holding.take(step)
    close()
    for (_, symbol), row in rows.items():
        findings.checked["positions"] += 1
        for difference in check_position(symbol, row, Holding()):
            findings.differs(difference)


class _Groups:
    """A stream that is sorted by `order_id`, taken order by order."""

    def __init__(self, rows: AsyncIterator[Row]) -> None:
        self._rows = rows
        self._next: Row | None = None
        self._is_at_end = False

    async def of(self, order_id: UUID) -> list[Row]:
        """The rows of this order. Orders are asked for in the same sorting."""
        found: list[Row] = []
        while True:
            if self._next is None and not self._is_at_end:
                self._next = await anext(self._rows, None)
                self._is_at_end = self._next is None
            if self._next is None or self._next["order_id"] != order_id:
                return found
            found.append(self._next)
            self._next = None
