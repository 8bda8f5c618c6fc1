"""Defects of what people decide on and are told: differences, busts, halts, bad messages, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from oms.domain.errors import InvalidInput, StoreUnavailable
from oms.domain.orders import Order, OrderStatus
from oms.domain.reports import BrokerOrder
from oms.execution import drift, gone
from oms.execution.book import Book
from oms.execution.comparison import Comparison
from oms.execution.decisions import Decisions
from oms.execution.dispatcher import Dispatcher
from oms.execution.executions import Executions
from oms.execution.gone import GoneOrders
from oms.execution.session import Session
from oms.execution.worth import Worth
from oms.ports import Changes
from oms.signals.redis_intake import RedisIntake
from tests.simulation.defect import Defect, Patch
from tests.simulation.store import SimStore

# --- differences ------------------------------------------------------------------------------------------------------


def _a_blocked_symbol_is_traded() -> Sequence[Patch]:
    return [(Dispatcher, "_block", lambda self, symbol: None)]


def _a_difference_is_mended_by_itself() -> Sequence[Patch]:
    right = Comparison.compare

    async def compare(self: Any, since: Any) -> None:
        await right(self, since)
        for one in self._drift.unsettled:
            if one.blocks and one.kind == "position":
                await self.adopt(one, since, "engine", "they know best", lambda text: Changes())

    return [(Comparison, "compare", compare)]


def _what_is_ignored_once_is_ignored_for_ever() -> Sequence[Patch]:
    return [(drift, "_same", lambda before, ours, theirs: True)]


def _a_difference_is_seen_once_and_never_again() -> Sequence[Patch]:
    right = Comparison._differs

    def differs(self: Any, symbol: str, *quantities: Any, counts: bool) -> Changes:
        known = self._drift.find("position", symbol)
        return Changes() if known is not None else right(self, symbol, *quantities, counts=counts)

    return [(Comparison, "_differs", differs)]


def _one_404_ends_an_order() -> Sequence[Patch]:
    async def is_shown(self: Any, order: Order) -> bool:
        return False

    return [(gone, "PROVEN_AFTER_S", 0.0), (GoneOrders, "_is_shown", is_shown)]


def _a_replaced_order_stays_open() -> Sequence[Patch]:
    right = Book._settle

    def settle(self: Any, changes: Changes, order: Order, seen: BrokerOrder, reason: str | None) -> None:
        if seen.status is not OrderStatus.REPLACED:
            right(self, changes, order, seen, reason)

    return [(Book, "_settle", settle)]


# --- busts ------------------------------------------------------------------------------------------------------------


def _busts_are_passed_over() -> Sequence[Patch]:
    async def take_back(self: Any, busts: Any) -> None: ...

    return [(Executions, "_take_back", take_back)]


def _busts_are_known_in_memory_only() -> Sequence[Patch]:
    async def booked(self: Any, account_id: UUID, references: Sequence[str]) -> frozenset[str]:
        return frozenset()

    return [(SimStore, "booked", booked)]


def _the_fee_of_a_bust_counts_on_its_own_day() -> Sequence[Patch]:
    right = Book.bust

    def bust(self: Any, order: Order, seen: Any, fill: Any, fee_at: Any) -> Changes:
        return right(self, order, seen, None, seen.transacted_at)

    return [(Book, "bust", bust)]


# --- halts ------------------------------------------------------------------------------------------------------------


def _a_halt_is_not_honoured() -> Sequence[Patch]:
    return [(Worth, "is_halted", property(lambda self: False))]


def _a_halt_ends_with_its_process() -> Sequence[Patch]:
    right = Session.__init__

    def made(self: Any, *shared: Any) -> None:
        right(self, *shared)
        self.worth.halt = None

    return [(Session, "__init__", made)]


def _a_halt_does_not_name_what_is_on_the_wire() -> Sequence[Patch]:
    return [(Decisions, "_on_the_wire", lambda self: set())]


# --- bad messages and numbers -----------------------------------------------------------------------------------------


def _a_bad_message_leaves_no_trace() -> Sequence[Patch]:
    async def refuse(self: Any, message: Any, code: str, reason: str) -> None: ...

    return [(RedisIntake, "_refuse", refuse)]


def _a_bad_message_is_tried_for_ever() -> Sequence[Patch]:
    right = RedisIntake._read

    def read(self: Any, message: Any, order_id: UUID) -> Any:
        try:
            return right(self, message, order_id)
        except InvalidInput as error:
            raise StoreUnavailable(str(error)) from error

    return [(RedisIntake, "_read", read)]


def _sums_are_floats() -> Sequence[Patch]:
    right = Order.with_fill

    def with_fill(self: Any, fill: Any, at: Any) -> Order:
        after = right(self, fill, at)
        return replace(after, filled_value=float(after.filled_value))  # type: ignore[arg-type]

    return [(Order, "with_fill", with_fill)]


OF_DECISIONS = (
    Defect("a blocked symbol is traded", _a_blocked_symbol_is_traded),
    Defect("a difference is mended by itself", _a_difference_is_mended_by_itself),
    Defect("what is ignored once is ignored for ever", _what_is_ignored_once_is_ignored_for_ever),
    Defect("a difference is looked at only once", _a_difference_is_seen_once_and_never_again),
    Defect("one 404 ends an order", _one_404_ends_an_order),
    Defect("a replaced order stays open", _a_replaced_order_stays_open),
    Defect("busts are passed over", _busts_are_passed_over),
    Defect("busts are known in memory only", _busts_are_known_in_memory_only),
    Defect("the fee of a bust counts on its own day", _the_fee_of_a_bust_counts_on_its_own_day),
    Defect("a halt is not honoured", _a_halt_is_not_honoured),
    Defect("a halt ends with its process", _a_halt_ends_with_its_process),
    Defect("a halt does not name what is on the wire", _a_halt_does_not_name_what_is_on_the_wire),
    Defect("a bad message leaves no trace", _a_bad_message_leaves_no_trace),
    Defect("a bad message is tried for ever", _a_bad_message_is_tried_for_ever),
    Defect("sums are floats", _sums_are_floats),
)
