"""The few openings through which the OMS reaches the outside: clock, broker, prices, ticks, store, bus.

Everything behind a port can be swapped (a simulation does so), and everything in front of it reads no clock, no
randomness and no network but through one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from oms.domain.drift import Drift
from oms.domain.errors import StoreConflict
from oms.domain.events import OrderEvent
from oms.domain.fills import Fill
from oms.domain.instruments import Instrument
from oms.domain.market import Price, Tick
from oms.domain.orders import Order
from oms.domain.positions import Adjustment, Entry, Position, Valuation
from oms.domain.reports import (
    BrokerAccount,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    FeeActivity,
    MarketClock,
    OrderUpdate,
    UnreadableRecord,
    UnreadableUpdate,
)
from oms.domain.signals import Signal
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce

Row = Mapping[str, object]


class Clock(Protocol):
    """Time: `now` for records (UTC, aware), `monotonic` for durations (seconds)."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


Ids = Callable[[], UUID]
"""Makes a new id, roughly ordered by time."""


# --- the broker -------------------------------------------------------------------------------------------------------


class Purpose(StrEnum):
    """What a request to the broker is for; the budget keeps room for cancels."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    RECONCILE = "reconcile"


class Budget(Protocol):
    """The request budget of the trading API. The gateway asks it before each request, one at a time."""

    async def acquire(self, purpose: Purpose) -> None:
        """Return when one more request for this purpose may be sent."""

    def observe(self, limit: int, remaining: int, resets_in_s: float) -> None:
        """Follow what the broker's `X-RateLimit-*` headers say."""

    def refused(self, retry_after_s: float | None) -> None:
        """The broker answered 429."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is sent to the broker as a new order."""

    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None


class Updates(Protocol):
    """An authorised, listening stream of order updates."""

    def __aiter__(self) -> AsyncIterator[OrderUpdate | UnreadableUpdate]:
        """Each update as it comes. Raises BrokerUnknown when the connection is lost or has gone mute."""


class Broker(Protocol):
    """Alpaca's trading API. Every call has a timeout.

    All raise BrokerUnauthorized, BrokerBusy (429, not executed), BrokerUnknown (may have been executed) and, of that,
    BrokerUnreadable. A listing leaves out a record that it cannot read, and `take_unreadable` tells of it.
    """

    @property
    def left_out(self) -> int:
        """How many records listings have left out so far."""

    async def account(self) -> BrokerAccount: ...
    async def clock(self) -> MarketClock: ...
    async def instruments(self) -> Sequence[Instrument]: ...

    async def submit(self, ticket: Ticket) -> BrokerOrder:
        """Send one order, once. Raises BrokerRefused, BrokerDuplicateId when the client_order_id is taken."""

    async def cancel(self, broker_order_id: str) -> None:
        """Ask for a cancel; done only when an update says so. Raises BrokerRefused, BrokerNotFound."""

    async def order(self, broker_order_id: str) -> BrokerOrder:
        """One order. Raises BrokerNotFound."""

    async def order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        """One order by our id. Raises BrokerNotFound on a definite 404."""

    async def open_orders(self) -> Sequence[BrokerOrder]:
        """All open orders, however many pages."""

    async def orders_since(self, after: datetime) -> Sequence[BrokerOrder]:
        """All orders submitted after that time, whatever their status, oldest first."""

    async def fills_since(self, after: datetime) -> Sequence[BrokerFill]:
        """All FILL activities after that time, busts too, sorted by order and cumulative quantity."""

    async def fills_of(self, broker_order_id: str) -> Sequence[BrokerFill]:
        """All FILL activities of one order, by cumulative quantity."""

    async def fees_since(self, after: datetime) -> Sequence[FeeActivity]:
        """All CFEE activities after that time."""

    async def positions(self) -> Sequence[BrokerPosition]: ...

    def take_unreadable(self) -> Sequence[UnreadableRecord]:
        """The records that listings left out since this was last asked."""

    def updates(self) -> AbstractAsyncContextManager[Updates]:
        """Connect, authenticate and listen to `trade_updates`. Raises BrokerUnauthorized, BrokerUnknown."""

    async def close(self) -> None: ...


class TickStream(Protocol):
    """An authorised connection to the data stream of one asset class."""

    async def follow(self, symbols: frozenset[str]) -> None:
        """Make this the set of symbols followed (quotes and trades), by the difference to the former one."""

    def __aiter__(self) -> AsyncIterator[Sequence[Tick]]:
        """Ticks as they come, a frame at a time. Raises BrokerUnknown when the connection is lost or mute."""


class MarketData(Protocol):
    """Alpaca's market data: streams and the latest quotes. Budgets of its own."""

    def stream(self, asset_class: AssetClass) -> AbstractAsyncContextManager[TickStream]:
        """Connect and authenticate. Raises BrokerUnauthorized, BrokerRefused (406: another holds the connection)."""

    async def latest(self, instruments: Iterable[Instrument]) -> Sequence[Tick]:
        """Latest quotes and trades of the symbols, as many as there are, in few requests. Raises BrokerError."""

    async def close(self) -> None: ...


