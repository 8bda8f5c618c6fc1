"""The promises of `docs/reliability.md` as functions, each with its number. Some look at every step, some at the end.

8 (replace chains) has nothing to look at while the OMS replaces nothing; 17 (secrets) and 18 (wire formats) are about
what the simulation does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from oms.domain.events import EventKind
from oms.domain.fills import Fill
from oms.domain.orders import FINAL, Order, OrderStatus
from oms.domain.positions import Entry, Position, applied
from oms.domain.values import ZERO, AssetClass, Side
from oms.ports import Changes
from tests.simulation.house import KEY, House
from tests.simulation.record import Account, holding_of
from tests.simulation.venue import OPEN, VenueOrder

CLOCKS_AGREE_S = 0.3  # the engine's idea of the broker's time is as old as an answer travels
_NOT_AT_BROKER = frozenset({OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED})


class Watch:
    """The invariants that hold at every moment: looked at with each commit and with each order that is taken."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._approved: set[UUID] = set()
        self._lowest = dict(house.venue.prices)
        self._position_limit = Decimal(house.record.config_values["max_position_size_usd"])
        house.record.watch = self.committed
        house.venue.on_submit = self.taken

    def committed(self, account: Account, epoch: int, changes: Changes) -> None:
        """Before a transaction of an engine is applied."""
        house = self._house
        house.world.note("commit", epoch, len(changes.orders), len(changes.fills), len(changes.adjustments))
        if epoch != account.lease.epoch:
            house.world.violated(11, f"epoch {epoch} commits while the account is at {account.lease.epoch}")
        for event in changes.events:
            if event.kind is EventKind.APPROVED:
                self._approved.add(event.order_id)
                self._price_was_fresh(changes.orders[event.order_id][1])
        for order_id, (_, after) in changes.orders.items():
            before = account.orders[order_id]
            if before.status in FINAL and after.status is not before.status:
                house.world.violated(5, f"order {order_id} goes from {before.status} to {after.status}")
            if after.status in FINAL and before.status not in FINAL:
                house.world.note("ends", order_id.hex[-6:], after.status, after.error_code)
                self._end_is_true(after)
                if after.status is OrderStatus.FILLED and after.filled_qty != after.qty:
                    house.world.violated(6, f"{order_id} is filled, with {after.filled_qty} of {after.qty} booked")

    def _end_is_true(self, order: Order) -> None:
        """An end is only written when it is the broker's, or when the broker has no such order."""
        at_venue = self._house.venue.by_client.get(order.client_order_id)
        if at_venue is not None and at_venue.status is not order.status:
            number = 4 if order.status in _NOT_AT_BROKER else 10
            self._house.world.violated(number, f"{order.id} becomes {order.status}, is {at_venue.status} at the broker")

    def _price_was_fresh(self, order: Order) -> None:
        """The gate was shown a fresh price of what adds to the risk; buying crypto, never held short, always does."""
        if order.side is Side.SELL or order.asset_class is not AssetClass.CRYPTO or order.attempted_at is None:
            return
        house = self._house
        gated_at = (order.attempted_at - house.plan.base).total_seconds()
        if not any(abs(at - gated_at) < CLOCKS_AGREE_S for at in house.fresh_at.get(order.symbol, ())):
            house.world.violated(13, f"{order.id} was approved on a stale price")

    def taken(self, at_venue: VenueOrder) -> None:
        """Before the venue takes an order that an engine sends."""
        house = self._house
        account = _account(house)
        order_id = account.by_client.get(at_venue.client_id)
        order = account.orders.get(order_id) if order_id else None
        if order is None or not order.was_attempted or order.id not in self._approved:
            house.world.violated(3, f"{at_venue.client_id} reaches the broker before its intent is stored")
            return
        if order.status in FINAL:
            house.world.violated(4, f"{order.id} is {order.status} and reaches the broker now")
        if (order.symbol, order.side, order.qty) != (at_venue.instrument.symbol, at_venue.side, at_venue.qty):
            house.world.violated(3, f"{order.id} is sent with other terms than were approved")
        self._within_limits(at_venue)

    def _within_limits(self, taken: VenueOrder) -> None:
        """What is held and can still be bought, at its lowest price so far, is within the largest limit so far."""
        house, symbol = self._house, taken.instrument.symbol
        price = self._lowest[symbol] = min(self._lowest[symbol], house.venue.prices[symbol])
        self._position_limit = max(self._position_limit, Decimal(house.record.config_values["max_position_size_usd"]))
        if taken.side is Side.SELL or symbol in house.foreign_symbols:
            return
        waiting = sum(
            (
                one.leaves
                for one in house.venue.orders.values()
                if one.side is Side.BUY and one.instrument is taken.instrument
            ),
            ZERO,
        )
        value = (house.venue.held.get(symbol, ZERO) + waiting + taken.qty) * price
        if value > self._position_limit:
            house.world.violated(12, f"{symbol}: {value} USD held and on order, the limit is {self._position_limit}")


# --- at the end -------------------------------------------------------------------------------------------------------


