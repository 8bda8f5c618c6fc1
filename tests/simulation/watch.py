"""The promises that hold at every moment, each with its number: looked at with each commit and each order taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from oms.domain.events import EventKind
from oms.domain.orders import FINAL, Order, OrderStatus
from oms.domain.values import ZERO, AssetClass, Side
from oms.ports import Changes
from tests.simulation.house import KEY, House
from tests.simulation.record import Account, holding_of
from tests.simulation.venue import VenueOrder

CLOCKS_AGREE_S = 0.3  # the engine's idea of the broker's time is as old as an answer travels
NOT_AT_BROKER = frozenset({OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED})


class Watch:
    """Looks at a house. `_named` are the orders that the answer to a halt named; None while nothing is halted."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._approved: set[UUID] = set()
        self._named: set[str] | None = None
        house.record.watch = self.committed
        house.venue.on_submit = self.taken

    # --- commits ------------------------------------------------------------------------------------------------------

    def committed(self, account: Account, epoch: int, changes: Changes) -> None:
        """Before a transaction of an engine is applied."""
        house = self._house
        house.world.note("commit", epoch, len(changes.orders), len(changes.fills), len(changes.adjustments))
        if epoch != account.lease.epoch:
            house.world.violated(11, f"epoch {epoch} commits while the account is at {account.lease.epoch}")
        self._follow_halt(account, changes)
        for event in changes.events:
            if event.kind is EventKind.APPROVED:
                self._approved.add(event.order_id)
                self._approval(account, changes, changes.orders[event.order_id][1])
        for order_id, (_, after) in changes.orders.items():
            before = account.orders[order_id]
            if before.status in FINAL and after.status is not before.status:
                house.world.violated(5, f"order {order_id} goes from {before.status} to {after.status}")
            if after.status in FINAL and before.status not in FINAL:
                house.world.note("ends", order_id.hex[-6:], after.status, after.error_code)
                self._end_is_true(after)
        self._exact(changes)

    def _end_is_true(self, order: Order) -> None:
        """An end is only written when it is the broker's, or when the broker has no such order."""
        house = self._house
        at_venue = house.venue.by_client.get(order.client_order_id)
        if at_venue is not None and at_venue.status is not order.status:
            number = 4 if order.status in NOT_AT_BROKER else 10
            house.world.violated(number, f"{order.id} becomes {order.status}, is {at_venue.status} at the broker")
        is_busted = at_venue is not None and any(one.execution_id in house.venue.busted for one in at_venue.fills)
        if order.status is OrderStatus.FILLED and order.filled_qty != order.qty and not is_busted:
            house.world.violated(6, f"{order.id} is filled, with {order.filled_qty} of {order.qty} booked")

    def _exact(self, changes: Changes) -> None:
        """18: every number that is stored is a Decimal, also those in the trail."""
        orders = [order for _, order in changes.orders.values()]
        positions = [position for _, position in changes.positions.values()]
        for row in [*orders, *changes.created.values(), *positions, *changes.fills, *changes.adjustments]:
            for name in _numbers_of(type(row)):
                if not _is_exact(getattr(row, name)):
                    self._house.world.violated(18, f"{type(row).__name__}.{name} is {getattr(row, name)!r}")
        for event in changes.events:
            if _has_float(event.data):
                self._house.world.violated(18, f"a float in the event {event.kind} of {event.order_id}: {event.data}")

    # --- the gate -----------------------------------------------------------------------------------------------------

    def _approval(self, account: Account, changes: Changes, order: Order) -> None:
        """What the gate let pass, judged by the record as it is after this transaction."""
        stood = _Standing(account, changes, holding_of(order.symbol))
        limit = self._house.record.highest[f"max_order_qty_{order.asset_class}"]
        if order.qty is None or order.qty > limit:
            self._house.world.violated(12, f"{order.id} is approved for {order.qty}, the limit is {limit}")
        if stood.is_murky or not stood.increases(order):
            return
        self._within_limits(stood, order)
        if not any(process.was_frozen for process in self._house.processes) and not self._house.plan.wire.slow:
            self._price_was_fresh(order)  # else the engine may have taken an answer of long ago for the time
        self._is_not_blocked(account, changes, order)

    def _within_limits(self, stood: _Standing, order: Order) -> None:
        """12: what is held, on order, being sent and unknown, at the lowest price so far, keeps to the limit."""
        symbol, limit = order.symbol, self._house.record.highest["max_position_size_usd"]
        price = self._house.venue.lowest[symbol]
        total = stood.qty + stood.buys if order.side is Side.BUY else stood.sells - stood.qty
        if total * price > limit:
            self._house.world.violated(
                12, f"{symbol}: {total * price} USD reserved by {order.id}, the limit is {limit}"
            )

    def _price_was_fresh(self, order: Order) -> None:
        """13: the gate was shown a fresh price of what adds to the risk."""
        if order.attempted_at is None:
            return
        house = self._house
        gated_at = (order.attempted_at - house.plan.base).total_seconds()
        if not any(abs(at - gated_at) < CLOCKS_AGREE_S for at in house.fresh_at.get(order.symbol, ())):
            house.world.violated(13, f"{order.id} was approved without a fresh price")

    def _is_not_blocked(self, account: Account, changes: Changes, order: Order) -> None:
        """9: a symbol that is in doubt takes no order that increases risk."""
        for drift in account.drift.values():
            after = changes.drift.get(drift.id, drift)
            if drift.blocks and after.blocks and drift.symbol == holding_of(order.symbol):
                self._house.world.violated(9, f"{order.id} was approved while drift {drift.id} blocks {drift.symbol}")

    # --- the halt -----------------------------------------------------------------------------------------------------

    def _follow_halt(self, account: Account, changes: Changes) -> None:
        """14: from the acknowledgement on, only orders that it names may still arrive at the broker."""
        halt = changes.halt or account.record.halt
        if halt is None or not halt.is_on:
            self._named = None
            return
        for command_id, outcome, text in changes.commands:
            if account.commands[command_id].kind == "halt" and outcome == "done":
                self._house.world.note("halted", text)
                named = {str(order_id) for order_id in account.orders if str(order_id) in text}
                self._named = named | (self._named or set())

    def taken(self, at_venue: VenueOrder) -> None:
        """Before the venue takes an order that an engine sends."""
        house = self._house
        account_id = house.record.account_of_key(KEY)
        assert account_id is not None
        account = house.record.accounts[account_id]
        order_id = account.by_client.get(at_venue.client_id)
        order = account.orders.get(order_id) if order_id else None
        if order is None or not order.was_attempted or order.id not in self._approved:
            house.world.violated(3, f"{at_venue.client_id} reaches the broker before its intent is stored")
            return
        if order.status in FINAL:
            house.world.violated(4, f"{order.id} is {order.status} and reaches the broker now")
        if (order.symbol, order.side, order.qty) != (at_venue.instrument.symbol, at_venue.side, at_venue.qty):
            house.world.violated(3, f"{order.id} is sent with other terms than were approved")
        if self._named is not None and str(order.id) not in self._named:
            house.world.violated(14, f"{order.id} reaches the broker after a halt whose answer does not name it")
        self._on_order(at_venue)

    def _on_order(self, taken: VenueOrder) -> None:
        """12, at the broker: what is held and can still be bought, where nobody else traded."""
        house, symbol = self._house, taken.instrument.symbol
        if taken.side is Side.SELL or symbol in house.foreign_symbols:
            return
        orders = house.venue.orders.values()
        waiting = sum(
            (one.leaves for one in orders if one.side is Side.BUY and one.instrument is taken.instrument), ZERO
        )
        value = (house.venue.held.get(symbol, ZERO) + waiting + taken.qty) * house.venue.lowest[symbol]
        limit = house.record.highest["max_position_size_usd"]
        if value > limit:
            house.world.violated(12, f"{symbol}: {value} USD held and on order, the limit is {limit}")


