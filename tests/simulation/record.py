"""PostgreSQL's part in memory: rows, unique constraints, leases, compare-and-set. Each method is one transaction.

What the schema and the statements of `oms.storage` enforce is enforced here; the contract tests hold both to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from oms.domain.drift import Drift
from oms.domain.errors import Fenced, StoreConflict
from oms.domain.events import EventKind, OrderEvent
from oms.domain.fills import Fill
from oms.domain.instruments import Instrument
from oms.domain.orders import Order, OrderStatus
from oms.domain.positions import Adjustment, Entry, Position, Valuation
from oms.domain.reports import BrokerAccount
from oms.domain.signals import Signal
from oms.domain.values import ZERO
from oms.ports import Acceptance, AccountRecord, Changes, Command, Configs, StoredOrder, WorkingSet
from oms.risk.limits import DEFAULTS

NAMESPACE = UUID("6f1f5c0e-6c53-4a5f-9a8e-3b9a1f0a7c11")
PREFIX = "tm1-5e1f0000-"
NEW_YORK = ZoneInfo("America/New_York")
AT_WORK = frozenset({OrderStatus.SUBMITTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.HELD})


class UniqueViolation(Exception):
    """A row with this key exists."""


@dataclass(slots=True)
class Lease:
    """The account's row of `leases`."""

    epoch: int = 0
    holder: str = ""
    expires: float = float("-inf")


@dataclass(slots=True)
class Account:
    """Everything that belongs to one account."""

    record: AccountRecord
    totals: tuple[BrokerAccount, datetime] | None = None
    event_seq: int = 0
    lease: Lease = field(default_factory=Lease)
    orders: dict[UUID, Order] = field(default_factory=dict)
    by_signal: dict[str, UUID] = field(default_factory=dict)
    by_client: dict[str, UUID] = field(default_factory=dict)
    by_broker: dict[str, UUID] = field(default_factory=dict)
    waiting: dict[UUID, None] = field(default_factory=dict)  # pending, not attempted, by seq
    opened: dict[UUID, None] = field(default_factory=dict)  # may be at the broker
    events: list[OrderEvent] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    drift: dict[int, Drift] = field(default_factory=dict)
    fill_keys: set[tuple[str, object]] = field(default_factory=set)
    adjustments: list[Adjustment] = field(default_factory=list)
    references: set[str] = field(default_factory=set)
    positions: dict[UUID, Position] = field(default_factory=dict)
    commands: dict[UUID, Command] = field(default_factory=dict)
    done: dict[UUID, tuple[str, str]] = field(default_factory=dict)
    errors: list[tuple[str, str, str, str]] = field(default_factory=list)  # source, payload, reason, code


Watch = Callable[[Account, int, Changes], None]