def one_order_for_each_accepted_signal(house: House, account: Account) -> list[str]:
    """1"""
    wrong = []
    by_signal: dict[str, list[Order]] = defaultdict(list)
    for order in account.orders.values():
        if order.signal_id is not None:
            by_signal[order.signal_id].append(order)
    wrong += [f"{len(orders)} orders for {signal_id}" for signal_id, orders in by_signal.items() if len(orders) > 1]
    for told in house.told:
        for order_id in set(told.order_ids):
            if [order.id for order in by_signal[told.signal_id]] != [order_id]:
                wrong.append(f"{told.signal_id} was answered {order_id}, stored are {by_signal[told.signal_id]}")
        if told.wish.via == "stream" and not house.flushed and not by_signal[told.signal_id]:
            wrong.append(f"{told.signal_id} came by the stream and is no order")
    for order in account.orders.values():
        events = [event.kind for event in account.events if event.order_id == order.id]
        first = EventKind.ADOPTED if order.origin == "external" else EventKind.ACCEPTED
        if not events or events[0] is not first:
            wrong.append(f"{order.id} is stored without its first event")
    return wrong


def one_broker_order_for_each_order(house: House, account: Account) -> list[str]:
    """2"""
    return [
        f"the broker has {client_id}, which no order of ours has"
        for client_id in house.venue.by_client
        if client_id not in house.external and client_id not in account.by_client
    ]


def what_ended_here_ended_there(house: House, account: Account) -> list[str]:
    """4"""
    wrong = []
    for order in account.orders.values():
        at_venue = house.venue.by_client.get(order.client_order_id)
        if at_venue is None:
            if order.status not in _NOT_AT_BROKER:
                wrong.append(f"{order.id} is {order.status}, the broker has no such order")
        elif order.status is not at_venue.status:
            wrong.append(f"{order.id} is {order.status} here and {at_venue.status} at the broker")
    return wrong


def sums_agree(house: House, account: Account) -> list[str]:
    """6"""
    filled: dict[UUID, Decimal] = defaultdict(lambda: ZERO)
    moved: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for fill in account.fills:
        filled[fill.order_id] += fill.qty
        moved[holding_of(fill.symbol)] += fill.side.sign * fill.qty
    for one in account.adjustments:
        moved[one.symbol] += one.qty
    held = {position.symbol: position.qty for position in account.positions.values()}
    return [
        *(
            f"{order.id} has filled {order.filled_qty}, its fills are {filled[order.id]}"
            for order in account.orders.values()
            if order.filled_qty - order.baseline_qty != filled[order.id]
        ),
        *(
            f"{symbol}: position {held.get(symbol)}, fills and adjustments {moved[symbol]}"
            for symbol in sorted({*held, *moved})
            if held.get(symbol, ZERO) != moved[symbol]
        ),
    ]


def fills_are_contiguous(house: House, account: Account) -> list[str]:
    """7"""
    wrong = []
    by_order: dict[UUID, list[Fill]] = defaultdict(list)
    for fill in account.fills:
        by_order[fill.order_id].append(fill)
    for order_id, fills in by_order.items():
        order = account.orders[order_id]
        ends = order.baseline_qty
        for fill in sorted(fills, key=lambda one: one.cum_qty):
            if fill.begins != ends:
                wrong.append(f"{order_id}: a fill begins at {fill.begins}, the one before ends at {ends}")
            ends = fill.cum_qty
        if order.qty is not None and ends > order.qty:
            wrong.append(f"{order_id}: filled {ends} of {order.qty}")
    return wrong


def broker_and_record_agree(house: House, account: Account) -> list[str]:
    """9"""
    held = {position.symbol: position.qty for position in account.positions.values()}
    theirs = house.venue.held
    wrong = [
        f"{symbol}: {held.get(symbol, ZERO)} here, {theirs.get(symbol, ZERO)} at the broker"
        for symbol in sorted({*held, *theirs})
        if held.get(symbol, ZERO) != theirs.get(symbol, ZERO)
    ]
    for at_venue in house.venue.orders.values():
        order_id = account.by_broker.get(at_venue.id)
        if order_id is None:
            if at_venue.client_id not in house.external or at_venue.status in OPEN:
                wrong.append(f"{at_venue.client_id} is not known here")
        elif account.orders[order_id].filled_qty != at_venue.filled:
            wrong.append(f"{at_venue.client_id} filled {at_venue.filled}, here {account.orders[order_id].filled_qty}")
    wrong += [
        f"{order.id} is {order.status}, unknown={order.outcome_unknown}"
        for order in account.orders.values()
        if order.outcome_unknown or order.status is OrderStatus.PENDING
    ]
    return wrong


def nothing_is_made_up(house: House, account: Account) -> list[str]:
    """10"""
    real = {(fill.broker_order_id, fill.cum_qty): fill for _, fill in house.venue.fills}
    wrong = []
    for fill in account.fills:
        there = real.get((fill.broker_order_id, fill.cum_qty))
        if there is None or (there.qty, there.price, there.side) != (fill.qty, fill.price, fill.side):
            wrong.append(f"a fill of {fill.order_id} that the broker does not have: {fill.qty} to {fill.cum_qty}")
    for order in account.orders.values():
        if order.origin == "signal" and order.signal_id is None:
            wrong.append(f"{order.id} has no signal")
        if order.origin == "external" and order.client_order_id not in house.external:
            wrong.append(f"{order.client_order_id} was taken for somebody else's")
    return wrong


