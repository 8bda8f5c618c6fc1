"""The promises of `docs/reliability.md` as functions, each with its number. Some look at every step, some at the end.

8 (replace chains) has nothing to look at while the OMS replaces nothing; 17 (secrets) and 18 (wire formats) are about
what the simulation does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from oms.domain.drift import DriftKind, DriftState, Resolution
from oms.domain.events import EventKind
from oms.domain.fills import Fill
from oms.domain.orders import FINAL, Order, OrderStatus
from oms.domain.positions import AdjustmentKind, Entry, Position, applied
from oms.domain.values import ZERO
from tests.simulation.deeds import ANN
from tests.simulation.house import KEY, House
from tests.simulation.record import Account, holding_of
from tests.simulation.venue import OPEN
from tests.simulation.watch import NOT_AT_BROKER


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
            if order.status not in NOT_AT_BROKER:
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
    wrong = _differing_positions(house, account)
    for at_venue in house.venue.orders.values():
        order_id = account.by_broker.get(at_venue.id)
        if order_id is None:
            if at_venue.client_id not in house.external or at_venue.status in OPEN:
                wrong.append(f"{at_venue.client_id} is not known here")
        elif (order := account.orders[order_id]).filled_qty - order.busted_qty != at_venue.filled:
            wrong.append(
                f"{at_venue.client_id} filled {at_venue.filled}, here {order.filled_qty} less {order.busted_qty}"
            )
    wrong += [
        f"{order.id} is {order.status}, unknown={order.outcome_unknown}"
        for order in account.orders.values()
        if order.outcome_unknown or order.status is OrderStatus.PENDING
    ]
    wrong += [
        f"drift {one.id} stands: {one.kind} {one.subject} {one.cause}"
        for one in account.drift.values()
        if one.stands and one.kind is not DriftKind.POSITION
    ]
    return wrong


def _differing_positions(house: House, account: Account) -> list[str]:
    """Positions agree but for what was moved without a trade: a person has adopted or ignored that, or it blocks."""
    held = {position.symbol: position.qty for position in account.positions.values()}
    theirs, wrong = house.venue.held, []
    corrected: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for one in account.adjustments:
        if one.kind is AdjustmentKind.CORRECTION:
            corrected[one.symbol] += one.qty
    for symbol in sorted({*held, *theirs}):
        delta = theirs.get(symbol, ZERO) - held.get(symbol, ZERO)
        if delta != house.deeds.moved.get(symbol, ZERO) - corrected[symbol]:
            wrong.append(f"{symbol}: {held.get(symbol, ZERO)} here, {theirs.get(symbol, ZERO)} at the broker")
        rows = [
            one
            for one in account.drift.values()
            if one.stands and one.kind is DriftKind.POSITION and one.symbol == symbol
        ]
        if [one.delta for one in rows] != ([delta] if delta else []):
            wrong.append(f"{symbol} differs by {delta}, and the ledger says {[one.delta for one in rows]}")
        if any(one.state is DriftState.OPEN and not one.blocks for one in rows):
            wrong.append(f"{symbol} differs by {delta} and is not blocked")
    return wrong


def a_chain_fills_no_more_than_was_meant(house: House, account: Account) -> list[str]:
    """8, as far as the OMS has a part in it: it replaces nothing, but others replace its orders."""
    wrong = []
    for replaced, by, meant in house.deeds.chains:
        pair = [account.orders[account.by_client[one]] for one in (replaced, by) if one in account.by_client]
        filled = sum((order.filled_qty for order in pair), ZERO)
        if filled > meant:
            wrong.append(f"{replaced} and {by} have filled {filled}, meant were {meant}")
        if sum(order.is_open for order in pair) > 1:
            wrong.append(f"{replaced} and {by}, which replaced it, are both open")
    return wrong


def nothing_is_made_up(house: House, account: Account) -> list[str]:
    """10"""
    real = {(fill.broker_order_id, fill.cum_qty): fill for _, fill in house.venue.fills if not fill.is_bust}
    busts = {f"bust:a-{fill.execution_id}": fill for _, fill in house.venue.fills if fill.is_bust}
    wrong = []
    for fill in account.fills:
        there = real.get((fill.broker_order_id, fill.cum_qty))
        if there is None or (there.qty, there.price, there.side) != (fill.qty, fill.price, fill.side):
            wrong.append(f"a fill of {fill.order_id} that the broker does not have: {fill.qty} to {fill.cum_qty}")
    for one in account.adjustments:
        bust = busts.get(one.reference)
        if one.kind is AdjustmentKind.BUST and (bust is None or -bust.side.sign * bust.qty != one.qty):
            wrong.append(f"{one.reference}: {one.qty} was taken back, at the broker {bust}")
        if one.kind is AdjustmentKind.CORRECTION:
            row = account.drift.get(int(one.reference.partition(":")[2]))
            if row is None or (row.resolution, row.resolved_by) != (Resolution.ADOPTED, ANN):
                wrong.append(f"{one.reference}: {one.qty} {one.symbol} was corrected, and nobody has asked for it")
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
    8: (a_chain_fills_no_more_than_was_meant,),
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
