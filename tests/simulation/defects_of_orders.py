"""Defects of sending, booking, storing and accepting: each the code of a mechanism, done wrong.

Most change the real code; where a mechanism lives in SQL, the record in memory is changed in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

from oms import ports
from oms.domain.errors import BrokerBusy, BrokerError, BrokerNotFound, BrokerRefused, BrokerUnknown
from oms.domain.fills import Novelty
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerOrder
from oms.domain.values import ZERO
from oms.execution import book
from oms.execution.book import Book
from oms.execution.cancels import Cancels
from oms.execution.dispatcher import Dispatcher
from oms.execution.ledger import Ledger
from oms.execution.reconcile import Reconciler
from oms.execution.resolver import Again, Resolver
from oms.execution.sender import Sender
from oms.ports import Acceptance, Changes
from oms.risk import gate
from oms.risk.controls import Check, Verdict, price_freshness
from oms.signals.redis_intake import RedisIntake
from tests.simulation.defect import Defect, Patch
from tests.simulation.record import Account, Record
from tests.simulation.store import SimStore

# --- sending and asking -----------------------------------------------------------------------------------------------


def _timeout_is_a_rejection() -> Sequence[Patch]:
    def unknown(self: Any, order_id: UUID, reason: str) -> None:
        self._end_refused(order_id, "TIMEOUT", reason)

    return [(Sender, "_unknown", unknown)]


def _not_found_is_a_rejection() -> Sequence[Patch]:
    async def absent(self: Any, order_id: UUID, absent_since: float | None) -> float | None:
        order = self._open(order_id)
        if order is not None:
            self._journal.record(self._book.reject(order, "NOT_FOUND", "the broker has no such order"))
        return absent_since

    return [(Resolver, "_absent", absent)]


def _a_failed_query_is_not_found() -> Sequence[Patch]:
    class Forgetful:
        """The broker as read by somebody for whom no answer means no order."""

        def __init__(self, broker: Any) -> None:
            self._broker = broker

        def __getattr__(self, name: str) -> Any:
            return getattr(self._broker, name)

        async def order_by_client_id(self, client_order_id: str) -> BrokerOrder:
            try:
                order: BrokerOrder = await self._broker.order_by_client_id(client_order_id)
            except BrokerUnknown as error:
                raise BrokerNotFound(str(error)) from error
            return order

        async def orders_since(self, after: datetime) -> Sequence[BrokerOrder]:
            try:
                orders: Sequence[BrokerOrder] = await self._broker.orders_since(after)
            except BrokerError:
                return []
            return orders

    right = Resolver.__init__

    def made(self: Any, *shared: Any) -> None:
        right(self, *shared)
        self._broker = Forgetful(self._broker)

    return [(Resolver, "__init__", made)]


def _a_new_id_for_each_attempt() -> Sequence[Patch]:
    numbers = count(2)
    right = Resolver._again

    async def again(self: Any, order: Any) -> Again:
        return await right(
            self, replace(order, client_order_id=f"{order.client_order_id[:-2]}{next(numbers) % 100:02d}")
        )

    return [(Resolver, "_again", again)]


def _a_refused_repetition_is_a_rejection() -> Sequence[Patch]:
    async def again(self: Any, order: Any) -> Again:
        try:
            await self._ledger.observe(await self._wire.post(order, order.qty))
        except BrokerRefused as error:
            now = self._open(order.id)
            if now is not None:
                self._journal.record(self._book.reject(now, "BROKER", str(error)))
        except BrokerBusy:
            return Again.NOT_EXECUTED
        except BrokerError:
            return Again.DOUBTFUL
        return Again.SETTLED

    return [(Resolver, "_again", again)]


def _sent_before_the_intent_is_stored() -> Sequence[Patch]:
    async def dispatch(self: Any) -> None:
        changes = Changes()
        if self._worth.is_halted:
            self._refuse_halted(changes)
        self._refuse_stale(changes)
        approved: list[Any] = []
        if self.waiting and self._worth.may_send() and (market := await self._market()) is not None:
            approved = self._gate(changes, market)
        for one in approved:
            self._start(self._sender.send(one))
        if changes:
            await self._journal.record(changes)

    return [(Dispatcher, "_dispatch", dispatch)]


def _a_refused_cancel_is_a_cancel() -> Sequence[Patch]:
    right = Cancels._at_broker

    async def at_broker(self: Any, command: Any, order: Any) -> Changes | None:
        changes = await right(self, command, order)
        now = self._book.orders[order.id]
        if changes is not None and now.is_open:
            changes.merge(self._book.end(now, OrderStatus.CANCELLED, None, "cancelled"))
        return changes

    return [(Cancels, "_at_broker", at_broker)]


# --- accepting --------------------------------------------------------------------------------------------------------


def _accepted_in_two_transactions() -> Sequence[Patch]:
    async def accept(self: Any, account_id: UUID, signals: Sequence[Any]) -> Sequence[Acceptance]:
        account = self._record.accounts[account_id]
        answers: Sequence[Acceptance] = await self._write("accept", lambda: _orders_alone(self, account, signals))
        await self._write("accept", lambda: _identities(account, answers))
        return answers

    def _orders_alone(store: Any, account: Account, signals: Sequence[Any]) -> Sequence[Acceptance]:
        known = dict(account.by_signal)
        answers = store._record.accept(account.record.id, signals)
        account.by_signal.clear()
        account.by_signal.update(known)
        return answers  # type: ignore[no-any-return]

    def _identities(account: Account, answers: Sequence[Acceptance]) -> None:
        for answer in answers:
            account.by_signal.setdefault(answer.order.signal_id or "", answer.order.id)

    return [(SimStore, "accept", accept)]


def _repetitions_are_known_in_memory_only() -> Sequence[Patch]:
    async def accept(self: Any, account_id: UUID, signals: Sequence[Any]) -> Sequence[Acceptance]:
        seen = _memory.setdefault(id(self), (self, {}))[1]

        def execute() -> Sequence[Acceptance]:
            account = self._record.accounts[account_id]
            account.by_signal.clear()
            account.by_signal.update(seen)
            answers: Sequence[Acceptance] = self._record.accept(account_id, signals)
            seen.update(account.by_signal)
            return answers

        answers: Sequence[Acceptance] = await self._write("accept", execute)
        return answers

    _memory: dict[int, tuple[Any, dict[str, UUID]]] = {}
    return [(SimStore, "accept", accept)]


def _acknowledged_before_it_is_stored() -> Sequence[Patch]:
    right = RedisIntake._take

    async def take(self: Any, batch: Any) -> None:
        entries = [message.entry_id for message in batch if message.entry_id is not None]
        if entries:
            await self._bus.acknowledge(entries)
        await right(self, [replace(message, entry_id=None) for message in batch])

    return [(RedisIntake, "_take", take)]


# --- booking ----------------------------------------------------------------------------------------------------------


def _stream_and_listing_name_fills_differently() -> Sequence[Patch]:
    def novelty(begins: Decimal, ends: Decimal, execution_id: str | None, booked: Any) -> Novelty:
        known = any(execution_id is not None and one.execution_id == execution_id for one in booked)
        listed = execution_id is None and any(
            (one.begins, one.ends, one.execution_id) == (begins, ends, None) for one in booked
        )
        return Novelty.KNOWN if known or listed else Novelty.NEW

    right = Record._check_rows

    def check_rows(account: Account, changes: Changes) -> set[tuple[str, object]]:
        fills, changes.fills = changes.fills, []
        keys = right(account, changes)
        changes.fills = fills
        return keys | {("name", fill.execution_id or fill.activity_id) for fill in fills}

    return [(book, "novelty", novelty), (Record, "_check_rows", staticmethod(check_rows))]


def _fills_without_a_baseline() -> Sequence[Patch]:
    right = Book.adopt

    def adopt(self: Any, seen: BrokerOrder, *, baseline: Decimal, busted: Decimal = ZERO) -> Changes:
        return right(self, seen, baseline=ZERO)

    return [(Book, "adopt", adopt)]


def _no_reconciliation() -> Sequence[Patch]:
    right = Reconciler._full

    async def full(self: Any) -> None:
        if self._watermark is None:
            await right(self)
        else:
            self._desk.time.learn(await self._broker.clock())

    async def nothing(self: Any) -> None: ...

    return [(Reconciler, "_full", full), (Reconciler, "light", nothing), (Reconciler, "complete_fills", nothing)]


def _an_end_without_its_fills() -> Sequence[Patch]:
    def observe(self: Any, order: Any, seen: BrokerOrder, reason: str | None = None) -> Changes:
        changes = Changes()
        self._settle(changes, self._bind(changes, order, seen), seen, reason)
        return changes

    return [(Book, "observe", observe)]


# --- storing ----------------------------------------------------------------------------------------------------------


def _no_row_lock() -> Sequence[Patch]:
    async def commit(self: Any, account_id: UUID, epoch: int, changes: Changes) -> None:
        """What is checked and counted may have changed when it is written."""
        account = self._record.accounts[account_id]

        def look() -> tuple[set[tuple[str, object]], int]:
            self._record._under_lease(account, epoch)
            self._record._check_orders(account, changes)
            return self._record._check_rows(account, changes), account.event_seq

        def write(keys: set[tuple[str, object]], seq: int) -> None:
            self._record.watch(account, epoch, changes)
            account.event_seq = seq
            self._record._write(account, changes, keys)

        keys, seq = await self._write("commit", look)
        await self._write("commit", lambda: write(keys, seq))

    return [(SimStore, "commit", commit)]


def _no_compare_and_set() -> Sequence[Patch]:
    """A change is written over whatever came between reading and writing."""

    async def observe(self: Any, seen: BrokerOrder) -> Any:
        order = await self._order(seen)
        await asyncio.sleep(0.005)  # whatever takes time between the two
        self._observe(order, seen, None)
        return self._book.orders[order.id]

    right = Record._check_orders

    def check_orders(self: Any, account: Account, changes: Changes) -> None:
        stored = {key: (account.orders[key].version, order) for key, (_, order) in changes.orders.items()}
        orders, changes.orders = changes.orders, stored
        right(self, account, changes)
        changes.orders = orders

    return [
        (Ledger, "observe", observe), (ports, "_continues", lambda *_: None), (Record, "_check_orders", check_orders),
    ]  # fmt: skip


def _no_lease_in_commits() -> Sequence[Patch]:
    def under_lease(account: Account, epoch: int) -> Any:
        return account.lease

    return [(Record, "_under_lease", staticmethod(under_lease))]


# --- limits -----------------------------------------------------------------------------------------------------------


def _limits_ignore_what_is_under_way() -> Sequence[Patch]:
    return [(Book, "exposure", lambda self, symbol: (ZERO, ZERO))]


def _stale_prices_pass() -> Sequence[Patch]:
    def pass_all(order: Any, qty: Decimal, view: Any) -> Check:
        return Check("PRICE_STALE", Verdict.PASS)

    controls = tuple(pass_all if one is price_freshness else one for one in gate.CONTROLS)
    return [(gate, "CONTROLS", controls)]


OF_ORDERS = (
    Defect("a timeout is called rejected", _timeout_is_a_rejection),
    Defect("404 is called rejected", _not_found_is_a_rejection),
    Defect("a failed query is read as not found", _a_failed_query_is_not_found),
    Defect("a new client id for each attempt", _a_new_id_for_each_attempt),
    Defect("accepted in two transactions", _accepted_in_two_transactions),
    Defect("repetitions are known in memory only", _repetitions_are_known_in_memory_only),
    Defect("stream and listing name fills differently", _stream_and_listing_name_fills_differently),
    Defect("no reconciliation", _no_reconciliation),
    Defect("no row lock", _no_row_lock),
    Defect("no compare-and-set", _no_compare_and_set),
    Defect("a refused repetition is called rejected", _a_refused_repetition_is_a_rejection),
    Defect("sent before the intent is stored", _sent_before_the_intent_is_stored),
    Defect("a cancel that was asked for is called cancelled", _a_refused_cancel_is_a_cancel),
    Defect("the lease is not checked in commits", _no_lease_in_commits),
    Defect("an end is taken without its fills", _an_end_without_its_fills),
    Defect("fills are booked without a baseline", _fills_without_a_baseline),
    Defect("acknowledged before it is stored", _acknowledged_before_it_is_stored),
    Defect("limits ignore what is under way", _limits_ignore_what_is_under_way),
    Defect("stale prices pass", _stale_prices_pass),
)
