"""Applies what the broker reports to the book, one report at a time, and records it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import structlog

from oms.domain.drift import Cause, DriftKind, Resolution
from oms.domain.errors import BrokerNotFound, BrokerUnreadable
from oms.domain.orders import Order, OrderStatus
from oms.domain.positions import Adjustment
from oms.domain.reports import BrokerFill, BrokerOrder, OrderUpdate, UpdateKind
from oms.domain.values import ZERO, AssetClass
from oms.execution.book import ORDER_GONE, PROVEN_ABSENT, LateEntry
from oms.execution.desk import Desk
from oms.ports import Changes

log = structlog.get_logger(__name__)


class Ledger:
    """The one way by which broker orders and executions enter: from the stream, an answer or a listing alike.

    Applying is serial. `needs_full`: something was seen that only a full reconciliation can complete. `moved` is set
    when a position changed. What was executed or taken back until `adopted_at` is in the adopted positions.
    """

    def __init__(self, desk: Desk) -> None:
        self._account_id = desk.account_id
        self._book = desk.book
        self._journal = desk.journal
        self._store = desk.outside.store
        self._broker = desk.outside.broker
        self._busted: set[str] = set()
        self._lock = asyncio.Lock()
        self.adopted_at: datetime | None = None
        self.moved = asyncio.Event()
        self.fills_booked = 0
        self.needs_full = False
        self.asks = 0  # for a full reconciliation because of something new, so far
        self.unwanted: set[str] = set()  # alive at the broker, given up here: to be cancelled

    def ask_for_all(self, *, is_new: bool = True) -> None:
        """Something was lost, or is left open by a full reconciliation, that only a full one can find."""
        self.needs_full = True
        self.asks += is_new

    async def update(self, update: OrderUpdate) -> None:
        """One message of the stream: its fill first, then what it says of the order."""
        async with self._lock:
            try:
                order = await self._order(update.order)
            except BrokerUnreadable as error:
                log.error("order_unreadable", alpaca_id=update.order.broker_order_id, reason=str(error))
                self.ask_for_all()
                return
            if self._book.is_anothers(order, update.order):
                self._observe(order, update.order, None)
                return
            if update.fill is not None:
                order = self._book.orders[order.id]
                if order.alpaca_id is None:
                    self._journal.record(self._book.observe(order, _open_view(update.order, order)))
                    order = self._book.orders[order.id]
                await self._fill(order, update.fill)
            if update.kind is UpdateKind.RESTATED:
                self.ask_for_all()
            elif update.kind is not UpdateKind.OTHER:
                self._observe(self._book.orders[order.id], update.order, update.reason)

    async def observe(self, seen: BrokerOrder) -> Order:
        """One order as an answer or a listing shows it; the order as it is afterwards."""
        async with self._lock:
            order = await self._order(seen)
            self._observe(order, seen, None)
            return self._book.orders[order.id]

    async def fill(self, seen: BrokerFill) -> Order | None:
        """One execution from the activities; the order as it is afterwards where it was new, else None."""
        async with self._lock:
            order = await self._order_of(seen.broker_order_id)
            is_new = order is not None and await self._fill(order, seen)
            return self._book.orders[order.id] if order is not None and is_new else None

    async def bust(self, seen: BrokerFill) -> None:
        """One execution that the broker took back, and that is not stored yet; what came before is stored.

        It waits until the execution itself is booked, where that is ours to book: a list can have one before the other.
        """
        async with self._lock:
            order = await self._order_of(seen.broker_order_id)
            if order is None or seen.reference in self._busted:
                return
            began = order.submitted_at or order.created_at
            is_all_ours = order.origin == "signal" or (self.adopted_at is not None and began > self.adopted_at)
            # By our own id: the broker's may not be stored yet.
            stored = await self._store.find_order(self._account_id, None, None, order.id)
            same = [one for one in stored.fills if (one.qty, one.price) == (seen.qty, seen.price)] if stored else []
            if is_all_ours and (not same or order.busted_qty + seen.qty > order.filled_qty):
                self.ask_for_all(is_new=False)
                return
            self._busted.add(seen.reference)
            # A fee is of the day of its fill. Those of an adopted position are not trued up on the day it was adopted.
            fee_at = self.adopted_at or seen.transacted_at
            try:
                changes = self._book.bust(self._book.orders[order.id], seen, same[0] if same else None, fee_at)
            except LateEntry as late:
                changes = await self._recomputed(late)
            self.moved.set()
            self._journal.record(changes)

    async def adjust(self, adjustment: Adjustment, asset_class: AssetClass, also: Changes | None = None) -> None:
        """One movement that is no fill, and what is stored in the same transaction."""
        async with self._lock:
            try:
                changes = self._book.adjust(adjustment, asset_class)
            except LateEntry as late:
                changes = await self._recomputed(late)
            if also is not None:
                changes.merge(also)
            self.moved.set()
            self._journal.record(changes)

    async def _order_of(self, broker_order_id: str) -> Order | None:
        order = self._book.by_broker_id(broker_order_id)
        if order is not None:
            return order
        stored = await self._store.find_order(self._account_id, broker_order_id, None)
        return self._book.take_in(stored) if stored else await self._fetched(broker_order_id)

    async def _fetched(self, broker_order_id: str) -> Order | None:
        try:
            seen = await self._broker.order(broker_order_id)
            order = await self._order(seen)
        except (BrokerNotFound, BrokerUnreadable) as error:  # the position tells: it is compared
            log.error("fill_of_unknown_order", broker_order_id=broker_order_id, reason=str(error))
            return None
        if self._book.is_anothers(order, seen):
            self._observe(order, seen, None)
            return None
        return order

    async def _order(self, seen: BrokerOrder) -> Order:
        """Ours from memory or the record, else taken in as somebody else's."""
        order = self._book.find(seen)
        if order is not None:
            return order
        stored = await self._store.find_order(self._account_id, seen.broker_order_id, seen.client_order_id)
        if stored is not None:
            return self._book.take_in(stored)
        log.warning("external_order", broker_order_id=seen.broker_order_id, symbol=seen.symbol, side=str(seen.side))
        baseline, busted = await self._adopted_of(seen)
        changes = self._book.adopt(seen, baseline=baseline, busted=busted)
        adopted = self._book.find(seen)
        assert adopted is not None  # noqa: S101 — adopt put it there
        theirs = f"{seen.side} {seen.qty if seen.qty is not None else 'for a notional amount'} {seen.type}"
        changes.merge(
            self._book.drift.mended(
                DriftKind.ORDER, seen.broker_order_id, seen.symbol, Cause.EXTERNAL_TRADE, "no order", theirs,
                Resolution.TAKEN_IN, order_id=adopted.id,
            )
        )  # fmt: skip
        self._journal.record(changes)
        return self._book.orders[adopted.id]

    async def _adopted_of(self, seen: BrokerOrder) -> tuple[Decimal, Decimal]:
        """What of somebody's order was executed, and taken back of that, before the account was taken in.

        It had ended long before, so that it was not taken in then; what is heard of it now is a bust or a late fill.
        Raises BrokerError, BrokerUnreadable where that cannot be told.
        """
        until = self.adopted_at
        if until is None or seen.submitted_at > until:
            return ZERO, ZERO
        left_out = self._broker.left_out
        listed = [one for one in await self._broker.fills_of(seen.broker_order_id) if one.transacted_at <= until]
        if self._broker.left_out != left_out:
            raise BrokerUnreadable(f"executions of order {seen.broker_order_id}, of before {until}, cannot be read")
        baseline = max((one.cum_qty for one in listed if not one.is_bust), default=ZERO)
        return baseline, sum((one.qty for one in listed if one.is_bust), ZERO)

    def _observe(self, order: Order, seen: BrokerOrder, reason: str | None) -> None:
        was_lost = order.error_code in {PROVEN_ABSENT, ORDER_GONE} and not seen.status.is_final
        changes = self._book.observe(order, seen, reason)
        if was_lost:
            changes.merge(
                self._book.drift.found(
                    DriftKind.ORDER, seen.broker_order_id, order.symbol, Cause.APPEARED, order.status,
                    seen.broker_status, order_id=order.id,
                )
            )  # fmt: skip
        elif (told := self._book.drift.find(DriftKind.ORDER, seen.broker_order_id)) and (
            seen.status.is_final or told.cause is Cause.ORDER_GONE
        ):
            ended = Resolution.CANCELLED if seen.status is OrderStatus.CANCELLED else Resolution.SETTLED_ITSELF
            changes.merge(self._book.drift.over(DriftKind.ORDER, seen.broker_order_id, ended))
        if changes:
            self._journal.record(changes)
        if was_lost:
            log.error("order_appeared_after_all", order_id=str(order.id), broker_order_id=seen.broker_order_id)
            self.unwanted.add(seen.broker_order_id)

    async def _fill(self, order: Order, seen: BrokerFill) -> bool:
        """Whether it was new."""
        before = order.filled_qty
        try:
            changes = self._book.fill(order, seen)
        except LateEntry as late:
            changes = await self._recomputed(late)
        if changes:
            self._journal.record(changes)
        if self._book.orders[order.id].filled_qty == before:
            return False
        self.fills_booked += 1
        self.moved.set()
        return True

    async def _recomputed(self, late: LateEntry) -> Changes:
        """What memory recorded must be stored before the stored entries are read."""
        await self._journal.flush()
        position = late.position
        flat = position.flat_key
        since = None if flat is None or any(position.needs_all(one) for one in late.entries) else flat[0]
        stored = await self._store.entries(self._account_id, position.symbol, since)
        log.info("position_recomputed", symbol=position.symbol, entries=len(stored) + len(late.entries))
        return self._book.recompute(late, stored)


def _open_view(seen: BrokerOrder, order: Order) -> BrokerOrder:
    """The broker's order as it was before its fill: to bind it without following its status yet."""
    return replace(seen, status=OrderStatus.SUBMITTED, filled_qty=order.filled_qty)