def bad_messages_are_recorded(house: House, account: Account) -> list[str]:
    """15"""
    recorded = [payload for _, payload, _, _ in account.errors]
    wrong = []
    for entry, text in house.mumbled:
        if text.encode("latin-1").decode(errors="replace") not in recorded and not house.flushed:
            wrong.append(f"the malformed entry {entry} was not recorded")
    return wrong


def the_trail_rebuilds_everything(house: House, account: Account) -> list[str]:
    """16"""
    wrong = []
    if account.event_seq != len(account.events):
        wrong.append(f"{len(account.events)} events up to sequence {account.event_seq}")
    status: dict[UUID, str] = {}
    filled: dict[UUID, Decimal] = defaultdict(lambda: ZERO)
    broker_ids: dict[UUID, object] = {}
    for event in account.events:
        before = status.get(event.order_id)
        if before is not None and OrderStatus(before) in FINAL and event.status != before:
            wrong.append(f"{event.order_id} goes from {before} to {event.status} in the trail")
        status[event.order_id] = event.status
        broker_ids[event.order_id] = event.data.get("alpaca_id") or broker_ids.get(event.order_id)
        if event.kind is EventKind.FILLED and "qty" in event.data:
            filled[event.order_id] += event.data["qty"]  # type: ignore[operator]
    for order in account.orders.values():
        rebuilt = (status.get(order.id), filled[order.id] + order.baseline_qty, broker_ids.get(order.id))
        stored = (str(order.status), order.filled_qty, order.alpaca_id)
        if rebuilt != stored:
            wrong.append(f"{order.id}: the trail says {rebuilt}, stored is {stored}")
    for position in account.positions.values():
        wrong += _replayed(account, position)
    return wrong


def _replayed(account: Account, position: Position) -> list[str]:
    steps = [Entry.of_fill(fill) for fill in account.fills if holding_of(fill.symbol) == position.symbol]
    steps += [Entry.of_adjustment(one) for one in account.adjustments if one.symbol == position.symbol]
    rebuilt = Position(position.id, position.account_id, position.symbol, position.asset_class)
    for entry in sorted(steps, key=lambda one: one.key):
        rebuilt = applied(rebuilt, entry)
    mine = (rebuilt.qty, rebuilt.avg_price, rebuilt.realized_pnl, rebuilt.fees)
    stored = (position.qty, position.avg_price, position.realized_pnl, position.fees)
    return [] if mine == stored else [f"{position.symbol}: fills and adjustments give {mine}, stored is {stored}"]


def events_are_told_in_order(house: House, account: Account) -> list[str]:
    """16, outside: what was relayed has no gap."""
    told = house.redis.told
    if told and told != list(range(told[0], told[0] + len(told))):
        return [f"the relayed events have a gap: {told}"]
    return []


def nothing_failed_unexpectedly(house: House, account: Account) -> list[str]:
    """0: no error that the code does not name, no task that died."""
    return [*house.troubles, *house.world.loop.troubles]


Check = Callable[[House, Account], list[str]]
AT_THE_END: dict[int, tuple[Check, ...]] = {
    0: (nothing_failed_unexpectedly,),
    1: (one_order_for_each_accepted_signal,),
    2: (one_broker_order_for_each_order,),
    4: (what_ended_here_ended_there,),
    6: (sums_agree,),
    7: (fills_are_contiguous,),
    9: (broker_and_record_agree,),
    10: (nothing_is_made_up,),
    15: (bad_messages_are_recorded,),
    16: (the_trail_rebuilds_everything, events_are_told_in_order),
}


def check_all(house: House) -> None:
    """Every invariant of the end."""
    if house.record.account_of_key(KEY) is None:
        house.world.violated(9, "the account is not known after all faults have ended")
        return
    account = _account(house)
    for number, checks in AT_THE_END.items():
        for check in checks:
            for wrong in check(house, account):
                house.world.violated(number, wrong)


def is_settled(house: House) -> bool:
    """Whether broker and record agree and nothing is under way: what the healing phase waits for."""
    account_id = house.record.account_of_key(KEY)
    if account_id is None:
        return False
    account = house.record.accounts[account_id]
    if account.waiting or len(account.done) != len(account.commands) or not all(told.is_over for told in house.told):
        return False
    if house.redis.entries or house.venue.fees:
        return False
    for order_id in account.opened:
        order = account.orders[order_id]
        if order.alpaca_id is None or order.outcome_unknown:
            return False
    return not broker_and_record_agree(house, account) and not what_ended_here_ended_there(house, account)


def _account(house: House) -> Account:
    account_id = house.record.account_of_key(KEY)
    assert account_id is not None, "the healing phase ends with an account that is known"
    return house.record.accounts[account_id]
