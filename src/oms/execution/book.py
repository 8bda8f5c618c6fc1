"""The engine's memory: open orders, positions, and every change that can happen to them.

Each method computes the next state, puts it into memory and returns the Changes that store it; nothing here waits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_UP, Decimal
from uuid import UUID

from oms.domain.drift import Cause, DriftKind, Resolution
from oms.domain.events import EventKind, OrderEvent, told
from oms.domain.fills import Fill, Interval, Novelty, novelty
from oms.domain.instruments import Symbols
from oms.domain.orders import TRANSITIONS, Order, OrderStatus
from oms.domain.positions import Adjustment, AdjustmentKind, Entry, Position, applied, recomputed
from oms.domain.reports import BrokerFill, BrokerOrder, BrokerPosition
from oms.domain.values import ZERO, AssetClass, Side
from oms.execution.drift import DriftLedger
from oms.ports import Changes, Ids, StoredOrder, WorkingSet
from oms.risk.gate import ApprovedOrder

CLOSED_KEPT = 20_000
# What the event of an adoption says, so that the order can be built again from its events.
ADOPTED_WITH = (
    "symbol", "side", "qty", "alpaca_id", "client_order_id", "asset_class", "type", "limit_price", "time_in_force",
    "created_at", "submitted_at", "attempted_at", "baseline_qty", "busted_qty", "fee_rate",
)  # fmt: skip
_AT_WORK = frozenset({OrderStatus.SUBMITTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.HELD})
# Ends of which the broker has not spoken: should it show the order after all, it is cancelled there.
PROVEN_ABSENT = "PROVEN_ABSENT"
ORDER_GONE = "ORDER_GONE"
# What Alpaca takes of a crypto fill, by who it was: docs.alpaca.markets, "Crypto fees", tier 1.
MAKER_FEE = Decimal("0.0015")
TAKER_FEE = Decimal("0.0025")
FEE_STEP = Decimal("1e-9")

_TOLD_AS = {
    OrderStatus.SUBMITTED: EventKind.SUBMITTED,  # a bracket's leg that waited, and now works
    OrderStatus.CANCELLED: EventKind.CANCELLED,
    OrderStatus.EXPIRED: EventKind.EXPIRED,
    OrderStatus.REJECTED: EventKind.REJECTED,
    OrderStatus.REPLACED: EventKind.REPLACED,
    OrderStatus.HELD: EventKind.HELD,
    OrderStatus.FILLED: EventKind.FILLED,  # an order by notional: only the broker knows which fill was its last
}


class LateEntry(Exception):
    """A step belongs before others that are applied: the position must be computed again from stored entries."""

    def __init__(self, position: Position, entries: Sequence[Entry], changes: Changes) -> None:
        super().__init__(position.symbol)
        self.position = position
        self.entries = entries
        self.changes = changes


class Book:
    """Open orders and positions of one account, and the orders that ended last."""

    def __init__(self, working: WorkingSet, symbols: Symbols, ids: Ids, now: Callable[[], datetime]) -> None:
        self.account_id = working.account.id
        self.symbols = symbols
        self.orders: OrderedDict[UUID, Order] = OrderedDict()
        self.positions: dict[str, Position] = {position.symbol: position for position in working.positions}
        self.awaiting_fills: dict[UUID, BrokerOrder] = {}
        self.drift = DriftLedger(working.account.id, working.drift, working.last_drift_id, now)
        self.passed_through: dict[str, set[Decimal]] | None = None  # every quantity that a position has, for who asks
        self._ids = ids
        self._now = now
        self._by_broker: dict[str, UUID] = {}
        self._by_client: dict[str, UUID] = {}
        self._booked: dict[UUID, list[Interval]] = {}
        self._open: dict[UUID, Decimal] = {}  # with what each counts in the exposure
        self._exposure: dict[tuple[str, Side], Decimal] = {}
        self._closed: OrderedDict[UUID, None] = OrderedDict()
        for order in working.orders:
            self._put(order)
        for fill in working.fills:
            self._booked.setdefault(fill.order_id, []).append(Interval(fill.begins, fill.cum_qty, fill.execution_id))

    # --- looking ------------------------------------------------------------------------------------------------------

    def find(self, seen: BrokerOrder) -> Order | None:
        """The order that the broker speaks of, by its id or by ours."""
        return self.by_broker_id(seen.broker_order_id) or self.by_client_id(seen.client_order_id)

    def by_broker_id(self, broker_order_id: str) -> Order | None:
        """An order in memory by the broker's id."""
        order_id = self._by_broker.get(broker_order_id)
        return None if order_id is None else self.orders.get(order_id)

    def by_client_id(self, client_order_id: str) -> Order | None:
        """An order in memory by the id that we gave it at the broker."""
        order_id = self._by_client.get(client_order_id)
        return None if order_id is None else self.orders.get(order_id)

    def open_orders(self) -> list[Order]:
        """Orders that may be at the broker and can still fill."""
        return [self.orders[order_id] for order_id in self._open]

    def is_anothers(self, order: Order, seen: BrokerOrder) -> bool:
        """Whether the broker's order carries our id and is not what ours asked for: it is told, and never followed."""
        if order.alpaca_id is not None:
            return order.alpaca_id != seen.broker_order_id
        asked, there = (order.symbol, order.side), (seen.symbol, seen.side)
        return asked != there or (order.qty is not None and seen.qty != order.qty)

    def exposure(self, symbol: str) -> tuple[Decimal, Decimal]:
        """What open, in-flight and unknown orders can still buy and sell of a holding."""
        holding = self.holding(symbol)
        return self._exposure.get((holding, Side.BUY), ZERO), self._exposure.get((holding, Side.SELL), ZERO)

    def position_qty(self, symbol: str) -> Decimal:
        """What is held, signed."""
        position = self.positions.get(self.holding(symbol))
        return ZERO if position is None else position.qty

    def holding(self, symbol: str) -> str:
        """The symbol under which the position of an instrument is kept."""
        return f"{symbol.partition('/')[0]}/USD" if "/" in symbol else symbol

    # --- orders of ours -----------------------------------------------------------------------------------------------

    def take_in(self, stored: StoredOrder) -> Order:
        """Bring an order back into memory that had ended before. What memory holds already is newer."""
        if stored.order.id in self.orders:
            return self.orders[stored.order.id]
        self._put(stored.order)
        fills = [Interval(fill.begins, fill.cum_qty, fill.execution_id) for fill in stored.fills]
        self._booked[stored.order.id] = fills
        return stored.order

    def approve(self, approved: ApprovedOrder, fee_rate: Decimal | None) -> Changes:
        """The gate let it pass: the intent to send, to be committed before the request."""
        at = self._now()
        order = approved.order
        changes = Changes()
        after = order.changed(at, qty=approved.qty, attempted_at=at, checks=approved.checks, fee_rate=fee_rate)
        self._change(changes, order, after, EventKind.APPROVED, qty=approved.qty, checks=approved.checks)
        return changes

    def reject(self, order: Order, code: str, message: str, checks: Sequence[object] | None = None) -> Changes:
        """A control or the broker refused it, definitely."""
        changes = Changes()
        more = {} if checks is None else {"checks": checks}
        after = order.moved(OrderStatus.REJECTED, self._now(), error_code=code, error_message=message, **more)
        self._change(changes, order, after, EventKind.REJECTED, code=code, message=message, **more)
        return changes

    def end(self, order: Order, status: OrderStatus, code: str | None, message: str | None) -> Changes:
        """It ended without the broker: cancelled before it was sent, or proven not to be there."""
        changes = Changes()
        self.awaiting_fills.pop(order.id, None)
        after = order.moved(status, self._now(), error_code=code, error_message=message)
        self._change(changes, order, after, _TOLD_AS[status], code=code, message=message)
        return changes

    def mark_unknown(self, order: Order, reason: str) -> Changes:
        """It was sent and nobody knows: asked for from now on."""
        changes = Changes()
        if not order.outcome_unknown and order.is_open:
            after = order.changed(self._now(), outcome_unknown=True)
            self._change(changes, order, after, EventKind.OUTCOME_UNKNOWN, reason=reason)
        return changes

    def note(self, order: Order, kind: EventKind, **data: object) -> Changes:
        """Something worth a line in the trail that changes nothing else."""
        return Changes(events=[OrderEvent(order.id, kind, self._now(), str(order.status), data)])

    # --- what the broker says -----------------------------------------------------------------------------------------

    def observe(self, order: Order, seen: BrokerOrder, reason: str | None = None) -> Changes:
        """Take in the broker's word on one order: bind it, and move it where its status leads.

        An end that names more fills than are booked waits in `awaiting_fills` until they are: no fill is made up.
        """
        if self.is_anothers(order, seen):
            return self.drift.found(
                DriftKind.ORDER, seen.broker_order_id, order.symbol, Cause.CONTRADICTION,
                f"{order.side} {order.qty} {order.symbol}, {order.alpaca_id or 'not seen yet'}",
                f"{seen.side} {seen.qty} {seen.symbol}", order_id=order.id,
            )  # fmt: skip
        changes = Changes()
        order = self._bind(changes, order, seen)
        if seen.filled_qty > order.filled_qty:
            before = self.awaiting_fills.get(order.id)
            if before is None or _further(seen) > _further(before):
                self.awaiting_fills[order.id] = seen
            return changes
        self._settle(changes, order, seen, reason)
        return changes

    def adopt(self, seen: BrokerOrder, *, baseline: Decimal, busted: Decimal = ZERO) -> Changes:
        """An order that somebody else made. `baseline` is what had filled before its fills are ours to book, `busted`
        what was taken back of that."""
        at = self._now()
        order = Order(
            id=self._ids(),
            account_id=self.account_id,
            client_order_id=seen.client_order_id,
            symbol=seen.symbol,
            asset_class=seen.asset_class,
            side=seen.side,
            qty=seen.qty,
            type=seen.order_type,
            time_in_force=seen.time_in_force,
            limit_price=seen.limit_price,
            created_at=seen.submitted_at,
            submitted_at=seen.submitted_at,
            attempted_at=seen.submitted_at,
            updated_at=at,
            origin="external",
            alpaca_id=seen.broker_order_id,
            status=OrderStatus.PARTIALLY_FILLED if baseline else OrderStatus.SUBMITTED,
            filled_qty=baseline,
            baseline_qty=baseline,
            busted_qty=busted,
            fee_rate=TAKER_FEE if seen.asset_class is AssetClass.CRYPTO else None,
            version=1,
        )
        changes = Changes()
        changes.created[order.id] = order
        data = {name: getattr(order, name) for name in ADOPTED_WITH}
        changes.events.append(OrderEvent(order.id, EventKind.ADOPTED, at, str(order.status), data))
        self._put(order)
        changes.merge(self.observe(order, seen))
        return changes

    def fill(self, order: Order, seen: BrokerFill) -> Changes:
        """Book one execution, once, with its expected fee. Raises LateEntry when it belongs before others."""
        booked = self._booked.setdefault(order.id, [])
        begins = seen.cum_qty - seen.qty
        found = novelty(begins, seen.cum_qty, seen.execution_id, booked)
        if found is Novelty.KNOWN or seen.cum_qty <= order.baseline_qty:
            return Changes()
        if found is Novelty.OVERLAPS:
            return self.drift.found(
                DriftKind.FILL, f"{seen.broker_order_id}:{seen.cum_qty}", order.symbol, Cause.OVERLAP,
                f"filled {order.filled_qty}", f"{seen.qty} at {seen.price}, {seen.cum_qty} with it", order_id=order.id,
            )  # fmt: skip
        changes = Changes()
        if order.status.is_final:
            changes.merge(
                self.drift.mended(
                    DriftKind.FILL, seen.broker_order_id, order.symbol, Cause.LATE,
                    f"{order.status}, filled {order.filled_qty}", f"filled {seen.cum_qty}", Resolution.BOOKED,
                    order_id=order.id,
                )
            )  # fmt: skip
        fill = Fill(
            id=self._ids(),
            order_id=order.id,
            broker_order_id=seen.broker_order_id,
            symbol=order.symbol,
            side=order.side,
            qty=seen.qty,
            price=seen.price,
            cum_qty=seen.cum_qty,
            transacted_at=seen.transacted_at,
            execution_id=seen.execution_id,
            activity_id=seen.activity_id,
        )
        booked.append(Interval(begins, seen.cum_qty, seen.execution_id))
        changes.fills.append(fill)
        after = order.with_fill(fill, self._now())
        self._change(
            changes, order, after, EventKind.FILLED, qty=fill.qty, price=fill.price, cum_qty=fill.cum_qty,
            transacted_at=fill.transacted_at, execution_id=fill.execution_id, activity_id=fill.activity_id,
        )  # fmt: skip
        waiting = self.awaiting_fills.get(order.id)
        if waiting is not None and waiting.filled_qty <= after.filled_qty:
            del self.awaiting_fills[order.id]
            self._settle(changes, after, waiting, None)
        entries = [Entry.of_fill(fill)]
        fee = self._expected_fee(after, fill)
        if fee is not None:
            changes.adjustments.append(fee)
            entries.append(Entry.of_adjustment(fee))
        self._move(changes, self.holding(order.symbol), order.asset_class, entries)
        return changes

    def bust(self, order: Order, seen: BrokerFill, fill: Fill | None, fee_at: datetime) -> Changes:
        """The broker took an execution back: out of the position at its price, with the fee that was expected of it.

        The fee goes where that of the fill stands, because a day's fees are trued up together; to `fee_at` where the
        fill is not known.
        `filled_qty` stays the sum of the fills. Raises LateEntry when it belongs before others.
        """
        at, holding = seen.transacted_at, self.holding(order.symbol)
        changes = Changes()
        after = order.changed(self._now(), busted_qty=order.busted_qty + seen.qty)
        self._change(
            changes, order, after, EventKind.BUSTED, qty=seen.qty, price=seen.price, activity_id=seen.activity_id
        )
        changes.merge(
            self.drift.mended(
                DriftKind.FILL, seen.reference, order.symbol, Cause.BUST, f"{order.side} {seen.qty} at {seen.price}",
                "taken back", Resolution.BOOKED, order_id=order.id,
            )
        )  # fmt: skip
        moves = [
            Adjustment(
                self._ids(), self.account_id, holding, AdjustmentKind.BUST, -order.side.sign * seen.qty, seen.price,
                ZERO, at, seen.reference,
            )
        ]  # fmt: skip
        coin, cash = self._fee_of(order, seen.qty, seen.price)
        if coin or cash:
            place = (fee_at, "", seen.qty) if fill is None else (fill.transacted_at, fill.broker_order_id, fill.cum_qty)
            moves.append(
                Adjustment(
                    self._ids(), self.account_id, holding, AdjustmentKind.FEE, coin, None, cash, place[0],
                    f"fee:{seen.reference}", *place[1:],
                )
            )  # fmt: skip
        changes.adjustments += moves
        self._move(changes, holding, order.asset_class, [Entry.of_adjustment(one) for one in moves])
        return changes

    # --- positions ----------------------------------------------------------------------------------------------------

    def adopt_position(self, held: BrokerPosition, at: datetime) -> Changes:
        """What the account held at the first contact."""
        return self.adjust(
            Adjustment(
                self._ids(), self.account_id, held.symbol, AdjustmentKind.ADOPTED, held.qty, held.avg_price, ZERO, at,
                reference=f"adopted:{held.symbol}",
            ),
            held.asset_class,
        )  # fmt: skip

    def adjust(self, adjustment: Adjustment, asset_class: AssetClass) -> Changes:
        """Book a movement that is no fill. Raises LateEntry when it belongs before others."""
        changes = Changes(adjustments=[adjustment])
        self._move(changes, adjustment.symbol, asset_class, [Entry.of_adjustment(adjustment)])
        return changes

    def recompute(self, late: LateEntry, stored: Iterable[Entry]) -> Changes:
        """Finish what LateEntry interrupted, with the stored entries since the position was last flat (or all).

        What LateEntry carries must not be among the stored yet. Keys may be equal: a day's fee can be trued up twice.
        """
        before = self.positions.get(late.position.symbol, late.position)
        from_beginning = any(before.needs_all(entry) for entry in late.entries)
        flat = None if from_beginning else before.flat_key
        steps = [entry for entry in [*stored, *late.entries] if flat is None or entry.key > flat]
        after = recomputed(before, steps, from_beginning=from_beginning)
        self._put_position(late.changes, before, after)
        return late.changes

    def price(self, symbol: str, last_price: Decimal | None, price_time: datetime | None, *, stale: bool) -> None:
        """Remember the price at which a position was last valued; the store writes it beside, not through Changes."""
        position = self.positions[symbol]
        self.positions[symbol] = replace(position, last_price=last_price, price_time=price_time, stale=stale)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _bind(self, changes: Changes, order: Order, seen: BrokerOrder) -> Order:
        known = order.alpaca_id == seen.broker_order_id and not order.outcome_unknown
        if known and (order.qty is not None or seen.qty is None):
            return order
        at = self._now()
        status = OrderStatus.SUBMITTED if order.status is OrderStatus.PENDING else order.status
        kind = EventKind.OUTCOME_KNOWN if order.outcome_unknown else EventKind.SUBMITTED
        after = order.moved(
            status, at, alpaca_id=seen.broker_order_id, submitted_at=order.submitted_at or seen.submitted_at,
            outcome_unknown=False, qty=order.qty if order.qty is not None else seen.qty,
            attempted_at=order.attempted_at or seen.submitted_at,
        )  # fmt: skip
        self._change(changes, order, after, kind, alpaca_id=seen.broker_order_id, broker_status=seen.broker_status)
        return after

    def _settle(self, changes: Changes, order: Order, seen: BrokerOrder, reason: str | None) -> None:
        """Follow the broker's status, its fills being booked."""
        if order.status.is_final or seen.status is order.status:
            return
        if seen.status in _AT_WORK and {order.status, seen.status} != {OrderStatus.HELD, OrderStatus.SUBMITTED}:
            return  # how far it is filled, its fills tell
        if seen.status not in TRANSITIONS[order.status]:
            changes.merge(
                self.drift.found(
                    DriftKind.ORDER, seen.broker_order_id, order.symbol, Cause.CONTRADICTION, order.status,
                    seen.broker_status, order_id=order.id,
                )
            )  # fmt: skip
            return
        texts: dict[str, object] = {}
        if seen.status is OrderStatus.REJECTED:
            texts = {
                "error_code": "BROKER_REJECTED",
                "error_message": reason or "The broker rejected it after accepting it",
            }
        if seen.status is OrderStatus.REPLACED and seen.replaced_by:
            texts = {"error_message": f"Replaced at the broker by {seen.replaced_by}"}
        after = order.moved(seen.status, self._now(), **texts)
        self._change(changes, order, after, _TOLD_AS[seen.status], broker_status=seen.broker_status, **texts)

    def _expected_fee(self, order: Order, fill: Fill) -> Adjustment | None:
        """Alpaca takes crypto fees from what is credited (coin on buys, dollars on sells), posted at day's end."""
        coin, cash = self._fee_of(order, fill.qty, fill.price)
        if not coin and not cash:
            return None
        return Adjustment(
            self._ids(), self.account_id, self.holding(order.symbol), AdjustmentKind.FEE, -coin, None, -cash,
            fill.transacted_at, f"fee:{fill.broker_order_id}:{fill.cum_qty}", fill.broker_order_id, fill.cum_qty,
        )  # fmt: skip

    @staticmethod
    def _fee_of(order: Order, qty: Decimal, price: Decimal) -> tuple[Decimal, Decimal]:
        """In coin and in cash."""
        if order.asset_class is not AssetClass.CRYPTO or not order.fee_rate:
            return ZERO, ZERO
        bought = order.side is Side.BUY
        fee = qty * order.fee_rate * (1 if bought else price)
        fee = fee.quantize(FEE_STEP, ROUND_UP)  # Alpaca does not say how it rounds; the posted fee corrects it
        return (fee, ZERO) if bought else (ZERO, fee)

    def _move(self, changes: Changes, symbol: str, asset_class: AssetClass, entries: Sequence[Entry]) -> None:
        before = self.positions.get(symbol) or Position(self._ids(), self.account_id, symbol, asset_class)
        after = before
        for entry in entries:
            if not after.takes(entry):
                # What is held counts at once, as what can still fill does: only its cost waits for what is stored.
                held = before.qty + sum((one.qty for one in entries), ZERO)
                self.positions[symbol] = replace(before, qty=held)
                raise LateEntry(before, entries, changes)
            after = applied(after, entry)
        self._put_position(changes, before, after)

    def _put_position(self, changes: Changes, before: Position, after: Position) -> None:
        after = replace(after, updated_at=self._now())
        changes.position(before, after)
        self.positions[after.symbol] = after
        if self.passed_through is not None:
            self.passed_through.setdefault(after.symbol, set()).add(after.qty)

    def _change(self, changes: Changes, before: Order, after: Order, kind: EventKind, **data: object) -> None:
        changes.order(before, after)
        at = after.updated_at or self._now()
        changes.events.append(OrderEvent(after.id, kind, at, str(after.status), told(before, after, data)))
        self._put(after)

    def _put(self, order: Order) -> None:
        self.orders[order.id] = order
        self._by_client[order.client_order_id] = order.id
        if order.alpaca_id is not None:
            self._by_broker[order.alpaca_id] = order.id
        side = (self.holding(order.symbol), order.side)
        counted = self._open.pop(order.id, ZERO)
        if order.is_open and order.was_attempted:
            self._open[order.id] = order.remaining
        self._exposure[side] = self._exposure.get(side, ZERO) - counted + self._open.get(order.id, ZERO)
        if not order.is_open:
            self._closed[order.id] = None
            self._closed.move_to_end(order.id)
            if len(self._closed) > CLOSED_KEPT:
                self._forget(self._closed.popitem(last=False)[0])

    def _forget(self, order_id: UUID) -> None:
        order = self.orders.pop(order_id)
        self._by_client.pop(order.client_order_id, None)
        self._by_broker.pop(order.alpaca_id or "", None)
        self._booked.pop(order_id, None)
        self.awaiting_fills.pop(order_id, None)


def _further(seen: BrokerOrder) -> tuple[bool, Decimal]:
    """How far along an order was when the broker described it: reports can arrive in any order."""
    return (seen.status.is_final, seen.filled_qty)