class Prices(Protocol):
    """Prices as the engine asks for them: from memory, or once more from the broker."""

    def price(self, symbol: str, max_age_s: Decimal) -> Price:
        """What is known now; reads memory only."""

    async def ask(self, instruments: Iterable[Instrument]) -> None:
        """Ask the broker for these once, by REST. Raises nothing: what does not come stays as it was."""

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Stream these, the most important first."""


# --- ticks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LatestTicks:
    """The newest of each kind that the archive has of a symbol."""

    symbol: str
    last: Decimal | None
    last_at: datetime | None
    bid: Decimal | None
    ask: Decimal | None
    quote_at: datetime | None


class TickArchive(Protocol):
    """QuestDB's table `market_ticks`. Raises Unavailable when it does not answer."""

    async def write(self, ticks: Sequence[Tick]) -> None: ...
    async def latest(self, symbols: Iterable[str]) -> Mapping[str, LatestTicks]:
        """By canonical symbol, whatever spelling the rows have, whoever wrote them."""


# --- the record -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of one signal: its order, whether this call created it, how many wait before it."""

    order: Order
    created: bool
    ahead: int = 0


class SignalStore(Protocol):
    """Stores signals as pending orders. Raises StoreUnavailable when nothing was stored for certain."""

    async def accept(self, account_id: UUID, signals: Sequence[tuple[UUID, Signal, datetime]]) -> Sequence[Acceptance]:
        """Store all (order id, signal, time) in one transaction, with their first events.

        An identity that the account knows answers the order stored for it (`created` False), whatever its content;
        `Signal.terms` decides whether that is the same.
        """

    async def record_error(self, account_id: UUID | None, source: str, payload: str, reason: str, code: str) -> None:
        """Keep a malformed message with the reason."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a person or a program asks of the engine.

    `cancel` with an order's id; `drift_adopt` and `drift_ignore` with `drift_id`, `halt` and `resume`, each with `by`
    and `reason` in `data`.
    """

    id: UUID
    kind: str
    order_id: UUID | None
    data: Mapping[str, object]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Configs:
    """The table `configs` as read at one moment. `version` grows with each change."""

    version: int
    values: Mapping[str, str]
    modes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Halt:
    """Whether trading is halted by a person: latched, so that it outlives the engine."""

    is_on: bool
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """The account as stored. `watermark` is up to when activities have been booked, `adopted_at` when its positions
    were taken in; both None before the first contact. `in_sync_at`: when a full pass last found nothing open."""

    id: UUID
    broker_account_id: str
    watermark: datetime | None
    adopted_at: datetime | None
    in_sync_at: datetime | None = None
    halt: Halt | None = None


@dataclass(frozen=True, slots=True)
class WorkingSet:
    """What an engine holds in memory: open orders with their fills, every position, limits, aliases.

    `drift` are the rows of the drift ledger that are not resolved, `last_drift_id` is the last that any row has.
    """

    account: AccountRecord
    orders: Sequence[Order]
    fills: Sequence[Fill]
    positions: Sequence[Position]
    configs: Configs
    aliases: Mapping[str, str]
    instruments: Sequence[Instrument]
    drift: Sequence[Drift] = ()
    last_drift_id: int = 0


@dataclass(slots=True)
class Changes:
    """What one step changes, stored in one transaction or not at all. Versions are compared with what is stored.

    Rows of `drift` are whole: what is stored under an id is replaced.
    """

    orders: dict[UUID, tuple[int, Order]] = field(default_factory=dict)  # id → (stored version, new state)
    created: dict[UUID, Order] = field(default_factory=dict)  # external orders
    fills: list[Fill] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    positions: dict[UUID, tuple[int, Position]] = field(default_factory=dict)
    events: list[OrderEvent] = field(default_factory=list)
    commands: list[tuple[UUID, str, str]] = field(default_factory=list)  # id, outcome, text
    drift: dict[int, Drift] = field(default_factory=dict)  # id → new state
    halt: Halt | None = None
    watermark: datetime | None = None
    in_sync_at: datetime | None = None

    def order(self, before: Order, after: Order) -> None:
        """An order went from one state to another."""
        self._take_order(before.id, before.version, after)

    def position(self, before: Position, after: Position) -> None:
        """A position went from one state to another. Version 0 is one that is not stored yet."""
        self._take_position(before.id, before.version, after)

    def merge(self, later: Changes) -> None:
        """Take in what came after, so that both are stored in one transaction.

        Raises StoreConflict where the later does not begin with what the earlier left: one of them was computed from an
        order or position that had changed meanwhile.
        """
        self.created.update(later.created)
        for order_id, (stored, order) in later.orders.items():
            self._take_order(order_id, stored, order)
        for position_id, (stored, position) in later.positions.items():
            self._take_position(position_id, stored, position)
        self.fills += later.fills
        self.adjustments += later.adjustments
        self.events += later.events
        self.commands += later.commands
        self.drift |= later.drift
        self.halt = later.halt or self.halt
        self.watermark = later.watermark or self.watermark
        self.in_sync_at = later.in_sync_at or self.in_sync_at

    def _take_order(self, order_id: UUID, begins_with: int, after: Order) -> None:
        if order_id in self.created:
            _continues(self.created[order_id].version, begins_with, order_id)
            self.created[order_id] = after
            return
        stored, before = self.orders.get(order_id, (begins_with, None))
        if before is not None:
            _continues(before.version, begins_with, order_id)
        self.orders[order_id] = (stored, after)

    def _take_position(self, position_id: UUID, begins_with: int, after: Position) -> None:
        stored, before = self.positions.get(position_id, (begins_with, None))
        if before is not None:
            _continues(before.version, begins_with, position_id)
        self.positions[position_id] = (stored, after)

    def __bool__(self) -> bool:
        return bool(
            self.orders or self.created or self.fills or self.adjustments or self.positions or self.events
            or self.commands or self.drift or self.halt or self.watermark or self.in_sync_at
        )  # fmt: skip


