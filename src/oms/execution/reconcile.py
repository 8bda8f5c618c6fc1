"""Brings what is stored and what the broker holds together: at start, at every reconnect, and regularly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from oms.domain.drift import Cause, Drift, DriftKind, Resolution
from oms.domain.errors import BrokerNotFound, BrokerUnreadable
from oms.domain.reports import BrokerAccount, BrokerOrder
from oms.execution.adoption import adopt
from oms.execution.comparison import Comparison
from oms.execution.desk import Desk
from oms.execution.executions import SETTLES_IN, Executions
from oms.execution.fees import FeeTrueUp
from oms.execution.gone import GoneOrders
from oms.execution.ledger import Ledger
from oms.ports import AccountRecord, Changes, Purpose

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)
FEES_POSTED_WITHIN = timedelta(days=1)
LOOKED_UP_MAX = 10  # orders asked one by one in a light pass: more are proven by listings


@dataclass(slots=True)
class Findings:
    """When the last full pass was through, when one last found nothing that is open, and the account as it was."""

    at: datetime | None = None
    in_sync_at: datetime | None = None
    account: BrokerAccount | None = None


class Reconciler:
    """Light: one listing of open orders. Full: orders, executions, fees, positions and account since the watermark."""

    def __init__(self, desk: Desk, ledger: Ledger, account: AccountRecord) -> None:
        self._desk = desk
        self._watermark = account.watermark
        self._broker = desk.outside.broker
        self._book = desk.book
        self._drift = desk.book.drift
        self._journal = desk.journal
        self._ledger = ledger
        self._ledger.adopted_at = account.adopted_at
        self._executions = Executions(desk, ledger)
        self._comparison = Comparison(desk, ledger, self._executions)
        self._fees = FeeTrueUp(desk, ledger)
        self._gone = GoneOrders(desk)
        self._one_at_a_time = asyncio.Lock()
        self.findings = Findings(in_sync_at=account.in_sync_at)

    async def full(self) -> None:
        """Catch up with everything since the watermark. Raises BrokerError; what was applied until then holds."""
        async with self._one_at_a_time:
            await self._full()

    async def _full(self) -> None:
        time = self._desk.time
        time.learn(await self._broker.clock())
        begun = time.now()
        if self._watermark is None:
            self._watermark = self._ledger.adopted_at = await adopt(self._desk)
        since = min(self._watermark, begun) - OVERLAP
        seen = {order.broker_order_id: order for order in await self._broker.orders_since(since)}
        seen |= {order.broker_order_id: order for order in await self._broker.open_orders()}
        for order in seen.values():
            await self._observe(order, begun)
        await self._look_up_unseen(set(seen), begun, limit=None)
        await self._look_again(set(seen), begun)
        await self._executions.since(since)
        await self.complete_fills()
        fees_since = since - FEES_POSTED_WITHIN
        await self._fees.true_up(await self._broker.fees_since(fees_since), fees_since, self._ledger.adopted_at)
        await self._comparison.compare(since)
        self._tell_unreadable(is_full=True)
        self._tell_missing_fills()
        await self.refresh_account()
        self._watermark = self.findings.at = begun
        if not self._drift.unsettled:
            self.findings.in_sync_at = begun
        await self._journal.record(Changes(watermark=begun, in_sync_at=None if self._drift.unsettled else begun))

    async def light(self) -> None:
        """Open orders only: finds ends and fills that the stream did not tell. Raises BrokerError."""
        begun, spare = self._desk.time.now(), self._desk.outside.budget.spare(Purpose.RECONCILE)
        seen = await self._broker.open_orders()
        for order in seen:
            await self._observe(order, begun)
        listed = {order.broker_order_id for order in seen}
        await self._look_up_unseen(listed, begun, limit=max(min(LOOKED_UP_MAX, spare), 0))
        await self.complete_fills()
        self._tell_unreadable(is_full=False)

    async def complete_fills(self) -> None:
        """Orders whose status names more than is booked: ask for their executions. Raises BrokerError."""
        await self._executions.complete(None if self._watermark is None else self._watermark - OVERLAP)

    async def refresh_account(self) -> None:
        """Cash and equity as the broker counts them."""
        account = await self._broker.account()
        self.findings.account = account
        desk = self._desk
        await desk.outside.store.snapshot_account(desk.account_id, desk.epoch, account, desk.time.now())

    async def adopt_position(self, drift: Drift, by: str, reason: str, done: Callable[[str], Changes]) -> Changes:
        """See Comparison.adopt."""
        async with self._one_at_a_time:
            since = (self._watermark or self._desk.time.now()) - OVERLAP
            return await self._comparison.adopt(drift, since, by, reason, done)

    # --- the parts of a pass ------------------------------------------------------------------------------------------

    async def _observe(self, seen: BrokerOrder, begun: datetime) -> None:
        """Take in an order of a listing; a row where it ended without the stream telling."""
        before = self._book.find(seen)
        try:
            after = await self._ledger.observe(seen)
        except BrokerUnreadable as error:
            log.error("order_unreadable", alpaca_id=seen.broker_order_id, reason=str(error))
            return
        if before is None or not before.is_open or before.alpaca_id is None:
            return
        if after.status.is_final and seen.updated_at < begun - SETTLES_IN:
            self._journal.record(
                self._drift.mended(
                    DriftKind.ORDER, seen.broker_order_id, after.symbol, Cause.MISSED, before.status, after.status,
                    Resolution.BACKFILLED, order_id=after.id,
                )
            )  # fmt: skip

    async def _look_up_unseen(self, seen: set[str], begun: datetime, limit: int | None) -> None:
        """Open orders of ours that no listing showed: ask for each. Those without the broker's id are the sender's."""
        settled = begun - SETTLES_IN
        unseen = [
            order
            for order in self._book.open_orders()
            if order.alpaca_id is not None
            and order.alpaca_id not in seen
            and (order.submitted_at or order.created_at) < settled
        ]
        for order in unseen[:limit]:
            if order.alpaca_id is None:
                continue
            try:
                found = await self._broker.order(order.alpaca_id)
            except BrokerNotFound:
                await self._gone.missing(order)
            except BrokerUnreadable as error:
                log.error("order_unreadable", order_id=str(order.id), alpaca_id=order.alpaca_id, reason=str(error))
            else:
                self._gone.found(order)
                await self._observe(found, begun)

    async def _look_again(self, seen: set[str], begun: datetime) -> None:
        """Differences of orders that no listing shows any more: ask for each, so that what has ended is settled."""
        for drift in self._drift.standing:
            if drift.kind is not DriftKind.ORDER or drift.subject in seen:
                continue
            order = self._book.by_broker_id(drift.subject)
            if order is not None and order.is_open:
                continue  # it was just looked up
            try:
                found = await self._broker.order(drift.subject)
            except BrokerNotFound:
                self._journal.record(self._drift.over(drift.kind, drift.subject))
            except BrokerUnreadable as error:
                log.error("order_unreadable", alpaca_id=drift.subject, reason=str(error))
            else:
                await self._observe(found, begun)

    def _tell_unreadable(self, *, is_full: bool) -> None:
        """A record that cannot be read blocks its symbol; after a full pass without it, it counts as settled."""
        changes, told = Changes(), set()
        for record in self._broker.take_unreadable():
            subject = f"{record.what} {record.id or record.text[:80]}"
            told.add(subject)
            symbol = self._book.holding(record.symbol)
            changes.merge(
                self._drift.found(
                    DriftKind.RECORD, subject, symbol, Cause.UNREADABLE, "", f"{record.reason}: {record.text}",
                    blocks=bool(symbol),
                )
            )  # fmt: skip
        if is_full:
            for drift in self._drift.standing:
                if drift.kind is DriftKind.RECORD and drift.subject not in told:
                    changes.merge(self._drift.over(drift.kind, drift.subject))
        if changes:
            self._journal.record(changes)

    def _tell_missing_fills(self) -> None:
        """Fills that the broker counts and does not list, after everything was read."""
        changes, waiting = Changes(), set()
        for order_id, seen in self._book.awaiting_fills.items():
            order = self._book.orders[order_id]
            waiting.add(seen.broker_order_id)
            changes.merge(
                self._drift.found(
                    DriftKind.FILL, seen.broker_order_id, order.symbol, Cause.MISSING, f"filled {order.filled_qty}",
                    f"filled {seen.filled_qty}", order_id=order_id,
                )
            )  # fmt: skip
        for drift in self._drift.standing:
            if drift.cause is Cause.MISSING and drift.subject not in waiting:
                changes.merge(self._drift.over(drift.kind, drift.subject, Resolution.BACKFILLED))
        if changes:
            self._journal.record(changes)