class Record:
    """The database. `seconds` is its own clock; `watch` sees each commit of an engine before it is applied."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.accounts: dict[UUID, Account] = {}
        self.keys: dict[str, UUID] = {}
        self.instruments: dict[str, Instrument] = {}
        self.aliases: dict[str, str] = {"BTCUSDT": "BTC/USD"}
        self.config_values: dict[str, str] = dict(DEFAULTS)
        self.highest = {key: Decimal(value) for key, value in DEFAULTS.items()}  # that each limit has been
        self.config_modes: dict[str, str] = dict.fromkeys(DEFAULTS, "enforce")
        self.config_version = 1
        self.reports: dict[str, tuple[UUID | None, str, Mapping[str, object], datetime]] = {}
        self.watch: Watch = lambda *_: None

    # --- accounts and leases ------------------------------------------------------------------------------------------

    def register_account(self, account: BrokerAccount, key_hash: str, address: str, now: datetime) -> UUID:
        account_id = uuid5(NAMESPACE, account.broker_account_id)
        if account_id not in self.accounts:
            record = AccountRecord(account_id, account.broker_account_id, None, None)
            self.accounts[account_id] = Account(record)
        self.keys[key_hash] = account_id
        return account_id

    def account_of_key(self, key_hash: str) -> UUID | None:
        return self.keys.get(key_hash)

    def take_lease(self, account_id: UUID, holder: str, ttl_s: float) -> int | None:
        lease, now = self.accounts[account_id].lease, self._seconds()
        if lease.expires >= now and lease.holder != holder:
            return None
        lease.epoch += 1
        lease.holder, lease.expires = holder, now + ttl_s
        return lease.epoch

    def renew_lease(self, account_id: UUID, epoch: int, ttl_s: float) -> None:
        lease = self._under_lease(self.accounts[account_id], epoch)
        lease.expires = self._seconds() + ttl_s

    def release_lease(self, account_id: UUID, epoch: int) -> None:
        lease = self.accounts[account_id].lease
        if lease.epoch == epoch:
            lease.holder, lease.expires = "", float("-inf")

    @staticmethod
    def _under_lease(account: Account, epoch: int) -> Lease:
        if account.lease.epoch != epoch:
            raise Fenced(f"epoch {epoch} is over, the account is at {account.lease.epoch}")
        return account.lease

    # --- accepting ----------------------------------------------------------------------------------------------------

    def accept(self, account_id: UUID, signals: Sequence[tuple[UUID, Signal, datetime]]) -> Sequence[Acceptance]:
        """All of them or none."""
        account = self.accounts[account_id]
        ahead = len(account.waiting)
        fresh: dict[str, UUID] = {}
        for order_id, signal, _ in signals:
            if signal.signal_id not in account.by_signal and signal.signal_id not in fresh:
                if order_id in account.orders:
                    raise UniqueViolation(f"orders_pkey: {order_id}")
                fresh[signal.signal_id] = order_id
        answers = []
        made = 0
        for order_id, signal, at in signals:
            if fresh.get(signal.signal_id) == order_id and order_id not in account.orders:
                order = self._accepted(account, order_id, signal, at)
                made += 1
            order = account.orders[account.by_signal[signal.signal_id]]
            created = order.id == order_id
            answers.append(
                Acceptance(order, created=created, ahead=ahead + made - 1 if order.id in fresh.values() else 0)
            )
        return answers

    def _accepted(self, account: Account, order_id: UUID, signal: Signal, at: datetime) -> Order:
        account.event_seq += 1
        order = Order(
            id=order_id, account_id=account.record.id, client_order_id=PREFIX + order_id.hex, symbol=signal.symbol,
            asset_class=signal.asset_class, side=signal.side, qty=signal.qty, type=signal.type,
            time_in_force=signal.time_in_force, created_at=at, updated_at=at, limit_price=signal.limit_price,
            signal_id=signal.signal_id, terms=signal.terms, source=signal.source, strategy=signal.strategy,
            reason=signal.reason, valid_for_s=signal.valid_for_s, configs_version=self.config_version,
            seq=account.event_seq,
        )  # fmt: skip
        self._put(account, order)
        account.by_signal[signal.signal_id] = order_id
        account.events.append(OrderEvent(order_id, EventKind.ACCEPTED, at, "pending", {"qty": signal.qty}))
        return order

    def record_error(self, account_id: UUID | None, source: str, payload: str, reason: str, code: str) -> None:
        for account in self.accounts.values():
            if account_id in {account.record.id, None}:
                account.errors.append((source, payload, reason, code))

    # --- the engine's transaction -------------------------------------------------------------------------------------

    def commit(self, account_id: UUID, epoch: int, changes: Changes) -> None:
        """Everything is looked at before anything is written: all or nothing."""
        account = self.accounts[account_id]
        self._under_lease(account, epoch)
        self._check_orders(account, changes)
        keys = self._check_rows(account, changes)
        self.watch(account, epoch, changes)
        self._write(account, changes, keys)

    def _check_orders(self, account: Account, changes: Changes) -> None:
        taken = {}
        for order in changes.created.values():
            if order.id in account.orders or order.client_order_id in account.by_client:
                raise UniqueViolation(f"orders: {order.id} {order.client_order_id}")
            taken[order.alpaca_id] = order.id
        for order_id, (stored, order) in changes.orders.items():
            held = account.orders.get(order_id)
            if held is None or held.version != stored:
                raise StoreConflict(f"orders: {order_id} is not stored in version {stored}")
            if order.alpaca_id is not None:
                if taken.get(order.alpaca_id, order_id) != order_id:
                    raise UniqueViolation(f"orders: alpaca_id {order.alpaca_id}")
                taken[order.alpaca_id] = order_id
        for broker_id, order_id in taken.items():
            if broker_id is not None and account.by_broker.get(broker_id, order_id) != order_id:
                raise UniqueViolation(f"orders: alpaca_id {broker_id}")

    @staticmethod
    def _check_rows(account: Account, changes: Changes) -> set[tuple[str, object]]:
        keys: set[tuple[str, object]] = set()
        for fill in changes.fills:
            own: list[tuple[str, object]] = [(fill.broker_order_id, fill.cum_qty)]
            if fill.execution_id is not None:
                own.append(("execution", fill.execution_id))
            for key in own:
                if key in account.fill_keys or key in keys:
                    raise StoreConflict(f"fills: {key} is stored")
                keys.add(key)
        references = [adjustment.reference for adjustment in changes.adjustments]
        if len(set(references)) != len(references) or not account.references.isdisjoint(references):
            raise StoreConflict(f"adjustments: one of {references} is stored")
        symbols = {position.symbol: position.id for position in account.positions.values()}
        for position_id, (stored, position) in changes.positions.items():
            held = account.positions.get(position_id)
            if stored == 0 and (held is not None or position.symbol in symbols):
                raise StoreConflict(f"positions: {position.symbol} is stored")
            if stored and (held is None or held.version != stored):
                raise StoreConflict(f"positions: {position.symbol} is not stored in version {stored}")
        after = {**account.drift, **changes.drift}
        standing = [(one.kind, one.subject) for one in after.values() if one.stands]
        if changes.drift and len(set(standing)) != len(standing):
            raise UniqueViolation("drift: two rows of one difference stand")
        if any(command_id not in account.commands for command_id, _, _ in changes.commands):
            raise StoreConflict("commands: no such row")
        return keys

    def _write(self, account: Account, changes: Changes, keys: set[tuple[str, object]]) -> None:
        first: dict[UUID, int] = {}
        for place, event in enumerate(changes.events, start=1):
            first.setdefault(event.order_id, account.event_seq + place)
        for order in changes.created.values():
            self._put(account, replace(order, seq=first[order.id], error_code=None, error_message=None))
        for _, order in changes.orders.values():
            self._put(account, order)
        account.fills += changes.fills
        account.fill_keys |= keys
        account.adjustments += changes.adjustments
        account.references.update(adjustment.reference for adjustment in changes.adjustments)
        for position_id, (_, position) in changes.positions.items():
            account.positions[position_id] = position
        account.events += changes.events
        account.event_seq += len(changes.events)
        for command_id, outcome, text in changes.commands:
            account.done[command_id] = (outcome, text)
        account.drift |= changes.drift
        record = account.record
        account.record = replace(
            record, halt=changes.halt or record.halt, in_sync_at=changes.in_sync_at or record.in_sync_at
        )
        if changes.watermark is not None:
            record = account.record
            adopted_at = record.adopted_at or changes.watermark
            account.record = replace(record, watermark=changes.watermark, adopted_at=adopted_at)

    @staticmethod
    def _put(account: Account, order: Order) -> None:
        account.orders[order.id] = order
        account.by_client[order.client_order_id] = order.id
        if order.alpaca_id is not None:
            account.by_broker[order.alpaca_id] = order.id
        is_pending = order.status is OrderStatus.PENDING
        if is_pending and not order.was_attempted:
            account.waiting[order.id] = None
        else:
            account.waiting.pop(order.id, None)
        if order.status in AT_WORK or (is_pending and order.was_attempted):
            account.opened[order.id] = None
        else:
            account.opened.pop(order.id, None)

    def value(self, account_id: UUID, epoch: int, valuations: Sequence[Valuation]) -> None:
        account = self.accounts[account_id]
        self._under_lease(account, epoch)
        for one in valuations:
            if one.position_id in account.positions:
                account.positions[one.position_id] = replace(
                    account.positions[one.position_id],
                    last_price=one.last_price, price_time=one.price_time, stale=one.stale,
                )  # fmt: skip

    def snapshot_account(self, account_id: UUID, epoch: int, totals: BrokerAccount, now: datetime) -> None:
        account = self.accounts[account_id]
        self._under_lease(account, epoch)
        account.totals = (totals, now)

    # --- reading ------------------------------------------------------------------------------------------------------

    def load(self, account_id: UUID) -> WorkingSet:
        account = self.accounts[account_id]
        orders = sorted((account.orders[order_id] for order_id in account.opened), key=lambda order: order.seq)
        return WorkingSet(
            account=account.record,
            orders=orders,
            fills=[fill for fill in account.fills if fill.order_id in account.opened],
            positions=list(account.positions.values()),
            configs=self.configs(),
            aliases=dict(self.aliases),
            instruments=list(self.instruments.values()),
            drift=[one for one in account.drift.values() if one.stands],
            last_drift_id=max(account.drift, default=0),
        )

    def configs(self) -> Configs:
        return Configs(self.config_version, dict(self.config_values), dict(self.config_modes))

    def set_config(self, key: str, value: str) -> None:
        """What a person does in psql."""
        self.config_values[key] = value
        self.highest[key] = max(self.highest[key], Decimal(value))
        self.config_version += 1

    def pending(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[Order]:
        account = self.accounts[account_id]
        if not account.waiting:
            return []
        waiting = [account.orders[order_id] for order_id in account.waiting]
        return sorted((one for one in waiting if one.seq > after_seq), key=lambda order: order.seq)[:limit]

    def command_rows(self, account_id: UUID) -> Sequence[Command]:
        account = self.accounts[account_id]
        if len(account.done) == len(account.commands):
            return []
        waiting = [command for command in account.commands.values() if command.id not in account.done]
        return sorted(waiting, key=lambda command: command.created_at)[:500]

    def ask(self, account_id: UUID, command: Command) -> None:
        """What the API does: leave a command for the engine."""
        self.accounts[account_id].commands[command.id] = command

    def find_order(
        self, account_id: UUID, broker_order_id: str | None, client_order_id: str | None, order_id: UUID | None
    ) -> StoredOrder | None:
        account = self.accounts[account_id]
        found = account.by_broker.get(broker_order_id or "") or account.by_client.get(client_order_id or "") or order_id
        order = account.orders.get(found) if found is not None else None
        if order is None:
            return None
        fills = sorted((fill for fill in account.fills if fill.order_id == order.id), key=lambda fill: fill.cum_qty)
        return StoredOrder(order, fills)

    def entries(self, account_id: UUID, symbol: str, after: datetime | None) -> Sequence[Entry]:
        account = self.accounts[account_id]
        return [
            *(
                Entry.of_fill(fill)
                for fill in account.fills
                if holding_of(fill.symbol) == symbol and (after is None or fill.transacted_at >= after)
            ),
            *(
                Entry.of_adjustment(one)
                for one in account.adjustments
                if one.symbol == symbol and (after is None or one.at >= after)
            ),
        ]

    def booked(self, account_id: UUID, references: Sequence[str]) -> frozenset[str]:
        return frozenset(references) & self.accounts[account_id].references

    def fee_totals(self, account_id: UUID, day: str, symbol: str) -> tuple[Decimal, Decimal]:
        coin = cash = ZERO
        for one in self.accounts[account_id].adjustments:
            if one.symbol != symbol or one.kind not in {"fee", "fee_true_up"}:
                continue
            is_fee = one.kind == "fee"
            booked_on = f"{one.at.astimezone(NEW_YORK):%Y-%m-%d}" if is_fee else one.reference.split(":")[1]
            if booked_on == day:
                coin, cash = coin + one.qty, cash + one.cash
        return coin, cash

    def events(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[tuple[int, bytes]]:
        events = self.accounts[account_id].events[after_seq : after_seq + limit]
        return [(after_seq + place, str(one.kind).encode()) for place, one in enumerate(events, start=1)]

    def last_event(self, account_id: UUID) -> int:
        return self.accounts[account_id].event_seq

    def report(
        self, key_hash: str, account_id: UUID | None, status: str, detail: Mapping[str, Any], now: datetime
    ) -> None:
        self.reports[key_hash] = (account_id, status, detail, now)


def holding_of(symbol: str) -> str:
    """A coin's USD pair."""
    return f"{symbol.partition('/')[0]}/USD" if "/" in symbol else symbol