def _continues(left: int, begins_with: int, what: UUID) -> None:
    if left != begins_with:
        raise StoreConflict(f"a change of {what} begins with version {begins_with}, the one before left {left}")


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order that memory no longer holds, with its fills."""

    order: Order
    fills: Sequence[Fill]


class Store(Protocol):
    """PostgreSQL as the engine sees it. Raises StoreUnavailable; Fenced when another engine has the account."""

    async def register_account(self, account: BrokerAccount, key_hash: str, address: str, now: datetime) -> UUID:
        """Our id of the broker's account, remembered for this key, with its totals."""

    async def account_of_key(self, key_hash: str) -> UUID | None:
        """The account that these keys opened before, when the broker cannot be asked."""

    async def take_lease(self, account_id: UUID, holder: str, ttl_s: float) -> int | None:
        """Become the account's engine: the new epoch, or None while another holds it."""

    async def renew_lease(self, account_id: UUID, epoch: int, ttl_s: float) -> None:
        """Stay it. Raises Fenced."""

    async def release_lease(self, account_id: UUID, epoch: int) -> None: ...

    async def save_instruments(self, instruments: Sequence[Instrument]) -> None: ...
    async def load(self, account_id: UUID) -> WorkingSet: ...

    async def symbols(self) -> tuple[Sequence[Instrument], Mapping[str, str]]:
        """The asset list and the aliases as stored."""

    async def configs(self) -> Configs: ...

    async def pending(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[Order]:
        """Orders accepted after that one, in the order of acceptance."""

    async def commands(self, account_id: UUID) -> Sequence[Command]:
        """Some hundred commands not yet acknowledged: halt and resume, then the others, each oldest first."""

    async def find_order(
        self, account_id: UUID, broker_order_id: str | None, client_order_id: str | None, order_id: UUID | None = None
    ) -> StoredOrder | None:
        """An order by any of its ids."""

    async def entries(self, account_id: UUID, symbol: str, after: datetime | None) -> Sequence[Entry]:
        """All steps of a position, those at or after a time."""

    async def commit(self, account_id: UUID, epoch: int, changes: Changes) -> None:
        """Store all of it in one transaction. Raises Fenced, StoreConflict, StoreUnavailable (outcome unknown)."""

    async def booked(self, account_id: UUID, references: Sequence[str]) -> frozenset[str]:
        """Which of these adjustments are stored already. A reference is booked once for an account: `commit` refuses a
        second with StoreConflict."""

    async def value(self, account_id: UUID, epoch: int, valuations: Sequence[Valuation]) -> None:
        """Write the price columns of positions."""

    async def events(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Events after a sequence, in order, as JSON."""

    async def last_event(self, account_id: UUID) -> int:
        """The last sequence given."""

    async def fee_totals(self, account_id: UUID, day: str, symbol: str) -> tuple[Decimal, Decimal]:
        """Coin and cash booked as fees for a symbol on a New York day."""

    async def report(self, key_hash: str, account_id: UUID | None, status: str, detail: Row, now: datetime) -> None:
        """The engine's state, for health."""

    async def snapshot_account(self, account_id: UUID, epoch: int, account: BrokerAccount, now: datetime) -> None:
        """The account's totals, for the portfolio. Raises Fenced."""

    async def close(self) -> None: ...


# --- the bus ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One message on `trade_signals`. `entry_id` is set for the stream's, which must be acknowledged."""

    source: str  # channel or stream
    payload: bytes
    entry_id: str | None = None


class Bus(Protocol):
    """Redis: it wakes and tells, and may be lost at any moment. Raises Unavailable."""

    async def publish_signals(self, messages: Sequence[bytes]) -> None:
        """Publish on the channel `trade_signals`."""

    def signals(self) -> AbstractAsyncContextManager[AsyncIterator[Sequence[BusMessage]]]:
        """What comes on channel and stream, in batches, until the connection is lost (Unavailable)."""

    async def acknowledge(self, entry_ids: Sequence[str]) -> None: ...

    async def append_events(self, account_id: UUID, events: Sequence[tuple[int, bytes]]) -> None:
        """Add (sequence, JSON) to the stream `order_events`, remembering the last sequence in the same step."""

    async def events_relayed(self, account_id: UUID) -> int | None:
        """The last sequence added, None where the stream knows nothing."""

    async def close(self) -> None: ...
