"""Executions as the broker lists them: booked where they are new, taken back where they were busted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from oms.domain.drift import Cause, DriftKind, Resolution
from oms.domain.reports import BrokerFill
from oms.execution.desk import Desk
from oms.execution.ledger import Ledger
from oms.ports import Changes

SETTLES_IN = timedelta(seconds=2)  # what is younger may still be on its way over the stream
ASKED_SINGLY_MAX = 5


class Executions:
    """Books listings of executions."""

    def __init__(self, desk: Desk, ledger: Ledger) -> None:
        self._desk = desk
        self._book = desk.book
        self._ledger = ledger

    async def since(self, after: datetime) -> None:
        """All executions after a time. Raises BrokerError."""
        await self._take(sorted(await self._desk.outside.broker.fills_since(after), key=_when))

    async def complete(self, since: datetime | None) -> None:
        """Orders whose status names more than is booked: ask for their executions, one by one or all at once."""
        waiting = self._book.awaiting_fills
        if len(waiting) > ASKED_SINGLY_MAX and since is not None:
            await self.since(since)
        for order_id in list(waiting)[:ASKED_SINGLY_MAX]:
            order = self._book.orders[order_id]
            if order_id in waiting:  # asked last, so that one without an answer blocks no other
                waiting[order_id] = waiting.pop(order_id)
            if order.alpaca_id is not None:
                await self._take(await self._desk.outside.broker.fills_of(order.alpaca_id))

    async def _take(self, listed: Sequence[BrokerFill]) -> None:
        settled = self._desk.time.now() - SETTLES_IN
        missed: dict[UUID, Decimal] = {}
        for seen in listed:
            if seen.is_bust:
                continue
            order = await self._ledger.fill(seen)
            if order is not None and order.origin == "signal" and seen.transacted_at < settled:
                missed.setdefault(order.id, order.filled_qty - seen.qty)
        changes = Changes()
        for order_id, before in missed.items():
            order = self._book.orders[order_id]
            changes.merge(
                self._book.drift.mended(
                    DriftKind.FILL, order.alpaca_id or "", order.symbol, Cause.MISSED, f"filled {before}",
                    f"filled {order.filled_qty}", Resolution.BACKFILLED, order_id=order_id,
                )
            )  # fmt: skip
        if changes:
            self._desk.journal.record(changes)
        await self._take_back([seen for seen in listed if seen.is_bust])

    async def _take_back(self, busts: Sequence[BrokerFill]) -> None:
        """Each bust once, whoever has listed it before."""
        adopted_at = self._ledger.adopted_at
        new = [one for one in busts if adopted_at is None or one.transacted_at > adopted_at]
        if not new:
            return
        await self._desk.journal.flush()
        known = await self._desk.outside.store.booked(self._desk.account_id, [one.reference for one in new])
        for bust in new:
            if bust.reference not in known:
                await self._ledger.bust(bust)


def _when(fill: BrokerFill) -> tuple[datetime, str, Decimal]:
    """The order in which executions happened, so that positions need not be computed again for each."""
    return (fill.transacted_at, fill.broker_order_id, fill.cum_qty)