class _Standing:
    """A holding as it is after a transaction: quantity, what can still be bought and sold of it.

    It `is_murky` where the transaction also holds what came after the gate had looked: trades of others, adjustments.
    """

    def __init__(self, account: Account, changes: Changes, holding: str) -> None:
        positions = {**account.positions, **{key: position for key, (_, position) in changes.positions.items()}}
        self.qty = sum((one.qty for one in positions.values() if one.symbol == holding), ZERO)
        after = {key: order for key, (_, order) in changes.orders.items()} | changes.created
        opened = [after.get(key) or account.orders[key] for key in {**account.opened, **after}]
        mine = [one for one in opened if one.is_open and one.was_attempted and holding_of(one.symbol) == holding]
        self.buys = sum((one.remaining for one in mine if one.side is Side.BUY), ZERO)
        self.sells = sum((one.remaining for one in mine if one.side is Side.SELL), ZERO)
        self.is_murky = (
            any(holding_of(one.symbol) == holding for one in changes.created.values())
            or any(one.symbol == holding for one in changes.adjustments)
            or any(after.get(one.order_id) and after[one.order_id].origin == "external" for one in changes.fills)
            or any(one.order_id in account.orders and not account.orders[one.order_id].is_open for one in changes.fills)
        )

    def increases(self, order: Order) -> bool:
        """Whether the order, with the open ones on its side, can do more than reduce what is held."""
        if order.side is Side.SELL:
            is_reducing = order.asset_class is AssetClass.CRYPTO or self.sells <= self.qty
        else:
            is_reducing = self.buys <= -self.qty
        return not is_reducing


@cache
def _numbers_of(kind: Any) -> Sequence[str]:
    """The fields of a row that are quantities or money."""
    return [one.name for one in fields(kind) if one.type in {"Decimal", "Decimal | None"}]


def _is_exact(value: object) -> bool:
    return value is None or (type(value) is Decimal and value.is_finite())


def _has_float(data: Any) -> bool:
    if isinstance(data, Mapping):
        return any(_has_float(one) for one in data.values())
    if isinstance(data, list | tuple):
        return any(_has_float(one) for one in data)
    return isinstance(data, float)
